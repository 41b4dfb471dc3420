"""KGF208: a flag that only makes sense for pages, given to slab."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import choices, mask_text
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
        wrong = next((flag for flag in _WRONG for arm in choice.arms() if choice.slab and arm.sets(flag)), None)
        if wrong is not None:
            severity, why = _WRONG[wrong]
            message = f"{choice.name}() is given {mask_text(unit, choice)}, but {wrong} is for pages: {why}"
            yield unit.finding(RULE, choice.call, message, severity=severity)
