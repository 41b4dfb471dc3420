"""Types of expressions across files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_facts_harness import Tree

from kgfplint.facts.types import pointee, tag_of
from kgfplint.program.types import join, split

HEADER = """
typedef struct { int n; } box_t;
typedef struct s *s_ptr;
typedef u8 mac_t[6];
struct inner { long deep; };
struct s {
    struct s *next; struct inner in; struct inner *at; u8 buf[16]; s_ptr self; box_t box; union { int y; void *z; }; mac_t mac;
};
struct s *make(int n);
static struct s one, *table[8];
"""
TYPES = {
    "x": "struct s *", "*x": "struct s", "&x": "struct s **", "x->next": "struct s *", "x->next->in.deep": "long",
    "&x->in": "struct inner *", "x->at->deep": "long", "x->buf": "u8[16]", "x->buf[2]": "u8", "*x->buf": "u8",
    "x->self->next": "struct s *", "x->y": "int", "x->box.n": "int", "(struct t *)x": "struct t *",
    "make(1)": "struct s *", "make(1)->at": "struct inner *", "one.next": "struct s *", "table[3]": "struct s *",
    "table[3]->buf": "u8[16]", "a ? x : NULL": "struct s *", "x + 1": "struct s *", "list[1].at": "struct inner *",
    "container_of(p, struct s, in)": "struct s *", "again": "struct s *", "grid[1]": "u8[2]", "nobody": "", "x->nothing": "",
    "unknown(x)": "",
}  # fmt: skip


@pytest.mark.parametrize("expr", TYPES)
def test_types_of_expressions(expr):
    params = "struct s *x, void *p, struct s list[4], u8 grid[4][2], int a"
    text = f'#include <t.h>\nvoid f({params})\n{{\n\ttypeof(x) again;\n\tg({expr});\n}}\n'
    unit = Tree({"include/t.h": HEADER, "a.c": text}).unit("f")
    [call] = [call for call in unit.calls if call.callee.id == "g"]
    assert unit.typing.of(call.args[0]) == TYPES[expr]


def test_tags_are_found_through_typedefs():
    unit = Tree({"a.c": HEADER + "void f(s_ptr p, box_t *b)\n{\n\tg(p);\n\tg(b);\n}\n"}).unit("f")
    assert [unit.typing.tag(call.args[0]) for call in unit.calls] == ["s", "box_t"]


def test_the_nearest_definition_of_a_struct():
    tree = Tree({
        "include/t.h": "struct s { int n; };\n",
        "a.c": "struct s { long n; };\nvoid f(struct s *x) { g(x->n); }\n",
        "b.c": "#include <t.h>\nvoid h(struct s *x) { g(x->n); }\n",
    })
    assert [tree.unit(name).typing.of(tree.unit(name).calls[0].args[0]) for name in "fh"] == ["long", "int"]


bases = st.sampled_from(["int", "struct s", "unsigned long", "u8", "union u"])
derived = st.recursive(bases, lambda inner: st.builds(join, inner, st.sampled_from(["*", "[4]", "[]"])), max_leaves=5)


@given(derived)
def test_a_type_is_its_base_and_its_derivations(ctype):
    assert join(*split(ctype)) == ctype
    assert tag_of(ctype) == (split(ctype)[0].split()[1] if ctype.startswith(("struct ", "union ")) else "")


@given(derived)
def test_a_pointer_leads_where_it_was_taken(ctype):
    assert pointee(join(ctype, "*")) == ctype


def test_the_element_of_an_array():
    assert [pointee(ctype) for ctype in ("u8[16]", "u8[2][4]", "struct s *[8]", "struct s **", "int")] == [
        "u8", "u8[2]", "struct s *", "struct s *", None]


def test_macros_of_architectures_that_name_each_other_come_to_an_end():
    put = "#define put(x, p) ({{ __typeof__(other(x, p) ? inner(x, p) : -{n}) v = 0; v; }})\n"
    other = "#define other(x, p) ({{ __typeof__(put(x, p) ? inner(x, p + {n}) : third(x)) v = 0; v; }})\n"
    inner = "#define inner(x, p) ({{ __typeof__(other(x, p) ? put(x, p) : third(x)) v = 0; v; }})\n"
    texts = {f"arch/{n}/include/asm/put.h": put.format(n=n) + other.format(n=n) + inner.format(n=n) for n in range(8)}
    text = "#include <asm/put.h>\nvoid f(int x, int *p)\n{\n\tg(put(x, p));\n\th(put(x, p) + x);\n}\n"
    unit = Tree({**texts, "a.c": text}).unit("f")
    calls = {call.callee.id: call for call in unit.calls}
    assert unit.typing.of(calls["g"].args[0]) == ""
    assert unit.typing.of(calls["h"].args[0]) == "int"
