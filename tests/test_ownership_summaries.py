"""What functions do for their callers, inferred through wrappers: allocate, free, never come back."""

import pytest
from test_facts_harness import Tree

from kgfplint.checks.unit import text_of
from kgfplint.facts.terms import show


def summary(text: str, name: str = "f"):
    return Tree({"a.c": text}).summary(name)


def freed(text: str, name: str = "f") -> set[str]:
    return {show(one.subject) for one in summary(text, name).frees}


def allocates(text: str, name: str = "f") -> str:
    """Family and way to fail, "" for what allocates nothing."""
    alloc = summary(text, name).allocates
    return f"{alloc.family} {alloc.fails}" if alloc else ""


ALLOCATE = {
    "kmalloc": ("void *f(int n) { return kmalloc(n, GFP_KERNEL); }", "kmalloc null"),
    "a local": ("void *f(int n) { void *p = vmalloc(n); if (!p) return NULL; g(n); return p; }", "vmalloc null"),
    "an error pointer": (
        "void *f(int n) { void *p = vmalloc(n); if (!p) return ERR_PTR(-ENOMEM); return p; }", "vmalloc err_ptr"),
    "freed on failure": (
        "void *f(int n) { void *p = kmalloc(n, GFP_KERNEL); if (p && g(n)) { kfree(p); return NULL; } return p; }",
                         "kmalloc null"),
    "two families": ("void *f(int n) { if (n > 9) return vmalloc(n); return kmalloc(n, GFP_KERNEL); }", ""),
    "one family twice": ("void *f(int n) { return n ? kmalloc(n, GFP_KERNEL) : kzalloc(8, GFP_KERNEL); }", ""),
    "one family on two paths": (
        "void *f(int n) { if (n) return kmalloc(n, GFP_KERNEL); return kzalloc(8, GFP_KERNEL); }", "kmalloc null"),
    "or something else": ("void *f(struct s *s) { if (s->p) return s->p; return kmalloc(8, GFP_KERNEL); }", ""),
    "no pointer": ("int f(int n) { return g(kmalloc(n, GFP_KERNEL)); }", ""),
    "kept": ("void *f(struct s *s) { s->p = kmalloc(8, GFP_KERNEL); return s; }", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", ALLOCATE)
def test_allocating(name):
    text, wanted = ALLOCATE[name]
    assert allocates(text) == wanted


def test_allocating_through_levels():
    text = """
    static void *one(size_t n, gfp_t gfp) { return kzalloc(n, gfp); }
    static void *two(int a, gfp_t flags) { void *p = one(a, flags); if (!p) return ERR_PTR(-ENOMEM); return p; }
    struct s *f(gfp_t gfp) { return two(16, gfp); }
    """
    found = summary(text).allocates
    assert (found.family, found.fails, found.zeroes, found.gfp, found.size) == ("kmalloc", "err_ptr", True, 0, None)
    assert summary(text, "two").allocates.size == 0


def test_a_fixed_mask_belongs_to_the_wrapper():
    assert summary("void *f(int n) { return kmalloc(n, GFP_ATOMIC); }").allocates.mask == "GFP_ATOMIC"


def test_an_out_parameter():
    found = summary("int f(void **at) { void *p = kvmalloc(8, GFP_KERNEL); if (!p) return -1; *at = p; return 0; }").allocates
    assert (found.family, found.out, found.fails) == ("kvmalloc", 0, "errno")


FREE = {
    "a parameter": ("void f(void *p) { kfree(p); }", {"p"}),
    "if not NULL": ("void f(void *p) { if (p) kfree(p); }", {"p"}),
    "if not NULL, by return": ("void f(void *p) { if (!p) return; g(1); vfree(p); }", {"p"}),
    "if not an error": ("void f(void *p) { if (!IS_ERR(p)) kfree(p); }", {"p"}),
    "sometimes": ("void f(void *p, int n) { if (n) kfree(p); }", set()),
    "by either": ("void f(void *p, int n) { if (n) kfree(p); else kfree_sensitive(p); }", {"p"}),
    "by others": ("void f(void *p, int n) { if (n) kfree(p); else vfree(p); }", set()),
    "members": ("void f(struct s *s) { kfree(s->a); kfree(s->b.c); kfree(s); }", {"s", "s->a", "s->b.c"}),
    "a member that was replaced": ("void f(struct s *s) { s->a = s->b; kfree(s->a); }", set()),
    "a parameter that was replaced": ("void f(struct s *s) { s = s->next; kfree(s); }", set()),
    "a local": ("void f(int n) { void *p = kmalloc(n, GFP_KERNEL); kfree(p); }", set()),
    "a global": ("static void *g; void f(int n) { kfree(g); }", set()),
    "in a loop": ("void f(struct s *s) { int i; for (i = 0; i < s->n; i++) kfree(s->a[i]); kfree(s); }", {"s"}),
    "behind container_of": ("void f(struct k *k) { kfree(container_of(k, struct s, k)); }", set()),
    "by a macro": ("#define f(p) kfree((p)->a)\n", {"p->a"}),
    "by one that never returns": ("void f(void *p, int n) { if (n) panic(\"n\"); kfree(p); }", {"p"}),
}  # fmt: skip


@pytest.mark.parametrize("name", FREE)
def test_freeing(name):
    text, wanted = FREE[name]
    assert freed(text) == wanted


def test_freeing_through_levels():
    text = """
    static void one(struct s *t) { kvfree(t->a); }
    #define TWO(u) one((u)->inner)
    void f(struct s *s, int n) { TWO(s); kfree(s); }
    """
    assert freed(text, "TWO") == {"u->inner->a"}
    assert freed(text) == {"s", "s->inner->a"}


def test_definitions_that_differ_are_believed_where_they_agree():
    tree = Tree({
        "a/x.c": "void f(struct s *s) { kfree(s->a); kfree(s); }\n",
        "b/x.c": "void f(struct s *s) { kfree(s); }\n",
        "c.c": "void g(struct s *s) { f(s); }\n",
    })
    assert {show(one.subject) for one in tree.summary("g").frees} == {"s"}


def test_what_never_returns():
    text = """
    static void one(void) { panic("no"); }
    static void two(int n) { if (n) one(); else BUG(); }
    void f(int n) { two(n); }
    void g(int n) { if (n) two(n); }
    """
    assert [summary(text, name).returns for name in ("one", "two", "f", "g")] == [False, False, False, True]


RECURSIVE = {
    "a list": ("void f(struct s *s) { if (!s) return; f(s->next); kfree(s); }",
               {"s", "s->next", "s->next->next", "s->next->next->next"}),
    "a tree": ("void f(struct s *s) { if (s->l) f(s->l); if (s->r) f(s->r); kfree(s); }",
               {"s", "s->l", "s->r"}),
    "a lock": ("void f(struct s *s, int n) { if (n) { f(s, n - 1); return; } spin_lock(&s->l); }", set()),
    "mutual": ("void f(void *p) { g(p); } void g(void *p) { f(p); kfree(p); }", {"p"}),
    "mutual, allocating": (
        "void *f(int n) { return n ? g(n - 1) : NULL; } void *g(int n) { return n ? f(n) : vmalloc(n); }", set()),
}  # fmt: skip


@pytest.mark.parametrize("name", RECURSIVE)
def test_recursion_settles(name):
    text, wanted = RECURSIVE[name]
    tree = Tree({"a.c": text})
    assert tree.settled
    assert {show(one.subject) for one in tree.summary("f").frees} == wanted


def test_a_long_chain_is_followed_to_its_end():
    text = "void f0(void *p) { kfree(p); }\n" + "".join(f"void f{n}(void *p) {{ f{n - 1}(p); }}\n" for n in range(1, 20))
    tree = Tree({"a.c": text})
    assert tree.summary("f19").frees and tree.settled


LEAVING = {
    "a value": ("#define F(x) do { g(x); return (x); } while (0)", "return $0"),
    "nothing": ("#define F(x) do { g(x); return; } while (0)", "return"),
    "plainly": ("#define F(x, y) return(y)", "return $1"),
    "a constant": ("#define F(x) do { g(x); return -ENODEV; } while (0)", "return -ENODEV"),
    "two values": ("#define F(x) do { if (x) return 1; return 2; } while (0)", "return return"),
    "in a statement expression": ("#define F(t, x) ONCE({ t _x = (t)(x); g(_x); return _x; })", "return return"),
    "through another macro": ("#define G(f, x) ONCE({ f(x); return (x); })\n#define F(p) G(g, p)", "return $0"),
    "two definitions": ("#ifdef A\n#define F(a) do { g(a); return (a); } while (0)\n#else\n#define F(b) return(b)\n#endif",
                        "return $0"),
    "on some paths": ("#define F(x) do { if (g(x)) return 1; } while (0)", ""),
    "on some paths through another macro": ("#define G(x) return g(x)\n#define F(x) do { if (x) G(x); } while (0)", ""),
    "a jump": ("#define F(x) do { g(x); goto out; } while (0)", ""),
    "an expression": ("#define F(x) g(x)", ""),
    "a function": ("int F(int x) { return x; }", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAVING)
def test_macros_that_return_from_their_user(name):
    text, wanted = LEAVING[name]
    tree = Tree({"a.c": text})
    leave = tree.meaning.summary(0, "F").leave
    assert (text_of(leave) if leave is not None else "") == wanted


def test_what_follows_a_return_of_a_macro_is_not_there():
    """The value is that of the argument, and who returns it allocates it."""
    text = """
    #define done(x) do { g(x); return (x); } while (0)
    void *f(int n) { void *p = kmalloc(n, GFP_KERNEL); if (!p) done(NULL); h(p); done(p); other(n); }
    """
    assert allocates(text) == "kmalloc null"
    assert "other" not in Tree({"a.c": text}).unit("f").callees


OWN = {
    "is there": ("static inline void *kmalloc(size_t n, gfp_t f) { return malloc(n); }", "never"),
    "is not there": ("", "null"),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_allocators_that_a_program_defines_itself(name):
    """Below tools/ it is not the kernel's, though its name is; in the kernel the catalogue knows better."""
    text, wanted = OWN[name]
    user = "void *f(int n) { return kmalloc(n, GFP_KERNEL); }"
    assert allocates_in("tools/virtio/a.c", f"{text}\n{user}") == f"kmalloc {wanted}"
    assert allocates_in("mm/a.c", f"{text}\n{user}") == "kmalloc null"


def allocates_in(path: str, text: str) -> str:
    alloc = Tree({path: text}).summary("f").allocates
    return f"{alloc.family} {alloc.fails}" if alloc else ""
