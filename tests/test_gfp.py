from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgfplint.catalogue import CatalogueError, load, rules_directory
from kgfplint.checks.chosen import SAID
from kgfplint.facts import ir
from kgfplint.gfp import ALL, Mask, Masks
from kgfplint.gfp.policy import policy

NEWEST = Masks.of_tree(None, None)

bits = st.integers(0, ALL)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    known, value = draw(bits), draw(bits)
    params = frozenset(draw(st.lists(st.sampled_from("abc"), max_size=2))) if known != ALL else frozenset()
    copied = draw(bits) & ~known if len(params) == 1 else 0
    return Mask(value & known, ~value & known & ALL, params, copied)


@st.composite
def masks_and_values(draw: st.DrawFn) -> tuple[Mask, int]:
    mask = draw(masks())
    return mask, mask.set | (draw(bits) & ~mask.known & ALL)


def allows(mask: Mask, value: int) -> bool:
    return not mask.set & ~value and not mask.clear & value


@given(masks_and_values(), masks_and_values())
def test_operations_hold_for_every_value_that_the_operands_may_have(left, right):
    (a, x), (b, y) = left, right
    assert allows(a | b, x | y)
    assert allows(a & b, x & y)
    assert allows(a ^ b, x ^ y)
    assert allows(~a, ~x & ALL)
    assert allows(a.join(b), x) and allows(a.join(b), y)


@given(masks(), masks(), masks())
def test_lattice_laws(a, b, c):
    def known(mask: Mask) -> tuple[int, int]:
        return mask.set, mask.clear

    assert a.join(a) == a and a.join(b) == b.join(a)
    assert known(a.join(b).join(c)) == known(a.join(b.join(c)))
    assert a | b == b | a and a & b == b & a and a ^ b == b ^ a
    assert known(~(a | b)) == known(~a & ~b)
    assert known(~~a) == known(a)
    assert known(a & (b | c)) == known((a & b) | (a & c))
    assert not a.set & a.clear


@given(bits, bits)
def test_constants_fold_exactly(x, y):
    a, b = Mask.of(x), Mask.of(y)
    assert (a | b).value == x | y and (a & b).value == x & y and (a ^ b).value == x ^ y
    assert (~a).value == ~x & ALL and a.truth == bool(x)


@given(bits, bits, bits)
def test_a_parameter_that_is_handed_on_is_bound_to_the_argument(x, keep, more):
    passed = (Mask.unknown("gfp") & Mask.of(keep)) | Mask.of(more)
    assert passed.bind("gfp", Mask.of(x)).value == (x & keep) | more
    assert passed.bind("other", Mask.of(x)) == passed


def test_binding_does_not_guess_what_was_not_copied():
    assert (~Mask.unknown("gfp")).bind("gfp", Mask.of(0)).value is None
    two = Mask.unknown("a") | Mask.unknown("b")
    assert two.bind("a", Mask.of(0)).value is None


@pytest.mark.parametrize(
    ("text", "sleeps"),
    [
        ("GFP_KERNEL", True), ("GFP_ATOMIC", False), ("GFP_NOWAIT | __GFP_NOWARN", False), ("GFP_NOFS", True),
        ("GFP_KERNEL & ~__GFP_DIRECT_RECLAIM", False), ("GFP_KERNEL & ~__GFP_RECLAIM", False), ("gfp", None),
        ("gfp | __GFP_ZERO", None), ("gfp & ~__GFP_DIRECT_RECLAIM", False), ("gfp | GFP_KERNEL", True),
        ("can ? GFP_KERNEL : GFP_ATOMIC", None), ("can ? GFP_KERNEL : GFP_NOIO", True),
        ("1 ? GFP_KERNEL : GFP_ATOMIC", True), ("(gfp_t)GFP_ATOMIC", False),
        ("GFP_KERNEL ^ __GFP_DIRECT_RECLAIM", False),
        ("gfp == GFP_ATOMIC ? GFP_ATOMIC : GFP_NOWAIT", False), ("GFP_ATOMIC == GFP_KERNEL ? GFP_KERNEL : 0", False),
    ],
)  # fmt: skip
def test_may_sleep(text: str, sleeps: bool | None):
    assert NEWEST.may_sleep(NEWEST.parse(text)) is sleeps


def test_lookup_folds_locals_and_macros_and_survives_a_circle():
    names = {"flags": ir.Name("MY_GFP"), "MY_GFP": ir.Binary("|", ir.Name("GFP_ATOMIC"), ir.Name("__GFP_ZERO"))}
    mask = NEWEST.evaluate(ir.Name("flags"), names.get)
    assert NEWEST.names(mask) == ("__GFP_HIGH", "__GFP_ZERO", "__GFP_KSWAPD_RECLAIM")
    assert NEWEST.evaluate(ir.Name("a"), {"a": ir.Name("b"), "b": ir.Name("a")}.get).value is None
    given_mask = NEWEST.evaluate(ir.Name("gfp"), {"gfp": Mask.of(0)}.get)
    assert given_mask.value == 0


def test_functions_that_return_a_mask():
    call = ir.CallResult(ir.Name("mapping_gfp_constraint"), (ir.Name("mapping"), ir.Name("GFP_NOFS")))
    mask = NEWEST.evaluate(call)
    assert NEWEST.has(mask, "__GFP_FS") is False and NEWEST.has(mask, "__GFP_IO") is None
    assert NEWEST.evaluate(ir.CallResult(ir.Name("default_gfp"), ())) == NEWEST.constant("GFP_KERNEL")


def test_names():
    assert NEWEST.equal_named(NEWEST.parse("__GFP_RECLAIM | __GFP_IO | __GFP_FS")) == "GFP_KERNEL"
    assert NEWEST.equal_named(NEWEST.parse("(GFP_KERNEL | __GFP_HIGH) & ~__GFP_DIRECT_RECLAIM")) is None
    assert NEWEST.equal_named(Mask.unknown("gfp")) is None
    assert NEWEST.describe(NEWEST.parse("GFP_KERNEL | __GFP_ZERO")) == "GFP_KERNEL | __GFP_ZERO"
    assert NEWEST.has(NEWEST.constant("GFP_KERNEL"), "__GFP_NO_SUCH") is False


def test_policy_by_version():
    old, new = policy((5, 10)), policy(None)
    atomic = [entry.families for entry in old.unsupported if entry.clear == ("__GFP_DIRECT_RECLAIM",)]
    assert atomic == [("vmalloc",), ("kvmalloc",)]
    assert not any(entry.clear == ("__GFP_DIRECT_RECLAIM",) for entry in new.unsupported)
    assert "memalloc_nofs_save" not in policy((4, 9)).begins and policy((4, 9)).begins["memalloc_noio_save"].kind == "noio"
    assert policy((6, 18)).scope_functions < new.scope_functions


@pytest.mark.parametrize("version", [None, (4, 9), (5, 10), (6, 1), (6, 12)])
def test_policy_names_bits_and_interfaces_that_exist(version):
    known, masks = policy(version), Masks.of_tree(None, version)
    named = {*masks.named, *SAID}
    for entry in (*known.conflicts, *known.unsupported):
        assert {*entry.set, *entry.clear} <= named, entry
        assert entry.set or entry.clear
    families = load([rules_directory()], version).families.keys()
    assert {family for entry in (*known.conflicts, *known.unsupported) for family in entry.families} <= families
    kinds = {scope.kind for scope in known.scopes}
    assert len(kinds) == len(known.begins) == len(known.ends) == len(known.scopes)
    assert {bit for scope in known.scopes for bit in scope.clears} <= named


@pytest.mark.parametrize("text", ["[[conflict]]\nset = 1\n", "[[scope]]\nkind = 'x'\n", "broken"])
def test_a_broken_table_of_policy_is_one_line(text, tmp_path, monkeypatch):
    (tmp_path / "gfp.toml").write_text(text)
    monkeypatch.setattr("kgfplint.gfp.policy.rules_directory", lambda: tmp_path)
    policy.cache_clear()
    with pytest.raises(CatalogueError, match=r"gfp\.toml:1: is no table of masks"):
        policy((9, 9))
    policy.cache_clear()


def test_versions_without_a_tree():
    old, new = Masks.of_tree(None, (6, 1)), Masks.of_tree(None, (6, 12))
    assert "__GFP_ATOMIC" in old.bits and "__GFP_ATOMIC" not in new.bits
    assert not old.has(old.constant("GFP_NOWAIT"), "__GFP_NOWARN")
    assert new.has(new.constant("GFP_NOWAIT"), "__GFP_NOWARN")


NUMBERS = """
#define ___GFP_HIGH 0x20u
#define ___GFP_DIRECT_RECLAIM 0x400u
#define ___GFP_KSWAPD_RECLAIM 0x800u
"""
ENUM = """
enum {
	___GFP_HIGH_BIT,
#ifdef CONFIG_SOMETHING
	___GFP_DIRECT_RECLAIM_BIT, /* may sleep */
#endif
	___GFP_KSWAPD_RECLAIM_BIT,
};
#define ___GFP_HIGH BIT(___GFP_HIGH_BIT)
#ifdef CONFIG_SOMETHING
#define ___GFP_DIRECT_RECLAIM BIT(___GFP_DIRECT_RECLAIM_BIT)
#else
#define ___GFP_DIRECT_RECLAIM 0
#endif
#define ___GFP_KSWAPD_RECLAIM BIT(___GFP_KSWAPD_RECLAIM_BIT)
"""
REST = r"""
#define __GFP_HIGH	((__force gfp_t)___GFP_HIGH) /* reserves */
#define __GFP_DIRECT_RECLAIM	((__force gfp_t)___GFP_DIRECT_RECLAIM)
#define __GFP_KSWAPD_RECLAIM	((__force gfp_t)___GFP_KSWAPD_RECLAIM)
#define GFP_KERNEL (__GFP_DIRECT_RECLAIM | \
    __GFP_KSWAPD_RECLAIM)
#define GFP_ATOMIC (__GFP_HIGH|__GFP_KSWAPD_RECLAIM)
#define __GFP_ODD(x) do { x; } while (0)
#define GFP_STRANGE some_call(1)
"""


@pytest.mark.parametrize("header", ["include/linux/gfp_types.h", "include/linux/gfp.h"])
@pytest.mark.parametrize("bits_of", [NUMBERS, ENUM])
def test_headers_of_a_tree(tmp_path: Path, header: str, bits_of: str):
    path = tmp_path / header
    path.parent.mkdir(parents=True)
    path.write_text(bits_of + REST)
    tree = Masks.of_tree(tmp_path, (6, 1))
    assert len(tree.bits) == 3
    assert (tree.may_sleep(tree.constant("GFP_KERNEL")), tree.may_sleep(tree.constant("GFP_ATOMIC"))) == (True, False)
    assert "GFP_STRANGE" not in tree.named and "__GFP_ZERO" not in tree.named


def test_a_tree_without_masks_falls_back_to_the_table(tmp_path: Path):
    assert Masks.of_tree(tmp_path, (6, 1)).named == Masks.of_tree(None, (6, 1)).named
