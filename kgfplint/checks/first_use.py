"""Memory that nobody has looked at yet when a callee is given it: the callee uses it, or should have looked at it."""

from collections.abc import Collection, Iterator, Mapping

from kgfplint.checks.pending import Asked
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, walk
from kgfplint.ownership.ops import Site
from kgfplint.ownership.states import Incident


def first_uses(unit: Unit, sites: Collection[Site]) -> Iterator[tuple[Site, ir.Call, tuple[Asked, ...]]]:
    """Yield the allocations that are given to a call, themselves or an address within, before anything tests them, with the
    call and what must be true: of the callee, the first one, and of those that were given them before.
    """
    given = unit.paths.unasked
    kept = {id(site.call): site for site in sites if site.number in given}
    judged = _judged(unit) if kept else frozenset[ir.Expr]()
    for site in kept.values():
        for (_, before), shown in given[site.number].items() if bare(site.call.target or ir.Name("")) not in judged else ():
            all_asked = _asked(unit, before)
            if type(shown.event.callee) is ir.Name and (all_asked or not before):
                yield site, shown.event, (Asked(shown.event.callee.id, shown.place, "used"), *all_asked)


def doubted(unit: Unit, sites: Collection[Site]) -> Iterator[tuple[Site, Incident, tuple[Asked, ...]]]:
    """Yield the uses of allocations that only callees can have tested which were given them and did not fail, with what must be
    true of these for the use to be one of memory that may be missing.
    """
    wanted: Mapping[int, Site] = {site.number: site for site in sites}
    for incident in unit.paths.incidents.values():
        site = incident.origin.site
        if incident.kind == "doubted" and site is not None and site.number in wanted:
            all_asked = _asked(unit, incident.given)
            if all_asked:
                yield site, incident, all_asked


def _asked(unit: Unit, given: Collection[int]) -> tuple[Asked, ...]:
    """Return that none of the calls that were given something tests it; nothing if one of them cannot be asked."""
    calls = [unit.paths.handed[number] for number in sorted(given) if number >= 0]
    return tuple(Asked(call.callee, call.place, "untested") for call in calls) if all(call.callee for call in calls) else ()


def _judged(unit: Unit) -> frozenset[ir.Expr]:
    """Return what values are made of that may be the outcome of a test: `missing = !memory`."""
    return frozenset(term for event in unit.events() if type(event) is ir.Assign
                     and type(event.value) in (ir.Binary, ir.Unary, ir.Conditional) for term in walk(event.value))
