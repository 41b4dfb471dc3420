"""How many bytes an expression asks for: a range over all values that its parts may have.

    size(expression, known)         # Range(24, 1048): at least and at most; high None: no bound is known

`known` tells what the expression's names and types are. Products, sums and the kernel's own size macros grow with their
parts, so that both ends follow from the ends of the parts. Nothing wraps around below: an expression that may become
negative has no upper bound, since as a size_t it is huge.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from kgfplint.facts import ir
from kgfplint.source.layouts import Range

UNKNOWN = Range(0, None)
"""Any size."""
_DEPTH = 24
_LARGEST_SHIFT = 62


class Known(Protocol):
    """What is known of the names in an expression."""

    def value(self, expr: ir.Expr) -> int | None:
        """Return the value of a constant expression without sizes, None for any other."""

    def sizeof(self, term: ir.SizeOf) -> Range | None:
        """Return the bytes of a type or operand, None if nothing is known."""

    def offset(self, ctype: str, path: str) -> Range | None:
        """Return the offset of a member in a type in bytes, None if it is not known."""

    def values(self, expr: ir.Expr) -> Iterable[ir.Expr | None]:
        """Return all values that a variable may have (None among them: an unknown one), nothing if they are not known."""

    def limits(self, expr: ir.Expr) -> Range:
        """Return what the type of an expression allows."""


def size(expr: ir.Expr, known: Known) -> Range:
    """Return the range of an expression of sizes and counts."""
    return _Evaluation(known).of(expr, _DEPTH, frozenset())


def hull(ranges: Iterable[Range]) -> Range:
    """Return the range of what is one of several; UNKNOWN for none."""
    found = list(ranges)
    if not found:
        return UNKNOWN
    highs = [one.high for one in found]
    return Range(min(one.low for one in found), None if None in highs else max(high for high in highs if high is not None))


def plus(left: Range, right: Range) -> Range:
    """Return the range of a sum."""
    return Range(left.low + right.low, None if left.high is None or right.high is None else left.high + right.high)


def times(left: Range, right: Range) -> Range:
    """Return the range of a product."""
    if 0 in (left.high, right.high):
        return Range(0, 0)
    return Range(left.low * right.low, None if left.high is None or right.high is None else left.high * right.high)


def minus(left: Range, right: Range) -> Range:
    """Return the range of a difference; one that may be negative has no bound."""
    if right.high is None or left.low < right.high:
        return UNKNOWN
    return Range(left.low - right.high, None if left.high is None else left.high - right.low)


def over(left: Range, right: Range) -> Range:
    """Return the range of a quotient; the divisor is not 0."""
    low = left.low // right.high if right.high else 0
    return Range(low, None if left.high is None else left.high // max(right.low, 1))


def least(ranges: list[Range]) -> Range:
    """Return the range of min()."""
    highs = [one.high for one in ranges if one.high is not None]
    return Range(min(one.low for one in ranges), min(highs, default=None))


def most(ranges: list[Range]) -> Range:
    """Return the range of max()."""
    return Range(max(one.low for one in ranges), hull(ranges).high)


def rounded(value: Range, unit: Range) -> Range:
    """Return the range of what is rounded up to a multiple of a unit."""
    if unit.exact is None or unit.exact <= 0:
        return Range(value.low, None)
    low = -(-value.low // unit.exact) * unit.exact
    return Range(low, None if value.high is None else -(-value.high // unit.exact) * unit.exact)


def _power(value: Range) -> Range:
    """Return the range of roundup_pow_of_two()."""
    low, high = (None if end is None else 1 << (max(end, 1) - 1).bit_length() for end in value)
    return Range(low or 1, high)


_OPERATORS: dict[str, Callable[[Range, Range], Range]] = {"+": plus, "*": times, "-": minus, "/": over}
FUNCTIONS: dict[str, Callable[[list[Range]], Range]] = {
    "size_mul": lambda r: times(r[0], r[1]), "array_size": lambda r: times(r[0], r[1]), "size_add": lambda r: plus(r[0], r[1]),
    "array3_size": lambda r: times(times(r[0], r[1]), r[2]), "size_sub": lambda r: minus(r[0], r[1]),
    "min": least, "min_t": least, "min3": least, "max": most, "max_t": most, "max3": most, "umin": least, "umax": most,
    "clamp": lambda r: least([most(r[:2]), r[2]]), "clamp_t": lambda r: least([most(r[:2]), r[2]]),
    "clamp_val": lambda r: least([most(r[:2]), r[2]]),
    "ALIGN": lambda r: rounded(r[0], r[1]), "round_up": lambda r: rounded(r[0], r[1]), "roundup": lambda r: rounded(r[0], r[1]),
    "DIV_ROUND_UP": lambda r: over(rounded(r[0], r[1]), r[1]), "roundup_pow_of_two": lambda r: _power(r[0]),
    "PAGE_ALIGN": lambda r: rounded(r[0], Range(4096, 4096)),
}  # fmt: skip
"""Functions of sizes and the number of their ranges: include/linux/{overflow,minmax,align,math,log2,mm}.h."""


class _Evaluation:
    """One evaluation; names that are being looked at are not looked at again."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def of(self, expr: ir.Expr, depth: int, seen: frozenset[ir.Expr]) -> Range:
        """Return the range of an expression."""
        if depth == 0:
            return UNKNOWN
        value = self._known.value(expr)
        if value is not None:
            return Range(value, value) if value >= 0 else UNKNOWN
        match expr:
            case ir.SizeOf():
                return self._known.sizeof(expr) or UNKNOWN
            case ir.Cast(_, operand):
                return self._within(self.of(operand, depth - 1, seen), expr)
            case ir.Conditional(_, then, other):
                return hull([self.of(then, depth - 1, seen), self.of(other, depth - 1, seen)])
            case ir.Binary(op, left, right):
                return self._binary(op, self.of(left, depth - 1, seen), self.of(right, depth - 1, seen))
            case ir.CallResult(ir.Name(name), args):
                return self._call(name, args, depth, seen)
            case ir.Name() if expr not in seen:
                assigned = list(self._known.values(expr))
                found = [self.of(one, depth - 1, seen | {expr}) if one is not None else UNKNOWN for one in assigned]
                return self._within(hull(found), expr)
        return self._known.limits(expr)

    def _within(self, found: Range, expr: ir.Expr) -> Range:
        """Return a range cut down to what the type of the expression allows."""
        limit = self._known.limits(expr)
        if limit.high is None or (found.high is not None and found.high <= limit.high):
            return found
        return Range(min(found.low, 0), limit.high)

    def _binary(self, op: str, left: Range, right: Range) -> Range:
        if op in _OPERATORS:
            return _OPERATORS[op](left, right)
        if op == "<<" and right.low <= _LARGEST_SHIFT:
            high = right.high if right.high is not None and right.high <= _LARGEST_SHIFT else None
            return times(left, Range(1 << right.low, None if high is None else 1 << high))
        if op == ">>" and right.exact is not None and right.exact <= _LARGEST_SHIFT:
            return over(left, Range(1 << right.exact, 1 << right.exact))
        if op == "&":
            return Range(0, least([left, right]).high)
        if op == "%" and right.high:
            return Range(0, right.high - 1)
        if op in ("==", "!=", "<", ">", "<=", ">=", "&&", "||"):
            return Range(0, 1)
        return Range(max(left.low, right.low), None) if op == "|" else UNKNOWN

    def _call(self, name: str, args: tuple[ir.Expr, ...], depth: int, seen: frozenset[ir.Expr]) -> Range:
        match name, args:
            case ("struct_size" | "flex_array_size"), (pointer, ir.Name(member), count):
                element = self._sizeof(ir.Index(ir.Field(pointer, member, True), ir.Number(0)))
                tail = times(self.of(count, depth - 1, seen), element)
                return tail if name == "flex_array_size" else plus(self._sizeof(ir.Deref(pointer)), tail)
            case "struct_size_t", (ir.TypeName(ctype), ir.Name(), _):
                return Range((self._known.sizeof(ir.SizeOf(ctype, None)) or UNKNOWN).low, None)
            case "offsetof", (ir.TypeName(ctype), member):
                path = _path(member)
                return (self._known.offset(ctype, path) if path else None) or UNKNOWN
        wanted = [arg for arg in args if not isinstance(arg, ir.TypeName)]
        if name in FUNCTIONS and wanted:
            try:
                return FUNCTIONS[name]([self.of(arg, depth - 1, seen) for arg in wanted])
            except IndexError:
                return UNKNOWN
        return UNKNOWN

    def _sizeof(self, operand: ir.Expr) -> Range:
        return self._known.sizeof(ir.SizeOf("", operand)) or UNKNOWN


def _path(member: ir.Expr) -> str:
    """Return the dotted path of a member as offsetof() takes it, "" if it is none."""
    match member:
        case ir.Name(name):
            return name
        case ir.Field(base, name, False):
            above = _path(base)
            return f"{above}.{name}" if above else ""
    return ""


def show_bytes(number: int) -> str:
    """Return a number of bytes as people write it: `4 MiB`, `4100 bytes`."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if number >> shift and number % (1 << shift) == 0:
            return f"{number >> shift} {unit}"
    return f"{number} bytes" if number != 1 else "1 byte"
