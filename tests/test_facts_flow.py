"""Statements and expressions: every path of the control flow graph, and no other, in the order of the C."""

import pytest
from test_facts_harness import bodies, body_of, traces, walks

from kgfplint.facts import ir
from kgfplint.facts.terms import show

STATEMENTS = {
    "if": ("if (a) p(); else q(); r();", {"p(); r()", "q(); r()"}),
    "else if": ("if (a) p(); else if (b) q(); else { r(); } s();", {"p(); s()", "q(); s()", "r(); s()"}),
    "nested if": ("if (a) if (b) p(); else q();", {"p()", "q()", ""}),
    "while": ("while (more()) p();", {"more()", "more(); p(); more()"}),
    "while 1": ("while (1) { if (p()) break; }", {"p()", "p(); p()"}),
    "do": ("do p(); while (a);", {"p()", "p(); p()"}),
    "do 0": ("do { p(); if (a) break; q(); } while (0); r();", {"p(); r()", "p(); q(); r()"}),
    "for": ("for (init(); test(); step()) p();", {"init(); test()", "init(); test(); p(); step(); test()"}),
    "for with a declaration": ("for (int i = n(), j = 0; i < b; i++) p(i);",
                               {"i = n(); j = 0", "i = n(); j = 0; p(i); i += 1"}),
    "for ever": ("for (;;) { p(); if (a) return; }", {"p(); return", "p(); p(); return"}),
    "break": ("while (a) { p(); if (b) break; q(); }", {"", "p()", "p(); q()", "p(); q(); p()"}),
    "continue": ("for (; a; s()) { if (b) continue; p(); }", {"", "s()", "p(); s()"}),
    "continue in do": ("do { if (a) continue; p(); } while (t());",
                       {f"{first}t(){again}" for first in ("", "p(); ") for again in ("", "; t()", "; p(); t()")}),
    "break of the inner loop": ("while (a) { while (b) { break; } p(); } q();", {"q()", "p(); q()"}),
    "switch": ("switch (a) { case 1: p(); break; case 2: q(); default: r(); }", {"p()", "q(); r()", "r()"}),
    "switch without default": ("switch (a) { case 1: case 2: p(); }", {"p()", ""}),
    "default first": ("switch (a) { default: p(); break; case 1: q(); }", {"p()", "q()"}),
    "case range": ("switch (a) { case 1 ... 4: p(); break; case 7: q(); }", {"p()", "q()", ""}),
    "switch in a loop": ("while (a) { switch (b) { case 1: continue; case 2: break; default: p(); } q(); }",
                         {"", "q()", "p(); q()"}),
    "loop in a switch": ("switch (a) { case 1: while (b) break; p(); break; default: q(); }", {"p()", "q()"}),
    "subject with a call": ("switch (t(a)) { case 1: p(); }", {"t(a); p()", "t(a)"}),
    "before the first case": ("switch (a) { p(); case 1: q(); }", {"q()", ""}),
    "goto forwards": ("if (a) goto out; p(); out: q();", {"q()", "p(); q()"}),
    "goto backwards": ("again: p(); if (a) goto again; q();", {"p(); q()", "p(); p(); q()"}),
    "goto out of loops": ("while (a) { while (b) { if (c) goto out; } } p(); out: q();", {"q()", "p(); q()"}),
    "labels in a row": ("if (a) goto one; goto two; one: two: p();", {"p()"}),
    "no such label": ("p(); goto nowhere;", {"p()"}),
    "dead code": ("return; p();", {"return"}),
    "return": ("if (a) return p(); return q();", {"p(); return p()", "q(); return q()"}),
    "nested calls": ("p(q(a), r());", {"q(a); r(); p(q(a), r())"}),
    "call of a call": ("x->get(a)->put(b);", {"x->get(a); x->get(a)->put(b)"}),
    "&& of calls": ("if (p() && q()) r();", {"p()", "p(); q()", "p(); q(); r()"}),
    "|| of calls": ("if (p() || q()) r();", {"p(); r()", "p(); q()", "p(); q(); r()"}),
    "! of both": ("if (!(p() && !q())) r();", {"p(); r()", "p(); q(); r()", "p(); q()"}),
    "&& as a value": ("a = p() && q();", {"p(); a = p() && q()", "p(); q(); a = p() && q()"}),
    "&& with an assignment": ("if (a && (b = p())) q();", {"", "b = p()", "b = p(); q()"}),
    "|| with an assignment": ("if ((a = p()) || (b = q())) r();", {"a = p(); r()", "a = p(); b = q(); r()", "a = p(); b = q()"}),
    "conditional": ("a = b ? p() : q();", {"a = p()", "a = q()"}),
    "conditional argument": ("t(b ? p() : c);", {"p(); t(b ? p() : c)", "t(b ? p() : c)"}),
    "nested conditional": ("a = b ? c ? p() : q() : 0;", {"a = p()", "a = q()", "a = 0"}),
    "elvis": ("a = p() ?: q();", {"a = p()", "a = p(); a = q()"}),
    "elvis as a value": ("t(p() ?: q());", {"p(); t(p() ? p() : q())", "p(); q(); t(p() ? p() : q())"}),
    "elvis of a name": ("return x ?: q();", {"return x ? x : q()", "q(); return x ? x : q()"}),
    "comma": ("a = (p(), q()); r(), s();", {"p(); a = q(); r(); s()"}),
    "comma in a condition": ("while (p(), a) q();", {"p()", "p(); q(); p()"}),
    "chained assignment": ("a = b = p();", {"b = p(); a = b"}),
    "compound assignment": ("a |= p(b);", {"p(b); a |= p(b)"}),
    "update": ("a++; --b;", {"a += 1; b -= 1"}),
    "cast": ("a = (long)p();", {"a = p()"}),
    "sizeof": ("a = sizeof(*x) + sizeof(p());", {"a = sizeof(*x) + sizeof(p())"}),
    "compound literal": ("p(&(struct s){ .m = q() });", {"q(); p(&(struct s){...})"}),
    "statement expression": ("a = ({ int t = p(); q(t); t; });", {"t = p(); q(t); a = t"}),
    "statement expression in a condition": ("if (({ p(); a; })) q();", {"p()", "p(); q()"}),
    "return in a statement expression": ("a = ({ if (b) return 1; p(); });", {"return 1", "p(); a = p()"}),
    "likely": ("if (unlikely(!p())) q();", {"p()", "p(); q()"}),
    "WARN_ON": ("if (WARN_ON(p(a))) q();", {"p(a)", "p(a); q()"}),
    "BUG_ON": ("BUG_ON(p(a)); q();", {"p(a)", "p(a); q()"}),
    "BUG": ("if (a) BUG(); q();", {"BUG()", "q()"}),
    "panic": ('if (a) panic("no"); else p(); q();', {'panic("no")', "p(); q()"}),
    "#if": ("#ifdef X\np();\n#else\nq();\n#endif\nr();", {"p(); r()", "q(); r()"}),
    "#if without #else": ("#if IS_ENABLED(X)\np();\n#endif\nr();", {"p(); r()", "r()"}),
    "#elif": ("#if X\np();\n#elif Y\nq();\n#else\nr();\n#endif\n", {"p()", "q()", "r()"}),
    "#if 0": ("#if 0\np();\n#endif\nq();", {"q()"}),
    "#ifdef around cases": ("switch (a) {\n#ifdef X\ncase 1: p(); break;\n#endif\ncase 2: q(); break;\n}", {"p()", "q()", ""}),
    "loop macro": ("list_for_each_entry(x, &h, l) p(x);",
                   {"list_for_each_entry(x, &h, l)", "list_for_each_entry(x, &h, l); p(x); list_for_each_entry(x, &h, l)"}),
    "break of a loop macro": ("for_each_cpu(a, m) { if (b) break; p(); } q();",
                              {"for_each_cpu(a, m); q()", "for_each_cpu(a, m); p(); for_each_cpu(a, m); q()"}),
    "assembly": ('asm("nop" : [o] "=r"(a) : "r"(p(b))); q();', {'a = asm; p(b); asm("nop" : [o] "=r"(a) : "r"(p(b))); q()'}),
    "empty": (";;{}", {""}),
    "label at the end": ("if (a) goto out; p(); out:;", {"", "p()"}),
}  # fmt: skip


@pytest.mark.parametrize("name", STATEMENTS)
def test_paths(name):
    statements, wanted = STATEMENTS[name]
    assert traces(statements) == wanted


def test_loops_come_back():
    assert traces("while (a) p();", 4) == {"", "p()", "p(); p()", "p(); p(); p()"}


def conditions(statements):
    """The conditions of all edges as (C text, truth), block by block."""
    return [(show(edge.condition), edge.truth) for block in body_of(statements).blocks for edge in block.edges
            if edge.condition is not None]


def test_conditions_stand_on_edges():
    assert conditions("if (!x || a == 2) p();") == [("x", True), ("x", False), ("a == 2", True), ("a == 2", False)]
    assert conditions("if (IS_ERR(x)) p();") == [("IS_ERR(x)", True), ("IS_ERR(x)", False)]


def test_a_case_is_a_comparison_but_a_range_is_not():
    assert conditions("switch (a) { case 1: p(); case 2 ... 9: q(); }") == [("a == 1", True)]


def test_constant_conditions_keep_one_edge():
    assert conditions("if (0) p(); while (1) { if (a) break; }") == [("a", True), ("a", False)]


def calls(text):
    return {event.callee.id: event for body in bodies(text).values() for block in body.blocks for event in block.events
            if isinstance(event, ir.Call)}


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_lines_and_columns(ending):
    text = "int f(int a)\n{\n\tp(a);\n  if (a)\n\t\tb = q(a,\n\t\t\tr());\n\treturn \\\n  s();\n}\n".replace("\n", ending)
    found = {name: (call.line, call.column, call.end_line) for name, call in calls(text).items()}
    assert found == {"p": (3, 2, 3), "q": (5, 7, 6), "r": (6, 4, 6), "s": (8, 3, 8)}


def test_lines_and_columns_in_macros():
    text = "int x;\n#define one(a) (p(a) + 1)\n#define two(a) do { \\\n\tq(a); \\\n} while (0)\n#define  three(a)\tr(a)\n"
    found = {name: (call.line, call.column) for name, call in calls(text).items()}
    assert found == {"p": (2, 17), "q": (4, 2), "r": (6, 19)}


def test_a_declaration_without_a_value_is_an_event():
    events = [type(event).__name__ for event in body_of("while (a) { void *p; p = q(); }").blocks[2].events]
    assert events in (["Declare", "Call"], ["Return"])
    assert "Declare" in {type(e).__name__ for path in walks(body_of("int t; p(t);")) for e in path}


def test_the_locals_of_a_function():
    body = body_of("static int n; struct s *p __free(kfree) = q(); u8 buf[16], *at; for (int i = 0; i < a; i++) ;")
    assert [(v.name, v.ctype, v.storage, v.cleanup) for v in body.locals] == [
        ("n", "int", "static", ""), ("p", "struct s *", "", "kfree"), ("buf", "u8[16]", "", ""), ("at", "u8 *", "", ""),
        ("i", "int", "", ""),
    ]
