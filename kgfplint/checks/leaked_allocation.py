"""KGF407: memory that nobody can free any more."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.pending import Asked, Case, Pending
from kgfplint.checks.unit import Unit
from kgfplint.facts.terms import show
from kgfplint.findings import Finding, Severity
from kgfplint.ownership.fates import MADE
from kgfplint.ownership.handing import AWAY
from kgfplint.ownership.ops import Site

RULE = Rule(
    code="KGF407",
    name="leaked-allocation",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="Allocated memory that is no longer needed must be freed, on each way out of the function.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation whose last pointer ends with the function, or is overwritten, while the memory is alive."""
    if not unit.allocates or not unit.touches_memory:
        return
    for release in unit.paths.lost.items():
        site = unit.paths.sites[release[0]]
        if _concerns(unit, site):
            yield from _report(unit, site, dict(release[1]))


def _concerns(unit: Unit, site: Site) -> bool:
    """Counted objects are often held by others as well: only plain memory, and what is made of it alone, can leak for sure."""
    family = unit.meaning.catalogue.families.get(site.alloc.family)
    return family is not None and not family.object and not family.managed


def _report(unit: Unit, site: Site, lost: dict[int, frozenset[int]]) -> Iterator[Finding]:
    alloc, call = site.alloc, site.call
    what = show(call.target) if call.target is not None else f"what {alloc.name}() returns"
    fitting = unit.meaning.catalogue.frees_of.get(alloc.family, ())
    advice = f"free it with {fitting[0]}() there" if fitting else "free it there"
    made = () if alloc.name in unit.meaning.catalogue.allocs else (Asked(alloc.name, MADE, "lent"),)
    cases: list[Case] = []
    for line, whom in sorted(lost.items()):
        handed = [unit.paths.handed[number] for number in sorted(whom) if number != AWAY]
        asked = dict.fromkeys(Asked(one.callee, one.place, "forgotten" if one.result else "lent") for one in handed)
        message = f"{what} from {alloc.name}() is lost on a path that ends at line {line}: nothing frees or keeps it; {advice}"
        cases.append(Case((*made, *asked), message, unit.step(line, f"{what} is lost here")))
    plain = all(not case.asked for case in cases)
    trace = (unit.step(call.line, f"{alloc.name}() allocates {what}"),)
    finding = unit.finding(RULE, call, "", trace, Severity.ERROR if plain else Severity.WARNING)
    unit.pending.append(Pending(finding, tuple(cases)))
    return iter(())
