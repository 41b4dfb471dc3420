import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgfplint.catalogue import Catalogue, CatalogueError, load, rules_directory
from kgfplint.catalogue.groups import holds
from kgfplint.catalogue.prototypes import parse_all


def catalogue(version=None) -> Catalogue:
    return load([rules_directory()], version)


FAMILY = '[[family]]\nname = "heap"\ntitle = "heap memory"\n'


def refused(directory: Path, text: str) -> str:
    (directory / "some.toml").write_text(text)
    with pytest.raises(CatalogueError) as caught:
        load([directory], None)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(str(directory / "some.toml"))


def test_roles_come_from_parameter_names():
    allocs = catalogue().allocs
    assert (allocs["kmalloc"].size, allocs["kmalloc"].gfp) == (0, 1)
    array = allocs["devm_kmalloc_array"]
    assert (array.dev, array.count, array.element, array.gfp) == (0, 1, 2, 3)
    assert (allocs["alloc_pages_node"].gfp, allocs["alloc_pages_node"].order) == (1, 2)
    assert allocs["krealloc"].ptr == 0
    assert allocs["dma_alloc_coherent"].handle == 2
    assert allocs["alloc_cpumask_var"].out == 0
    assert catalogue().frees["kmem_cache_free"].cache == 0
    assert catalogue().frees["free_pages"].order == 1


def test_masks_of_allocators_without_an_argument():
    allocs = catalogue().allocs
    assert (allocs["vmalloc"].gfp, allocs["vmalloc"].mask, allocs["vmalloc"].sleeps) == (None, "GFP_KERNEL", "always")
    assert (allocs["kzalloc_obj"].gfp, allocs["kzalloc_obj"].mask) == (1, "GFP_KERNEL")
    assert allocs["dev_alloc_skb"].mask == "GFP_ATOMIC"


def test_slab_cache_memory_may_go_to_kfree_since_6_4():
    assert "cache" not in catalogue((6, 1)).frees["kfree"].accepts
    assert "cache" in catalogue((6, 4)).frees["kfree"].accepts
    assert "cache" in catalogue().frees["kvfree"].accepts


def test_a_function_may_change_its_parameters():
    assert catalogue((6, 1)).allocs["kvrealloc"].params == ("ptr", "old_size", "size", "gfp")
    assert catalogue((6, 12)).allocs["kvrealloc"].params == ("ptr", "size", "gfp")


def test_allocation_profiling_names():
    assert "kmalloc_noprof" not in catalogue((6, 1)).allocs
    assert catalogue((6, 12)).allocs["kmalloc_noprof"].family == "kmalloc"


def test_twins_are_allocators_of_the_same_family():
    allocs = catalogue().allocs
    assert (allocs["kmalloc"].array, allocs["kmalloc"].zeroing) == ("kmalloc_array", "kzalloc")
    for alloc in allocs.values():
        for twin in (alloc.array, alloc.zeroing):
            assert twin is None or allocs[twin].family == alloc.family
        assert alloc.zeroing is None or allocs[alloc.zeroing].zeroes


def test_lock_effects():
    locks = catalogue().locks
    assert locks["spin_lock_irqsave"].kinds == ("spin", "irq")
    assert (locks["spin_lock_irqsave"].lock, locks["spin_lock_irqsave"].flags) == (0, 1)
    assert (locks["bit_spin_lock"].lock, locks["bit_spin_lock"].atomic) == (1, True)
    assert locks["spin_trylock"].when == "nonzero"
    assert locks["lockref_put_or_lock"].when == "zero"
    assert not locks["mutex_lock"].atomic and "mutex_lock" in catalogue().sleepers
    assert locks["bh_lock_sock"].atomic and not locks["lock_sock"].atomic
    assert locks["cond_resched_lock"].action == "retake"
    assert not locks["srcu_read_lock"].atomic and locks["rcu_read_lock"].atomic
    assert "kmap_local_page" not in locks


def test_what_is_acquired_can_be_released():
    locks = catalogue().locks.values()
    released = {effect.kinds for effect in locks if effect.action == "release"}
    assert {effect.kinds for effect in locks if effect.action == "acquire"} <= released


def test_every_family_that_is_not_managed_can_be_freed():
    rules = catalogue()
    for family in rules.families.values():
        assert rules.frees_of[family.name] or family.managed, family.name
    assert rules.frees_of["kmalloc"][0] == "kfree"
    assert rules.frees_of["vmalloc"][0] == "vfree"


def test_guards_cleanups_callbacks_and_verdicts():
    rules = catalogue()
    assert rules.guards["spinlock_irqsave"].kinds == ("spin", "irq")
    assert rules.guards["mutex"].sleeps
    assert (rules.cleanups["bitmap"].free, rules.cleanups["kfree"].accepts_err_ptr) == ("bitmap_free", True)
    assert [(c.argument, c.context) for c in rules.callbacks["request_threaded_irq"]] == [(1, "hardirq"), (2, "thread")]
    assert rules.contexts[rules.fields["net_device_ops.ndo_start_xmit"].context].atomic
    assert rules.verdicts["IS_ERR_OR_NULL"].means == ("null", "err_ptr")


def test_free_semantics():
    frees = catalogue().frees
    assert (frees["kvfree"].sleeps, frees["kfree"].sleeps, frees["vfree"].sleeps) == (
        "maybe-vmalloc", "never", "unless-interrupt",
    )  # fmt: skip
    assert frees["kfree_rcu"].sleeps_without == 1
    assert frees["free_page"].fixed_order == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[alloc]]\nfamily = 'heap'\nsleep = 'gfp'\n", ":6: [[alloc]]: Object contains unknown field `sleep`"),
        ("[[free]]\naccepts = 'heap'\n", ":5: [[free]]: Expected `array`, got `str` - at `$.accepts`"),
        ("[[nothing]]\n", ":4: no such table: [[nothing]]"),
        ("[[free]]\naccepts = ['pile']\nprototypes = 'void f(int ptr);'\n", ":5: `pile` is not a known name"),
        ("[[free]]\naccepts = ['heap']\nprototypes = '''\nvoid f(int ptr);\n\nvoid f(int ptr);'''\n", ":9: `f` is"),
        ("[[free]]\naccepts = ['heap']\nprototypes = '''\nvoid f(int ptr);\nvoid g(int ptr;'''\n", ":8: not a C"),
        ("[[free]]\naccepts = ['heap']\nprototypes = '''\nvoid f(void);\n'''\n", ":7: f has no parameter `ptr`"),
        ("[[free]]\naccepts = ['heap']\nprototypes = 'int x;'\n", ":6: not the prototype of a function"),
        ("[[alloc]]\nfamily = 'heap'\nprototypes = 'void *f(int size);'\n", ":6: f has neither a `gfp`"),
        ("[[alloc]]\nfamily = 'heap'\nsince = 'six'\nprototypes = ''\n", ":6: `since` is not a kernel version"),
        ("[[alloc]]\nfamily = 'heap'\narray = 'g'\nprototypes = ''\n", ":6: `g` in `array` is not an allocator"),
        ("[[alloc]\n", ":4: "),
        ("family = 3\n", ":4: "),
    ],
)
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, text: str, message: str):
    assert message in refused(tmp_path, FAMILY + text)


def test_further_directories_add_to_the_rules(tmp_path: Path):
    (tmp_path / "mine.toml").write_text("[[free]]\naccepts = ['kmalloc']\nprototypes = 'void my_free(void *ptr);'\n")
    both = load([rules_directory(), tmp_path], None)
    assert both.frees["my_free"].accepts == ("kmalloc",)
    assert both.frees["kfree"] == catalogue().frees["kfree"]
    assert both.digest != catalogue().digest


def test_a_rule_directory_that_is_none():
    with pytest.raises(CatalogueError, match="is not a directory of rules"):
        load([Path("nowhere")], None)


def test_the_cache_of_prototypes_changes_nothing(tmp_path: Path):
    texts = [("f.toml", 3, "void *kmalloc(size_t size, gfp_t gfp);\nint printk(const char *format, ...);")]
    first = parse_all(texts, tmp_path)
    assert first == parse_all(texts, tmp_path)
    assert [(p.name, p.params, p.line) for p in first[0]] == [
        ("kmalloc", ("size", "gfp"), 3), ("printk", ("format", "..."), 4),
    ]  # fmt: skip
    for file in tmp_path.iterdir():
        file.write_bytes(b"broken")
    assert parse_all(texts, tmp_path) == first
    (tmp_path / "file").touch()
    assert parse_all(texts, tmp_path / "file" / "below") == first


versions = st.tuples(st.integers(2, 9), st.integers(0, 30))


@given(versions, versions, versions)
def test_versions_are_half_open(version, since, until):
    assert holds(version, since, None) == (version >= since)
    assert holds(version, None, until) == (version < until)
    assert holds(version, since, until) == (since <= version < until)


names = st.from_regex(re.compile(r"[a-z]{1,8}_[a-z0-9]{1,6}", re.ASCII), fullmatch=True)


@given(names, st.lists(names, max_size=5, unique=True))
def test_any_names_survive_the_parser(tmp_path_factory: pytest.TempPathFactory, name: str, params: list[str]):
    text = f"struct some *{name}({', '.join(f'odd_t *{param}' for param in params) or 'void'});"
    found = parse_all([("f.toml", 1, text)], tmp_path_factory.getbasetemp())
    assert [(p.name, p.params) for p in found[0]] == [(name, tuple(params))]
