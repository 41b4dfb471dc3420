"""KGF212: a mask that vmalloc() or kvmalloc() does not support."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, every_taker, mask_text
from kgfplint.checks.held_at import held_at
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity
from kgfplint.gfp.policy import Unsupported, policy

RULE = Rule(
    code="KGF212",
    name="vmalloc-gfp",
    severity=Severity.WARNING,
    guide="Selecting memory allocator",
    summary="vmalloc() and kvmalloc() take GFP_KERNEL and little else: other bits are dropped, or make it fail or sleep.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each call of these allocators, or of a wrapper, whose mask this kernel version does not support there."""
    entries = policy(unit.meaning.catalogue.version).unsupported
    for choice in choices(unit):
        alloc = choice.alloc or choice.taker
        fitting = [entry for entry in entries if alloc is not None and alloc.family in entry.families]
        found = next(((arm, entry) for entry in fitting for arm in choice.arms() if _applies(unit, arm, entry)), None)
        if found is not None:
            yield from _finding(unit, *found)


def _applies(unit: Unit, choice: Choice, entry: Unsupported) -> bool:
    if not (choice.sets(*entry.set) and choice.clears(*entry.clear)):
        return False
    return not any(held.kind in entry.scopes for held in held_at(unit, choice.call))


def _finding(unit: Unit, choice: Choice, entry: Unsupported) -> Iterator[Finding]:
    severity = Severity.parse(entry.severity)
    if "__init" in unit.row.annotations:
        severity = Severity.NOTE  # while the machine boots, nothing is in the way
    asked = f"{choice.name}() is given {mask_text(unit, choice)}"
    if choice.name not in unit.meaning.catalogue.allocs:
        based = any(choice.sets(bit) for bit in ("__GFP_KSWAPD_RECLAIM", "__GFP_DIRECT_RECLAIM"))
        sure = choice.taker is not None
        if not based or not (sure or every_taker(unit, choice.name, lambda alloc: alloc.family in entry.families)):
            return  # it may add what is missing, or take the memory from elsewhere
        severity = min(severity, Severity.WARNING)
        asked += ", which goes on to " + " or ".join(f"{family}()" for family in entry.families)
    yield unit.finding(RULE, choice.call, f"{asked}: {entry.why}", severity=severity)
