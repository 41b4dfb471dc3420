"""Slabs: how many objects of a cache share how many pages.

Sources: calculate_sizes() and calculate_order() in mm/slub.c, calculate_slab_order() in mm/slab.c (until 6.8),
calculate_alignment() in mm/slab_common.c; without debugging options, which add to objects.
"""

from typing import NamedTuple

from kgfplint.allocator.kernels import Kernel, ModelError


class Slab(NamedTuple):
    """The slabs of a cache: bytes from one object to the next, their alignment, the order of a slab, and objects in it."""

    stride: int
    align: int
    order: int
    objects: int

    def waste(self, kernel: Kernel) -> int:
        """Return the bytes of a slab that no object takes."""
        return (kernel.page_size << self.order) - self.objects * self.stride


class Window(NamedTuple):
    """The part of a cache's objects that may be copied to and from user space, in bytes; of size 0: none."""

    offset: int
    size: int

    def allows(self, offset: int, size: int) -> bool:
        """Tell whether `size` bytes at `offset` of an object may be copied."""
        return self.offset <= offset and offset + size <= self.offset + self.size


def window(object_size: int, offset: int, size: int) -> Window:
    """Return the window that kmem_cache_create_usercopy() sets up; a senseless one is none (the kernel warns)."""
    if (not size and offset) or offset + size > object_size:
        return Window(0, 0)
    return Window(offset, size)


def alignment(kernel: Kernel, object_size: int, align: int = 0, cache_line: bool = False) -> int:
    """Return the alignment of objects for a kmem_cache's `align`, and SLAB_HWCACHE_ALIGN if `cache_line`."""
    if cache_line:
        line = kernel.cache_line
        while object_size <= line // 2:
            line //= 2
        align = max(align, line)
    return _up(max(align, kernel.slab_minalign), kernel.pointer)


def slab(kernel: Kernel, object_size: int, align: int = 0, cache_line: bool = False, kept: bool = False) -> Slab:
    """Return the slabs of a cache of objects of `object_size` bytes.

    `kept`: objects keep their bytes while they are free (a constructor, SLAB_TYPESAFE_BY_RCU), so that SLUB's pointer to
    the next free one lies behind them. ModelError for a size that no slab holds, and where there are no slabs (SLOB).
    """
    if kernel.slab == "slob":
        raise ModelError("slob has no slabs of objects of one size")
    aligned = alignment(kernel, object_size, align, cache_line)
    stride = _up(object_size, kernel.pointer)
    if kept and kernel.slab == "slub":
        stride += kernel.pointer
    return of_stride(kernel, _up(max(stride, 1), aligned), aligned)


def of_stride(kernel: Kernel, stride: int, align: int = 1) -> Slab:
    """Return the slabs of objects that lie `stride` bytes apart; ModelError when they are too large for any."""
    order = _slab_order(kernel, stride) if kernel.slab == "slab" else _slub_order(kernel, stride)
    if order > kernel.max_order:
        raise ModelError(f"objects of {stride} bytes are too large for a slab: at most {kernel.page_size << kernel.max_order}")
    return Slab(stride, align, order, (kernel.page_size << order) // stride)


def _slub_order(kernel: Kernel, stride: int) -> int:
    """Return the order that SLUB chooses: little waste goes before few pages, and both before many objects."""
    most = kernel.slab_max_order
    fitting = (kernel.page_size << most) // stride
    wanted = max(min(4 * (kernel.cpus.bit_length() + 1), fitting), 1)
    if kernel.page_size // stride > kernel.slab_max_objects:
        return kernel.order(stride * kernel.slab_max_objects) - 1
    for objects in range(wanted, 1, -1) if kernel.fewer_objects else (wanted,):
        for part in (16, 8, 4) if kernel.fewer_objects else (16, 8, 4, 2):
            for order in range(kernel.order(objects * stride), most + 1):
                size = kernel.page_size << order
                if size % stride <= size // part:
                    return order
    return kernel.order(stride)


def _slab_order(kernel: Kernel, stride: int) -> int:
    """Return the order that SLAB chooses when its lists of free objects lie inside or beside them."""
    best = kernel.order(stride)
    for order in range(best, kernel.max_order + 1):
        size = kernel.page_size << order
        if size // stride > kernel.slab_max_objects:
            break
        best = order
        if order >= kernel.slab_max_order or size % stride * 8 <= size:
            break
    return best


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
