"""kmalloc's caches: which one a request goes to, and what is promised of its address.

Sources: kmalloc_index() and kmalloc_type() in include/linux/slab.h, setup_kmalloc_cache_index_table() in mm/slab_common.c.
"""

from typing import Literal

from kgfplint.allocator.kernels import Kernel
from kgfplint.gfp import Mask, Masks

Kind = Literal["normal", "dma", "reclaimable", "cgroup"]
PREFIXES: dict[str, str] = {"normal": "kmalloc-", "dma": "dma-kmalloc-", "reclaimable": "kmalloc-rcl-", "cgroup": "kmalloc-cg-"}
"""How the names of the caches of each kind begin."""


def index(kernel: Kernel, size: int) -> int:
    """Return the number of the cache for `size` bytes (0 for none: size 0): 2 to this power, but 1 is 96 and 2 is 192 bytes."""
    if size == 0:
        return 0
    smallest = kernel.kmalloc_min_size
    if size <= smallest:
        return smallest.bit_length() - 1
    if smallest <= 32 and 64 < size <= 96:
        return 1
    if smallest <= 64 and 128 < size <= 192:
        return 2
    return (size - 1).bit_length()


def bucket(kernel: Kernel, size: int) -> int | None:
    """Return the bytes of the cache that serves `size` bytes; None where the page allocator does, and without caches (SLOB)."""
    if kernel.slab == "slob" or not 0 < size <= kernel.kmalloc_max_cache_size:
        return None
    return {1: 96, 2: 192}.get(number := index(kernel, size), 1 << number)


def sizes(kernel: Kernel) -> tuple[int, ...]:
    """Return the bytes of all caches, the smallest first."""
    found, size = [], 1
    while (served := bucket(kernel, size)) is not None:
        found.append(served)
        size = served + 1
    return tuple(found)


def kind(kernel: Kernel, masks: Masks, mask: Mask) -> Kind | None:
    """Return which of the caches of a size a mask asks for, None if its bits are not known.

    Zones go before mobility, and that before accounting; CONFIG_ZONE_DMA and CONFIG_MEMCG are taken to be on.
    """
    for name, bit, there in (
        ("dma", "__GFP_DMA", 1), ("reclaimable", "__GFP_RECLAIMABLE", kernel.reclaimable_caches),
        ("cgroup", "__GFP_ACCOUNT", kernel.cgroup_caches),
    ):
        asked = masks.has(mask, bit) if there else False
        if asked is None:
            return None
        if asked:
            return name  # type: ignore[return-value]
    return "normal"


def name(kind: Kind, size: int) -> str:
    """Return what /proc/slabinfo calls the cache of `size` bytes: kmalloc-96, kmalloc-2k, kmalloc-4M."""
    for shift, unit in ((20, "M"), (10, "k")):
        if size >> shift and size % (1 << shift) == 0:
            return f"{PREFIXES[kind]}{size >> shift}{unit}"
    return f"{PREFIXES[kind]}{size}"


def alignment(kernel: Kernel, size: int) -> int:
    """Return the alignment in bytes that kmalloc(size) promises, whatever the configuration."""
    least = max(kernel.minalign, kernel.slab_minalign)
    if size > kernel.kmalloc_max_cache_size:
        return max(kernel.page_size, promised(kernel, size))
    return max(least, promised(kernel, size))


def promised(kernel: Kernel, size: int) -> int:
    """Return what the size alone promises: a power of two is aligned to itself, later any size to its largest such divisor."""
    divisor = size & -size
    if kernel.align_divisor or (kernel.align_power and divisor == size):
        return max(divisor, 1)
    return 1
