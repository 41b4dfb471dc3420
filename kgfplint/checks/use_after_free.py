"""KGF412: memory read or written after it was freed on the same path."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.incidents import finding_of
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF412",
    name="use-after-free",
    severity=Severity.NOTE,
    guide="Selecting memory allocator",
    summary="Memory is freed when it is no longer needed: after that nobody may read or write it.",
)
_LATER = frozenset({"rcu", "put", "callback"})
"""Frees after which the memory may still be there: at the end of a grace period, or when the last reference is gone."""


_CACHES = frozenset({"kmem-cache", "mempool-pool", "dma-pool-pool"})
"""Families of what other memory comes from: rule KGF404 tells of them."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report, once for each free, the first use of memory that the same path freed before."""
    if unit.touches_memory:
        yield from uses_of(unit, RULE, False)


def uses_of(unit: Unit, rule: Rule, caches: bool) -> Iterator[Finding]:
    """Yield findings of `rule` about uses after a free: of destroyed caches and pools, or of anything else."""
    frees = {release.event.line: release.free for release in unit.paths.releases}
    told: set[tuple[str, int]] = set()
    for incident in sorted(unit.paths.incidents.values(), key=lambda incident: incident.line):
        free = frees.get(incident.earlier)
        if incident.kind != "use-after-free" or free is None or free.flavour in _LATER:
            continue
        if caches is not any(family in _CACHES for family in free.accepts):
            continue
        if (incident.lvalue, incident.earlier) not in told:
            told.add((incident.lvalue, incident.earlier))
            message = (f"{incident.lvalue} is used here, but {free.name}() freed it at line {incident.earlier}; "
                       "free it after its last use")
            trace = (unit.step(incident.earlier, f"{free.name}() frees {incident.lvalue}", "free"),
                     unit.step(incident.line, "it is used after that"))
            yield finding_of(unit, rule, incident, message, trace)
