"""What is known of a number: the least and the most it may be, where it comes from, and whether something bounds it."""

from collections.abc import Callable
from typing import NamedTuple

from kgfplint.taint.rules import Kind, taint_rules

WORD = 64
"""Bits of size_t; what may overflow only where it has fewer is for array_size() and its like (KGF501)."""
_BITS: dict[str, tuple[int, bool]] = {
    **dict.fromkeys(("bool", "_Bool"), (1, False)),
    **dict.fromkeys(("u8", "__u8", "uint8_t", "unsigned char"), (8, False)),
    **dict.fromkeys(("s8", "__s8", "int8_t", "char", "signed char"), (8, True)),
    **dict.fromkeys(("u16", "__u16", "uint16_t", "unsigned short", "__le16", "__be16"), (16, False)),
    **dict.fromkeys(("s16", "__s16", "int16_t", "short"), (16, True)),
    **dict.fromkeys(("u32", "__u32", "uint32_t", "unsigned int", "unsigned", "__le32", "__be32", "uint"), (32, False)),
    **dict.fromkeys(("int", "s32", "__s32", "int32_t"), (32, True)),
    **dict.fromkeys(("u64", "__u64", "uint64_t", "unsigned long", "unsigned long long", "size_t", "__le64", "__be64", "ulong",
                     "__kernel_size_t", "dma_addr_t", "phys_addr_t", "resource_size_t", "uintptr_t"), (64, False)),
    **dict.fromkeys(("long", "s64", "__s64", "int64_t", "long long", "ssize_t", "loff_t", "off_t"), (64, True)),
}  # fmt: skip


class Width(NamedTuple):
    """A type of integers: its bits, and whether it has a sign."""

    bits: int
    signed: bool

    @property
    def most(self) -> int:
        """The largest value."""
        return (1 << (self.bits - self.signed)) - 1

    @classmethod
    def by_name(cls, name: str) -> "Width":
        """Return the width of what a function returns that is named after it, as le64_to_cpu() or nla_get_s32() are."""
        return cls(64 if "64" in name or name == "nla_get_uint" else 32, "s32" in name)


UNKNOWN = Width(WORD, False)


def width_of(ctype: str) -> Width | None:
    """Return the width of an integer type, None for what is none."""
    known = _BITS.get(ctype)
    return Width(*known) if known is not None else Width(32, False) if ctype.startswith("enum ") else None


class Origin(NamedTuple):
    """Where a value came in: the kind, the line and the text of what brought it."""

    kind: Kind
    line: int
    text: str


class Value(NamedTuple):
    """A number: its range, where it comes from, whether anything but its type bounds it, and where it may have overflowed.

    `wraps` is the text of an expression that may be more than its type holds, and the bits that it has; `grown`: it is a sum
    or a product.
    """

    low: int
    high: int
    width: Width
    origin: Origin | None = None
    bounded: bool = False
    wraps: tuple[str, int] | None = None
    grown: bool = False

    @property
    def open(self) -> bool:
        """Whether it comes from outside and nothing bounds it."""
        return self.origin is not None and not self.bounded

    def of_root(self) -> "Value":
        """Return the value as it is where only root comes."""
        return self if self.origin is None else self._replace(origin=self.origin._replace(kind=taint_rules().kinds["root"]))


def anything(width: Width | None, origin: Origin | None = None) -> Value:
    """Return what a type holds."""
    return Value(0, (width or UNKNOWN).most, width or UNKNOWN, origin)


def constant(number: int) -> Value:
    """Return the value of a constant, which is an int where it fits."""
    width = Width(32, True) if number <= Width(32, True).most else UNKNOWN
    return Value(max(number, 0), max(number, 0), width, bounded=True)


def join(left: Value, right: Value) -> Value:
    """Return what is one of the two; what is open stays open."""
    if left == right:
        return left
    first = left if left.open or (not right.open and left.origin is not None) else right
    return Value(min(left.low, right.low), max(left.high, right.high), max(left.width, right.width), first.origin,
                 first.bounded, left.wraps or right.wraps, left.grown or right.grown)


def converted(value: Value, width: Width, text: str) -> Value:
    """Return a value as a type of some width holds it: a sum or product from outside may have lost its upper bits."""
    if value.high <= width.most:
        return value._replace(width=width)
    lost = value.open and value.grown and value.wraps is None and value.width.bits > width.bits
    return value._replace(low=0, high=width.most, width=width, wraps=(text, width.bits) if lost else value.wraps)


_COMBINE: dict[str, Callable[[Value, Value], tuple[int, int]]] = {
    "+": lambda a, b: (a.low + b.low, a.high + b.high),
    "*": lambda a, b: (a.low * b.low, a.high * b.high),
    "<<": lambda a, b: (a.low << min(b.low, WORD), a.high << min(b.high, WORD)),
    "-": lambda a, b: (0, a.high),
    "/": lambda a, b: (a.low // max(b.high, 1), a.high // max(b.low, 1)),
    ">>": lambda a, b: (a.low >> min(b.high, WORD), a.high >> min(b.low, WORD)),
    "|": lambda a, b: (max(a.low, b.low), a.high | b.high),
    "&": lambda a, b: (0, min(a.high, b.high)),
    "%": lambda a, b: (0, min(a.high, max(b.high - 1, 0))),
}
_LIMITING = frozenset({"&", "%"})
_GROWING = frozenset({"+", "*", "<<"})


def combined(op: str, left: Value, right: Value, text: str) -> Value:
    """Return the value of `left op right`; `text` is how it is written."""
    if op not in _COMBINE:
        return Value(0, 1, Width(32, True), bounded=True)
    width = _common(left.width, right.width)
    low, high = _COMBINE[op](left, right)
    opened = [one for one in (left, right) if one.open]
    tainted = opened or [one for one in (left, right) if one.origin is not None]
    bounded = not opened or (op in _LIMITING and not (left.open and right.open))
    wraps = left.wraps or right.wraps
    grows = op in _GROWING
    if high > width.most:
        if grows and not bounded and not wraps and width.bits < WORD:
            wraps = text, width.bits
        low, high = 0, width.most
    return Value(low, high, width, tainted[0].origin if tainted else None, bounded, wraps, grows)


def _common(left: Width, right: Width) -> Width:
    """Return the type that two operands are converted to."""
    return max(Width(32, True), left, right, key=lambda width: (width.bits, not width.signed))


def least(values: list[Value]) -> Value:
    """Return the value of min(): bounded if any of them is."""
    first = next((value for value in values if value.open), values[0])
    closed = any(not value.open for value in values)
    return first._replace(high=min(value.high for value in values), low=min(value.low for value in values), wraps=None,
                          bounded=first.bounded or closed)


PRODUCTS = {"array_size": "*", "array3_size": "*", "size_mul": "*", "flex_array_size": "*", "size_add": "+", "struct_size": "+"}


def saturating(name: str, values: list[Value], text: str) -> Value:
    """Return what a macro of sizes makes, which saturates and does not overflow."""
    of_struct = name in ("struct_size", "flex_array_size")
    given = values[-1:] if of_struct else values
    found = given[0]._replace(width=UNKNOWN, grown=False)
    for value in given[1:]:
        found = combined(PRODUCTS[name], found, value._replace(width=UNKNOWN), text)
    return found._replace(high=min(found.high * (64 if of_struct else 1), UNKNOWN.most), grown=False)
