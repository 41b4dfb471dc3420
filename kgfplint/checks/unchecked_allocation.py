"""KGF301: memory used before anybody looked whether there is any."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.unit import Unit
from kgfplint.checks.wrong_failure_test import wrong_tests
from kgfplint.findings import Finding, Severity
from kgfplint.gfp import Mask
from kgfplint.ownership.ops import Site

RULE = Rule(
    code="KGF301",
    name="unchecked-allocation",
    severity=Severity.ERROR,
    guide="GFP flags and reclaim behavior",
    summary="Allocations may fail, so failures have to be checked properly by callers.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation that a path uses without a test."""
    if not unit.touches_memory:
        return
    masks = {id(allocation.call): allocation.mask for allocation in unit.allocations}
    told = set(wrong_tests(unit.paths))
    for incident in unit.paths.incidents.values():
        site = incident.origin.site
        if incident.kind != "unchecked" or site is None or site.number in told or site.alloc.out is not None:
            continue
        mask = masks.get(id(site.call), Mask.unknown())
        if not _may_fail(unit, site, mask):
            continue
        told.add(site.number)
        failure = "an error pointer" if site.alloc.fails == "err_ptr" else "NULL"
        message = (f"{site.alloc.name}() may fail and return {failure}, "
                   f"but line {incident.line} uses {incident.lvalue} without a test")
        trace = (unit.step(site.call.line, f"{site.alloc.name}() may fail"),
                 unit.step(incident.line, f"{incident.lvalue} is used without a test"))
        yield unit.finding(RULE, site.call, message, trace, Severity.WARNING if "__init" in unit.row.annotations else None)


def _may_fail(unit: Unit, site: Site, mask: Mask) -> bool:
    masks = unit.meaning.masks
    if masks.has(mask, "__GFP_NOFAIL"):
        return False
    return site.alloc.fails != "null-if-atomic" or masks.may_sleep(mask) is False
