"""KGF406: memory freed twice on one path."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.incidents import finding_of
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF406",
    name="double-free",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="Allocated memory is freed once: a second free corrupts the allocator.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each free of memory that the same path freed before."""
    if not unit.touches_memory:
        return
    for incident in unit.paths.incidents.values():
        if incident.kind != "double-free" or incident.free is None:
            continue
        free = incident.free.free.name
        message = f"{incident.lvalue} was freed at line {incident.earlier} already; {free}() frees it again"
        trace = (unit.step(incident.earlier, f"{incident.lvalue} is freed", "free"),
                 unit.step(incident.line, f"{free}() frees it again", "free"))
        yield finding_of(unit, RULE, incident, message, trace)
