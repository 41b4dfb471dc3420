"""A function as the rules see it."""

from test_facts_harness import unit

from kgfplint.checks.unit import text_of
from kgfplint.facts import ir
from kgfplint.facts.terms import show


def test_allocations_know_their_masks():
    found = unit("""
    static void *make(int n, gfp_t gfp) { return kmalloc(n, gfp); }
    void f(int a, gfp_t given)
    {
        gfp_t gfp = a ? GFP_KERNEL : GFP_ATOMIC;
        use(kmalloc(8, GFP_KERNEL), vmalloc(9), make(8, GFP_NOWAIT), kmalloc(1, given), kmalloc(2, gfp));
    }
    """)
    masks = found.meaning.masks
    assert [(one.name, one.inferred, masks.may_sleep(one.mask)) for one in found.allocations] == [
        ("kmalloc", False, True), ("vmalloc", False, True), ("make", True, False), ("kmalloc", False, None),
        ("kmalloc", False, None)]


def test_values_of_locals():
    found = unit("void f(int a)\n{\n\tint n = 4, m = n, k = 1;\n\n\tk = a;\n\tg(m, k, a);\n\th(&n);\n}\n")
    [call] = [call for call in found.calls if call.callee.id == "g"]
    assert [show(found.value_of(arg)) for arg in call.args] == ["n", "k", "a"]
    found = unit("void f(int a)\n{\n\tint n = 4, m = n;\n\n\tg((long)m);\n}\n")
    assert found.value_of(found.calls[0].args[0].operand) == ir.Number(4)


def test_what_a_function_touches():
    assert unit("void f(struct s *s) { spin_lock(&s->l); }").touches_locks
    assert unit("void f(struct s *s) { guard(rcu)(); }").touches_locks
    assert not unit("void f(struct s *s) { spin_lock_init(&s->l); }").touches_locks
    assert unit("static void drop(void *p) { kfree(p); } void f(struct s *s) { drop(s->p); }").touches_memory
    assert not unit("void f(struct s *s) { g(s->p); }").touches_memory


def test_texts_of_events():
    [block] = unit("int f(int a)\n{\n\ta = g(a);\n\ta |= 2;\n\tp->n;\n\treturn a;\n}\n").body.blocks
    assert [text_of(event) for event in block.events] == ["a = g(a)", "a |= 2", "p->n", "return a"]
