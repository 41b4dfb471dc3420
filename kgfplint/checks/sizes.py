"""The size arguments of allocations: which parts are constant, which are counts, which are sizes of a type."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, children, walk
from kgfplint.program.constants import constants_of

_PURE = frozenset({
    "max", "min", "max_t", "min_t", "ilog2", "roundup_pow_of_two", "round_up", "roundup", "offsetof", "sizeof_field",
})
"""Functions of constants that are constant themselves (include/linux/{minmax,log2,math,stddef}.h)."""
_LIMITED = frozenset({"min", "min_t", "min3", "clamp", "clamp_t", "clamp_val"})
_BYTE = frozenset({"u8", "s8", "__u8", "__s8", "uint8_t", "int8_t", "char", "unsigned char", "signed char", "bool", "_Bool"})

_SMALL = _BYTE | {"u16", "__u16", "uint16_t", "unsigned short", "s16", "__s16", "int16_t", "short"}
"""As many elements of less than 64 KiB fit into a size_t of any machine."""


class Product(NamedTuple):
    """A product with at least one count that is no constant: the counts, and the constant size of an element."""

    counts: tuple[ir.Expr, ...]
    element: ir.Expr


def arguments(unit: Unit, allocation: Allocation) -> Iterator[ir.Expr]:
    """Yield the size and element size that an allocation is given, locals replaced by what they were set to."""
    for place in (allocation.alloc.size, allocation.alloc.element):
        argument = allocation.argument(place)
        if argument is not None:
            yield latest(unit, allocation.call, bare(argument))


def latest(unit: Unit, call: ir.Call, expr: ir.Expr) -> ir.Expr:
    """Return what a local was set to: just before the call in its block, or anywhere if only once; else the local."""
    if not isinstance(expr, ir.Name):
        return expr
    for block in unit.body.blocks:
        if any(event is call for event in block.events):
            value: ir.Expr | None = None
            for event in block.events:
                if event is call:
                    break
                if isinstance(event, ir.Assign | ir.Call) and event.target == expr:
                    value = event.value if isinstance(event, ir.Assign) and not event.op else None
            if value is not None:
                return bare(value)
    return unit.value_of(expr)


def factors(expr: ir.Expr) -> Iterator[ir.Expr]:
    """Yield the factors of a product, casts stripped; an expression that is no product is its only factor."""
    expr = bare(expr)
    if isinstance(expr, ir.Binary) and expr.op == "*":
        yield from factors(expr.left)
        yield from factors(expr.right)
    else:
        yield expr


def terms_of_sum(expr: ir.Expr) -> Iterator[ir.Expr]:
    """Yield the terms of a sum, casts stripped."""
    expr = bare(expr)
    if isinstance(expr, ir.Binary) and expr.op == "+":
        yield from terms_of_sum(expr.left)
        yield from terms_of_sum(expr.right)
    else:
        yield expr


def product(unit: Unit, expr: ir.Expr) -> Product | None:
    """Return the product of a count and the size of an element, None for anything else.

    Where a factor varies, the constant ones are part of the element's size.
    """
    parts = list(factors(expr))
    sized = [place for place, part in enumerate(parts) if _is_size(unit, part)]
    counts = [place for place, part in enumerate(parts) if not is_constant(unit, part)] or [
        place for place in range(len(parts)) if place not in sized]
    if not sized or not counts:
        return None
    element = parts[sized[0]]
    for place, part in enumerate(parts):
        if place != sized[0] and place not in counts:
            element = ir.Binary("*", element, part)
    return Product(tuple(parts[place] for place in counts), element)


def _is_size(unit: Unit, factor: ir.Expr) -> bool:
    return any(isinstance(term, ir.SizeOf) for term in walk(factor)) and is_constant(unit, factor)


def is_constant(unit: Unit, expr: ir.Expr, above: frozenset[ir.Expr] = frozenset()) -> bool:
    """Tell whether the compiler knows the value: literals, sizes, macros in capitals, enumerators, and what they make.

    `above` are the expressions that it is part of: `n = min(n, 4)` is made of itself.
    """
    expr = unit.value_of(bare(expr))
    if expr in above:
        return False
    above |= {expr}
    match expr:
        case ir.Number() | ir.SizeOf() | ir.TypeName() | ir.Text():
            return True
        case ir.Name(name):
            return name not in unit.types and (name.isupper() or _constant_name(unit, name))
        case ir.CallResult(ir.Name(name), args):
            pure = bool(args) and (name.isupper() or name in _PURE)
            return name == "ARRAY_SIZE" or (pure and all(is_constant(unit, arg, above) for arg in args))
        case ir.Unary() | ir.Binary() | ir.Conditional():
            return all(is_constant(unit, operand, above) for operand in children(expr))
    return False


def _constant_name(unit: Unit, name: str) -> bool:
    program = unit.program
    return name in program.enumerators or constants_of(unit.program).named(unit.file, name) is not None


def are_bounded(unit: Unit, counts: tuple[ir.Expr, ...]) -> bool:
    """Tell whether the product of some counts is plainly small: one may have 16 bits, several 8 each."""
    return all(_is_bounded(unit, count, _SMALL if len(counts) == 1 else _BYTE) for count in counts)


def _is_bounded(unit: Unit, expr: ir.Expr, small: frozenset[str]) -> bool:
    """Tell whether a count is of such a type, masked, or limited by a constant."""
    if is_constant(unit, expr):
        return True
    for value in {expr, unit.value_of(expr)}:
        more = isinstance(value, ir.Binary) and value.op == "+" and is_constant(unit, value.right)
        term = value.left if more and isinstance(value, ir.Binary) else value  # u8 + 1
        if not isinstance(term, ir.Binary) and (unit.typing.of(term) in small or unit.typing.expanded(term) in small):
            return True
        if isinstance(value, ir.Binary) and value.op in ("&", "%") and is_constant(unit, value.right):
            return True
        if isinstance(value, ir.CallResult) and isinstance(value.callee, ir.Name) and value.callee.id in _LIMITED and any(
                is_constant(unit, arg) for arg in value.args if not isinstance(arg, ir.TypeName)):
            return True
        if isinstance(value, ir.Conditional) and is_constant(unit, value.then) and is_constant(unit, value.other):
            return True
    return False


def is_byte(unit: Unit, element: ir.Expr) -> bool:
    """Tell whether an element is a byte, so that its size multiplies nothing."""
    return isinstance(element, ir.SizeOf) and type_of(unit, element) in _BYTE


_TYPE = re.compile(r"(?:struct|union|enum)\s+\w+|\w+")


def type_of(unit: Unit, size: ir.SizeOf) -> str:
    """Return the type whose size a sizeof tells, "" if it is not known."""
    if size.operand is None:
        return size.ctype
    operand = size.operand
    if isinstance(operand, ir.Name) and operand.id not in unit.types:
        known = unit.typing.of(operand)
        return known or (operand.id if _TYPE.fullmatch(operand.id) else "")
    return unit.typing.of(operand)
