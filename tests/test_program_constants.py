"""Constants as a file of a program sees them."""

from hypothesis import given
from hypothesis import strategies as st

from kgfplint.facts import ir
from kgfplint.facts.lower import lower
from kgfplint.program import link
from kgfplint.program.constants import Constants, constants_of

HEADER = b"""
#define ORDER 3
#define MORE (ORDER + 1)
#define ROUND MORE_ROUND
#define MORE_ROUND ROUND
#define PAGES get_order(SZ_64K)
enum { FIRST, SECOND = 7, THIRD };
"""


def program(**files):
    return link([(name.replace("_", "."), lower(text).facts) for name, text in files.items()])


def named(text=HEADER):
    constants = Constants(program(a_h=text))
    return lambda name: constants.value(0, ir.Name(name))


def test_macros_and_enumerators_have_values():
    value = named()
    assert [value(name) for name in ("ORDER", "MORE", "FIRST", "SECOND", "THIRD")] == [3, 4, 0, 7, 8]


def test_sizes_and_orders_of_pages():
    assert [named()(name) for name in ("SZ_4K", "SZ_2M", "PAGE_SIZE", "PAGES")] == [4096, 2 << 20, 4096, 4]


def test_what_has_no_value():
    value = named()
    assert value("ROUND") is None
    assert value("missing") is None
    assert Constants(program(a_h=HEADER)).value(0, ir.Field(ir.Name("p"), "order", True)) is None


def test_values_do_not_hang_on_who_asks_first():
    names = [f"E{number}" for number in range(2000)]
    text = f"enum {{ {', '.join(names)} }};\n#define LOOP (LOOP_BACK + 1)\n#define LOOP_BACK LOOP\n".encode()
    for order in (names, names[::-1], ["LOOP_BACK", *names[::7], *names]):
        value = named(text)
        assert {name: value(name) for name in order if name != "LOOP_BACK"} == {name: int(name[1:]) for name in names}
        assert value("LOOP") is None and value("LOOP_BACK") is None


def test_definitions_that_differ_have_no_value_but_where_they_stand():
    linked = program(a_c=b"#define N 1\n", b_c=b"#define N 2\n", c_c=b"int x;\n")
    assert [Constants(linked).value(file, ir.Name("N")) for file in range(3)] == [1, 2, None]


def test_what_another_file_keeps_for_itself_has_no_value_here():
    linked = program(a_c=b"#define MODE 0x8200\n", b_c=b"enum { MODE, SPEED, SIDES };\n", c_c=b"int x;\n")
    named = [[Constants(linked).value(file, ir.Name(name)) for name in ("MODE", "SIDES")] for file in range(3)]
    assert named == [[0x8200, None], [0, 2], [None, None]]


def test_enumerators_of_several_headers_have_no_value():
    linked = program(a_h=b"enum { FIRST = 4, LAST };\n", b_h=b"enum { NONE, LAST };\n", c_c=b"int x;\n")
    assert [Constants(linked).value(file, ir.Name("LAST")) for file in range(3)] == [5, 1, None]
    assert Constants(linked).value(2, ir.Name("FIRST")) == 4
    assert "LAST" in linked.enumerators and dict(linked.enumerators.items())["LAST"] == [(0, "FIRST + 1"), (1, "NONE + 1")]


def test_one_table_for_a_program():
    linked = program(a_c=b"#define N 1\n")
    assert constants_of(linked) is constants_of(linked)


@given(st.integers(0, 1 << 30), st.integers(0, 1 << 30))
def test_arithmetic_folds_as_it_should(left, right):
    expr = ir.Binary("+", ir.Binary("*", ir.Number(left), ir.Name("MORE")), ir.Number(right))
    assert Constants(program(a_h=HEADER)).value(0, expr) == left * 4 + right
