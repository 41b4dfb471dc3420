"""The rules against the headers of a real kernel: KGFPLINT_TREE names its root; without it these tests are skipped.

What is found here and is in no rule is either to be added to rules/ or, if it neither hands out memory
nor takes it back nor changes what is held, to be named below.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kgfplint.catalogue import Catalogue, load, rules_directory

TREE = os.environ.get("KGFPLINT_TREE", "")



def _words(text: str) -> set[str]:
    return set(text.split())


pytestmark = pytest.mark.skipif(not TREE, reason="KGFPLINT_TREE names no kernel tree")

MEMORY_HEADERS = _words("""
    slab vmalloc gfp percpu mempool dmapool dma-mapping skbuff bio string device device/devres
    bitmap cpumask scatterlist genalloc zsmalloc cma page_frag_cache mm idr xarray
""")

JUDGED_BY_THEIR_MASK = _words("""
    __devm_add_action __skb_ext_alloc __skb_unclone_keeptruesize bio_integrity_alloc bio_integrity_clone bio_init_clone
    devres_open_group gfp_compaction_allowed gfp_has_io_fs gfp_migratetype gfp_nested_mask gfp_pfmemalloc_allowed
    gfp_zone gfp_zonelist gfpflags_allow_blocking ida_alloc ida_alloc_max ida_alloc_min ida_alloc_range idr_alloc
    idr_alloc_cyclic idr_alloc_u32 kmalloc_type kmem_cache_charge node_zonelist pskb_expand_head skb_copy_ubufs
    skb_header_unclone skb_orphan_frags skb_orphan_frags_rx skb_page_frag_refill skb_share_check skb_splice_from_iter
    skb_unclone skb_unclone_keeptruesize skb_unshare vma_iter_clear_gfp want_init_on_alloc warn_alloc
    warn_if_node_offline xa_alloc xa_alloc_bh xa_alloc_cyclic xa_alloc_cyclic_bh xa_alloc_cyclic_irq xa_alloc_irq
    xa_cmpxchg xa_cmpxchg_bh xa_cmpxchg_irq xa_init_flags xa_insert xa_insert_bh xa_insert_irq xa_reserve xa_reserve_bh
    xa_reserve_irq xa_store xa_store_bh xa_store_irq xa_store_range xas_nomem xas_split_alloc
    __sg_alloc_table sg_alloc_append_table_from_pages sg_split
""")

NO_DEALLOCATORS = _words("""
    __kfree_skb_defer __sg_free_table __show_free_areas __skb_free_datagram_locked arch_free_page bio_free_pages
    bitmap_find_free_region bioset_integrity_free calculate_min_free_kbytes destroy_large_folio device_destroy
    devres_destroy free_area_init free_compound_page free_highmem_page free_initmem free_initmem_default free_pgd_range
    free_reserved_area free_reserved_page free_reserved_ptdesc ida_destroy ida_free idr_destroy mas_destroy
    nr_free_buffer_pages pcpu_free_alloc_info pcpu_free_vm_areas pmd_ptlock_free ptlock_free sg_free_append_table
    sg_free_table_chained show_free_areas skb_free_datagram_locked skb_irq_freeable vma_iter_free vma_numab_state_free
    vmem_altmap_free vmemmap_free want_init_on_free xa_destroy xas_destroy
""")

LOCK_HEADERS = _words("""
    spinlock rwlock rcupdate bottom_half irqflags preempt bit_spinlock list_bl seqlock local_lock percpu-defs smp
    highmem mutex rwsem semaphore srcu lockref refcount kref percpu-rwsem ww_mutex rtmutex rcupdate_trace netdevice
""")

NOT_HELD_AFTERWARDS = _words("""
    local_bh_blocked rcu_sched_clock_irq rwlock_needbreak alloc_bucket_spinlocks free_bucket_spinlocks
    __alloc_bucket_spinlocks lockref_get lockref_get_not_dead lockref_get_not_zero lockref_mark_dead
    lockref_put_not_zero lockref_put_return rcu_read_unlock_strict
    rcu_lock_acquire rcu_lock_release rcu_try_lock_acquire srcu_lock_acquire srcu_lock_release srcu_lock_sync
    _mutex_lock_nest_lock _down_write_nest_lock _rt_mutex_lock_nest_lock spinlock_check
    __read_seqlock_excl_irqsave __write_seqlock_irqsave read_seqbegin_or_lock read_seqbegin_or_lock_irqsave
    done_seqretry_irqrestore scoped_seqlock_read __scoped_seqlock_read __scoped_seqlock_next __scoped_seqlock_bug
    __scoped_seqlock_cleanup __scoped_seqlock_invalid_target raw_check_bogus_irq_restore warn_bogus_irq_restore
""")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    makefile = (Path(TREE) / "Makefile").read_text()
    version = dict(re.findall(r"^(VERSION|PATCHLEVEL) = (\d+)", makefile, re.MULTILINE))
    return load([rules_directory()], (int(version["VERSION"]), int(version["PATCHLEVEL"])))


def headers(names: set[str]) -> Iterator[str]:
    for name in sorted(names):
        path = Path(TREE) / f"include/linux/{name}.h"
        if path.exists():
            text = re.sub(r"/\*.*?\*/", " ", path.read_text(errors="replace"), flags=re.DOTALL)
            yield text.replace("\\\n", " ")


def found(pattern: str, names: set[str]) -> set[str]:
    return {match[1] for text in headers(names) for match in re.finditer(pattern, text, re.MULTILINE)}


DECLARED = r"^(?:#\s*define\s+|(?:extern |static |void|int|bool|struct |unsigned |const |__must_check )[\w \t*]*?[\s*])"


def test_every_function_with_a_mask_is_known(catalogue: Catalogue):
    takes_mask = found(r"\b(\w+)\s*\([^(){};]*\bgfp_t\b[^(){};]*\)", MEMORY_HEADERS)
    attributes = {"__alloc_size", "__realloc_size", "DECL_BUCKET_PARAMS"}
    missing = takes_mask - set(catalogue.allocs) - set(catalogue.locks) - JUDGED_BY_THEIR_MASK - attributes
    assert not sorted(missing)


def test_every_deallocator_is_known(catalogue: Catalogue):
    missing = found(DECLARED + r"(\w*(?:free|destroy)\w*)\s*\(", MEMORY_HEADERS) - set(catalogue.frees)
    missing -= set(catalogue.allocs) | NO_DEALLOCATORS
    assert not sorted(missing)


def test_every_lock_primitive_is_known(catalogue: Catalogue):
    words = r"(\w*(?:lock|trylock|irqsave|irqrestore|irq_save|irq_restore|preempt_disable|preempt_enable)\w*)\("
    names = {n for n in found(DECLARED + words, LOCK_HEADERS) if not n.startswith(("arch_", "do_raw_", "__raw_"))}
    judges = re.compile(r"lockdep|assert|_init|_is_|held|contended|trace_|smp_mb|DEFINE|in_lock_functions")
    missing = {n for n in names if not judges.search(n)} - set(catalogue.locks) - set(catalogue.sleepers)
    assert not sorted(missing - NOT_HELD_AFTERWARDS)


def test_every_guard_and_cleanup_class_of_the_core_is_known(catalogue: Catalogue):
    core = MEMORY_HEADERS | LOCK_HEADERS
    guards = found(r"^\s*DEFINE_(?:LOCK_)?GUARD(?:_[01])?\((\w+),", core)
    assert not sorted(guards - set(catalogue.guards))
    assert not sorted(found(r"^\s*DEFINE_FREE\((\w+),", core) - set(catalogue.cleanups))
