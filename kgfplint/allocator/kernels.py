"""The constants of one kernel: rules/allocator.toml for an architecture, a version, a page size and a slab allocator."""

from functools import cache
from typing import Literal

import msgspec

from kgfplint.catalogue import CatalogueError, Version, rules_directory
from kgfplint.source.layouts import UnknownAbi, abi_of

Often = Literal["never", "rarely", "often", "always"]
"""How likely a request fails: it loops until it succeeds; as good as never, but callers must check; under memory pressure;
whatever memory there is."""
_LARGEST_PAGE = 1 << 18
_MOST_CPUS = 8192


class ModelError(Exception):
    """There is no such kernel, or no such request; str is one line."""


class Effort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How hard the page allocator tries under masks with all of `set` and none of `clear`.

    `small` and `costly` tell whether orders up to, and above, the costly one may fail; `how` completes "with it ...".
    """

    name: str
    small: Often
    costly: Often
    how: str
    set: tuple[str, ...] = ()
    clear: tuple[str, ...] = ()


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value of a constant, and the kernels that have it."""

    name: str
    value: int
    arch: tuple[str, ...] = ()
    page_size: int | None = None
    slab: str = ""
    since: str = ""
    until: str = ""


class UserCopy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Functions that copy to or from user space: which arguments are the object and the number of bytes (-1: the last)."""

    names: tuple[str, ...]
    object: int
    bytes: int


class _Slab(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A slab allocator, and the first version without it."""

    name: str
    until: str = ""


class _Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tables of rules/allocator.toml."""

    slab: list[_Slab]
    constant: list[_Row]
    effort: list[Effort]
    small: dict[str, str]
    usercopy: list[UserCopy]


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """One kernel; sizes and alignments in bytes, orders as powers of two of pages, switches 0 or 1.

    `version` None is the newest. `cpus` are the processors that are present when caches are made. `pointer` is the size of
    a word. The others are described in rules/allocator.toml.
    """

    arch: str
    version: Version | None
    page_size: int
    slab: str
    cpus: int
    pointer: int
    max_order: int
    costly_order: int
    minalign: int
    slab_minalign: int
    cache_line: int
    shift_low: int
    shift_above_page: int
    slab_max_order: int
    slab_max_objects: int
    percpu_max: int
    percpu_unit: int
    fewer_objects: int = 0
    align_power: int = 0
    align_divisor: int = 0
    reclaimable_caches: int = 0
    cgroup_caches: int = 0
    kvmalloc_limit: int = 0
    kvmalloc_any_mask: int = 0
    vmalloc_masks: int = 0
    usercopy_strict: int = 0

    @property
    def page_shift(self) -> int:
        """PAGE_SHIFT."""
        return self.page_size.bit_length() - 1

    @property
    def kmalloc_max_size(self) -> int:
        """KMALLOC_MAX_SIZE: what is larger always fails. SLAB before 6.1 had no caches above 32 MiB, nor pages behind them."""
        largest = self.page_size << self.max_order
        return min(largest, 1 << 25) if self.shift_above_page > self.max_order else largest

    @property
    def kmalloc_max_cache_size(self) -> int:
        """KMALLOC_MAX_CACHE_SIZE: what is larger comes from the page allocator."""
        return min(self.page_size << self.shift_above_page, self.kmalloc_max_size)

    @property
    def kmalloc_min_size(self) -> int:
        """KMALLOC_MIN_SIZE: the smallest cache."""
        return max(1 << self.shift_low, self.minalign if self.minalign > 8 else 0)

    def pages(self, size: int) -> int:
        """Return how many pages `size` bytes take."""
        return -(-size // self.page_size)

    def order(self, size: int) -> int:
        """Return the order of the smallest block of pages with room for `size` bytes (get_order)."""
        return (self.pages(size) - 1).bit_length() if size else 0

    def __str__(self) -> str:
        """Describe the kernel in a line."""
        version = ".".join(map(str, self.version)) if self.version else "newest"
        return f"{self.arch}, Linux {version}, pages of {self.page_size} bytes, {self.slab}"


def kernel(
    arch: str = "x86_64", version: Version | None = None, page_size: int | None = None, slab: str = "slub", cpus: int = 4,
) -> Kernel:
    """Return the constants of a kernel; `page_size` None is the usual one of the architecture.

    Raises ModelError for an architecture, a page size or a slab allocator that there is not.
    """
    try:
        abi = abi_of(arch)
    except UnknownAbi as error:
        raise ModelError(str(error)) from None
    size = page_size or abi.pages[0]
    if size not in abi.pages:
        raise ModelError(f"{arch} has no pages of {size} bytes: there are {', '.join(map(str, abi.pages))}")
    if not 1 <= cpus <= _MOST_CPUS:
        raise ModelError(f"{cpus} processors: there are 1 to {_MOST_CPUS}")
    rules = _rules()
    known = {row.name: row for row in rules.slab}
    if slab not in known:
        raise ModelError(f"unknown slab allocator {slab!r}: there are {', '.join(known)}")
    if not _holds(version, "", known[slab].until):
        raise ModelError(f"Linux {known[slab].until} and later have no {slab}")
    values = {
        row.name: row.value for row in rules.constant
        if (not row.arch or arch in row.arch) and row.page_size in (None, size) and row.slab in ("", slab)
        and _holds(version, row.since, row.until)
    }  # fmt: skip
    return Kernel(arch=arch, version=version, page_size=size, slab=slab, cpus=cpus, pointer=abi.pointer, **values)


def efforts() -> list[Effort]:
    """Return how hard the page allocator tries, the rows in the order in which they are looked at."""
    return _rules().effort


def small_twin(name: str) -> str:
    """Return what to use for less than a page instead of an allocator of the vmalloc family, "" if there is nothing."""
    return _rules().small.get(name, "")


@cache
def user_copies() -> dict[str, UserCopy]:
    """Return the functions that copy between objects and user space, by name."""
    return {name: row for row in _rules().usercopy for name in row.names}


@cache
def _rules() -> _Rules:
    path = rules_directory() / "allocator.toml"
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_Rules)
    except (OSError, msgspec.DecodeError) as error:
        raise CatalogueError(str(path), 1, f"is no table of allocators: {error}") from None


def _holds(version: Version | None, since: str, until: str) -> bool:
    """Tell whether a version lies in a span; the newest lies in those without end."""
    if version is None:
        return not until
    first, end = (tuple(map(int, text.split("."))) if text else None for text in (since, until))
    return (first is None or first <= version) and (end is None or version < end)
