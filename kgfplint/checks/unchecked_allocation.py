"""KGF301: memory used before anybody looked whether there is any."""

from collections.abc import Collection, Iterator

from kgfplint.checks import Rule
from kgfplint.checks.first_use import doubted, first_uses
from kgfplint.checks.pending import Case, Pending
from kgfplint.checks.unit import Unit
from kgfplint.checks.untested import untested
from kgfplint.checks.wrong_failure_test import wrong_tests
from kgfplint.facts.terms import atom, show
from kgfplint.findings import Finding, Severity
from kgfplint.gfp import Mask
from kgfplint.ownership.ops import Site
from kgfplint.ownership.states import Incident

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
    seen = [i.origin.site for i in unit.paths.incidents.values() if i.kind.endswith("-test")]
    tested = {site.number for site in seen if site is not None}
    for incident in unit.paths.incidents.values():
        site = incident.origin.site
        if incident.kind not in ("unchecked", "null-use") or site is None or site.number in told or site.alloc.out is not None:
            continue
        mask = masks.get(id(site.call), Mask.unknown())
        if not _may_fail(unit, site, mask) or (incident.kind == "null-use" and not _at_once(unit, incident)):
            continue
        told.add(site.number)
        message = (f"{site.alloc.name}() may fail and return {_failure(site)}, "
                   f"but line {incident.line} uses {incident.lvalue} without a test")
        trace = (unit.step(site.call.line, f"{site.alloc.name}() may fail", "alloc"),
                 unit.step(incident.line, f"{incident.lvalue} is used without a test"))
        # Who tests it elsewhere knows why this path needs no test.
        yield unit.finding(RULE, site.call, message, trace, Severity.NOTE if site.number in tested or _harmless(unit) else None)
    if not unit.allocates or not unit.paths.complete:
        return
    sites = [site for site in unit.paths.leaks.sites if site.number not in told | tested and site.alloc.out is None
             and site.alloc.fails in ("null", "err_ptr") and _may_fail(unit, site, masks.get(id(site.call), Mask.unknown()))]
    for site in untested(unit, sites):
        told.add(site.number)
        # It is stored for others, who may look.
        message = f"{site.alloc.name}() may fail, and {unit.name}() goes on with {_failure(site)} in {_what(site)} without a test"
        yield unit.finding(RULE, site.call, message, (), Severity.NOTE)
    _leave_pending(unit, [site for site in sites if site.number not in told])


def _leave_pending(unit: Unit, sites: Collection[Site]) -> None:
    """Leave pending what is given without a look to functions that may use it, or should look before their caller uses it."""
    cases: dict[Site, list[Case]] = {}
    for site, call, all_asked in first_uses(unit, sites):
        callee = all_asked[0].callee
        message = (f"{site.alloc.name}() may fail and return {_failure(site)}, but {callee}() at line {call.line} uses "
                   f"{_what(site)} without a test")
        step = unit.step(call.line, f"{callee}() uses it")
        cases.setdefault(site, []).append(Case(all_asked, message, step))
    for site, incident, all_asked in doubted(unit, sites):
        message = (f"{site.alloc.name}() may fail and return {_failure(site)}, but line {incident.line} uses {incident.lvalue}, "
                   f"which nothing tests, not even {all_asked[0].callee}()")
        step = unit.step(incident.line, f"{incident.lvalue} is used without a test")
        cases.setdefault(site, []).append(Case(all_asked, message, step))
    for site, found in cases.items():
        trace = (unit.step(site.call.line, f"{site.alloc.name}() may fail", "alloc"),)
        severity = Severity.NOTE if _harmless(unit) else Severity.WARNING
        unit.pending.append(Pending(unit.finding(RULE, site.call, "", trace, severity), tuple(found)))


def _harmless(unit: Unit) -> bool:
    """Tell whether nobody is harmed: early boot cannot go on without it; a test of KUnit (it is given one) falls alone."""
    return "__init" in unit.row.annotations or any(param.ctype == "struct kunit *" for param in unit.row.params)


def _failure(site: Site) -> str:
    return "an error pointer" if site.alloc.fails == "err_ptr" else "NULL"


def _what(site: Site) -> str:
    return show(site.call.target) if site.call.target is not None else "what it returns"


def _at_once(unit: Unit, incident: Incident) -> bool:
    """Tell whether a pointer that was found to be NULL is used with no other decision in between.

    Behind another condition, that condition may well depend on the pointer.
    """
    blocks = unit.body.blocks
    for block in blocks:
        for edge in block.edges:
            subject, good = atom(edge.condition, edge.truth) if edge.condition is not None else (None, True)
            if subject is None or good or show(subject) != incident.lvalue:
                continue
            seen: set[int] = set()
            at = edge.to
            while at not in seen:
                seen.add(at)
                if any(event is incident.event for event in blocks[at].events):
                    return True
                if len(blocks[at].edges) != 1:
                    break
                at = blocks[at].edges[0].to
    return False


def _may_fail(unit: Unit, site: Site, mask: Mask) -> bool:
    masks = unit.meaning.masks
    if masks.has(mask, "__GFP_NOFAIL"):
        return False
    return site.alloc.fails != "null-if-atomic" or masks.may_sleep(mask) is False
