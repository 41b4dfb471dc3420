"""KGF401: memory given to a deallocator of another allocator."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.findings import Finding, Severity
from kgfplint.ownership.paths import Incident

RULE = Rule(
    code="KGF401",
    name="mismatched-free",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="Memory is freed by the function that fits the allocator it came from.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each free that does not accept the family of what it is given."""
    if not unit.touches_memory:
        return
    told: set[int] = set()
    for incident in unit.paths.incidents.values():
        site = incident.origin.site
        if incident.kind != "free" or incident.free is None or site is None or site.alloc.managed:
            continue
        family, free = site.alloc.family, incident.free.free
        if family in free.accepts or incident.free.number in told:
            continue
        told.add(incident.free.number)
        yield _finding(unit, incident, family)


def _finding(unit: Unit, incident: Incident, family: str) -> Finding:
    site, release = incident.origin.site, incident.free
    assert site is not None and release is not None
    known = unit.meaning.catalogue.families.get(family)
    title = known.title if known else family
    fitting = fitting_frees(unit, family)
    advice = f"; use {' or '.join(f'{name}()' for name in fitting)}" if fitting else ""
    message = f"{incident.lvalue} is {title} from {site.alloc.name}() at line {site.call.line}, but {release.free.name}() frees it{advice}"
    trace = (unit.step(site.call.line, f"{site.alloc.name}() allocates {incident.lvalue}"),
             unit.step(incident.line, f"{release.free.name}() frees it"))
    if isinstance(incident.event, ir.Call):
        return unit.finding(RULE, incident.event, message, trace)
    return unit.finding_at(RULE, incident.line, f"{release.free.name}({incident.lvalue})", message, trace)


def fitting_frees(unit: Unit, family: str) -> list[str]:
    """Return the plain deallocators that accept a family, the most specific first."""
    frees = [f for f in unit.meaning.catalogue.frees.values() if family in f.accepts and f.flavour == "plain"]
    return [f.name for f in sorted(frees, key=lambda f: (len(f.accepts), f.name))[:1]]
