"""KGF202: __GFP_NOFAIL where the allocator cannot keep the promise."""

from collections.abc import Iterator
from typing import Literal

from kgfplint.catalogue import CALCULATED
from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, mask_text
from kgfplint.checks.held_at import atomic_at, held_at
from kgfplint.checks.unit import Unit
from kgfplint.context.held import Held
from kgfplint.facts.terms import bare
from kgfplint.findings import Finding, Severity, Step
from kgfplint.program.constants import constants_of

RULE = Rule(
    code="KGF202",
    name="nofail-misuse",
    severity=Severity.ERROR,
    guide="GFP flags and reclaim behavior",
    summary="__GFP_NOFAIL loops until there is memory: for small requests that may reclaim and sleep only.",
)

_HIGHEST = 1
"""The page allocator warns of __GFP_NOFAIL above this order (get_page_from_freelist, __alloc_pages_slowpath)."""
_LARGEST = 8192
"""Bytes that slab has objects for, with pages of 4 KiB; kmalloc() takes more from the page allocator (KMALLOC_MAX_CACHE_SIZE)."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each call with __GFP_NOFAIL that cannot reclaim, must not sleep, or is too large."""
    for choice in choices(unit):
        if not any(arm.sets("__GFP_NOFAIL") for arm in choice.arms()):
            continue
        asked = f"{choice.name}() is given {mask_text(unit, choice)}"
        surely = choice.sets("__GFP_NOFAIL")
        atomic = atomic_at(unit, choice.call) if surely else None
        reserves = next((held for held in held_at(unit, choice.call) if held.kind == "noreclaim"), None)
        order, size = _constant(unit, choice, "order"), _constant(unit, choice, "size") if choice.slab else None
        if any(arm.sets("__GFP_NOFAIL") and arm.clears("__GFP_DIRECT_RECLAIM") for arm in choice.arms()):
            message = f"{asked}: without direct reclaim it fails all the same; drop __GFP_NOFAIL and test the result"
            yield unit.finding(RULE, choice.call, message)
        elif atomic is not None:
            message = f"{asked}, to sleep until there is memory, but runs under {atomic.place} taken at line {atomic.line}"
            yield unit.finding(RULE, choice.call, message, _trace(unit, choice, atomic, "no sleeping from here"))
        elif surely and reserves is not None:
            message = (f"{asked}, but in the scope of {reserves.place} at line {reserves.line} nothing is reclaimed: "
                       "it can only wait for others; let it fail")
            yield unit.finding(RULE, choice.call, message, _trace(unit, choice, reserves, "no reclaim from here"))
        elif order is not None and order > _HIGHEST:
            message = f"{asked} and order {order}: this may loop for ever; let it fail, or use kvmalloc()"
            yield unit.finding(RULE, choice.call, message)
        elif size is not None and size > _LARGEST:
            message = f"{asked} and {size} bytes, which with 4 KiB pages is more than order 1: let it fail, or use kvmalloc()"
            yield unit.finding(RULE, choice.call, message, severity=Severity.WARNING)


def _trace(unit: Unit, choice: Choice, held: Held, why: str) -> tuple[Step, Step]:
    return (unit.step(held.line, f"{held.place}: {why}", "lock"),
            unit.step(choice.call.line, f"{choice.name}() never gives up", "alloc"))


def _constant(unit: Unit, choice: Choice, role: Literal["order", "size"]) -> int | None:
    """Return the order or the bytes that are asked for, None if that is not a constant."""
    if choice.alloc is None:
        return choice.taker.fixed_order if choice.taker is not None and role == "order" else None
    place = choice.alloc.order if role == "order" else choice.alloc.size
    if place is None:
        return choice.alloc.fixed_order if role == "order" and choice.alloc.fixed_order != CALCULATED else None
    if place >= len(choice.call.args):
        return None
    return constants_of(unit.program).value(unit.file, bare(unit.value_of(choice.call.args[place])))
