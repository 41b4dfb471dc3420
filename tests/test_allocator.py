"""The allocator model: against a second opinion in C, against the running kernel, against laws, and by example."""

import ctypes
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kgfplint import allocator
from kgfplint.allocator import Kernel, ModelError, buckets, kernel, reclaim, slabs
from kgfplint.gfp import Mask, Masks
from kgfplint.source.layouts import abi_names, abi_of

SLABINFO = Path("/proc/slabinfo")
MASKS = Masks.of_tree(None, (6, 12))
ATOMIC, KERNEL = MASKS.parse("GFP_ATOMIC"), MASKS.parse("GFP_KERNEL")

BY_TABLE = """
/* The caches that exist, the smallest first: powers of two from `least` on, and two odd sizes where objects may lie so close. */
unsigned long served(unsigned long size, unsigned long least, unsigned long largest)
{
    unsigned long caches[80];
    int count = 0, i;

    for (unsigned long power = 8; power <= largest; power *= 2) {
        if (power >= least)
            caches[count++] = power;
        if (power == 64 && least <= 32)
            caches[count++] = 96;
        if (power == 128 && least <= 64)
            caches[count++] = 192;
    }
    for (i = 0; i < count; i++)
        if (size && size <= caches[i])
            return caches[i];
    return 0;
}
"""


@st.composite
def kernels(draw: st.DrawFn) -> Kernel:
    arch = draw(st.sampled_from(abi_names()))
    version = draw(st.sampled_from([None, (4, 14), (5, 4), (5, 15), (6, 1), (6, 5), (6, 12)]))
    slab = draw(st.sampled_from(["slub", "slab"] if version and version < (6, 8) else ["slub"]))
    page_size = draw(st.sampled_from(abi_of(arch).pages))
    return kernel(arch, version, page_size, slab, draw(st.integers(1, 512)))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int, int], int]:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    library = tmp_path_factory.mktemp("served") / "served.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", library], input=BY_TABLE, text=True, check=True)
    function = ctypes.CDLL(str(library)).served
    function.argtypes, function.restype = [ctypes.c_ulong] * 3, ctypes.c_ulong
    return function


@given(machine=kernels(), size=st.integers(0, 1 << 26) | st.integers(0, 600))
def test_the_cache_is_the_smallest_that_fits(served: Callable[[int, int, int], int], machine: Kernel, size: int):
    expected = served(size, machine.kmalloc_min_size, machine.kmalloc_max_cache_size)
    assert (buckets.bucket(machine, size) or 0) == expected


def test_all_small_sizes(served: Callable[[int, int, int], int]):
    for machine in (kernel(), kernel("arm"), kernel("arm64", (6, 1)), kernel("x86_64", (6, 1), slab="slab")):
        least, largest = machine.kmalloc_min_size, machine.kmalloc_max_cache_size
        assert [buckets.bucket(machine, size) or 0 for size in range(largest + 2)] == [
            served(size, least, largest) for size in range(largest + 2)]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the model knows this machine under another name")
def test_slabs_are_those_of_the_running_kernel():
    try:
        lines = SLABINFO.read_text().splitlines()[2:]
    except OSError:
        pytest.skip("slabinfo is not readable")
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    present = Path("/sys/devices/system/cpu/present").read_text().strip()
    cpus = sum(int(last or first) - int(first) + 1 for first, last in re.findall(r"(\d+)(?:-(\d+))?", present))
    machine = kernel("x86_64", (int(version[1]), int(version[2])), cpus=cpus)
    table = {line.split()[0]: tuple(map(int, line.split()[3:6])) for line in lines}
    plain = {name: row for name, row in table.items() if re.fullmatch(r"kmalloc-\d+k?", name)}
    if not plain or any(size & 7 or size > 8192 for size, _, _ in plain.values()):
        pytest.skip("no SLUB, or one that debugs")
    assert {name: size for name, (size, _, _) in plain.items()} == {
        buckets.name("normal", size): size for size in buckets.sizes(machine)}
    assert {name: (size, slabs.of_stride(machine, size).objects, 1 << slabs.of_stride(machine, size).order)
            for name, (size, _, _) in table.items()} == table


@given(machine=kernels(), size=st.integers(1, 1 << 23), align=st.sampled_from([0, 1, 8, 64, 256]), kept=st.booleans())
def test_a_slab_is_full_of_aligned_objects(machine: Kernel, size: int, align: int, kept: bool):
    try:
        slab = slabs.slab(machine, size, align, kept=kept)
    except ModelError:
        assume(False)
    assert slab.stride >= size and slab.stride % slab.align == 0 and slab.align >= align
    assert slab.objects >= 1 and 0 <= slab.waste(machine) < slab.stride
    assert slab.order <= max(machine.slab_max_order, machine.order(slab.stride))


@given(machine=kernels(), size=st.integers(1, 1 << 20))
def test_what_is_promised_holds_in_the_cache(machine: Kernel, size: int):
    placed = allocator.kmalloc(machine, MASKS, KERNEL, size)
    assume(placed.source == "cache")
    stride = placed.real
    assert placed.align <= stride & -stride
    assert placed.align >= machine.minalign
    if machine.align_power and size & (size - 1) == 0:
        assert placed.align % size == 0


@given(machine=kernels(), size=st.integers(1, 1 << 30), gfp=st.integers(0, (1 << 28) - 1))
def test_every_request_has_an_answer(machine: Kernel, size: int, gfp: int):
    mask = Mask.of(gfp)
    for ask in (allocator.kmalloc, allocator.kvmalloc, allocator.vmalloc, allocator.percpu, allocator.dma):
        placed = ask(machine, MASKS, mask, size)
        assert placed.outcome.may_fail is not None and placed.outcome.may_sleep is not None
        assert placed.real >= size or placed.source == "none"
        assert (placed.source == "none") == (placed.real == 0)


@pytest.mark.parametrize(("arch", "version", "size", "align"), [
    ("x86_64", (5, 3), 64, 8), ("x86_64", (5, 4), 64, 64), ("x86_64", (5, 4), 96, 8), ("x86_64", (6, 11), 96, 32),
    ("arm64", (6, 4), 24, 128), ("arm64", (6, 5), 24, 8), ("riscv64", (6, 1), 8, 64), ("arm", (6, 12), 8, 64),
    ("x86_64", (6, 12), 12288, 4096), ("x86_64", (6, 12), 16384, 16384), ("ppc64le", (6, 12), 200000, 65536),
])  # fmt: skip
def test_alignment_by_version_and_architecture(arch: str, version: tuple[int, int], size: int, align: int):
    assert buckets.alignment(kernel(arch, version), size) == align


@pytest.mark.parametrize(("arch", "page_size", "largest"), [
    ("x86_64", 4096, 4 << 20), ("arm64", 65536, 512 << 20), ("arm64", 16384, 32 << 20), ("ppc64le", 65536, 16 << 20),
    ("ppc64le", 4096, 16 << 20), ("arm", 4096, 4 << 20),
])  # fmt: skip
def test_the_largest_request(arch: str, page_size: int, largest: int):
    machine = kernel(arch, (6, 12), page_size)
    assert machine.kmalloc_max_size == largest
    assert allocator.kmalloc(machine, MASKS, KERNEL, largest).outcome.may_fail == "often"
    over = allocator.kmalloc(machine, MASKS, MASKS.parse("GFP_KERNEL | __GFP_NOFAIL"), largest + 1)
    assert (over.source, over.outcome.may_fail) == ("none", "always")


def test_slab_before_6_1_had_caches_up_to_the_largest_size():
    assert kernel("x86_64", (6, 0), slab="slab").kmalloc_max_cache_size == 4 << 20
    assert kernel("arm64", (6, 0), 65536, slab="slab").kmalloc_max_size == 32 << 20
    assert kernel("x86_64", (6, 1), slab="slab").kmalloc_max_cache_size == 8192


@pytest.mark.parametrize(("gfp", "order", "sleeps", "fails"), [
    ("GFP_KERNEL", 0, True, "rarely"), ("GFP_KERNEL", 3, True, "rarely"), ("GFP_KERNEL", 4, True, "often"),
    ("GFP_NOFS", 1, True, "rarely"), ("GFP_ATOMIC", 0, False, "often"), ("GFP_NOWAIT", 0, False, "often"),
    ("GFP_KERNEL & ~__GFP_RECLAIM", 0, False, "often"), ("GFP_KERNEL | __GFP_NOFAIL", 0, True, "never"),
    ("GFP_KERNEL | __GFP_NORETRY", 0, True, "often"), ("GFP_KERNEL | __GFP_RETRY_MAYFAIL", 4, True, "often"),
    ("GFP_ATOMIC | __GFP_NOFAIL", 0, False, "often"), ("GFP_KERNEL | __GFP_NOFAIL", 11, False, "always"),
])  # fmt: skip
def test_the_table_of_the_guide(gfp: str, order: int, sleeps: bool, fails: str):
    found = reclaim.outcome(kernel(), MASKS, MASKS.parse(gfp), order)
    assert (found.may_sleep, found.may_fail) == (sleeps, fails)


def test_a_mask_that_is_not_known_decides_nothing_but_what_it_must():
    unknown = MASKS.parse("gfp")
    assert reclaim.outcome(kernel(), MASKS, unknown, 0) == (None, None, "", "")
    assert buckets.kind(kernel(), MASKS, unknown) is None
    assert reclaim.outcome(kernel(), MASKS, unknown, 11).may_fail == "always"
    assert reclaim.outcome(kernel(), MASKS, MASKS.parse("gfp | GFP_ATOMIC"), 0).may_fail is None
    assert reclaim.outcome(kernel(), MASKS, MASKS.parse("(gfp | __GFP_HIGH | __GFP_KSWAPD_RECLAIM) & ~__GFP_DIRECT_RECLAIM"),
                           0).effort == "atomic"


@pytest.mark.parametrize(("version", "gfp", "cache"), [
    ((6, 12), "GFP_KERNEL", "kmalloc-128"), ((6, 12), "GFP_KERNEL_ACCOUNT", "kmalloc-cg-128"),
    ((5, 13), "GFP_KERNEL_ACCOUNT", "kmalloc-128"), ((6, 12), "GFP_KERNEL | __GFP_RECLAIMABLE", "kmalloc-rcl-128"),
    ((4, 19), "GFP_KERNEL | __GFP_RECLAIMABLE", "kmalloc-128"),
    ((6, 12), "GFP_KERNEL_ACCOUNT | __GFP_RECLAIMABLE | GFP_DMA", "dma-kmalloc-128"),
])  # fmt: skip
def test_the_kind_of_a_cache(version: tuple[int, int], gfp: str, cache: str):
    assert allocator.kmalloc(kernel(version=version), MASKS, MASKS.parse(gfp), 100).cache == cache


@pytest.mark.parametrize(("version", "gfp", "size", "falls_back"), [
    ((6, 12), "GFP_KERNEL", 4096, False), ((6, 12), "GFP_KERNEL", 4097, True), ((6, 12), "GFP_ATOMIC", 65536, False),
    ((6, 12), "GFP_NOFS", 65536, True), ((5, 16), "GFP_NOFS", 65536, False), ((6, 12), "GFP_KERNEL", 1 << 31, False),
    ((5, 14), "GFP_KERNEL", 1 << 31, True),
])  # fmt: skip
def test_what_kvmalloc_falls_back_to(version: tuple[int, int], gfp: str, size: int, falls_back: bool):
    placed = allocator.kvmalloc(kernel(version=version), MASKS, MASKS.parse(gfp), size)
    assert any("mapped in a row" in step for step in placed.steps) == falls_back
    assert placed.contiguous == (not falls_back and placed.source != "none")


def test_usercopy_windows():
    window = slabs.window(100, 16, 8)
    assert window.allows(16, 8) and window.allows(20, 4)
    assert not window.allows(15, 2) and not window.allows(20, 8)
    assert slabs.window(100, 96, 8) == slabs.window(100, 16, 0) == (0, 0)


def test_other_allocators():
    machine = kernel()
    assert allocator.vmalloc(machine, MASKS, KERNEL, 4097).real == 8192
    assert allocator.vmalloc(machine, MASKS, ATOMIC, 1).outcome.may_sleep
    assert allocator.percpu(machine, MASKS, KERNEL, 5).real == 8
    assert allocator.percpu(machine, MASKS, KERNEL, 32769).outcome.may_fail == "always"
    assert allocator.percpu(machine, MASKS, KERNEL, 8, 8192).outcome.may_fail == "always"
    coherent = allocator.dma(machine, MASKS, KERNEL, 10000)
    assert (coherent.real, coherent.align) == (12288, 16384)
    assert allocator.dma(machine, MASKS, MASKS.parse("GFP_KERNEL | __GFP_COMP"), 1).source == "none"
    assert allocator.pages(machine, MASKS, KERNEL, 11).outcome.may_fail == "always"
    assert allocator.cache(machine, MASKS, KERNEL, 100, cache_line=True).real == 128
    assert allocator.cache(machine, MASKS, KERNEL, 20, cache_line=True).align == 32


@pytest.mark.parametrize(("words", "slab", "version"), [("no slob", "slob", None), ("no slab", "slab", (6, 8)),
                                                         ("unknown slab", "slxb", (6, 1))])
def test_there_is_no_such_kernel(words: str, slab: str, version: tuple[int, int] | None):
    with pytest.raises(ModelError, match=words):
        kernel("x86_64", version, slab=slab)
