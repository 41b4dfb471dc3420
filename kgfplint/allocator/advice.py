"""What to use instead: a line for each thing that a request could do better."""

from collections.abc import Iterator, Mapping
from typing import Any

from kgfplint.allocator.kernels import Kernel
from kgfplint.gfp import Mask, Masks

_WASTE = 4
"""A request that leaves more than one in so many of its bytes unused is worth a word."""


def advice_for(kernel: Kernel, masks: Masks, mask: Mask, placed: Mapping[str, Any]) -> Iterator[str]:
    """Yield what to write instead of a request; `placed` are the fields of its Placement, and `waste`."""
    allocator, size = placed["allocator"], placed["size"]
    sleeps = masks.may_sleep(mask)
    if allocator in ("vmalloc", "kvmalloc") and sleeps is False:
        yield "vmalloc sleeps whatever the mask: allocate beforehand, or in process context"
    if allocator == "vmalloc" and 0 < size <= kernel.page_size:
        yield "kmalloc: vmalloc takes a whole page, a guard page and page tables for it"
    if allocator in ("vmalloc", "kvmalloc"):
        yield from _masks(kernel, masks, mask)
    if allocator == "kmalloc":
        yield from _kmalloc(kernel, masks, mask, placed)
    if masks.has(mask, "__GFP_NOFAIL") and (placed["order"] or 0) > 1 and placed["source"] == "pages":
        yield "kvmalloc with __GFP_NOFAIL: the page allocator warns about such requests above order 1"
    if allocator in ("kmalloc", "alloc_pages") and (masks.has(mask, "__GFP_DMA") or masks.has(mask, "__GFP_DMA32")):
        yield "dma_alloc_coherent, or dma_map_single with a DMA mask: zones tell nothing of what a device reaches"


def _kmalloc(kernel: Kernel, masks: Masks, mask: Mask, placed: Mapping[str, Any]) -> Iterator[str]:
    size, sleeps = placed["size"], masks.may_sleep(mask)
    if size > kernel.kmalloc_max_size:
        if sleeps is False:
            yield "memory allocated beforehand: no allocator has so much without sleeping"
        else:
            yield "kvmalloc or vmalloc if it need not be physically contiguous, dma_alloc_coherent or CMA if it must"
    elif size > kernel.page_size:
        if sleeps is False:
            yield "an allocation beforehand, or several of up to a page: larger blocks are rare without reclaim"
        else:
            yield "kvmalloc if it need not be physically contiguous: kmalloc is meant for less than a page"
    if placed["source"] == "cache" and placed["waste"] * _WASTE > placed["real"] and size > kernel.kmalloc_min_size:
        yield f"{placed['real']} bytes if they are of use, or a kmem_cache of {size} bytes for many objects: the rest is wasted"
    if masks.has(mask, "__GFP_HIGHMEM") or masks.has(mask, "__GFP_DMA32"):
        yield "a mask without zones: there are no such caches, the bits are dropped with a warning"


def _masks(kernel: Kernel, masks: Masks, mask: Mask) -> Iterator[str]:
    if masks.has(mask, "__GFP_NORETRY") or (masks.has(mask, "__GFP_RETRY_MAYFAIL") and not kernel.vmalloc_masks):
        yield "no retry modifiers: vmalloc's page tables are allocated without them"
    lacks = any(masks.has(mask, bit) is False for bit in ("__GFP_IO", "__GFP_FS"))
    if lacks and masks.may_sleep(mask) and not kernel.vmalloc_masks:
        yield "GFP_KERNEL in a memalloc_nofs_save() or memalloc_noio_save() scope: before 5.17 vmalloc does not honour such masks"
