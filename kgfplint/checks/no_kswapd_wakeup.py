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
_BASES = ("__GFP_HIGH", "__GFP_HIGHMEM", "__GFP_DMA", "__GFP_DMA32")
"""Bits that tell what a request is for, beside those of reclaim; one with an old zone alone is a gfp-conflict."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation whose mask has neither reclaim bit, in all its values or in an arm of its `?:`."""
    askers = policy(unit.meaning.catalogue.version).askers
    for choice in choices(unit):
        arm = next((arm for arm in choice.arms() if arm.clears("__GFP_RECLAIM")), None)
        if arm is not None and choice.name not in askers and _takes_mask(unit, choice):
            yield from _finding(unit, choice, arm)


def _takes_mask(unit: Unit, choice: Choice) -> bool:
    """Tell whether a call is that of a function, to which the mask is a request; a macro may look at some bits of it."""
    return choice.alloc is not None or unit.meaning.gfp_argument(unit.file, choice.name) is not None


def _finding(unit: Unit, choice: Choice, arm: Choice) -> Iterator[Finding]:
    names = spelled(unit, choice.expr)
    if any(name.startswith("GFP_TRANSHUGE") for name in names):
        return  # what such a mask is for: huge pages have a cheap fallback (include/linux/gfp_types.h)
    given = mask_text(unit, arm) if arm.mask.set else "0" if arm.value == 0 else "a mask"
    asked = f"{choice.name}() is given {given}"
    if names & _CLEARING:
        message = (f"{asked} with all reclaim bits cleared: nobody is told to free memory; "
                   "keep __GFP_KSWAPD_RECLAIM, as GFP_NOWAIT does")
        yield unit.finding(RULE, choice.call, message)
    elif choice.name in unit.meaning.catalogue.allocs and not choice.may_set("__GFP_DMA", "__GFP_DMA32"):
        # A wrapper may well add what it is not given.
        message = f"{asked}, which says nothing of reclaim: begin with GFP_KERNEL, or with GFP_NOWAIT in atomic context"
        meant = bool(choice.may_set(*_BASES)) or arm.value is None
        yield unit.finding(RULE, choice.call, message, severity=None if meant else Severity.WARNING)
