"""KGF211: an allocation that neither reclaims nor wakes those who do."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, mask_text, spelled
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity
from kgfplint.gfp.policy import policy

RULE = Rule(
    code="KGF211",
    name="no-kswapd-wakeup",
    severity=Severity.NOTE,
    guide="GFP flags and reclaim behavior",
    summary="A mask without any reclaim bit depletes memory unseen: the next user pays for it with more aggressive reclaim.",
)

_CLEARING = frozenset({"__GFP_RECLAIM", "__GFP_KSWAPD_RECLAIM", "__GFP_DIRECT_RECLAIM"})
_ZONES = ("__GFP_DMA", "__GFP_DMA32")


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation whose mask has neither reclaim bit, in all its values or in an arm of its `?:`."""
    askers = policy(unit.meaning.catalogue.version).askers
    for choice in choices(unit):
        arm = next((arm for arm in choice.arms() if arm.clears("__GFP_RECLAIM")), None)
        if arm is None or choice.name in askers or choice.may_set(*_ZONES):
            continue  # a zone alone is a gfp-conflict
        yield from _finding(unit, choice, arm)


def _finding(unit: Unit, choice: Choice, arm: Choice) -> Iterator[Finding]:
    names = spelled(unit, choice.expr)
    asked = f"{choice.name}() is given {mask_text(unit, arm)}"
    if any(name.startswith("GFP_TRANSHUGE") for name in names):
        return  # what such a mask is for: huge pages have a cheap fallback (include/linux/gfp_types.h)
    if arm.mask.clear and not arm.mask.set and arm.value is None:
        asked = f"{choice.name}() is given a mask with all reclaim bits cleared"
    if names & _CLEARING or arm.value is None:
        message = f"{asked}: nobody is told to free memory; keep __GFP_KSWAPD_RECLAIM, as GFP_NOWAIT does"
        yield unit.finding(RULE, choice.call, message)
    elif choice.alloc is not None:
        message = f"{asked}, which says nothing of reclaim: begin with GFP_KERNEL, or with GFP_NOWAIT in atomic context"
        yield unit.finding(RULE, choice.call, message, severity=Severity.WARNING)
