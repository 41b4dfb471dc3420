"""KGF208: a flag that only makes sense for pages, given to slab."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import choices, from_slab, mask_text
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
            if not _for_slab_only(unit, choice.name):
                continue
            severity, why = Severity.WARNING, f"if {choice.name}() hands it on, {why}"
        message = f"{choice.name}() is given {mask_text(unit, arm)}, but {flag} is for pages: {why}"
        yield unit.finding(RULE, choice.call, message, severity=severity)


def _for_slab_only(unit: Unit, name: str) -> bool:
    """Tell whether a wrapper can only hand its mask to slab: nothing else that it calls takes one."""
    meaning, program = unit.meaning, unit.program
    for target in program.resolve(unit.file, name):
        file = program.rows[target].file
        for callee, _ in program.calls(target):
            alloc = meaning.alloc(file, callee)
            if alloc is not None and not from_slab(meaning, alloc):
                return False
            if alloc is None and meaning.gfp_argument(file, callee) is not None:
                return False
    return True
