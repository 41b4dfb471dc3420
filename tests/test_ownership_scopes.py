"""Reclaim scopes along the paths of a function, held against a plain walk over all of its paths."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_facts_harness import unit

from kgfplint.facts.terms import show

KINDS = ("nofs", "noio")
VARIABLES = ("f", "g")


class Do(NamedTuple):
    """Begin or end a scope of a kind, its cookie in a variable."""

    what: str
    variable: str
    kind: str


class If(NamedTuple):
    """Two ways on a condition that nothing is known of."""

    then: tuple["Statement", ...]
    other: tuple["Statement", ...]


class Leave(NamedTuple):
    """A return."""


Statement = Do | If | Leave
Cookies = dict[str, tuple[str, bool]]

plain = st.builds(Do, st.sampled_from(["begin", "end"]), st.sampled_from(VARIABLES), st.sampled_from(KINDS))
statements = st.recursive(
    st.lists(plain | st.just(Leave()), max_size=3).map(tuple),
    lambda inner: st.lists(plain | st.builds(If, inner, inner), max_size=4).map(tuple), max_leaves=6,
)  # fmt: skip


def text_of(body: tuple[Statement, ...], numbers: list[int]) -> str:
    """The C of some statements; each condition is a call of its own, so that all paths are possible."""
    lines = []
    for statement in body:
        if isinstance(statement, Leave):
            lines.append("return;")
        elif isinstance(statement, If):
            numbers.append(len(numbers))
            lines.append(f"if (c{numbers[-1]}()) {{ {text_of(statement.then, numbers)} }} "
                         f"else {{ {text_of(statement.other, numbers)} }}")
        elif statement.what == "begin":
            lines.append(f"{statement.variable} = memalloc_{statement.kind}_save();")
        else:
            lines.append(f"memalloc_{statement.kind}_restore({statement.variable});")
    return "\n".join(lines)


def walked(body: tuple[Statement, ...], own: set[str]) -> set[tuple[str, str]]:
    """All that goes wrong with which variable on some path: a walk over every path, one after the other."""
    wrong: set[tuple[str, str]] = set()

    def leave(cookies: Cookies) -> None:
        wrong.update(("open", variable) for variable, (_, is_open) in cookies.items() if is_open)

    def go(rest: tuple[Statement, ...], cookies: Cookies) -> None:
        while rest:
            statement, rest = rest[0], rest[1:]
            if isinstance(statement, Leave):
                break
            if isinstance(statement, If):
                go(statement.then + rest, dict(cookies))
                go(statement.other + rest, dict(cookies))
                return
            variable = statement.variable
            kind, is_open = cookies.get(variable, ("", False))
            if statement.what == "begin":
                if is_open:
                    wrong.add(("lost", variable))
                cookies[variable] = (statement.kind, True)
                continue
            if not kind:
                if variable in own:
                    wrong.add(("never", variable))
            elif not is_open:
                wrong.add(("twice", variable))
            elif kind != statement.kind:
                wrong.add(("other", variable))
            cookies[variable] = (kind or statement.kind, False)
        leave(cookies)

    go(body, {})
    return wrong


def begun(body: tuple[Statement, ...]) -> set[str]:
    found: set[str] = set()
    for statement in body:
        if isinstance(statement, If):
            found |= begun(statement.then) | begun(statement.other)
        elif isinstance(statement, Do) and statement.what == "begin":
            found.add(statement.variable)
    return found


def misuses(text: str) -> set[tuple[str, str]]:
    return {(misuse.what, show(misuse.lvalue)) for misuse in unit(text, "run").scopes.misuses}


@settings(max_examples=200, deadline=None)
@given(statements)
def test_all_that_goes_wrong_on_some_path_is_found_and_nothing_else(body):
    text = f"void run(void)\n{{\nunsigned int f, g;\n{text_of(body, [])}\n}}\n"
    # What comes behind a return is never reached, and begins nothing.
    assert misuses(text) == walked(body, begun(reachable(body)))


def reachable(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """The statements without those behind a return."""
    kept: list[Statement] = []
    for statement in body:
        if isinstance(statement, If):
            statement = If(reachable(statement.then), reachable(statement.other))
        kept.append(statement)
        if isinstance(statement, Leave) or (isinstance(statement, If) and leaves(statement)):
            break
    return tuple(kept)


def leaves(statement: If) -> bool:
    return all(any(isinstance(s, Leave) or (isinstance(s, If) and leaves(s)) for s in way) for way in statement)


CASES = {
    "one flag, both times": ("if (a)\nf = memalloc_nofs_save();\ng();\nif (a)\nmemalloc_nofs_restore(f);", set()),
    "a flag that changed": ("if (a)\nf = memalloc_nofs_save();\na = g();\nif (a)\nmemalloc_nofs_restore(f);",
                            {("open", "f"), ("never", "f")}),
    "a flag that is remembered": (
        "int on = 0;\nif (g()) {\nf = memalloc_nofs_save();\non = 1;\n}\nif (on)\nmemalloc_nofs_restore(f);", set()),
    "in a loop": ("while (g()) {\nf = memalloc_nofs_save();\nmemalloc_nofs_restore(f);\n}", set()),
    "left in a loop": ("while (g()) {\nf = memalloc_nofs_save();\nif (a)\nbreak;\nmemalloc_nofs_restore(f);\n}", {("open", "f")}),
    "begun in a loop": ("while (g())\nf = memalloc_nofs_save();\nmemalloc_nofs_restore(f);", {("lost", "f"), ("never", "f")}),
    "no end after panic": ("f = memalloc_nofs_save();\nif (a)\npanic(\"x\");\nmemalloc_nofs_restore(f);", set()),
    "no cookie": ("memalloc_nofs_save();", {("dropped", "memalloc_nofs_save")}),
    "in an expression": ("memalloc_nofs_restore(memalloc_nofs_save());", set()),
    "moved": ("unsigned int h;\nf = memalloc_nofs_save();\nh = f;\nmemalloc_nofs_restore(h);", set()),
    "by its address": ("f = memalloc_nofs_save();\ng(&f);", set()),
    "kept in a member": ("x->flags = memalloc_nofs_save();", set()),
    "a member, not on failure": ("x->flags = memalloc_nofs_save();\nif (a)\nreturn -EIO;\nmemalloc_nofs_restore(x->flags);",
                                 {("open", "x->flags")}),
    "the member of another": ("memalloc_nofs_restore(x->flags);\nx = x->next;\nmemalloc_nofs_restore(x->flags);", set()),
    "zero, not begun": ("f = 0;\nif (a)\nf = memalloc_nofs_save();\nmemalloc_nofs_restore(f);", set()),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_case(case):
    statements, wrong = CASES[case]
    head = "struct s { unsigned int flags; struct s *next; };\nint run(int a, struct s *x)\n{\nunsigned int f;\n"
    assert misuses(f"{head}{statements}\nreturn 0;\n}}\n") == wrong


def test_what_callers_hear_of():
    text = """
struct s { unsigned int flags; };
unsigned int enter(void) { return memalloc_nofs_save(); }
unsigned int enter_late(void) { unsigned int f = memalloc_noio_save(); g(); return f; }
void leave(int a, unsigned int f) { memalloc_nofs_restore(f); }
void keep(struct s *s) { s->flags = memalloc_nofs_save(); }
void give_back(struct s *s) { memalloc_nofs_restore(s->flags); }
void both(struct s *s) { unsigned int f = memalloc_nofs_save(); memalloc_nofs_restore(f); }
int sometimes(struct s *s) { if (g()) return 1; s->flags = memalloc_nofs_save(); return 0; }
"""
    told = {name: [(c.action, c.kind, c.cookie and show(c.cookie)) for c in unit(text, name).scopes.changes]
            for name in ("enter", "enter_late", "leave", "keep", "give_back", "both", "sometimes")}
    assert told == {
        "enter": [("begin", "nofs", None)], "enter_late": [("begin", "noio", None)], "leave": [("end", "nofs", "f")],
        "keep": [("begin", "nofs", "s->flags")], "give_back": [("end", "nofs", "s->flags")], "both": [], "sometimes": [],
    }  # fmt: skip
