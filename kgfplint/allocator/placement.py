"""Where a request for memory ends up: cache, size, order, alignment, and what becomes of it.

    machine = kernel("arm64", (6, 12))
    placed = kmalloc(machine, masks, masks.parse("GFP_ATOMIC"), 4100)
    placed.cache, placed.real, placed.waste, placed.align     # "kmalloc-8k", 8192, 4092, 8
    placed.outcome.may_sleep, placed.outcome.may_fail         # False, "often"
    placed.advice                                             # lines: what to use instead

Sizes are in bytes. All functions raise ModelError for a request that no kernel takes (a negative size).
"""

import msgspec

from kgfplint.allocator import buckets, slabs
from kgfplint.allocator.advice import advice_for
from kgfplint.allocator.kernels import Kernel, ModelError
from kgfplint.allocator.reclaim import Outcome, outcome
from kgfplint.gfp import Mask, Masks

_SLOB_UNIT = 2
"""Bytes that SLOB counts in (mm/slob.c, for pages of less than 64 KiB)."""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """What an allocator makes of a request for `size` bytes.

    `source`: "cache", "pages", "vmalloc", "percpu" or "none" (it fails); `cache` the name of the kmalloc cache. `real` are the
    bytes that are taken, `waste` those of them beyond `size`. `order` is that of the block or of the slab, None where pages
    are single; `objects` of a slab. `align` is what is promised. `contiguous`: physically. `steps` tell what is tried.
    """

    allocator: str
    size: int
    source: str
    real: int
    align: int
    contiguous: bool
    outcome: Outcome
    cache: str = ""
    order: int | None = None
    objects: int | None = None
    steps: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def waste(self) -> int:
        """The bytes taken beyond those asked for."""
        return max(self.real - self.size, 0)


def _advised(kernel: Kernel, masks: Masks, mask: Mask, placed: Placement) -> Placement:
    facts = msgspec.structs.asdict(placed) | {"waste": placed.waste}
    return msgspec.structs.replace(placed, advice=tuple(advice_for(kernel, masks, mask, facts)))


def _none(allocator: str, size: int, why: str) -> Placement:
    return Placement(
        allocator=allocator, size=size, source="none", real=0, align=0, contiguous=False,
        outcome=Outcome(False, "always", "none", why),
    )  # fmt: skip


def _checked(size: int) -> None:
    if size < 0:
        raise ModelError(f"a size of {size} bytes: it is 0 or more")


def kmalloc(kernel: Kernel, masks: Masks, mask: Mask, size: int) -> Placement:
    """Return where kmalloc(size, mask) ends up."""
    _checked(size)
    return _advised(kernel, masks, mask, _kmalloc(kernel, masks, mask, size, "kmalloc"))


def _kmalloc(kernel: Kernel, masks: Masks, mask: Mask, size: int, allocator: str) -> Placement:
    if size == 0:
        return Placement(
            allocator=allocator, size=0, source="none", real=0, align=0, contiguous=True,
            outcome=Outcome(False, "never", "none", "it returns ZERO_SIZE_PTR, which is not NULL and must not be accessed"),
        )  # fmt: skip
    if size > kernel.kmalloc_max_size:
        return _none(allocator, size, f"it is larger than KMALLOC_MAX_SIZE, {kernel.kmalloc_max_size} bytes")
    align = buckets.alignment(kernel, size)
    served = buckets.bucket(kernel, size)
    if served is None:
        return _from_pages(kernel, masks, mask, size, align, allocator)
    kind = buckets.kind(kernel, masks, mask)
    slab = slabs.slab(kernel, served, max(kernel.minalign, buckets.promised(kernel, served)))
    return Placement(
        allocator=allocator, size=size, source="cache", cache=buckets.name(kind or "normal", served), real=slab.stride,
        align=align, contiguous=True, order=slab.order, objects=slab.objects,
        outcome=outcome(kernel, masks, mask, kernel.order(slab.stride)),
        steps=(f"an object of a slab of {kernel.page_size << slab.order} bytes; a slab of as few pages as hold one object "
               "if there is no larger block",) if slab.order > kernel.order(slab.stride) else (),
    )  # fmt: skip


def _from_pages(kernel: Kernel, masks: Masks, mask: Mask, size: int, align: int, allocator: str) -> Placement:
    """Return the placement of what the page allocator serves; SLOB puts small objects behind a word with their size."""
    small = kernel.slab == "slob" and size < kernel.page_size - kernel.minalign
    order = kernel.order(size)
    real = -(-(size + kernel.minalign) // _SLOB_UNIT) * _SLOB_UNIT if small else kernel.page_size << order
    return Placement(
        allocator=allocator, size=size, source="cache" if small else "pages", cache="slob" if small else "", real=real,
        align=align, contiguous=True, order=order, outcome=outcome(kernel, masks, mask, order),
    )  # fmt: skip


def pages(kernel: Kernel, masks: Masks, mask: Mask, order: int) -> Placement:
    """Return where alloc_pages(mask, order) ends up."""
    if order < 0:
        raise ModelError(f"an order of {order}: it is 0 or more")
    size = kernel.page_size << order
    if order > kernel.max_order:
        return _none("alloc_pages", size, f"order {order} is above the largest, {kernel.max_order}")
    return _advised(kernel, masks, mask, Placement(
        allocator="alloc_pages", size=size, source="pages", real=size, align=size, contiguous=True, order=order,
        outcome=outcome(kernel, masks, mask, order),
    ))  # fmt: skip


def _area(kernel: Kernel, masks: Masks, mask: Mask, size: int, allocator: str) -> Placement:
    """Return the placement of single pages that are mapped in a row, behind them a guard page without memory."""
    count = kernel.pages(size)
    return Placement(
        allocator=allocator, size=size, source="vmalloc", real=count * kernel.page_size, align=kernel.page_size,
        contiguous=False, outcome=outcome(kernel, masks, mask, 0)._replace(may_sleep=True),
        steps=(f"pages one by one ({count}), mapped in a row of {(count + 1) * kernel.page_size} bytes with the guard page",
               f"an array of as many pointers ({count * kernel.pointer} bytes) and page tables; both may sleep"),
    )  # fmt: skip


def vmalloc(kernel: Kernel, masks: Masks, mask: Mask, size: int) -> Placement:
    """Return where __vmalloc(size, mask) ends up; vmalloc() itself has GFP_KERNEL."""
    _checked(size)
    if size == 0:
        return _none("vmalloc", 0, "a size of 0 is refused with a warning")
    return _advised(kernel, masks, mask, _area(kernel, masks, mask, size, "vmalloc"))


def kvmalloc(kernel: Kernel, masks: Masks, mask: Mask, size: int) -> Placement:
    """Return where kvmalloc(size, mask) ends up: in kmalloc, or above a page perhaps in vmalloc."""
    _checked(size)
    nowarn = masks.parse("__GFP_NOWARN | __GFP_NORETRY")
    first = mask if size <= kernel.page_size else (mask | nowarn) & ~masks.parse("__GFP_NOFAIL")
    tried = _kmalloc(kernel, masks, first, size, "kvmalloc")
    asked = masks.has(mask, "__GFP_RETRY_MAYFAIL") and kernel.page_size < size
    refusal = _no_fallback(kernel, masks, mask, size)
    if size <= kernel.page_size or refusal:
        placed = msgspec.structs.replace(tried, steps=(*tried.steps, refusal) if refusal else tried.steps)
        return _advised(kernel, masks, mask, placed)
    fallback = _area(kernel, masks, mask, size, "kvmalloc")
    how = "tried hard" if asked else "without much reclaim and without a warning"
    first_step = f"kmalloc {how}: {tried.cache or 'pages'} of {tried.real} bytes" if tried.real else "kmalloc has none so large"
    either = tried if tried.real else fallback
    return _advised(kernel, masks, mask, msgspec.structs.replace(
        either, contiguous=False, align=min(either.align, fallback.align), outcome=fallback.outcome,
        steps=(first_step, *fallback.steps),
    ))  # fmt: skip


def _no_fallback(kernel: Kernel, masks: Masks, mask: Mask, size: int) -> str:
    """Return why kvmalloc() does not fall back to vmalloc, "" if it does."""
    if size <= kernel.page_size:
        return ""
    if masks.may_sleep(mask) is False:
        return "no vmalloc: it sleeps, and the mask does not allow it"
    if not kernel.kvmalloc_any_mask and masks.has(mask, "GFP_KERNEL") is False:
        return "no vmalloc: before 5.17 only for masks with all of GFP_KERNEL"
    if kernel.kvmalloc_limit and size > kernel.kvmalloc_limit:
        return "no vmalloc: it refuses what is larger than INT_MAX"
    return ""


def percpu(kernel: Kernel, masks: Masks, mask: Mask, size: int, align: int = 0) -> Placement:
    """Return where __alloc_percpu_gfp(size, align, mask) ends up: `real` is per processor."""
    _checked(size)
    aligned = max(align, kernel.percpu_unit)
    if aligned & (aligned - 1) or aligned > kernel.page_size:
        return _none("alloc_percpu", size, f"an alignment of {align} is no power of two up to a page")
    real = -(-size // kernel.percpu_unit) * kernel.percpu_unit
    if not 0 < real <= kernel.percpu_max:
        return _none("alloc_percpu", size, f"percpu objects have 1 to {kernel.percpu_max} bytes")
    return _advised(kernel, masks, mask, Placement(
        allocator="alloc_percpu", size=size, source="percpu", real=real, align=aligned, contiguous=False,
        outcome=outcome(kernel, masks, mask, 0),
        steps=(f"{real} bytes for each possible processor; without sleeping only from chunks that are there already",),
    ))  # fmt: skip


def dma(kernel: Kernel, masks: Masks, mask: Mask, size: int) -> Placement:
    """Return where dma_alloc_coherent(dev, size, handle, mask) ends up, without an IOMMU or a pool of the device."""
    _checked(size)
    if size == 0 or masks.has(mask, "__GFP_COMP"):
        return _none("dma_alloc_coherent", size, "a size of 0 and __GFP_COMP are refused")
    order = kernel.order(size)
    if order > kernel.max_order:
        placed = _none("dma_alloc_coherent", size, "it is above the largest block of pages: only CMA or an IOMMU has so much")
        return msgspec.structs.replace(placed, outcome=placed.outcome._replace(may_fail="often", may_sleep=masks.may_sleep(mask)))
    return _advised(kernel, masks, mask, Placement(
        allocator="dma_alloc_coherent", size=size, source="pages", real=kernel.pages(size) * kernel.page_size,
        align=kernel.page_size << order, contiguous=True, order=order, outcome=outcome(kernel, masks, mask, order),
        steps=("zeroed; the zone follows from the device's mask, zone bits of the GFP mask are ignored",),
    ))  # fmt: skip


def cache(
    kernel: Kernel, masks: Masks, mask: Mask, size: int, align: int = 0, cache_line: bool = False, kept: bool = False,
) -> Placement:
    """Return where kmem_cache_alloc() of a cache of objects of `size` bytes ends up; see slabs.slab for the options."""
    if size <= 0:
        raise ModelError(f"objects of {size} bytes: they have 1 or more")
    slab = slabs.slab(kernel, size, align, cache_line, kept)
    return _advised(kernel, masks, mask, Placement(
        allocator="kmem_cache_alloc", size=size, source="cache", real=slab.stride, align=slab.align, contiguous=True,
        order=slab.order, objects=slab.objects, outcome=outcome(kernel, masks, mask, kernel.order(slab.stride)),
        steps=(f"{slab.objects} objects in a slab of {kernel.page_size << slab.order} bytes, {slab.waste(kernel)} left over",),
    ))  # fmt: skip
