"""KGF303: a failure test that does not fit the way the allocator reports failure."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.incidents import finding_of
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity
from kgfplint.ownership.paths import Paths
from kgfplint.ownership.states import Incident

RULE = Rule(
    code="KGF303",
    name="wrong-failure-test",
    severity=Severity.ERROR,
    guide="GFP flags and reclaim behavior",
    summary="Failures are checked the way the allocator reports them: NULL or an error pointer.",
)
_FITTING = {"null-test": ("err_ptr",), "error-test": ("null", "zero", "null-if-atomic")}
"""How an allocator fails for which a test is wrong."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report the first wrong test of each allocation."""
    if not unit.touches_memory:
        return
    for incident in wrong_tests(unit.paths).values():
        site = incident.origin.site
        assert site is not None
        name = site.alloc.name
        if incident.kind == "null-test":
            message = f"{name}() returns an error pointer when it fails, never NULL: test {incident.lvalue} with IS_ERR()"
        else:
            message = f"{name}() returns NULL when it fails, no error pointer: test !{incident.lvalue}"
        trace = (unit.step(site.call.line, f"{name}() allocates {incident.lvalue}", "alloc"),
                 unit.step(incident.line, "the test"))
        yield finding_of(unit, RULE, incident, message, trace)


def wrong_tests(paths: Paths) -> dict[int, Incident]:
    """Return the first wrong test of each allocation site, by its number.

    A test that makes sense for another value that reaches it is not wrong, nor one beside the right test.
    """
    found: dict[int, Incident] = {}
    right: set[int] = set()
    for incident in paths.incidents.values():
        site = incident.origin.site
        if incident.kind not in _FITTING or site is None:
            continue
        verdict = "null" if incident.kind == "null-test" else "err_ptr"
        if site.alloc.fails not in _FITTING[incident.kind]:
            right.add(site.number)
        elif (incident.line, verdict) not in paths.apt and site.alloc.out is None:
            first = found.get(site.number)
            found[site.number] = incident if first is None or incident.line < first.line else first
    return {number: incident for number, incident in found.items() if number not in right}
