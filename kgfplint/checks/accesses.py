"""What a function writes through a pointer: the bytes that each access needs, from the pointer on."""

from collections.abc import Iterator
from typing import NamedTuple

from kgfplint.checks.extents import Amount, amount, last_index, plus, times
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.facts.types import pointee, tag_of


class Touched(NamedTuple):
    """An access through a pointer: where, and the bytes from the pointer on that it needs."""

    event: ir.Call | ir.Assign
    what: str
    needed: Amount
    string: bool


def accesses(unit: Unit, target: ir.Name) -> Iterator[Touched]:
    """Yield what is written through a local whose amount is known."""
    known = unit.meaning.catalogue.accesses
    for event in unit.events():
        if type(event) is ir.Call and type(event.callee) is ir.Name and (row := known.get(event.callee.id)) is not None:
            given = row.source if row.string else row.size
            if given is None or max(given, row.ptr) >= len(event.args):
                continue
            offset = _offset(unit, event.args[row.ptr], target)
            length = _string(unit, event.args[given]) if row.string else amount(unit, event.args[given])
            needed = plus(offset, length) if offset is not None and length is not None else None
            if needed is not None:
                yield Touched(event, f"{row.name}()", needed, row.string)
        elif type(event) is ir.Assign and (place := indexed(event.target)) is not None and bare(place.base) == target:
            index = amount(unit, place.index) or last_index(unit, event, place.index)
            element = _element(unit, target)
            needed = _end(index, element) if index is not None and element is not None else None
            if needed is not None:
                yield Touched(event, show(place), needed, False)


def indexed(target: ir.Expr) -> ir.Index | None:
    """Return the element that an assignment stores to, or into: `p[i]` of `p[i].x`."""
    while type(target) is ir.Field and not target.arrow:
        target = target.base
    return target if type(target) is ir.Index else None


def _end(index: Amount, element: Amount) -> Amount | None:
    following = plus(index, {(): 1})
    return times(following, element) if following is not None else None


def _element(unit: Unit, pointer: ir.Expr) -> Amount | None:
    item = pointee(unit.typing.expanded(pointer)) or ""
    return amount(unit, ir.SizeOf(item, None)) if item and item != "void" else None


def _offset(unit: Unit, given: ir.Expr, target: ir.Name) -> Amount | None:
    """Return how many bytes behind `target` an argument points: `target`, `target + n`, `&target[n]`."""
    given = bare(given)
    if given == target:
        return {}
    steps: ir.Expr | None = None
    if type(given) is ir.Binary and given.op == "+" and given.left == target:
        steps = given.right
    elif type(given) is ir.AddressOf and type(given.base) is ir.Index and given.base.base == target:
        steps = given.base.index
    index = amount(unit, steps) if steps is not None else None
    element = _element(unit, target)
    return times(index, element) if index is not None and element is not None else None


def _string(unit: Unit, source: ir.Expr) -> Amount | None:
    """Return the bytes of a string with its NUL."""
    source = bare(source)
    if type(source) is ir.Text:
        return {(): len(source.value) + 1} if "\\" not in source.value else None
    length = amount(unit, ir.CallResult(ir.Name("strlen"), (source,)))
    return plus(length, {(): 1}) if length is not None else None


def struct_of(unit: Unit, target: ir.Expr) -> str:
    """Return the tag of the struct that a pointer points to, "" for what points to anything else."""
    item = pointee(unit.typing.expanded(target)) or ""
    return tag_of(item) if not item.endswith(("*", "]", ")")) else ""
