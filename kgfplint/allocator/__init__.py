"""The reference allocator model: what the kernel's allocators make of a size and a mask.

    machine = kernel("x86_64", (6, 12))                  # architecture, version (None: newest), page size, slab allocator
    machine.kmalloc_max_size                             # 4194304: what is larger always fails
    buckets.bucket(machine, 4100)                        # 8192: the cache; None: the page allocator serves it
    buckets.alignment(machine, 4100)                     # 8: what is promised of the address
    slabs.slab(machine, 4100, align=64)                  # the slabs of a kmem_cache
    slabs.window(100, 16, 8).allows(16, 4)               # may usercopy touch these bytes of its objects
    reclaim.outcome(machine, masks, mask, order)         # may it sleep, may it fail, how hard is tried
    kmalloc(machine, masks, mask, 4100)                  # all of it, and what to use instead; also pages, vmalloc, …

Masks come from kgfplint.gfp, with bits that may be unknown: answers that depend on these are None. The model knows no
debugging options (they enlarge objects), no swiotlb and no IOMMU.
"""

from kgfplint.allocator import buckets, reclaim, slabs
from kgfplint.allocator.kernels import Kernel, ModelError, Often, kernel
from kgfplint.allocator.placement import Placement, cache, dma, kmalloc, kvmalloc, pages, percpu, vmalloc
from kgfplint.allocator.reclaim import Outcome

__all__ = [
    "Kernel", "ModelError", "Often", "Outcome", "Placement", "buckets", "cache", "dma", "kernel", "kmalloc", "kvmalloc",
    "pages", "percpu", "reclaim", "slabs", "vmalloc",
]  # fmt: skip
