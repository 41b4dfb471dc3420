"""KGF104: a function that is given a mask allocates with a stronger one of its own."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chains import Chain
from kgfplint.checks.unit import Unit
from kgfplint.context.sleeping import MASKED, RAW
from kgfplint.facts import ir
from kgfplint.facts.terms import names
from kgfplint.findings import Finding, Severity
from kgfplint.program.definitions import GFP_TYPES

RULE = Rule(
    code="KGF104",
    name="gfp-parameter-ignored",
    severity=Severity.NOTE,
    guide="Get Free Page flags",
    summary="Who gives a mask says what the allocator may do: a function that takes one allocates with it, or with a weaker one.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report allocations with a mask of their own, on paths that do not look at the given mask."""
    given = next((param.name for param in unit.row.params if param.ctype in GFP_TYPES), None)
    if given is None or not unit.allocates or _kept(unit, given):
        return
    masks = unit.meaning.masks
    strong = {(a.call.line, a.call.column): a for a in unit.allocations if not a.inferred and masks.may_sleep(a.mask)
              and a.alloc.gfp is not None}
    for site in unit.flow.sites if strong else ():
        allocation = strong.get((site.line, site.column))
        mask = allocation.argument(allocation.alloc.gfp) if allocation is not None else None
        if allocation is None or mask is None or given in names(mask) or given in names(unit.value_of(mask)):
            continue
        if any(given in names(condition) for condition, _ in site.guards):
            continue  # the mask was looked at
        message = (f"{allocation.name}() with {masks.describe(allocation.mask)} may sleep whatever {given} says; "
                   f"pass {given} on")
        yield unit.finding(RULE, allocation.call, message)


def _kept(unit: Unit, given: str) -> bool:
    """Tell whether a function keeps the mask that it is given for later: it is not meant for what it allocates itself."""
    for event in unit.events():
        if type(event) is ir.Assign and type(event.target) is ir.Field and ir.Name(given) == event.value:
            return True
        if type(event) is ir.Call and type(event.callee) is ir.Name and ir.Name(given) in event.args:
            name, meaning = event.callee.id, unit.meaning
            if (meaning.gfp_argument(unit.file, name) is not None and meaning.alloc(unit.file, name) is None
                    and not meaning.allocates_by_mask(name)):
                return True
    return False


def reached(chain: Chain) -> Iterator[Finding]:
    """Report what sleeps in a function that was told not to."""
    if chain.state.context == MASKED and chain.sleep.where != RAW and not chain.sleep.frees:
        message = f"{chain.sleep.what} may sleep, but this runs {chain.why}; pass the mask on"
        yield chain.finding(RULE, message, RULE.severity)
