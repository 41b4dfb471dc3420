"""What functions do with the pointers they are given, and what follows for a call by what they call in turn."""

import pytest
from test_facts_harness import Tree

from kgfplint.checks.pending import Asked, Case, Pending, Settling
from kgfplint.findings import Finding, Severity, Step
from kgfplint.ownership.fates import MADE, UNCLEAR, Fates

AROUND = "struct s { struct s *next; void *buf; int n; };\nstruct s *all;\n"
CASES = {
    "only read": ("int f(struct s *p) { return p->n; }", False, (), True),
    "tested first": ("int f(struct s *p) { return p ? p->n : 0; }", False, (), False),
    "read on one way": ("int f(struct s *p, int a) { if (a) return p->n; return 0; }", False, (), False),
    "read on all ways": ("int f(struct s *p, int a) { if (a) return p->n; return p->n + 1; }", False, (), True),
    "stored in a global": ("void f(struct s *p) { all = p; }", True, (), False),
    "stored in another": ("void f(struct s *p, struct s *q) { q->buf = p; }", True, (), False),
    "stored in itself": ("void f(struct s *p) { p->next = p; }", False, (), True),
    "an address inside it stored": ("void f(struct s *p, struct s *q) { q->buf = &p->n; }", True, (), False),
    "through a local": ("void f(struct s *p) { struct s *q = p; all = q; }", True, (), False),
    "freed": ("void f(struct s *p) { kfree(p); }", True, (), False),
    "a part freed": ("void f(struct s *p) { kfree(p->buf); }", False, (), True),
    "handed on": ("void f(struct s *p, int a) { g(a, p); }", False, (("g", 1),), False),
    "through a pointer": ("void f(struct s *p, void (*call)(void *)) { call(p); }", False, (("call", 0),), False),
    "through a member": ("void f(struct s *p, struct ops *o) { o->call(p); }", False, (UNCLEAR,), False),
    "in a struct on the stack": ("void f(struct s *p) { struct s m; m.buf = p; g(&m); }", False, (UNCLEAR,), False),
    "its address given away": ("void f(struct s *p) { g(&p); }", True, (), False),
}


@pytest.mark.parametrize("name", CASES)
def test_the_fate_of_the_first_parameter(name):
    text, kept, passes, uses = CASES[name]
    tree = Tree({"a.c": AROUND + text})
    number = tree.number("f")
    fate = Fates(tree.program, tree.meaning.catalogue).of(number, tree.bodies[number])[0]
    assert (fate.kept, fate.passes, fate.uses) == (kept, passes, uses)


def test_what_is_returned_is_followed_to_its_maker():
    text = """
    struct s *known(void) { struct s *p = kmalloc(8, GFP_KERNEL); all = p; return p; }
    struct s *fresh(void) { struct s *p = kmalloc(8, GFP_KERNEL); return p; }
    struct s *one(void) { struct s *p = known(); return p; }
    struct s *two(void) { struct s *p = fresh(); return p; }
    """
    assert settles(AROUND + text, Asked("two", MADE, "lent")) and not settles(AROUND + text, Asked("one", MADE, "lent"))


def settles(text: str, *asked: Asked) -> bool:
    """Whether a finding stands that hangs on what is asked of callees."""
    tree = Tree({"a.c": text})
    fates = Fates(tree.program, tree.meaning.catalogue)
    settling = Settling(tree.program, lambda numbers: [(number, fates.of(number, tree.bodies[number])) for number in numbers])
    finding = Finding("KGF407", "leaked-allocation", Severity.WARNING, "a.c", 1, 1, 1, "f", "")
    return bool(settling.findings([(0, Pending(finding, (Case(asked, "lost", Step("a.c", 1, "f", "here")),)))]))


CHAIN = AROUND + """
void last(struct s *p) { p->n = 0; }
void first(struct s *p) { last(p); }
void keeper(struct s *p) { all = p; }
void sometimes(struct s *p) { if (p->n) keeper(p); }
void round_one(struct s *p) { if (p->n) round_two(p); }
void round_two(struct s *p) { round_one(p); }
void away(struct s *p) { nobody_knows(p); }
void by_ops(struct s *p, struct ops *o) { o->call(p); }
"""


@pytest.mark.parametrize(("callee", "lent", "assumed"), [
    ("last", True, True), ("first", True, True), ("keeper", False, False), ("sometimes", False, False), ("round_one", True, True),
    ("away", False, True), ("by_ops", False, True), ("nobody_knows", False, True),
])
def test_a_call_is_judged_by_all_that_it_leads_to(callee, lent, assumed):
    assert settles(CHAIN, Asked(callee, 0, "lent")) is lent
    assert settles(CHAIN, Asked(callee, 0, "lent", True)) is assumed


def test_a_stub_says_nothing_of_the_function_it_stands_for():
    files = {"a.h": "static inline void f(struct s *p) { }\n", "b.c": AROUND + "void f(struct s *p) { all = p; }\n",
             "c.c": "#include \"a.h\"\nvoid g(struct s *p) { f(p); }\n"}
    tree = Tree(files)
    fates = Fates(tree.program, tree.meaning.catalogue)
    settling = Settling(tree.program, lambda numbers: [(number, fates.of(number, tree.bodies[number])) for number in numbers])
    finding = Finding("KGF407", "leaked-allocation", Severity.WARNING, "c.c", 1, 1, 1, "g", "")
    case = Case((Asked("f", 0, "lent", True),), "lost", Step("c.c", 1, "g", "here"))
    assert settling.findings([(tree.number("g"), Pending(finding, (case,)))]) == []
