"""KGF404: a slab cache or pool that is destroyed while memory from it is alive, or used after that."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.incidents import finding_of
from kgfplint.checks.unit import Unit
from kgfplint.checks.use_after_free import uses_of
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF404",
    name="cache-destroyed-in-use",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="A cache or pool is destroyed after everything that came from it has been given back.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each path that destroys a cache with memory of it in hand, or allocates from or frees to a destroyed one."""
    if not unit.frees or not unit.touches_memory:
        return
    for incident in unit.paths.incidents.values():
        site, release = incident.origin.site, incident.free
        if incident.kind == "in-use" and site is not None and release is not None:
            message = (f"{release.free.name}() destroys what {incident.lvalue} was allocated from at line {site.call.line}; "
                       f"free {incident.lvalue} first")
            trace = (unit.step(site.call.line, f"{site.alloc.name}() allocates {incident.lvalue}", "alloc"),
                     unit.step(incident.line, f"{release.free.name}() destroys its cache", "free"))
            yield finding_of(unit, RULE, incident, message, trace)
    yield from uses_of(unit, RULE, True)
