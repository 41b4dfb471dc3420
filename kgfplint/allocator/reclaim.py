"""Which masks may sleep, which may fail at which order, and how the page allocator goes about it.

Sources: the guide, "GFP flags and reclaim behavior"; __alloc_pages_slowpath() in mm/page_alloc.c.
"""

from typing import NamedTuple

from kgfplint.allocator.kernels import Effort, Kernel, Often, efforts
from kgfplint.gfp import Mask, Masks


class Outcome(NamedTuple):
    """What becomes of a request for pages: may it sleep, how likely does it fail, how hard is tried.

    Each is None, or "" for `how`, where it depends on bits of the mask that are not known.
    """

    may_sleep: bool | None
    may_fail: Often | None
    effort: str
    how: str


_ACCOUNTED = "; it fails, too, when its memory cgroup is at the limit and has nothing left to reclaim"
TOO_LARGE = "it is larger than the page allocator's largest block"


def effort(masks: Masks, mask: Mask) -> Effort | None:
    """Return how hard the page allocator tries for a mask, None if its bits are not known."""
    for row in efforts():
        asked = [masks.has(mask, name) for name in row.set] + [_lacks(masks, mask, name) for name in row.clear]
        if all(asked):
            return row
        if None in asked and False not in asked:
            return None
    return None


def outcome(kernel: Kernel, masks: Masks, mask: Mask, order: int) -> Outcome:
    """Return what becomes of a request for 2^order pages."""
    sleeps = masks.may_sleep(mask)
    if order > kernel.max_order:
        return Outcome(False, "always", "none", TOO_LARGE)
    row = effort(masks, mask)
    if row is None:
        return Outcome(sleeps, None, "", "")
    how = row.how + _ACCOUNTED if masks.has(mask, "__GFP_ACCOUNT") else row.how
    return Outcome(sleeps, row.costly if order > kernel.costly_order else row.small, row.name, how)


def _lacks(masks: Masks, mask: Mask, name: str) -> bool | None:
    has = masks.has(mask, name)
    return None if has is None else not has
