"""KGF208: a flag that only makes sense for pages, given to slab."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import choices, every_taker, from_slab, mask_text
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF208",
    name="slab-page-flags",
    severity=Severity.ERROR,
    guide="Get Free Page flags",
    summary="Slab memory is mapped and stays where it is: highmem, movable and compound masks are for pages.",
)

_WRONG = {
    "__GFP_HIGHMEM": (Severity.ERROR, "slab memory is always mapped, so the flag is dropped with a warning"),
    "__GFP_MOVABLE": (Severity.ERROR, "a slab object never moves, and would pin a block of movable pages"),
    "__GFP_COMP": (Severity.WARNING, "slab decides itself whether its pages are compound"),
}


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation from slab whose mask has a flag for pages in all its values, or in an arm of its `?:`."""
    for choice in choices(unit):
        arms = list(choice.arms()) if choice.slab else []
        flag, arm = next(((flag, arm) for flag in _WRONG for arm in arms if arm.sets(flag)), ("", choice))
        if not flag:
            continue
        severity, why = _WRONG[flag]
        if choice.name not in unit.meaning.catalogue.allocs:
            if choice.taker is None and not every_taker(unit, choice.name, lambda alloc: from_slab(unit.meaning, alloc)):
                continue
            severity, why = Severity.WARNING, f"if {choice.name}() hands it on, {why}"
        message = f"{choice.name}() is given {mask_text(unit, arm)}, but {flag} is for pages: {why}"
        yield unit.finding(RULE, choice.call, message, severity=severity)
