"""KGF402: pages freed with another order than they were allocated with."""

from collections.abc import Iterator

from kgfplint.catalogue import Alloc, Free
from kgfplint.checks import Rule
from kgfplint.checks.rewriting import rewritten
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show, walk
from kgfplint.findings import Finding, Rewrite, Severity
from kgfplint.ownership.ops import Release
from kgfplint.program.constants import constants_of

RULE = Rule(
    code="KGF402",
    name="free-order-mismatch",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="Pages are freed with the order that they were allocated with.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each free of pages whose order is known to differ from that of the allocation."""
    if not unit.touches_memory:
        return
    told: set[int] = set()
    for release, alloc, call in _pairs(unit):
        event = release.event
        if release.number in told or not isinstance(event, ir.Call):
            continue
        allocated, severity = _order(unit, alloc, call.args), RULE.severity
        freed = _order(unit, release.free, event.args)
        if allocated is None and release.free.fixed_order == 0:
            allocated, severity = _variable(unit, alloc, call), Severity.WARNING
        if allocated is None or freed is None or allocated[0] == freed[0]:
            continue
        told.add(release.number)
        message = (f"{show(release.argument)} has order {allocated[1]} from {alloc.name}() at line {call.line}, "
                   f"but {release.free.name}() frees order {freed[1]}")
        trace = (unit.step(call.line, f"{alloc.name}() allocates order {allocated[1]}"),
                 unit.step(event.line, f"{release.free.name}() frees order {freed[1]}"))
        yield unit.finding(RULE, event, message, trace, severity, _fix(unit, release.free, event, allocated))


def _fix(unit: Unit, free: Free, event: ir.Call, allocated: tuple[int, str]) -> Rewrite | None:
    """Return the call that frees the pages with the constant order they were allocated with; wrappers are left alone."""
    if allocated[0] < 0 or free.name not in unit.meaning.catalogue.frees:
        return None
    order = allocated[1].partition(" (")[2].removesuffix(")") or allocated[1]
    if free.order is not None:
        return rewritten(event, instead={free.order: order})
    ordered = [other for other in unit.meaning.catalogue.frees.values()
               if other.order is not None and other.accepts == free.accepts and other.params[:-1] == free.params]
    plain = rewritten(event)
    if plain is None or len(ordered) != 1:
        return None
    return Rewrite(plain.callee, ordered[0].name, (*plain.args, order))


def _pairs(unit: Unit) -> Iterator[tuple[Release, Alloc, ir.Call]]:
    """Yield the frees with the allocations that they free, along paths and through page_address()."""
    for incident in unit.paths.incidents.values():
        if incident.kind == "free" and incident.free is not None and incident.origin.site is not None:
            yield incident.free, incident.origin.site.alloc, incident.origin.site.call
    allocations: dict[ir.Expr, Allocation] = {ir.CallResult(a.call.callee, a.call.args): a for a in unit.allocations}
    for release in unit.paths.releases:
        match unit.value_of(bare(release.argument)):
            case ir.CallResult(ir.Name("page_address"), (page,)):
                found = allocations.get(unit.value_of(bare(page)))
                if found is not None:
                    yield release, found.alloc, found.call


def _variable(unit: Unit, alloc: Alloc, call: ir.Call) -> tuple[int, str] | None:
    """Return an order that is calculated as (-1, how it is written), None where the function knows that it may be 0."""
    if alloc.order is None or alloc.order >= len(call.args):
        return None
    given = bare(call.args[alloc.order])
    conditions = [edge.condition for block in unit.body.blocks for edge in block.edges if edge.condition is not None]
    tested = show(given).isupper() or any(given in walk(condition) for condition in conditions)
    values = unit.values.get(given.id, []) if isinstance(given, ir.Name) else []
    chosen = any(value is None or not isinstance(bare(value), ir.CallResult | ir.Name | ir.Field) for value in values)
    return None if tested or chosen else (-1, show(given))


def _order(unit: Unit, how: Alloc | Free, args: tuple[ir.Expr, ...]) -> tuple[int, str] | None:
    """Return the order and how it is written, None when it is not known."""
    if how.order is None or how.order >= len(args):
        return (how.fixed_order, str(how.fixed_order)) if how.fixed_order is not None else None
    given = args[how.order]
    value = constants_of(unit.program).value(unit.file, unit.value_of(given))
    if value is None:
        return None
    return value, show(given) if show(given) == str(value) else f"{value} ({show(given)})"
