"""Held locks: what is held at each event, on every path; and what functions do to the locks of their callers."""

import random
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from test_facts_harness import Tree, unit, walks

from kgfplint.context.held import HeldLocks, State
from kgfplint.facts import ir
from kgfplint.facts.terms import show


def shown(state: State) -> str:
    return " ".join(sorted(held.kind + (f":{show(held.lock)}" if held.lock is not None else "") for held in state.held))


def held(statements: str, around: str = "") -> dict[str, str]:
    """What is held at each call of a one-letter function: `p` for the first on a line of its own, and so on."""
    found = unit(f"{around}\nint f(int a, int b, struct s *x)\n{{\n\tint ret;\n\n\t{statements}\n}}\n")
    return {event.callee.id: shown(state) for event, state in found.locks.states()
            if isinstance(event, ir.Call) and isinstance(event.callee, ir.Name) and len(event.callee.id) == 1}


HELD = {
    "lock and unlock": ("p(); spin_lock(&x->l); q(); spin_unlock(&x->l); r();", {"p": "", "q": "spin:&x->l", "r": ""}),
    "two locks": ("spin_lock(&x->l); spin_lock(&x->m); p(); spin_unlock(&x->l); q();",
        {"p": "spin:&x->l spin:&x->m", "q": "spin:&x->m"}),
    "an alias": ("spin_lock(&x->l); spin_unlock(lock_of(x)); p();", {"p": ""}),
    "irqsave": ("spin_lock_irqsave(&x->l, a); p(); spin_unlock_irqrestore(&x->l, a); q();", {"p": "irq spin:&x->l", "q": ""}),
    "irqsave, plain unlock, irqrestore": (
        "spin_lock_irqsave(&x->l, a); spin_unlock(&x->l); p(); local_irq_restore(a); q();", {"p": "irq", "q": ""}),
    "irq off twice, restored": ("local_irq_save(a); hard_irq_disable(); p(); local_irq_restore(a); q();", {"p": "irq", "q": ""}),
    "irq saved twice": ("local_irq_save(a); local_irq_save(b); local_irq_restore(b); p(); local_irq_restore(a); q();",
                        {"p": "irq", "q": ""}),
    "irq off, plain lock": ("local_irq_save(a); spin_lock(&x->l); p(); spin_unlock_irqrestore(&x->l, a); q();",
                            {"p": "irq spin:&x->l", "q": ""}),
    "bh": ("spin_lock_bh(&x->l); p(); spin_unlock_bh(&x->l); q();", {"p": "bh spin:&x->l", "q": ""}),
    "RCU nests": ("rcu_read_lock(); rcu_read_lock(); rcu_read_unlock(); p(); rcu_read_unlock(); q();", {"p": "rcu", "q": ""}),
    "mutexes are held, too": ("mutex_lock(&x->m); spin_lock(&x->l); mutex_unlock(&x->m); p();", {"p": "spin:&x->l"}),
    "one branch": ("if (a) spin_lock(&x->l); p();", {"p": ""}),
    "both branches": ("if (a) spin_lock(&x->l); else spin_lock(&x->l); p();", {"p": "spin:&x->l"}),
    "dropped on one branch": ("spin_lock(&x->l); if (a) { spin_unlock(&x->l); p(); } else { q(); } r();",
                              {"p": "", "q": "spin:&x->l", "r": ""}),
    "a branch that leaves": ("spin_lock(&x->l); if (a) { spin_unlock(&x->l); return 1; } p();", {"p": "spin:&x->l"}),
    "a branch that never returns": ("if (a) BUG(); else spin_lock(&x->l); p();", {"p": "spin:&x->l"}),
    "a loop": ("while (a) { spin_lock(&x->l); p(); spin_unlock(&x->l); } q();", {"p": "spin:&x->l", "q": ""}),
    "dropped in a loop": ("spin_lock(&x->l); while (a) { p(); if (b) { spin_unlock(&x->l); } } q();", {"p": "", "q": ""}),
    "retaken in a loop": ("spin_lock(&x->l); while (a) { spin_unlock(&x->l); p(); spin_lock(&x->l); } q();",
        {"p": "", "q": "spin:&x->l"}),
    "goto retry": ("retry: spin_lock(&x->l); if (a) { spin_unlock(&x->l); p(); goto retry; } q();", {"p": "", "q": "spin:&x->l"}),
    "trylock": ("if (spin_trylock(&x->l)) p(); else q(); r();", {"p": "spin:&x->l", "q": "", "r": ""}),
    "not trylock": ("if (!spin_trylock(&x->l)) { q(); return 0; } p();", {"p": "spin:&x->l", "q": ""}),
    "trylock in a loop": ("while (!spin_trylock(&x->l)) q(); p();", {"p": "spin:&x->l", "q": ""}),
    "trylock, tested later": ("ret = spin_trylock(&x->l); q(); if (ret) p(); r();", {"p": "spin:&x->l", "q": "", "r": ""}),
    "trylock compared": ("ret = spin_trylock(&x->l); if (ret == 0) return 0; p();", {"p": "spin:&x->l"}),
    "trylock in an and": ("if (a && spin_trylock(&x->l)) p(); else q();", {"p": "spin:&x->l", "q": ""}),
    "trylock, the result lost": ("ret = spin_trylock(&x->l); ret = g(); if (ret) p();", {"g": "", "p": ""}),
    "trylock, the result overwritten": ("ret = spin_trylock(&x->l); ret = 1; if (ret) p();", {"p": ""}),
    "trylock, the result counted on": ("ret = spin_trylock(&x->l); ret++; if (ret) p();", {"p": ""}),
    "trylock twice": (
        "if (!spin_trylock(&x->l)) return 0; spin_unlock(&x->l); if (spin_trylock(&x->l)) { p(); spin_unlock(&x->l); q(); }",
                      {"p": "spin:&x->l", "q": ""}),
    "interruptible": ("if (mutex_lock_interruptible(&x->m)) { q(); return 0; } p();", {"q": "", "p": "mutex:&x->m"}),
    "interruptible, tested later": ("ret = mutex_lock_interruptible(&x->m); if (ret < 0) { q(); return 0; } if (!ret) p();",
                                    {"q": "", "p": "mutex:&x->m"}),
    "guard": ("{ guard(spinlock)(&x->l); p(); } q();", {"p": "spin:&x->l", "q": ""}),
    "scoped_guard": ("scoped_guard(spinlock_irq, &x->l) { p(); } q();", {"p": "irq spin:&x->l", "q": ""}),
    "a conditional guard": ("scoped_cond_guard(spinlock_try, return 0, &x->l) { p(); } q();", {"p": "spin:&x->l", "q": ""}),
    "a conditional guard, not tested": ("guard(spinlock_try)(&x->l); p();", {"p": ""}),
    "an unknown unlock": ("spin_lock(&x->l); foo_unlock(x); p();", {"p": ""}),
    "an unknown function that is given the lock": ("spin_lock(&x->l); drop(&x->l); p();", {"p": ""}),
    "an unknown function": ("spin_lock(&x->l); frob(x); p();", {"p": "spin:&x->l"}),
    "an unknown method": ("spin_lock(&x->l); x->ops->unlock(x); p();", {"p": ""}),
    "waiting drops it for a while": ("spin_lock_irq(&x->l); wait_event_lock_irq(x->q, a, x->l); p();", {"p": "irq spin:&x->l"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_held(name):
    statements, wanted = HELD[name]
    assert held(statements) == wanted


WRAPPERS = """
static void take(struct s *s) { spin_lock_bh(&s->l); }
static void drop(struct s *s) { spin_unlock_bh(&s->l); }
static void take_two(struct s *s) { take(s); }
#define TAKE(s) spin_lock_bh(&(s)->l)
static int try_take(struct s *s) { if (s->dead) return -EINVAL; spin_lock(&s->l); return 0; }
static bool get_it(struct s *s) { spin_lock(&s->l); if (s->dead) { spin_unlock(&s->l); return false; } return true; }
static void around(struct s *s) { take(s); drop(s); }
static void outside(struct s *s) { spin_unlock(&s->l); spin_lock(&s->l); }
static void perhaps(struct s *s) { if (s->n) spin_lock(&s->l); }
"""

WRAPPED = {
    "a wrapper": ("take(x); p(); drop(x); q();", {"p": "bh spin:&x->l", "q": ""}),
    "a wrapper of a wrapper": ("take_two(x); p(); drop(x); q();", {"p": "bh spin:&x->l", "q": ""}),
    "a macro": ("TAKE(x); p(); drop(x); q();", {"p": "bh spin:&x->l", "q": ""}),
    "holds if 0": ("if (try_take(x)) { q(); return 0; } p();", {"p": "spin:&x->l", "q": ""}),
    "holds if 0, tested later": ("ret = try_take(x); if (ret) return ret; p();", {"p": "spin:&x->l"}),
    "holds if true": ("if (!get_it(x)) { q(); return 0; } p();", {"p": "spin:&x->l", "q": ""}),
    "balanced": ("p(); around(x); q();", {"p": "", "q": ""}),
    "drops and retakes": ("spin_lock(&x->l); outside(x); p(); spin_unlock(&x->l); q();", {"p": "spin:&x->l", "q": ""}),
    "takes sometimes": ("perhaps(x); p();", {"p": ""}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers(name):
    statements, wanted = WRAPPED[name]
    assert held(statements, WRAPPERS) == wanted


def changes(text: str, name: str = "f"):
    summary = Tree({"a.c": text}).summary(name)
    return tuple(sorted(f"{c.kind} {c.when}" for c in summary.acquires)), tuple(sorted(c.kind for c in summary.releases))


def test_what_a_function_does_to_its_callers_locks():
    assert changes("void f(struct s *s) { spin_lock(&s->l); }") == (("spin always",), ())
    assert changes("void f(struct s *s) { spin_unlock(&s->l); }") == ((), ("spin",))
    assert changes("void f(struct s *s) { if (s) spin_unlock(&s->l); }") == ((), ("spin",))
    assert changes("int f(struct s *s) { if (s->a) return 0; spin_lock(&s->l); return 1; }") == (("spin nonzero",), ())
    assert changes("int f(struct s *s) { if (s->a) return -EIO; spin_lock(&s->l); return 0; }") == (("spin zero",), ())
    assert changes("int f(struct s *s) { spin_lock(&s->l); return s->n; }") == (("spin always",), ())
    assert changes("int f(struct s *s) { if (s->a) spin_lock(&s->l); return s->a; }") == ((), ())
    assert changes("void f(struct s *s) { spin_lock(&s->l); BUG(); }") == ((), ())


CHOICES = {
    "lock": ["spin_lock(&{});", "spin_lock_irqsave(&{}, f);", "spin_lock_bh(&{});"],
    "unlock": ["spin_unlock(&{});", "spin_unlock_irqrestore(&{}, f);", "spin_unlock_bh(&{});"],
}
pieces = st.sampled_from(
    [text.format(lock) for texts in CHOICES.values() for text in texts for lock in ("l", "m")]
    + ["rcu_read_lock();", "rcu_read_unlock();", "p();", "if (a) return;", "t = spin_trylock(&l);", "t = 0;", "t = p();"]
    + ["if (t) return;"]
)
trees = st.recursive(
    pieces,
    lambda inner: st.tuples(
        st.sampled_from(["if (%d) { %s } else { %s }", "{ guard(spinlock)(&m); %s %s }", "if (spin_trylock(&l)) { %s } %s",
                         "t = spin_trylock(&m); %s if (t) { %s spin_unlock(&m); }"]),
        st.lists(inner, max_size=2), st.lists(inner, max_size=2)),
    max_leaves=10,
)  # fmt: skip


def written(tree) -> str:
    if isinstance(tree, str):
        return tree
    shape, first, second = tree
    texts = (" ".join(map(written, first)), " ".join(map(written, second)))
    return shape.replace("%d", random.choice("abc")) % texts


def apart(body: ir.Body) -> ir.Body:
    """The same body without an event that stands in two places."""
    return ir.Body(tuple(structs.replace(b, events=tuple(map(structs.replace, b.events))) for b in body.blocks), body.locals)


def alone(path) -> ir.Body:
    """A path as a body of its own: one block after the other, each with one edge."""
    blocks: list[ir.Block] = []
    events: list[ir.Event] = []
    for step in path:
        if isinstance(step, ir.Edge):
            blocks.append(ir.Block(tuple(events), (ir.Edge(len(blocks) + 1, step.condition, step.truth),)))
            events = []
        else:
            events.append(step)
    return ir.Body((*blocks, ir.Block(tuple(events), ())), ())


@settings(max_examples=60, deadline=None)
@given(st.lists(trees, min_size=1, max_size=4), st.randoms())
def test_what_must_be_held_is_held_on_every_path(found, chance):
    """Where paths join, nothing is held but what each of them holds; along one path nothing is joined."""
    random.seed(chance.random())
    whole = unit(f"void f(int a, int b, int c)\n{{\n\tint t;\n\t{' '.join(map(written, found))}\n}}\n")
    body = apart(whole.body)
    joined = {id(event): Counter(held.kind for held in state.held)
              for event, state in HeldLocks(body, whole.file, whole.meaning).states()}
    for path in islice(walks(body), 200):
        for event, state in HeldLocks(alone(path), whole.file, whole.meaning).states():
            assert joined[id(event)] <= Counter(held.kind for held in state.held)
