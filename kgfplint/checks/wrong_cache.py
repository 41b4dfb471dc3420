"""KGF403: an object given back to another slab cache or pool than the one it came from."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.incidents import finding_of
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root, show
from kgfplint.findings import Finding, Severity
from kgfplint.ownership.states import Incident

RULE = Rule(
    code="KGF403",
    name="wrong-cache",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="An object goes back to the slab cache, mempool or DMA pool that it was allocated from.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each free into a cache or pool that is named otherwise than the one of the allocation, and surely another one."""
    if not unit.touches_memory:
        return
    for incident in unit.paths.incidents.values():
        pools = _pools(incident)
        if pools is not None and _differ(unit, *pools):
            site, free = incident.origin.site, incident.free
            assert site is not None and free is not None
            message = (f"{incident.lvalue} was allocated from {show(pools[0])} at line {site.call.line}, but {free.free.name}() "
                       f"gives it to {show(pools[1])}; give it back to {show(pools[0])}")
            trace = (unit.step(site.call.line, f"{site.alloc.name}() takes {incident.lvalue} from {show(pools[0])}", "alloc"),
                     unit.step(incident.line, f"{free.free.name}() gives it to {show(pools[1])}", "free"))
            yield finding_of(unit, RULE, incident, message, trace)


def _pools(incident: Incident) -> tuple[ir.Expr, ir.Expr] | None:
    """Return where memory came from and where it is given to, if calls name both."""
    site, release = incident.origin.site, incident.free
    if incident.kind != "free" or site is None or release is None or type(release.event) is not ir.Call:
        return None
    for taken, given in ((site.alloc.cache, release.free.cache), (site.alloc.pool, release.free.pool)):
        if taken is not None and given is not None and taken < len(site.call.args) and given < len(release.event.args) and (
                release.event.callee == ir.Name(release.free.name)):
            return bare(site.call.args[taken]), bare(release.event.args[given])
    return None


def _differ(unit: Unit, left: ir.Expr, right: ir.Expr) -> bool:
    """Tell whether two expressions stand for different caches: two globals, or two members of one object."""
    left, right = unit.value_of(left), unit.value_of(right)
    if type(left) is ir.Name and type(right) is ir.Name:
        return left != right and not {left.id, right.id} & unit.types.keys()
    return (type(left) is ir.Field and type(right) is ir.Field and left.base == right.base and left.member != right.member
            and bool(root(left)))
