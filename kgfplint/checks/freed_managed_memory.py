"""KGF405: memory that its device frees, freed by hand."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.incidents import finding_of
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF405",
    name="freed-managed-memory",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="Device-managed memory is freed with its device; freeing it by hand frees it twice.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each free of managed memory by a function that is not for it."""
    if not unit.touches_memory:
        return
    told: set[int] = set()
    for incident in unit.paths.incidents.values():
        site, release = incident.origin.site, incident.free
        if incident.kind not in ("free", "double-free") or release is None or site is None or release.number in told:
            continue
        if not site.alloc.managed or site.alloc.family in release.free.accepts:
            continue
        told.add(release.number)
        free = release.free.name
        message = (f"{incident.lvalue} comes from {site.alloc.name}() at line {site.call.line} and is freed with its device; "
                   f"{free}() frees it as well: leave it to the device{_own(unit, site.alloc.family)}")
        trace = (unit.step(site.call.line, f"{site.alloc.name}() allocates {incident.lvalue}", "alloc"),
                 unit.step(incident.line, f"{free}() frees it", "free"))
        yield finding_of(unit, RULE, incident, message, trace)


def _own(unit: Unit, family: str) -> str:
    names = unit.meaning.catalogue.frees_of.get(family, ())
    return f", or use {names[0]}()" if names else ""
