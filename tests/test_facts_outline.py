"""Outlines: what linking is told of functions and of what stands outside them."""

import pytest
from test_facts_harness import lowered

from kgfplint.facts import ir


def facts(text: str) -> ir.FileFacts:
    return lowered(text).facts


def outline(text: str, name: str = "f") -> ir.Function:
    return next(row for row in facts(text).functions if row.name == name)


def bound(text: str) -> set[str]:
    return {f"{one.owner} {one.path} {one.function}" for one in facts(text).bindings}


def test_heads():
    text = """
    static struct s *__init f(const char *name, struct t *const *list, u8 buf[16], int (*done)(void *), unsigned long n)
    {
    }
    """
    row = outline(text)
    assert (row.returns, row.flags, row.line, row.end_line) == ("struct s *", ir.STATIC, 2, 4)
    assert [(p.name, p.ctype) for p in row.params] == [
        ("name", "char *"), ("list", "struct t **"), ("buf", "u8[16]"), ("done", "int() *"), ("n", "unsigned long")]


@pytest.mark.parametrize(("head", "flags"), [
    ("int f(void)", 0), ("static inline int f(void)", ir.STATIC | ir.INLINE), ("static __always_inline int f(void)", ir.STATIC),
    ("int f(const char *fmt, ...)", ir.VARIADIC), ("struct s *f(void)", 0), ("static noinline void f(int a)", ir.STATIC),
])  # fmt: skip
def test_linkage(head, flags):
    assert outline(head + "\n{\n\tg();\n}\n").flags & ~ir.INLINE == flags & ~ir.INLINE


def test_void_is_no_parameter():
    assert outline("int f(void)\n{\n}\n").params == ()


def test_annotations():
    [row] = facts("static void f(struct s *s) __must_hold(&s->l)\n{\n}\n").functions
    assert row.annotations == ("__must_hold(&s->l)",)


def test_conditions():
    text = "#ifdef A\nint f(void) { }\n#if B\nint g(void) { }\n#endif\n#elif defined(C)\nint h(void) { }\n#else\nint i(void) {}\n"
    assert {row.name: row.condition for row in facts(text + "#endif\nint j(void) { }\n").functions} == {
        "f": "ifdef A", "g": "ifdef A; if B", "h": "else ifdef A; elif defined(C)",
        "i": "else ifdef A; else elif defined(C)", "j": "",
    }


def test_calls_are_told_once_with_their_first_line():
    row = outline("void f(struct s *x)\n{\n\tp();\n\tq(p());\n\t(*r)(1);\n\tp();\n}\n")
    assert row.calls == (("p", 3), ("q", 4), ("r", 5))


def test_indirect_calls_have_a_root_and_a_path():
    text = """
    static struct drv *the_drv;
    void f(struct s *x, void *p)
    {
        struct t v;
        x->ops->open(x);
        v.a.b[2].run();
        ((struct u *)p)->ops.close();
        the_drv->ops->stop();
        get_drv(x)->start();
        container_of(p, struct w, m)->go();
        x->ops->open(x);
    }
    """
    assert [(root, path) for root, path, _ in outline(text).indirect] == [
        ("struct s *", "ops.open"), ("struct t", "a.b.run"), ("struct u *", "ops.close"), ("@the_drv", "ops.stop"),
        ("()get_drv", "start"), ("struct w *", "go"),
    ]


def test_callbacks_handed_over():
    row = outline("int f(struct s *x)\n{\n\tirq(x->irq, handler, 0, NAME, x);\n\ttimer(&x->t, &expired, (void *)other);\n}\n")
    assert {(callee, place, name) for callee, place, name, _ in row.handed} == {
        ("irq", 1, "handler"), ("timer", 1, "expired"), ("timer", 2, "other")}


def test_locals_are_no_callbacks():
    row = outline("int f(struct s *x)\n{\n\tint n = 1;\n\treturn g(n, x, NULL, FLAG);\n}\n")
    assert row.handed == ()


INITIALISERS = {
    "designated": ("struct ops a = { .open = my_open, .close = &my_close, .n = 3 };", {"ops open my_open", "ops close my_close"}),
    "cast": ("struct ops a = { .open = (open_t)my_open };", {"ops open my_open"}),
    "nested": (
        "struct drv a = { .ops = { .open = my_open }, .drv.pm.stop = my_stop };", {"drv ops.open my_open",
        "drv drv.pm.stop my_stop"}),
    "positional": ("struct ops a = { my_open, my_close };", {"ops #0 my_open", "ops #1 my_close"}),
    "an array of structs": ("struct cmd a[] = { { .run = one }, { .run = two }, [5] = { .run = three } };",
                            {"cmd run one", "cmd run two", "cmd run three"}),
    "an array, positional": ("struct cmd a[] = { { NAME, one }, { NAME, two } };", {"cmd #1 one", "cmd #1 two"}),
    "a pointer": ("struct ops *a = &other;", set()),
    "#ifdef": (
        "struct ops a = {\n#ifdef X\n\t.open = my_open,\n#endif\n\t.close = my_close,\n};", {"ops open my_open",
        "ops close my_close"}),
    "constants": ("struct ops a = { .n = FLAG, .name = \"x\", .at = 3 };", set()),
    "static const": ("static const struct ops __initconst a = { .open = my_open };", {"ops open my_open"}),
}  # fmt: skip


@pytest.mark.parametrize("name", INITIALISERS)
def test_bindings_of_initialisers(name):
    text, wanted = INITIALISERS[name]
    assert bound(text + "\n") == wanted


def test_bindings_of_assignments():
    text = """
    void f(struct s *x, struct t *t)
    {
        x->ops.open = my_open;
        t->list[3].run = &my_run;
        x->n = 3;
        x->p = t;
        *t = (struct t){ .stop = my_stop };
        struct u u = { .go = my_go };
    }
    """
    assert bound(text) == {"struct s * ops.open my_open", "struct t * list.run my_run", "struct t stop my_stop",
                           "struct u go my_go"}


def test_macros_as_functions():
    text = """
#define one(a, b) p(a, (b))
#define two(a, ...) do { \\
	q(a, __VA_ARGS__); \\
	r(a); \\
} while (0)
#define three(args...) s(args)
#define four(a) ({ int t = u(a); t; })
#define nothing(a) ((a) + 1)
#define object p(1)
"""
    rows = {row.name: row for row in facts(text).functions}
    assert {name: [callee for callee, _ in row.calls] for name, row in rows.items()} == {
        "one": ["p"], "two": ["q", "r"], "three": ["s"], "four": ["u"]}
    assert all(row.flags & ir.MACRO for row in rows.values())
    assert rows["one"].flags & rows["four"].flags & ir.EXPRESSION
    assert [p.name for p in rows["one"].params] == ["a", "b"]
    assert ("object", "p(1)") in facts(text).macros


def test_records():
    text = """
    struct a {
        int n, *p;
        struct { u8 x; union { int y; long z; }; };
        struct { int deep; } named;
        struct b *next;
        unsigned int flag : 3;
        struct c { int own; } c[4];
        int (*open)(struct a *);
    #ifdef X
        int extra;
    #endif
        char tail[];
    };
    union u { int i; };
    """
    rows = {row.tag: row for row in facts(text).records}
    assert set(rows) == {"a", "a.named", "c", "u"} and rows["u"].kind == "union"
    assert rows["a"].members == (
        ("n", "int", -1), ("p", "int *", -1), ("x", "u8", -1), ("y", "int", -1), ("z", "long", -1),
        ("named", "struct a.named", -1),
        ("next", "struct b *", -1), ("flag", "unsigned int", 3), ("c", "struct c[4]", -1), ("open", "int() *", -1),
        ("extra", "int", -1), ("tail", "char[]", -1),
    )


def test_typedefs_enums_and_globals():
    found = facts("""
    typedef struct { int n; } box_t;
    typedef struct s *s_ptr;
    typedef int (*fn_t)(void);
    enum e { A, B = 5, C, D = C << 2 };
    static struct s *table[4], one;
    extern int n;
    """)
    assert dict(found.typedefs) == {"box_t": "struct box_t", "s_ptr": "struct s *", "fn_t": "int() *"}
    assert dict(found.enumerators) == {"A": "0", "B": "5", "C": "B + 1", "D": "C << 2"}
    assert [(name, ctype) for name, ctype, _ in found.globals] == [("table", "struct s *[4]"), ("one", "struct s"), ("n", "int")]


def test_what_else_a_file_says():
    found = facts("""#include <linux/a.h>
#  include "b.h" /* why */
// #include <no.h>
#define SIZE (4 * 2)	/* bytes */
void *make(size_t n, gfp_t gfp);
int plain(int n);
void __noreturn stop(const char *why);
int f(void) { return 1; }
EXPORT_SYMBOL_GPL(f);
EXPORT_SYMBOL(g);
""")
    assert found.includes == ("<linux/a.h>", '"b.h"') and found.exports == ("f", "g")
    assert ("SIZE", "(4 * 2)") in found.macros
    assert [(name, returns) for name, returns, _ in found.prototypes] == [("make", "void *")]
    assert found.noreturn == ("stop",) and found.lines == 10


@pytest.mark.parametrize(("body", "never"), [
    ("panic(\"no\");", True), ("for (;;) g();", True), ("if (a) BUG(); g();", False), ("while (1) { if (a) break; }", False),
    ("if (a) BUG(); else panic(\"no\");", True), ("again: g(); goto again;", True), ("do { g(); } while (0);", False),
])  # fmt: skip
def test_noreturn(body, never):
    assert bool(outline(f"void f(int a)\n{{\n\t{body}\n}}\n").flags & ir.NORETURN) == never


def test_a_qualified_macro_without_a_type_loses_nothing_after_it():
    text = "static const TLV_RANGE(vol, 0, 912,\n\t\tTLV_ITEM(-10200, 1200));\nstatic SCALE(gain, 0, 1, 1);\nint f(void)\n{\n}\n"
    assert [function.name for function in lowered(text).facts.functions] == ["f"]
