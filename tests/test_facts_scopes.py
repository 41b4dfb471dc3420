"""guard(), scoped_guard(), CLASS() and __free(): each exit once on each path that entered, innermost first."""

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_facts_harness import body_of, catalogue, traces, walks, word

from kgfplint.facts import ir

P = "struct s *p __free(kfree) = get();"
SCOPES = {
    "guard": ("guard(mutex)(&l); p();", {"+mutex; p(); -mutex"}),
    "guard in a block": ("{ guard(mutex)(&l); p(); } q();", {"+mutex; p(); -mutex; q()"}),
    "return": ("guard(mutex)(&l); if (a) return; p();", {"+mutex; -mutex; return", "+mutex; p(); -mutex"}),
    "the value comes first": ("guard(mutex)(&l); return p();", {"+mutex; p(); -mutex; return p()"}),
    "nested": ("guard(mutex)(&l); { guard(rcu)(); if (a) return; p(); } q();",
               {"+mutex; +rcu; -rcu; -mutex; return", "+mutex; +rcu; p(); -rcu; q(); -mutex"}),
    "goto out of the scope": ("{ guard(mutex)(&l); if (a) goto out; p(); } q(); out: r();",
                              {"+mutex; -mutex; r()", "+mutex; p(); -mutex; q(); r()"}),
    "goto inside the scope": (
        "guard(mutex)(&l); if (a) goto out; p(); out: r();", {"+mutex; r(); -mutex", "+mutex; p(); r(); -mutex"}),
    "goto back over it": (
        "again: guard(mutex)(&l); if (a) goto again; p();", {"+mutex; p(); -mutex", "+mutex; -mutex; +mutex; p(); -mutex"}),
    "goto between siblings": (
        "if (a) { guard(mutex)(&l); goto in; } else { p(); in: q(); }", {"+mutex; -mutex; q()", "p(); q()"}),
    "break": ("while (a) { guard(mutex)(&l); if (b) break; p(); } q();",
              {"q()", "+mutex; -mutex; q()", "+mutex; p(); -mutex; q()", "+mutex; p(); -mutex; +mutex; -mutex; q()"}),
    "continue": ("for (; a; n()) { guard(mutex)(&l); if (b) continue; p(); }",
                 {"", "+mutex; -mutex; n()", "+mutex; p(); -mutex; n()"}),
    "break leaves outer guards": ("guard(rcu)(); while (a) { if (b) break; p(); }", {"+rcu; -rcu", "+rcu; p(); -rcu"}),
    "in a case": ("switch (a) { case 1: p(); break; case 2: { guard(mutex)(&l); break; } default: guard(rcu)(); q(); } r();",
                  {"p(); r()", "+mutex; -mutex; r()", "+rcu; q(); -rcu; r()"}),
    "scoped_guard": ("scoped_guard(spinlock, &l) { p(); } q();", {"+spinlock; p(); -spinlock; q()"}),
    "scoped_guard of one statement": ("scoped_guard(rcu)\n\tp();\nq();", {"+rcu; p(); -rcu; q()"}),
    "scoped_guard and break": ("scoped_guard(spinlock, &l) { if (a) break; p(); } q();",
                               {"+spinlock; -spinlock; q()", "+spinlock; p(); -spinlock; q()"}),
    "scoped_guard and return": ("scoped_guard(spinlock, &l) { if (a) return; p(); } q();",
                                {"+spinlock; -spinlock; return", "+spinlock; p(); -spinlock; q()"}),
    "scoped_guard in a loop": ("while (a) {\n\tscoped_guard(rcu) { if (b) continue; p(); } q(); }",
                               {"", "+rcu; -rcu; q()", "+rcu; p(); -rcu; q()"}),
    "CLASS": ("CLASS(get_unused_fd, fd)(O_CLOEXEC); p();", {"+get_unused_fd; p(); -get_unused_fd"}),
    "__free": (P + " if (!p) return; use(p);", {"p = get(); ~p; return", "p = get(); use(p); ~p"}),
    "two __free": (P + "struct t *q __free(kvfree) = get(); p();", {"p = get(); q = get(); p(); ~q; ~p"}),
    "__free and guard": ("guard(mutex)(&l); " + P + " return 0;", {"+mutex; p = get(); ~p; -mutex; return 0"}),
    "statement expression": ("a = ({ guard(mutex)(&l); p(); }); q();", {"+mutex; p(); -mutex; a = p(); q()"}),
    "noreturn leaves nothing": ("guard(mutex)(&l); if (a) BUG(); p();", {"+mutex; BUG()", "+mutex; p(); -mutex"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SCOPES)
def test_exits(name):
    statements, wanted = SCOPES[name]
    assert traces(statements) == wanted


def test_the_class_of_a_cleanup():
    [cleanup] = [event for path in walks(body_of(P)) for event in path if isinstance(event, ir.Cleanup)]
    assert cleanup.cls == "kfree" and cleanup.cls in catalogue().cleanups


leaves = st.sampled_from(["p();", "if (a) return;", "if (b) goto out;", "if (c) break;", "if (a) continue;", "guard(g)(&l);"])
blocks = st.recursive(
    leaves,
    lambda inner: st.tuples(
        st.sampled_from(["{ %s }", "while (a) { %s }", "\n\tscoped_guard(s, &l) { %s }",
                         "if (b) { %s } else { guard(e)(&l); p(); }",
                         "do { %s } while (0);", "again%d: if (a) { %s goto again%d; }"]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
)


def spelt(block, count):
    if isinstance(block, str):
        return block
    shape, inner = block
    text = " ".join(spelt(one, count) for one in inner)
    if "%d" in shape:
        count[0] += 1
        return shape % (count[0], text, count[0])
    return shape.replace("%s", text)


@settings(max_examples=80, deadline=None)
@given(st.lists(blocks, min_size=1, max_size=3))
def test_every_path_is_balanced(found):
    """Exits match entries like brackets on every path that leaves, whatever leaves the scopes."""
    count = [0]
    text = " ".join(spelt(block, count) for block in found)
    body = body_of(f"while (1) {{ {text} }}\nout: q();")
    for path in islice(walks(body), 300):
        held = []
        for step in path:
            if isinstance(step, ir.Guard):
                if step.enter:
                    held.append(step.cls)
                else:
                    assert held and held.pop() == step.cls, [word(s) for s in path if not isinstance(s, ir.Edge)]
        assert not held
