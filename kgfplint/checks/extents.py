"""How many bytes an allocation has and an access needs, as sums of products: `n * sizeof(*p) + 4` and the like.

Two such amounts compare without a value for any of their parts: what is left of their difference tells which is larger.
"""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from kgfplint.checks.sizes import is_constant, type_of
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show, walk
from kgfplint.program.constants import constants_of
from kgfplint.source.words import SIZES

Term: TypeAlias = tuple[ir.Expr, ...]
Amount: TypeAlias = Mapping[Term, int]
"""Factors of each term (none: the constant), with how often it counts."""
_MOST = 12
"""Terms of an amount that is still of use."""
_DEPTH = 8


def amount(unit: Unit, expr: ir.Expr, depth: int = _DEPTH) -> Amount | None:
    """Return a size as an amount; None for what is no sum of products of things that keep their value."""
    expr = bare(expr)
    if depth == 0:
        return None
    value = _constant(unit, expr)
    if value is not None:
        return {(): value}
    match expr:
        case ir.SizeOf():
            return {(_sized(unit, expr),): 1}
        case ir.Binary("+" | "-" | "*" as op, left, right):
            one, other = amount(unit, left, depth - 1), amount(unit, right, depth - 1)
            if one is None or other is None:
                return None
            return times(one, other) if op == "*" else plus(one, other, -1 if op == "-" else 1)
        case ir.CallResult(ir.Name("size_add" | "size_mul" | "array_size" | "array3_size" as name), args):
            parts = [amount(unit, arg, depth - 1) for arg in args]
            found = parts[0] if parts else None
            for part in parts[1:]:
                if found is None or part is None:
                    return None
                found = plus(found, part) if name == "size_add" else times(found, part)
            return found
        case ir.CallResult(ir.Name("strlen"), (ir.Name(name),)) if _keeps(unit, name):
            return {(expr,): 1}
        case ir.Name(name) if name in unit.types:
            value_of = unit.value_of(expr)
            if value_of is not expr and _keeps(unit, name):
                return amount(unit, value_of, depth - 1) or {(expr,): 1}
            return {(expr,): 1} if _keeps(unit, name) else None
    return None


def _constant(unit: Unit, expr: ir.Expr) -> int | None:
    if type(expr) is ir.Number:
        return expr.value
    if type(expr) is ir.SizeOf:
        ctype = unit.program.types.expand(unit.file, type_of(unit, expr))
        return SIZES.get(ctype) if SIZES.get(ctype, 8) < 8 else None  # longs differ between architectures
    if any(type(term) is ir.SizeOf for term in walk(expr)) or (type(expr) is ir.Name and expr.id in unit.types):
        return None
    return constants_of(unit.program).value(unit.file, expr) if is_constant(unit, expr) else None


def _sized(unit: Unit, size: ir.SizeOf) -> ir.Expr:
    """Return a sizeof by its type, where that is known: `sizeof(*p)` is `sizeof(struct foo)`."""
    ctype = unit.program.types.expand(unit.file, type_of(unit, size))
    return ir.SizeOf(ctype, None) if ctype else size


def _keeps(unit: Unit, name: str) -> bool:
    """Tell whether a local or parameter has one value all the time."""
    assigned = unit.values.get(name)
    if assigned is None or _is_parameter(unit, name):
        return assigned is not None and not assigned
    return len(assigned) == 1 and assigned[0] is not None


def _is_parameter(unit: Unit, name: str) -> bool:
    return any(param.name == name for param in unit.row.params)


def plus(one: Amount, other: Amount, sign: int = 1) -> Amount | None:
    """Return the sum, or the difference, of two amounts."""
    found = dict(one)
    for term, count in other.items():
        found[term] = found.get(term, 0) + sign * count
    return {term: count for term, count in found.items() if count} if len(found) <= _MOST else None


def times(one: Amount, other: Amount) -> Amount | None:
    """Return the product of two amounts."""
    found: dict[Term, int] = {}
    for left, count in one.items():
        for right, number in other.items():
            term = tuple(sorted((*left, *right), key=repr))
            found[term] = found.get(term, 0) + count * number
    return found if len(found) <= _MOST else None


def surplus(needed: Amount, there: Amount) -> Amount | None:
    """Return by how much an access surely goes beyond what is there; None if it does not, or if that is not known."""
    rest = plus(needed, there, -1)
    if not rest or any(count < 0 or not all(type(factor) is ir.SizeOf for factor in term) for term, count in rest.items()):
        return None
    return rest


def allocated(unit: Unit, allocation: Allocation) -> Amount | None:
    """Return the bytes that an allocation asks for."""
    alloc = allocation.alloc
    if alloc.length is not None or alloc.type is not None or alloc.cache is not None or alloc.ptr is not None:
        return None
    places = (alloc.size,) if alloc.size is not None else (alloc.count, alloc.element)
    parts = [allocation.argument(place) for place in places]
    found: Amount | None = {(): 1}
    for part in parts:
        one = amount(unit, part) if part is not None else None
        found = times(found, one) if found is not None and one is not None else None
    return found


def last_index(unit: Unit, event: ir.Event, index: ir.Expr) -> Amount | None:
    """Return the highest value of a variable that counts up to a bound, in the block that a loop begins with; else None.

    `for (i = 0; i <= n; i++)`: the loop ends by its condition alone if its first block is the only one before the next round.
    """
    values = unit.values.get(index.id, ()) if type(index) is ir.Name else ()
    steps = [value for value in values if value is not None and type(value) is not ir.Number]
    if len(steps) != 1 or None in values or steps[0] != ir.Binary("+", index, ir.Number(1)) or len(values) < 2:
        return None
    for block in unit.body.blocks:
        if any(one is event for one in block.events):
            heads = [(head, edge) for head in unit.body.blocks for edge in head.edges if unit.body.blocks[edge.to] is block]
            if len(heads) != 1:
                return None
            head, edge = heads[0]
            condition = edge.condition
            if not edge.truth or type(condition) is not ir.Binary or condition.left != index or head.events:
                return None
            if condition.op == "<=" and len(block.edges) == 1:
                return amount(unit, condition.right)
    return None


def shown(rest: Amount) -> Iterator[str]:
    """Yield the terms of an amount as text."""
    for term, count in sorted(rest.items(), key=repr):
        text = " * ".join(show(factor) for factor in term)
        yield f"{count} * {text}" if text and count != 1 else text or f"{count} byte{'s' if count != 1 else ''}"
