"""The model's constants against the headers of a real kernel: KGFPLINT_TREE names its root; without it, skipped."""

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kgfplint.allocator import Kernel, buckets, kernel
from kgfplint.source.layouts import abi_names, abi_of

TREE = Path(os.environ.get("KGFPLINT_TREE", ""))
pytestmark = [
    pytest.mark.skipif(not os.environ.get("KGFPLINT_TREE"), reason="KGFPLINT_TREE names no kernel tree"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc"),
]
SHIM = """
#define __always_inline inline
#define BUILD_BUG_ON_MSG(condition, text)
#define BUG() __builtin_trap()
#define IS_ENABLED(option) 0
#define ilog2(n) (63 - __builtin_clzl(n))
typedef unsigned long size_t;
typedef _Bool bool;
"""


def read(path: str) -> str:
    return (TREE / path).read_text(errors="replace")


def defined(path: str, name: str) -> str:
    return re.search(rf"^#\s*define\s+{name}\s+(.+?)\s*(?:/\*|$)", read(path), re.MULTILINE)[1]


@pytest.fixture(scope="module")
def version() -> tuple[int, int]:
    words = dict(re.findall(r"^(VERSION|PATCHLEVEL) = (\d+)", read("Makefile"), re.MULTILINE))
    return int(words["VERSION"]), int(words["PATCHLEVEL"])


def minimal_alignment(arch: str) -> str:
    """The lines of an architecture's header that say how kmalloc aligns, where its DMA is usually not coherent."""
    text = read(f"{abi_of(arch).folder}include/asm/cache.h")
    if "CONFIG_NOT_COHERENT_CACHE" in text:  # embedded powerpc only
        return ""
    kept = re.findall(r"^#\s*define\s+(?:ARCH_(?:DMA|KMALLOC)_MINALIGN|L1_CACHE_(?:SHIFT|BYTES))\b.*$", text, re.MULTILINE)
    return re.sub(r"CONFIG_\w+_CACHE_SHIFT", "6", "\n".join(kept))


def header_of(machine: Kernel, version: tuple[int, int]) -> str:
    """The tree's own definitions of kmalloc's limits, and its function from size to cache, for one kernel."""
    text = read("include/linux/slab.h")
    limits = text[text.index("#ifdef ARCH_HAS_DMA_MINALIGN") : text.index("#define SLAB_OBJ_MIN_SIZE")]
    limits = re.sub(r"static inline unsigned int arch_slab_minalign.*?^}", "", limits, flags=re.DOTALL | re.MULTILINE)
    body = re.search(r"^static __always_inline unsigned int __kmalloc_index\(.*?^}", text, re.DOTALL | re.MULTILINE)[0]
    exclusive = version < (6, 4)
    align = minimal_alignment(machine.arch)
    return "\n".join([
        SHIM, align, "#define ARCH_HAS_DMA_MINALIGN" if "DMA_MINALIGN" in align else "",
        f"#define PAGE_SHIFT {machine.page_shift}", f"#define CONFIG_{machine.slab.upper()} 1",
        f"#define {'MAX_ORDER' if version < (6, 8) else 'MAX_PAGE_ORDER'} {machine.max_order + exclusive}", limits, body,
        "unsigned long limits[] = { KMALLOC_MAX_SIZE, KMALLOC_MAX_CACHE_SIZE, KMALLOC_MIN_SIZE, ARCH_KMALLOC_MINALIGN };",
        "unsigned int number(unsigned long size) { return __kmalloc_index(size, 0); }",
    ])


def machines(version: tuple[int, int]) -> Iterator[Kernel]:
    for arch in abi_names():
        for page_size in abi_of(arch).pages:
            for slab in ("slub", "slab") if version < (6, 8) else ("slub",):
                yield kernel(arch, version, page_size, slab)


def test_limits_and_caches_are_those_of_slab_h(tmp_path: Path, version: tuple[int, int]):
    for count, machine in enumerate(machines(version)):
        library = tmp_path / f"{count}.so"
        subprocess.run(["gcc", "-w", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=header_of(machine, version),
                       text=True, check=True)
        tree = ctypes.CDLL(str(library))
        limits = tuple((ctypes.c_ulong * 4).in_dll(tree, "limits"))
        largest = machine.kmalloc_max_cache_size
        assert limits == (machine.kmalloc_max_size, largest, machine.kmalloc_min_size, machine.minalign), machine
        sizes = [*range(2000), *(edge + by for edge in buckets.sizes(machine) for by in (-1, 0, 1) if edge + by <= largest)]
        wanted = [tree.number(ctypes.c_ulong(size)) for size in sizes]
        assert [buckets.index(machine, size) for size in sizes] == wanted, machine


def test_the_largest_order_is_that_of_kconfig(version: tuple[int, int]):
    words = {4096: "4K", 16384: "16K", 65536: "64K"}
    for arch in ("arm64", "ppc64le"):
        text = read(f"{abi_of(arch).folder}Kconfig")
        block = text[text.index("config ARCH_FORCE_MAX_ORDER") :][:1200]
        for page_size in abi_of(arch).pages:
            pages = [rf"PPC64 && {'!' if page_size == 4096 else ''}PPC_64K_PAGES"] if arch == "ppc64le" else (
                [rf"ARM64_{words[page_size]}_PAGES"] if page_size != 4096 else [])
            condition = f" if {pages[0]}" if pages else r"\n"
            default = int(re.search(rf'default "(\d+)"{condition}', block)[1])
            assert kernel(arch, version, page_size).max_order == default - (version < (6, 4))


def test_other_constants(version: tuple[int, int]):
    machine = kernel(version=version)
    assert machine.costly_order == int(defined("include/linux/mmzone.h", "PAGE_ALLOC_COSTLY_ORDER"))
    assert f"PFN_ALIGN({machine.percpu_max >> 10} << 10)" == defined("include/linux/percpu.h", "PCPU_MIN_UNIT_SIZE")
    assert machine.percpu_unit == 1 << int(defined("include/linux/percpu.h", "PCPU_MIN_ALLOC_SHIFT"))
    assert machine.slab_max_objects == int(defined("mm/slub.c", "MAX_OBJS_PER_PAGE"))
    assert kernel("s390x", version).cache_line == int(defined("arch/s390/include/asm/cache.h", "L1_CACHE_BYTES"))
    assert bool(machine.fewer_objects) == ("min_objects--" in read("mm/slub.c"))
    assert bool(machine.align_divisor) == ("largest power-of-two divisor" in read("include/linux/slab.h").replace("\n * ", " "))
