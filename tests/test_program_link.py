"""Linking: which definition a call means, which functions a pointer may lead to, which headers a file sees."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_facts_harness import Tree, lowered

from kgfplint.program import link
from kgfplint.program.includes import Includes


def linked(**files: str):
    """A program of files; `drivers_x_c` is drivers/x.c."""
    paths = {"/".join(name.split("_")[:-1]) + "." + name.split("_")[-1]: text for name, text in files.items()}
    return link((path, lowered(text).facts) for path, text in paths.items())


def meant(program, name: str, path: str = "a.c") -> list[str]:
    file = program.paths.index(path)
    return [f"{program.file_of(f)}:{program.rows[f].line}" for f in program.resolve(file, name)]


CALL = "int caller(void) { return g(); }\n"


def test_the_own_static_function_comes_first():
    program = linked(a_c=CALL + "static int g(void) { }\n", b_c="int g(void) { }\n", c_c="static int g(void) { }\n")
    assert meant(program, "g") == ["a.c:2"]


def test_the_statics_of_other_files_are_never_meant():
    assert meant(linked(a_c=CALL, c_c="static int g(void) { }\n"), "g") == []
    assert meant(linked(a_c=CALL, c_c="static int g(void) { }\n", b_c="int g(void) { }\n"), "g") == ["b.c:1"]


def test_an_inline_of_a_header_that_is_included():
    files = {"include_one_h": "static inline int g(void) { }\n", "include_two_h": "static inline int g(void) { }\n",
             "include_all_h": "#include <two.h>\n"}
    assert meant(linked(a_c="#include <one.h>\n" + CALL, **files), "g") == ["include/one.h:1"]
    assert meant(linked(a_c="#include <all.h>\n" + CALL, **files), "g") == ["include/two.h:1"]
    assert len(meant(linked(a_c=CALL, **files), "g")) == 2


def test_an_inline_that_is_seen_comes_before_a_global():
    files = {"include_one_h": "#ifndef X\nstatic inline int g(void) { }\n#endif\n", "b_c": "int g(void) { }\n"}
    assert meant(linked(a_c="#include <one.h>\n" + CALL, **files), "g") == ["include/one.h:2"]
    assert meant(linked(a_c=CALL, **files), "g") == ["b.c:1"]


def test_several_definitions_are_kept():
    assert meant(linked(a_c=CALL, b_c="int g(void) { }\n", c_c="int g(void) { }\n"), "g") == ["b.c:1", "c.c:1"]
    both = "#ifdef X\nstatic int g(void) { }\n#else\nstatic int g(void) { }\n#endif\n"
    assert meant(linked(a_c=both + CALL), "g") == ["a.c:2", "a.c:4"]


def test_macros_are_functions_of_where_they_are_seen():
    files = {"include_one_h": "#define g() h(1)\n", "b_c": "#define g() h(2)\n"}
    assert meant(linked(a_c="#include <one.h>\n" + CALL, **files), "g") == ["include/one.h:1"]
    assert meant(linked(a_c="#define g() h(3)\n" + CALL, **files), "g") == ["a.c:1"]


OPS = """
struct ops { int (*open)(void); int (*close)(void); struct { void (*run)(void); } inner; };
struct dev { struct ops *ops; struct ops own; struct ops many[4]; };
typedef struct ops ops_t;
typedef struct dev *dev_p;
static int one(void) { } static int two(void) { } static void three(void) { }
"""
TARGETS = {
    "a pointer": ("struct ops o = { .open = one };", "int f(struct dev *d) { d->ops->open(); }", {"one"}),
    "a struct inside": ("struct ops o = { .open = one };", "int f(struct dev *d) { d->own.open(); }", {"one"}),
    "an array of structs": (
        "struct ops o[] = { { .open = one }, { .open = two } };", "int f(struct dev *d) { d->many[2].open(); }",
                            {"one", "two"}),
    "positional": ("struct ops o = { one, two };", "int f(struct dev *d) { d->ops->close(); }", {"two"}),
    "nested": ("struct dev v = { .own = { .open = one } };", "int f(struct ops *o) { o->open(); }", {"one"}),
    "nested by a path": ("struct dev v = { .own.open = one };", "int f(struct ops *o) { o->open(); }", {"one"}),
    "an unnamed struct": ("struct ops o = { .inner.run = three };", "int f(struct ops *o) { o->inner.run(); }", {"three"}),
    "a typedef": ("ops_t o = { .open = one };", "int f(dev_p d) { d->ops->open(); }", {"one"}),
    "an assignment": ("void g(struct dev *d) { d->ops->open = two; }", "int f(ops_t *o) { o->open(); }", {"two"}),
    "an assignment in an array": ("void g(struct dev *d) { d->many[1].open = two; }", "int f(ops_t *o) { o->open(); }", {"two"}),
    "a global": ("struct ops o = { .open = one }; struct dev the;", "int f(void) { the.ops->open(); }", {"one"}),
    "the result of a function": (
        "struct ops o = { .open = one }; struct dev *get(void);", "int f(void) { get()->ops->open(); }", {"one"}),
    "container_of": (
        "struct ops o = { .open = one };", "int f(void *p) { container_of(p, struct dev, own)->ops->open(); }", {"one"}),
    "another member": ("struct ops o = { .open = one };", "int f(struct ops *o) { o->close(); }", set()),
    "another struct": ("struct ops o = { .open = one };", "int f(struct other *o) { o->open(); }", set()),
}  # fmt: skip


def indirect(program, name: str) -> set[str]:
    return {edge.function for edge in program.callees(name) if edge.kind.startswith("indirect ") and "(" not in edge.function}


@pytest.mark.parametrize("name", TARGETS)
def test_indirect_calls(name):
    stored, calling, wanted = TARGETS[name]
    program = linked(a_c=OPS + stored + "\n" + calling + "\n")
    assert indirect(program, "f") == wanted
    for target in wanted:
        assert "f" in {edge.function for edge in program.callers(target)}


def test_pointers_are_followed_from_file_to_file():
    program = linked(include_d_h=OPS.partition("static")[0], a_c="#include <d.h>\nint f(struct dev *d) { d->ops->open(); }\n",
                     b_c="#include <d.h>\nstatic int mine(void) { }\nstruct ops o = { .open = mine };\n",
                     c_c="static int mine(void) { }\n")
    assert meant(program, "mine", "b.c") == ["b.c:2"]
    [edge] = program.callees("f")
    assert (edge.path, edge.line, edge.function, edge.kind) == ("a.c", 2, "mine", "indirect ops.open")
    assert [e.path for e in program.callers("mine")] == ["a.c"]


def test_too_many_targets_are_no_edge():
    text = OPS + "".join(f"static int t{n}(void) {{ }}\nstruct ops o{n} = {{ .open = t{n} }};\n" for n in range(65))
    program = linked(a_c=text + "int f(struct ops *o) { o->open(); }\n")
    assert [(edge.function, edge.kind) for edge in program.callees("f")] == [("(65 targets)", "indirect ops.open")]
    assert program.callers("t3") == []


def test_callers_and_callees():
    program = linked(a_c="int f(void)\n{\n\tg();\n\tunknown();\n\tqueue(h);\n\treturn g();\n}\n",
                     b_c="int g(void) { }\nint h(void) { }\n")
    assert [(e.path, e.line, e.function, e.kind) for e in program.callees("f")] == [
        ("a.c", 3, "g", "direct"), ("a.c", 4, "unknown", "unresolved"), ("a.c", 5, "queue", "unresolved")]
    assert [(e.line, e.function, e.kind) for e in program.callers("g")] == [(3, "f", "direct")]
    assert [(e.line, e.function, e.kind) for e in program.callers("h")] == [(5, "f", "handed to queue")]
    with pytest.raises(KeyError):
        program.callers("nobody")


def test_functions_are_numbered_through_the_files():
    program = linked(a_c="int f(void) { }\n", b_c="", c_c="int g(void) { }\nint h(void) { }\n")
    assert [list(program.functions_of(file)) for file in range(3)] == [[0], [], [1, 2]]
    assert [program.file_of(number) for number in range(3)] == ["a.c", "c.c", "c.c"]


def test_include_lines():
    paths = ["drivers/x/a.c", "drivers/x/own.h", "include/linux/own.h", "drivers/y/own.h", "arch/arm/include/asm/io.h",
             "arch/x86/include/asm/io.h", "drivers/x/sub/deep.h"]
    includes = Includes(paths, {})
    words = ('"own.h"', "<linux/own.h>", "<asm/io.h>", "<none.h>", '"sub/deep.h"')
    assert {word: [paths[n] for n in includes.resolve(0, word)] for word in words} == {
        '"own.h"': ["drivers/x/own.h"], "<linux/own.h>": ["include/linux/own.h"],
        "<asm/io.h>": ["arch/arm/include/asm/io.h", "arch/x86/include/asm/io.h"], "<none.h>": [],
        '"sub/deep.h"': ["drivers/x/sub/deep.h"],
    }


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.integers(0, 8), st.lists(st.integers(0, 8), max_size=4)), st.randoms())
def test_closures_are_what_can_be_reached(graph, chance):
    """Against a search from each file, with cycles, asked for in any order."""
    files = sorted({*graph, *(to for all_to in graph.values() for to in all_to)} or {0})
    paths = [f"include/h{number}.h" for number in files]
    includes = Includes(paths, {files.index(n): [f"<h{to}.h>" for to in found] for n, found in graph.items()})
    order = list(files)
    chance.shuffle(order)
    for start in order:
        reached, stack = {start}, [start]
        while stack:
            fresh = set(graph.get(stack.pop(), ())) - reached
            reached |= fresh
            stack.extend(fresh)
        assert {other for other in files if includes.sees(files.index(start), files.index(other))} == reached


def test_a_program_is_the_same_in_any_process():
    files = {"a.c": OPS + "struct ops o = { .open = one };\nint f(struct dev *d) { return d->ops->open(); }\n", "b.c": CALL}
    first, second = Tree(files).program, Tree(files).program
    assert first.rows == second.rows and first.callees("f") == second.callees("f") and first.keys == second.keys
