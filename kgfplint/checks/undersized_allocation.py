"""KGF507: memory that is smaller than what is put there."""

from collections.abc import Iterator

from kgfplint.allocator.sizes import show_bytes
from kgfplint.checks import Rule
from kgfplint.checks.accesses import accesses, indexed, struct_of
from kgfplint.checks.extents import Amount, allocated, amount, shown, surplus
from kgfplint.checks.requests import Measured, Request, requests
from kgfplint.checks.sizes import arguments, is_constant, type_of
from kgfplint.checks.unit import Allocation, Question, Unit
from kgfplint.checks.wrong_sizeof import is_raw, judged
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, names, show, walk
from kgfplint.facts.types import pointee
from kgfplint.findings import Finding, Severity, Step
from kgfplint.program.estimates import estimates_of

RULE = Rule(
    code="KGF507",
    name="undersized-allocation",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="An allocation has room for all that its user writes there.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation that is too small for its type, and each access that goes beyond one."""
    if not unit.allocates or unit.row.flags & ir.MACRO:
        return
    yield from _too_small_for_type(unit)
    yield from _one_of_many(unit)
    if not unit.meaning.catalogue.accesses.keys().isdisjoint(unit.callees):
        yield from _of_another_length(unit)
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
    for touched in accesses(unit, target):
        rest = surplus(touched.needed, there)
        if rest is not None:
            more = " + ".join(shown(rest))
            reason = "the final NUL is not counted" if touched.string and rest == {(): 1} else f"it needs {more} more"
            trace = (unit.step(allocation.call.line, f"{allocation.name}() allocates {show(target)}"),
                     unit.step(touched.event.line, f"{touched.what} goes beyond it"))
            yield unit.finding(RULE, touched.event, f"{touched.what} writes beyond the memory that {allocation.name}() in line "
                               f"{allocation.call.line} gave {show(target)}: {reason}; allocate as much as is written", trace)


def _one_of_many(unit: Unit) -> Iterator[Finding]:
    """Yield the members that get room for one pointer, though other functions of the file store elements of an array there."""
    program = unit.program
    for allocation in unit.allocations:
        member = bare(allocation.call.target) if allocation.call.target is not None else None
        if type(member) is not ir.Field or allocation.alloc.size is None or allocation.alloc.count is not None:
            continue
        size = allocation.argument(allocation.alloc.size)
        item = pointee(unit.typing.expanded(member)) or ""
        if not item.endswith("*") or type(size) is not ir.SizeOf or unit.typing.of(ir.Deref(member)) != type_of(unit, size):
            continue
        growing = program.store_functions.get(member.member, ())
        others = [number for number in program.store_functions.get(f"{member.member}[]", ())
                  if number != unit.number and program.rows[number].file == unit.file and number not in growing]
        if others:
            name, row = show(member), program.rows[others[0]]
            trace = (unit.step(allocation.call.line, f"{allocation.name}() allocates one element"),
                     Step(unit.path, row.line, row.name, f"stores elements of {member.member}[]"))
            yield unit.finding(RULE, allocation.call, f"{allocation.name}() gives {name} room for one pointer, but {row.name}() "
                               "fills it as an array; allocate as many as there will be (kcalloc())", trace, Severity.NOTE)


def _of_another_length(unit: Unit) -> Iterator[Finding]:
    """Yield copies of as many bytes as the caller says, which nobody looks at, into memory whose size was told elsewhere."""
    edges = (edge for block in unit.body.blocks for edge in block.edges)
    asked = {name for edge in edges if edge.condition is not None for name in names(edge.condition)}
    given = {param.name for param in unit.row.params if not unit.values[param.name]} - asked
    for call in unit.calls if given else ():
        row = unit.meaning.catalogue.accesses.get(call.callee.id) if type(call.callee) is ir.Name else None
        if row is None or row.size is None or row.size >= len(call.args):
            continue
        length, target = bare(call.args[row.size]), bare(call.args[row.ptr])
        for allocation in unit.allocations if type(length) is ir.Name and length.id in given else ():
            size = allocation.argument(allocation.alloc.size)
            if allocation.call.target != target or size is None or allocation.inferred or is_constant(unit, size):
                continue
            if not isinstance(unit.value_of(bare(size)), ir.Field) or type(target) is not ir.Field:
                continue
            trace = (unit.step(allocation.call.line, f"{allocation.name}() allocates {show(size)} bytes"),)
            yield unit.finding(RULE, call, f"{show(call.callee)}() writes {show(length)} bytes to {show(target)}, which has "
                               f"{show(size)}; compare the two first", trace, Severity.NOTE)


def _without_room(unit: Unit, allocation: Allocation, target: ir.Name, there: Amount) -> Iterator[Finding]:
    """Yield the writes to the flexible array of an object that was allocated without room for one."""
    tag = struct_of(unit, target)
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
            place = indexed(event.target) if type(event) is ir.Assign else None
            written = place is not None and bare(place.base) == tail
        if written and isinstance(event, ir.Call | ir.Assign):
            trace = (unit.step(allocation.call.line, f"{allocation.name}() allocates {show(target)}"),)
            line, advice = allocation.call.line, f"use struct_size({show(target)}, {member}, n)"
            yield unit.finding(RULE, event, f"{show(tail)} is written, but {allocation.name}() in line {line} allocates no "
                               f"element of it; {advice}", trace)
            return


def _too_small_for_type(unit: Unit) -> Iterator[Finding]:
    """Yield the allocations of less than one object of the type that their pointer points to."""
    for request in requests(unit):
        target = request.allocation.call.target
        high = request.size.high
        if target is None or not high or not request.size.low or not is_raw(unit, request.allocation):
            continue
        tag = struct_of(unit, bare(target))
        if not tag or _is_whole(unit, request, tag) or _is_partial(unit, request, tag):
            continue
        if judged(unit, request.allocation) is not None:
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


def _is_whole(unit: Unit, request: Request, tag: str) -> bool:
    """Tell whether the size of an object of the type is part of what is asked for, as it nearly always is."""
    kind = f"struct {tag}"
    return any(type_of(unit, term) == kind if type(term) is ir.SizeOf else type(term) is ir.CallResult and (
                   type(term.callee) is ir.Name and term.callee.id == "struct_size")
               for size in arguments(unit, request.allocation) for term in walk(size))


def _is_partial(unit: Unit, request: Request, tag: str) -> bool:
    """Tell whether part of an object is wanted (offsetof, a union's member), or the type is not known well enough."""
    record = unit.program.types.record(unit.file, tag)
    if record is None or record.union:
        return True
    return any(type(term) is ir.CallResult and type(term.callee) is ir.Name and "offset" in term.callee.id.lower()
               for size in arguments(unit, request.allocation) for term in walk(size))
