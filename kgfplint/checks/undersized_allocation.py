"""KGF507: memory that is smaller than what is put there."""

from collections.abc import Iterator
from typing import NamedTuple

from kgfplint.allocator.sizes import show_bytes
from kgfplint.checks import Rule
from kgfplint.checks.extents import Amount, allocated, amount, last_index, plus, shown, surplus, times
from kgfplint.checks.requests import Measured, Request, requests
from kgfplint.checks.sizes import arguments
from kgfplint.checks.struct_estimate import estimates_of
from kgfplint.checks.unit import Allocation, Question, Unit
from kgfplint.checks.wrong_sizeof import is_raw, judged
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show, walk
from kgfplint.facts.types import pointee, tag_of
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF507",
    name="undersized-allocation",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="An allocation has room for all that its user writes there.",
)


class _Touched(NamedTuple):
    """An access through a pointer: where, and the bytes from the pointer on that it needs."""

    event: ir.Call | ir.Assign
    what: str
    needed: Amount
    string: bool


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation that is too small for its type, and each access that goes beyond one."""
    if not unit.allocates or unit.row.flags & ir.MACRO:
        return
    yield from _too_small_for_type(unit)
    for allocation in unit.allocations:
        target = allocation.call.target
        if type(target) is ir.Name and not allocation.inferred and len(unit.values.get(target.id, ())) == 1:
            yield from _beyond(unit, allocation, target)


def _beyond(unit: Unit, allocation: Allocation, target: ir.Name) -> Iterator[Finding]:
    """Yield the accesses beyond the memory that a local has from one allocation."""
    there = allocated(unit, allocation)
    if there is None:
        return
    if len(there) == 1:
        yield from _without_room(unit, allocation, target, there)
    for touched in _accesses(unit, target):
        rest = surplus(touched.needed, there)
        if rest is not None:
            more = " + ".join(shown(rest))
            reason = "the final NUL is not counted" if touched.string and rest == {(): 1} else f"it needs {more} more"
            trace = (unit.step(allocation.call.line, f"{allocation.name}() allocates {show(target)}"),
                     unit.step(touched.event.line, f"{touched.what} goes beyond it"))
            yield unit.finding(RULE, touched.event, f"{touched.what} writes beyond the memory that {allocation.name}() in line "
                               f"{allocation.call.line} gave {show(target)}: {reason}; allocate as much as is written", trace)


def _without_room(unit: Unit, allocation: Allocation, target: ir.Name, there: Amount) -> Iterator[Finding]:
    """Yield the writes to the flexible array of an object that was allocated without room for one."""
    tag = _tag(unit, target)
    record = unit.program.types.record(unit.file, tag) if tag else None
    if record is None or not record.order or there != amount(unit, ir.SizeOf(f"struct {tag}", None)):
        return
    member = record.order[-1]
    if not record[member].endswith("[]") or record.union:
        return
    tail = ir.Field(target, member, True)
    for event in unit.events():
        if type(event) is ir.Call and type(event.callee) is ir.Name:
            row = unit.meaning.catalogue.accesses.get(event.callee.id)
            written = row is not None and row.ptr < len(event.args) and bare(event.args[row.ptr]) == tail
        else:
            place = _indexed(event.target) if type(event) is ir.Assign else None
            written = place is not None and bare(place.base) == tail
        if written and isinstance(event, ir.Call | ir.Assign):
            trace = (unit.step(allocation.call.line, f"{allocation.name}() allocates {show(target)}"),)
            line, advice = allocation.call.line, f"use struct_size({show(target)}, {member}, n)"
            yield unit.finding(RULE, event, f"{show(tail)} is written, but {allocation.name}() in line {line} allocates no "
                               f"element of it; {advice}", trace)
            return


def _tag(unit: Unit, target: ir.Expr) -> str:
    """Return the tag of the struct that a pointer points to, "" for what points to anything else."""
    item = pointee(unit.typing.expanded(target)) or ""
    return tag_of(item) if not item.endswith(("*", "]", ")")) else ""


def _accesses(unit: Unit, target: ir.Name) -> Iterator[_Touched]:
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
                yield _Touched(event, f"{row.name}()", needed, row.string)
        elif type(event) is ir.Assign and (place := _indexed(event.target)) is not None and bare(place.base) == target:
            index = amount(unit, place.index) or last_index(unit, event, place.index)
            element = _element(unit, target)
            needed = _end(index, element) if index is not None and element is not None else None
            if needed is not None:
                yield _Touched(event, show(place), needed, False)


def _indexed(target: ir.Expr) -> ir.Index | None:
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


def _too_small_for_type(unit: Unit) -> Iterator[Finding]:
    """Yield the allocations of less than one object of the type that their pointer points to."""
    for request in requests(unit):
        target = request.allocation.call.target
        high = request.size.high
        if target is None or not high or not request.size.low or not is_raw(unit, request.allocation):
            continue
        tag = _tag(unit, bare(target))
        if not tag or _is_partial(unit, request, tag) or judged(unit, request.allocation) is not None:
            continue
        if unit.provenance is None:
            if _estimated(unit, tag) > high // 2:
                unit.questions.append(Question((), ()))  # structs change unseen: each run asks anew
            continue
        needed = Measured(unit).sizeof(ir.SizeOf(f"struct {tag}", None))
        if needed is not None and needed.low > high:
            name, least = request.allocation.name, "at least " if needed.exact is None else ""
            most = "at most " if request.size.exact is None else ""
            yield unit.finding(
                RULE, request.allocation.call, f"{name}() of {most}{show_bytes(high)} is too small for {show(target)}: struct "
                f"{tag} has {least}{show_bytes(needed.low)}; use sizeof(*{show(target)})")


def _estimated(unit: Unit, tag: str) -> int:
    return estimates_of(unit.program).of(unit.file, f"struct {tag}")


def _is_partial(unit: Unit, request: Request, tag: str) -> bool:
    """Tell whether part of an object is wanted (offsetof, a union's member), or the type is not known well enough."""
    record = unit.program.types.record(unit.file, tag)
    if record is None or record.union:
        return True
    return any(type(term) is ir.CallResult and type(term.callee) is ir.Name and "offset" in term.callee.id.lower()
               for size in arguments(unit, request.allocation) for term in walk(size))
