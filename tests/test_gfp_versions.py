"""What each bit of a mask means by kernel version: one call a line, with the first kernel that reports it and the first
that does not any more."""

from pathlib import Path

import pytest

from kgfplint.config import Settings
from kgfplint.engine import run

ALWAYS, NEVER = (0, 0), (99, 0)
HEAD = """#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

struct bench {
	struct device *dev;
	mempool_t *pool;
	struct kmem_cache *cache;
	dma_addr_t dma;
	size_t size;
	struct page *page;
	void *p;
};

"""
# The call, its rule, and the kernels from .. to (not itself) that are told. Sources: the comments of __vmalloc_node_range() and
# kvmalloc_node() of each kernel, include/linux/gfp_types.h, mm/page_alloc.c, mm/mempool.c, kernel/dma/mapping.c.
CALLS = [
    ("b->p = __vmalloc(b->size, GFP_NOFS)", "vmalloc-gfp", ALWAYS, (5, 17)),
    ("b->p = __vmalloc(b->size, GFP_NOIO)", "vmalloc-gfp", ALWAYS, (5, 17)),
    ("b->p = __vmalloc(b->size, GFP_KERNEL | __GFP_NOFAIL)", "vmalloc-gfp", ALWAYS, (5, 17)),
    ("b->p = __vmalloc(b->size, GFP_NOWAIT)", "vmalloc-gfp", ALWAYS, (6, 19)),
    ("b->p = __vmalloc(b->size, GFP_ATOMIC)", "vmalloc-gfp", ALWAYS, (6, 19)),
    ("b->p = __vmalloc(b->size, GFP_KERNEL | __GFP_NORETRY)", "vmalloc-gfp", ALWAYS, (7, 0)),
    ("b->p = __vmalloc(b->size, GFP_KERNEL | __GFP_RETRY_MAYFAIL)", "vmalloc-gfp", ALWAYS, (7, 0)),
    ("b->p = __vmalloc(b->size, GFP_KERNEL | __GFP_MOVABLE)", "vmalloc-gfp", ALWAYS, NEVER),
    ("b->p = __vmalloc(b->size, GFP_KERNEL | __GFP_COMP)", "vmalloc-gfp", ALWAYS, NEVER),
    ("b->p = __vmalloc(b->size, GFP_KERNEL | __GFP_HIGHMEM)", "vmalloc-gfp", (4, 13), NEVER),
    ("b->p = __vmalloc(b->size, GFP_KERNEL | __GFP_ZERO)", "vmalloc-gfp", NEVER, NEVER),
    ("b->p = kvmalloc(b->size, GFP_NOFS)", "vmalloc-gfp", ALWAYS, (5, 17)),
    ("b->p = kvmalloc(b->size, GFP_NOIO)", "vmalloc-gfp", ALWAYS, (5, 17)),
    ("b->p = kvmalloc(b->size, GFP_KERNEL | __GFP_NOFAIL)", "vmalloc-gfp", ALWAYS, (5, 17)),
    ("b->p = kvmalloc(b->size, GFP_NOWAIT)", "vmalloc-gfp", ALWAYS, (6, 19)),
    ("b->p = kvzalloc(b->size, GFP_KERNEL | __GFP_NORETRY)", "vmalloc-gfp", ALWAYS, NEVER),
    ("b->p = kvmalloc(b->size, GFP_KERNEL | __GFP_RETRY_MAYFAIL)", "vmalloc-gfp", NEVER, NEVER),
    ("b->p = kvmalloc(b->size, GFP_KERNEL_ACCOUNT)", "vmalloc-gfp", NEVER, NEVER),
    ("b->p = kvmalloc(b->size, GFP_HIGHUSER)", "vmalloc-gfp", ALWAYS, NEVER),
    ("b->p = kvmalloc(b->size, GFP_KERNEL | GFP_DMA32)", "vmalloc-gfp", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_KERNEL | __GFP_NOFAIL | __GFP_NORETRY)", "gfp-conflict", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_KERNEL | __GFP_NOFAIL | __GFP_RETRY_MAYFAIL)", "gfp-conflict", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_KERNEL | __GFP_NORETRY | __GFP_RETRY_MAYFAIL)", "gfp-conflict", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_KERNEL | GFP_ATOMIC)", "gfp-conflict", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_NOWAIT | GFP_KERNEL)", "gfp-conflict", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_KERNEL | GFP_DMA32)", "gfp-conflict", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_NOWAIT | __GFP_RETRY_MAYFAIL)", "gfp-conflict", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN)", "gfp-conflict", NEVER, NEVER),
    ("b->page = alloc_pages(GFP_KERNEL | GFP_DMA | GFP_DMA32, 1)", "gfp-conflict", ALWAYS, NEVER),
    ("b->page = alloc_pages(GFP_KERNEL | GFP_DMA | __GFP_HIGHMEM, 1)", "gfp-conflict", ALWAYS, NEVER),
    ("b->page = alloc_pages(GFP_HIGHUSER_MOVABLE, 0)", "gfp-conflict", NEVER, NEVER),
    ("b->p = dma_alloc_coherent(b->dev, 8192, &b->dma, GFP_KERNEL | __GFP_COMP)", "gfp-conflict", (6, 2), NEVER),
    ("b->p = mempool_alloc(b->pool, GFP_NOIO | __GFP_ZERO)", "gfp-conflict", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_ATOMIC | __GFP_NOFAIL)", "nofail-misuse", ALWAYS, NEVER),
    ("b->page = alloc_pages(GFP_KERNEL | __GFP_NOFAIL, 4)", "nofail-misuse", ALWAYS, NEVER),
    ("b->page = alloc_pages(GFP_KERNEL | __GFP_NOFAIL, 1)", "nofail-misuse", NEVER, NEVER),
    ("b->p = kmalloc(64, GFP_KERNEL | GFP_DMA)", "legacy-dma-zone", ALWAYS, NEVER),
    ("b->p = kmem_cache_alloc(b->cache, GFP_HIGHUSER)", "slab-page-flags", ALWAYS, NEVER),
    ("b->p = kmem_cache_alloc(b->cache, GFP_HIGHUSER_MOVABLE)", "slab-page-flags", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_USER)", "slab-page-flags", NEVER, NEVER),
    ("b->p = kmalloc(64, __GFP_RECLAIM | __GFP_IO | __GFP_FS)", "open-coded-mask", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_KERNEL | __GFP_ACCOUNT)", "open-coded-mask", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_KERNEL & ~__GFP_RECLAIM)", "no-kswapd-wakeup", ALWAYS, NEVER),
    ("b->p = kmalloc(64, GFP_KERNEL & ~__GFP_DIRECT_RECLAIM)", "no-kswapd-wakeup", NEVER, NEVER),
    ("b->p = kmalloc(64, GFP_NOFS)", "reclaim-scope", (4, 12), NEVER),
    ("b->p = kmalloc(64, GFP_NOIO)", "reclaim-scope", (4, 12), NEVER),
]
KERNELS = ["4.9", "4.19", "5.10", "5.17", "6.1", "6.4", "6.12", "6.19", "7.0"]


@pytest.mark.parametrize("kernel", KERNELS)
def test_each_call_is_told_from_and_to_the_kernels_that_it_is_wrong_in(kernel: str, tmp_path: Path):
    version = tuple(map(int, kernel.split(".")))
    text = HEAD + "".join(f"void bench_{n}(struct bench *b)\n{{\n\t{call};\n}}\n" for n, (call, *_) in enumerate(CALLS))
    (tmp_path / "bench.c").write_text(text)
    report = run([tmp_path / "bench.c"], Settings(severity="note", kernel=kernel, jobs=1, cache=False))
    told = {(finding.function, finding.rule) for finding in report.findings}
    wanted = {(f"bench_{n}", rule) for n, (_, rule, since, until) in enumerate(CALLS) if since <= version < until}
    rules = {rule for _, rule, *_ in CALLS}
    own = {(f"bench_{n}", rule) for n, (_, rule, *_) in enumerate(CALLS)}
    assert {pair for pair in told if pair[1] in rules and pair in own} == wanted
