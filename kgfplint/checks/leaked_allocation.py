"""KGF407: memory that nobody can free any more."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.pending import Asked, Case, Pending
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root, show
from kgfplint.facts.types import pointee, tag_of
from kgfplint.findings import Finding, Severity
from kgfplint.ownership.failing import failed, has_failed
from kgfplint.ownership.fates import MADE
from kgfplint.ownership.handing import NEARBY
from kgfplint.ownership.ops import Handed, Site
from kgfplint.ownership.undoing import undoing_of

RULE = Rule(
    code="KGF407",
    name="leaked-allocation",
    severity=Severity.NOTE,
    guide="Selecting memory allocator",
    summary="Allocated memory that is no longer needed must be freed, on each way out of the function.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Leave pending each allocation whose last pointer ends with the function, or is overwritten, while the memory is alive.

    Report managed memory that hangs on the wrong device at once.
    """
    if unit.allocates and unit.touches_memory and unit.paths.complete:
        leaks = unit.paths.leaks
        cases: dict[int, list[Case]] = {}
        attached = _attached(unit)
        for failing in (False, True):
            for number, line, whom in leaks.lost(failing):
                spared = leaks.spared.get(number, set()) | attached if failing else set()
                if _concerns(unit, leaks.sites[number]) and not (failing and not whom & spared):
                    cases.setdefault(number, []).append(_case(unit, number, line, whom, spared))
        unit.pending.extend(_pending(unit, leaks.sites[number], found) for number, found in cases.items())
    yield from _misattached(unit)


def _misattached(unit: Unit) -> Iterator[Finding]:
    """Report managed memory of a device that no driver is bound to: it stays when the driver goes."""
    if not unit.allocates or unit.row.flags & ir.MACRO:
        return
    parents = unit.meaning.catalogue.parents
    for found in unit.allocations:
        device = found.argument(found.alloc.dev) if found.alloc.managed else None
        device = unit.value_of(device) if device is not None else None
        if device is None or type(device) is not ir.AddressOf or type(device.base) is not ir.Field:
            continue
        parent = parents.get(unit.typing.tag(device.base.base))
        if parent is not None:
            message = (f"{found.name}() hangs memory on {show(device)}, a struct {parent.name} that stays when the driver is "
                       f"unbound: it leaks each time; use the device of the struct {parent.child}")
            yield unit.finding(RULE, found.call, message)


def _concerns(unit: Unit, site: Site) -> bool:
    """Counted objects are often held by others as well: only plain memory, and what is made of it alone, can leak for sure."""
    family = unit.meaning.catalogue.families.get(site.alloc.family)
    return family is not None and not family.object and not family.managed


def _attached(unit: Unit) -> set[int]:
    """Return the calls that hang memory on a device: it is gone from there when the function, its probe, fails.

    Not so where the function gives the device to one that undoes all, which finds the memory there: one of the driver, as
    nobody else knows what it finds.
    """
    verdicts, undone_by = unit.meaning.catalogue.verdicts, undoing_of(unit.meaning.catalogue).undone_by
    params = {param.name for param in unit.row.params}
    given = (call for call in unit.calls if any(type(bare(arg)) is ir.Name and root(arg) in params for arg in call.args))
    names = (call.callee.id for call in given if type(call.callee) is ir.Name and undone_by(call.callee.id))
    functions = (function for name in names for function in unit.meaning.definition(unit.file, name).functions)
    if any(unit.program.is_beside(function, unit.file) for function in functions):
        return set()
    return {number for number, handed in enumerate(unit.paths.leaks.handed)
            if handed.callee in verdicts and verdicts[handed.callee].action == "attach"}


def _case(unit: Unit, number: int, line: int, whom: frozenset[int], spared: set[int]) -> Case:
    """Return one loss; calls that are `spared` keep nothing where an error is returned, as others have shown to."""
    leaks = unit.paths.leaks
    site = leaks.sites[number]
    # What is freed when a call fails, and not when it does not, has been taken over by that call.
    taken = leaks.freed.get(number, set()) if line in leaks.well else set()
    # What frees memory after a call that did not fail knows better than its result whether it was kept.
    freed = leaks.freed.get(number, set())
    believed = _fails(unit) or line not in leaks.well
    gone = {one for one in whom if has_failed(one) and believed and failed(one) not in freed}
    others = {failed(one) if has_failed(one) else one for one in whom - gone}
    asked = [_asked(leaks.handed[one], one not in taken) for one in sorted(others - spared - {NEARBY})]
    failures = (leaks.handed[failed(one)] for one in sorted(whom) if has_failed(one))
    asked += [Asked(handed.callee, handed.place, "unfreed") for handed in failures if handed.callee]
    if NEARBY in whom:
        asked.append(Asked("", 0, "lent", _is_buffer(unit, site.call)))
    if site.alloc.name not in unit.meaning.catalogue.allocs:
        asked.append(Asked(site.alloc.name, MADE, "lent"))
    sure = not whom & spared and not gone and not any(one.assumed for one in asked)
    keeps = "nothing frees or keeps it" if sure else "nothing frees it, and nobody seems to keep it"
    fitting = unit.meaning.catalogue.frees_of.get(site.alloc.family, ())
    advice = f"free it with {fitting[0]}() there" if fitting else "free it there"
    what = _what(site)
    message = f"{what} from {site.alloc.name}() is lost on a path that ends at line {line}: {keeps}; {advice}"
    return Case(tuple(dict.fromkeys(asked)), message, unit.step(line, f"{what} is lost here"), sure and not asked)


def _fails(unit: Unit) -> bool:
    """Tell whether the function says that it failed by something else than a number, or says nothing."""
    return unit.row.returns == "void" or unit.row.returns.endswith("*")


def _pending(unit: Unit, site: Site, cases: list[Case]) -> Pending:
    trace = (unit.step(site.call.line, f"{site.alloc.name}() allocates {_what(site)}", "alloc"),)
    return Pending(unit.finding(RULE, site.call, "", trace), tuple(cases))


def _what(site: Site) -> str:
    return show(site.call.target) if site.call.target is not None else f"what {site.alloc.name}() returns"


def _asked(handed: Handed, may_assume: bool) -> Asked:
    return Asked(handed.callee, handed.place, "forgotten" if handed.result else "lent", handed.plain and may_assume)


def _is_buffer(unit: Unit, call: ir.Call) -> bool:
    """Tell whether a call allocates bytes or numbers, not an object."""
    target = pointee(unit.typing.expanded(call.target)) if call.target is not None else None
    return target is not None and not tag_of(target)
