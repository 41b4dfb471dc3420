"""KGF406: memory freed twice on one path."""

from collections.abc import Collection, Iterator

from kgfplint.checks import Rule
from kgfplint.checks.incidents import finding_of
from kgfplint.checks.unit import Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root, show, walk
from kgfplint.findings import Finding, Severity, Step
from kgfplint.ownership.addresses import is_stacked
from kgfplint.ownership.counting import freed_before, uncounted
from kgfplint.ownership.provenance import released_key
from kgfplint.ownership.states import Exit
from kgfplint.ownership.walks import onward

RULE = Rule(
    code="KGF406",
    name="double-free",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="Allocated memory is freed once: a second free corrupts the allocator.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each free of memory that the same path freed before, or that a put may free; and what is left to be freed again."""
    if not unit.touches_memory:
        return
    yield from _after_put(unit)
    yield from _before_put(unit)
    yield from _dangling(unit)
    for incident in unit.paths.incidents.values():
        if incident.kind != "double-free" or incident.free is None:
            continue
        free = incident.free.free.name
        failed = _failed(unit, incident.earlier)
        by = f"by {failed}(), which failed there, " if failed else ""
        message = f"{incident.lvalue} was freed {by}at line {incident.earlier} already; {free}() frees it again"
        trace = (unit.step(incident.earlier, f"{incident.lvalue} is freed", "free"),
                 unit.step(incident.line, f"{free}() frees it again", "free"))
        # In a later round of a loop, or after a retry, something that is not seen may have changed.
        again = incident.earlier >= incident.line or (
            incident.event is not None and not onward(unit.body, incident.earlier, incident.event))
        # That a callee failed is taken from what was found out of its result, or from nothing.
        yield finding_of(unit, RULE, incident, message, trace, Severity.NOTE if again else Severity.WARNING if failed else None)


def _failed(unit: Unit, line: int) -> str:
    """Return what a line calls that frees where it fails, "" if it calls nothing of the kind."""
    calls = (call for call in unit.calls if call.line == line)
    return next((show(call.callee) for call in calls if unit.meaning.freed_by_failing(unit.file, call)), "")


def _after_put(unit: Unit) -> Iterator[Finding]:
    """Report frees of what holds an object that was given up before: its release function frees it."""
    if not unit.frees:
        return
    told: set[int] = set()
    for found in uncounted(unit):
        key = released_key(found.subject, unit) if found.given_up else ""
        if key and unit.provenance is None:
            unit.questions.append(Question((key,), ()))
        made = unit.provenance.of(unit.file, (key,))[1] if key and unit.provenance is not None else ()
        event = found.release.event
        if made and isinstance(event, ir.Call) and found.release.number not in told:
            told.add(found.release.number)
            what, free, by = show(found.subject), found.release.free.name, made[0]
            put = show(found.call.callee)
            message = (f"{what} holds an object that {put}() gives up at line {found.call.line}: {by.function}() "
                       f"frees {what}, and {free}() frees it again; leave it to {by.function}()")
            trace = (unit.step(found.call.line, f"{put}() gives it up", "free"),
                     Step(by.path, by.line, by.function, "what holds it is freed with the last reference"),
                     unit.step(event.line, f"{free}() frees it", "free"))
            yield unit.finding(RULE, event, message, trace, Severity.NOTE)


def _before_put(unit: Unit) -> Iterator[Finding]:
    """Report frees of members that still hold what they did when their struct is given up: its release function frees it."""
    for release, member, put in freed_before(unit) if unit.frees else ():
        key = released_key(member, unit)
        if key and unit.provenance is None:
            unit.questions.append(Question((key,), ()))
        made = unit.provenance.of(unit.file, (key,))[1] if key and unit.provenance is not None else ()
        if made and isinstance(release.event, ir.Call):
            what, holder, free, by = show(member), show(member.base), release.free.name, made[0]
            message = (f"{free}() frees {what}, and {show(put.callee)}() at line {put.line} gives {holder} up: {by.function}() "
                       f"frees {what} again; leave it to {by.function}(), or set it to NULL")
            trace = (unit.step(release.event.line, f"{free}() frees it", "free"),
                     unit.step(put.line, f"{show(put.callee)}() gives {holder} up", "free"),
                     Step(by.path, by.line, by.function, "it is freed again with the last reference"))
            yield unit.finding(RULE, release.event, message, trace, Severity.WARNING)


def _dangling(unit: Unit) -> Iterator[Finding]:
    """Report members of parameters that still point to memory of this function which it has freed when it returns."""
    params = {param.name for param in unit.row.params}
    lvalues = unit.paths.lvalues
    # A callee that is given the struct may change the member, but seldom does.
    stored = {bare(call.target): call.line for call in unit.calls if call.target is not None and type(call.callee) is ir.Name
              and unit.meaning.alloc(unit.file, call.callee.id) is not None}
    told: set[ir.Expr] = set()
    for leave in unit.paths.exits:
        for number, pointed in leave.left.values.items():
            lvalue, line = lvalues[number], leave.left.objects[pointed].freed
            if line > 0 and type(lvalue) is ir.Field and lvalue not in told and _stays(unit, leave, lvalue, params) and (
                    stored.get(lvalue, line) < line or leave.origins[pointed].site is not None):
                told.add(lvalue)
                what = show(lvalue)
                message = f"{what} still points to what is freed here when {unit.name}() returns; set it to NULL"
                trace = (unit.step(line, f"{what} is freed"), unit.step(leave.event.line, "the function returns"))
                yield unit.finding_at(RULE, line, f"dangling {what}", message, trace, Severity.NOTE)


def _stays(unit: Unit, leave: Exit, member: ir.Field, params: Collection[str]) -> bool:
    """Tell whether a member belongs to a parameter and is still there after a return: not one of a struct that came by value,
    or of what is freed itself.
    """
    if root(member) not in params or is_stacked(member, params):
        return False
    return not any(leave.frees(unit.paths.number(term)) for term in walk(member) if term is not member)
