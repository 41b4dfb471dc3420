"""Memory along the paths of a function: the incidents that happen on some path, and on which line."""

import pytest
from test_facts_harness import unit

AROUND = """
struct s { void *buf; struct s *next; int n; };
static void drop(struct s *s) { kfree(s->buf); kfree(s); }
static void drop_buf(struct s *s) { kfree(s->buf); s->buf = NULL; }
static void drop_if(struct s *s) { if (s->n) kfree(s); }
static void *make(size_t n) { return kmalloc(n, GFP_KERNEL); }
static int make_at(void **at) { *at = kmalloc(8, GFP_KERNEL); return *at ? 0 : -ENOMEM; }
static void __noreturn die_now(void) { for (;;) ; }
#define DROP(p) do { kfree(p); (p) = NULL; } while (0)
#define JUST_DROP(p) kfree(p)
"""


def incidents(statements: str) -> set[str]:
    """What happens, but the frees in good order, as "kind@line": the first line of the statements is 1."""
    text = f"{AROUND}\nint f(int a, int b, struct s *x)\n{{\n\tvoid *p, *q;\n\tint err;\n\n{statements}\n}}\n"
    first = text[: text.index("int err;")].count("\n") + 2
    paths = unit(text).paths
    assert paths.complete
    return {f"{i.kind}@{i.line - first}" for i in paths.incidents.values() if i.kind not in ("free", "null-test", "error-test")}


ALLOC = "p = kmalloc(8, GFP_KERNEL);\nif (!p)\nreturn -ENOMEM;\n"  # three lines
CASES = {
    "double free": ("kfree(x);\nkfree(x);", {"double-free@2"}),
    "double free on one path": ("if (a)\nkfree(x);\nkfree(x);", {"double-free@3"}),
    "free and leave": ("if (a) {\nkfree(x);\nreturn 0;\n}\nkfree(x);", set()),
    "free of what may be NULL": ("p = kmalloc(8, GFP_KERNEL);\nkfree(p);", set()),
    "free of an alias": (ALLOC + "q = p;\nkfree(q);\nkfree(p);", {"double-free@6"}),
    "freed, set anew": (ALLOC + "kfree(p);\np = kmalloc(8, GFP_KERNEL);\nkfree(p);", set()),
    "freed, set to NULL": (ALLOC + "kfree(p);\np = NULL;\nkfree(p);", set()),
    "members": ("kfree(x->buf);\nkfree(x->buf);", {"double-free@2"}),
    "other members": ("kfree(x->buf);\nkfree(x->next);", set()),
    "the member of another": ("kfree(x->buf);\nx = x->next;\nkfree(x->buf);", set()),
    "use after free": ("kfree(x);\nx->n = 1;", {"use-after-free@2"}),
    "read after free": ("kfree(x);\nreturn x->n;", {"use-after-free@2"}),
    "use of an alias after free": ("q = x;\nkfree(x);\n*(int *)q = 1;", {"use-after-free@3"}),
    "comparison after free": ("kfree(x);\nif (x == x->next)\nreturn 1;", {"use-after-free@2"}),
    "its pointer after free": ('kfree(x);\npr_info("%p", x);', set()),
    "free, then use, other paths": ("if (a)\nkfree(x);\nelse\nx->n = 1;", set()),
    "unchecked": ("struct s *s = kmalloc(8, GFP_KERNEL);\ns->n = 1;", {"unchecked@2"}),
    "unchecked, a return between": ("struct s *s = kmalloc(8, GFP_KERNEL);\nif (a)\nreturn 1;\ns->n = 1;", {"unchecked@4"}),
    "checked": ("struct s *s = kmalloc(8, GFP_KERNEL);\nif (!s)\nreturn 1;\ns->n = 1;", set()),
    "checked in an and": ("struct s *s = kmalloc(8, GFP_KERNEL);\nif (s && s->n)\nreturn 1;", set()),
    "checked in an or": ("struct s *s = kmalloc(8, GFP_KERNEL);\nif (!s || !s->n)\nreturn 1;\ns->n = 2;", set()),
    "checked by BUG_ON": ("struct s *s = kmalloc(8, GFP_KERNEL);\nBUG_ON(!s);\ns->n = 1;", set()),
    "checked by WARN_ON": ("struct s *s = kmalloc(8, GFP_KERNEL);\nif (WARN_ON(!s))\nreturn 1;\ns->n = 1;", set()),
    "checked, never returning": ("struct s *s = kmalloc(8, GFP_KERNEL);\nif (!s)\npanic(\"no\");\ns->n = 1;", set()),
    "checked, a function never returning": ("struct s *s = kmalloc(8, GFP_KERNEL);\nif (!s)\ndie_now();\ns->n = 1;", set()),
    "checked late": ("struct s *s = kmalloc(8, GFP_KERNEL);\ns->n = 1;\nif (!s)\nreturn 1;", {"unchecked@2"}),
    "checked with the assignment": ("struct s *s;\nif (!(s = kmalloc(8, GFP_KERNEL)))\nreturn 1;\ns->n = 1;", set()),
    "correlated": ("if (a)\nkfree(x);\nif (!a)\nkfree(x);", set()),
    "correlated by a number": ("if (a == 2)\nkfree(x);\nif (a != 2)\nkfree(x);", set()),
    "correlated by order": ("if (a > 4)\nkfree(x);\nif (a < 3)\nkfree(x);", set()),
    "correlated, then changed": ("if (a)\nkfree(x);\na = g();\nif (!a)\nkfree(x);", {"double-free@5"}),
    "correlated by an error": ("err = 0;\nif (b) {\nkfree(x);\nerr = -EINVAL;\n}\nif (!err)\nkfree(x);", set()),
    "correlated by a flag": ("bool done = false;\nif (b) {\nkfree(x);\ndone = true;\n}\nif (!done)\nkfree(x);", set()),
    "correlated, not at all": ("if (a)\nkfree(x);\nif (b)\nkfree(x);", {"double-free@4"}),
    "correlated by a case": ("switch (a) {\ncase 1:\nkfree(x);\n}\nif (a != 1)\nkfree(x);", set()),
    "no correlation with a range": ("switch (a) {\ncase 1 ... 3:\nkfree(x);\n}\nif (a == 2)\nkfree(x);", {"double-free@6"}),
    "correlated by #ifdef": ("#ifdef X\nkfree(x);\n#endif\n#ifndef X\nkfree(x);\n#endif", set()),
    "correlated allocation": ("p = NULL;\nif (a)\np = make(8);\nif (!p)\nreturn 1;\nkfree(p);", set()),
    "a loop": (ALLOC + "while (a--) {\nkfree(p);\n}", {"double-free@5"}),
    "a loop that allocates": ("while (a--) {\np = make(8);\nkfree(p);\n}", set()),
    "a list": ("struct s *n;\nwhile (x) {\nn = x->next;\nkfree(x);\nx = n;\n}", set()),
    "a list, wrongly": ("while (x) {\nkfree(x);\nx = x->next;\n}", {"use-after-free@3"}),
    "an array": ("while (a--)\nkfree(((void **)x)[a]);", set()),
    "break behind the free": ("while (a) {\nif (b) {\nkfree(x);\nbreak;\n}\n}", set()),
    "retry": ("again:\np = make(8);\nif (!p)\nreturn 1;\nif (g(p)) {\nkfree(p);\ngoto again;\n}\nkfree(p);", set()),
    "retry, freed twice": ("p = make(8);\nagain:\nkfree(p);\nif (a)\ngoto again;", {"double-free@3"}),
    "unwinding": (ALLOC + "q = make(8);\nif (!q)\ngoto out;\nkfree(q);\nout:\nkfree(p);", set()),
    "unwinding twice": (ALLOC + "if (a) {\nkfree(p);\ngoto out;\n}\nreturn 0;\nout:\nkfree(p);", {"double-free@10"}),
    "krealloc": (ALLOC + "q = krealloc(p, 16, GFP_KERNEL);\nif (!q) {\nkfree(p);\nreturn 1;\n}\nkfree(q);", set()),
    "out-parameter": ("if (make_at(&p))\nreturn 1;\nkfree(p);\nkfree(p);", {"double-free@4"}),
    "given away by address": ("kfree(p);\ng(&p);\nkfree(p);", set()),
    "a freeing wrapper": ("drop(x);\nkfree(x);", {"double-free@2"}),
    "a wrapper that frees members": ("drop(x);\nx->n = 1;", {"use-after-free@2"}),
    "a wrapper that frees a member only": ("drop_buf(x);\nx->n = 1;\nkfree(x);", set()),
    "a wrapper that frees sometimes": ("drop_if(x);\nkfree(x);", set()),
    "a wrapper that allocates": ("struct s *s = make(8);\ns->n = 1;", {"unchecked@2"}),
    "a macro that clears": ("DROP(p);\nDROP(p);", set()),
    "a macro that frees": ("JUST_DROP(x);\nJUST_DROP(x);", {"double-free@2"}),
    "elvis": ("p = make(8) ?: x;\nkfree(p);", set()),
    "elvis frees once": ("a = g(x) ?: h(x);\nkfree(x);", set()),
    "__free": ("struct s *s __free(kfree) = make(8);\nif (!s)\nreturn 1;\ns->n = 1;", set()),
    "__free and a free": ("struct s *s __free(kfree) = make(8);\nkfree(s);", {"double-free@1"}),
    "__free, taken": ("struct s *s __free(kfree) = make(8);\nreturn give(no_free_ptr(s));", set()),
    "an error pointer": ("p = memdup_user(x, 8);\nif (IS_ERR(p))\nreturn 1;\nkfree(p);", set()),
    "an error pointer freed": ("p = memdup_user(x, 8);\nif (IS_ERR(p)) {\nkfree(p);\nreturn 1;\n}\nkfree(p);", {"freed-error@3"}),
    "sizeof is no use": ("kfree(x);\na = sizeof(*x) + sizeof(x->n);", set()),
    "an address is no use": ("kfree(x);\nq = &x->n;", set()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_incidents(name):
    statements, wanted = CASES[name]
    assert incidents(statements) == wanted


def test_a_function_rich_in_states_is_cut_short():
    """It ends, and says that it saw only part."""
    text = "".join(f"if (g({n})) {{ kfree(p{n}); }} else {{ p{n} = NULL; }}\n" for n in range(24))
    names = ", ".join(f"void *p{n}" for n in range(24))
    found = unit(f"int f({names})\n{{\n{text}\nreturn 0;\n}}\n").paths
    assert not found.complete


def test_exits_tell_what_is_returned_and_freed():
    [leave] = unit("void *f(void *p, int n) { kfree(p); return kmalloc(n, GFP_KERNEL); }").paths.exits
    assert leave.frees_param(0) and not leave.frees_param(1) and leave.origin.site.alloc.name == "kmalloc"
