"""lower() for any bytes: it ends, never raises, answers alike each time, and what it answers can be stored."""

import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_facts_harness import bodies, lowered

from kgfplint.facts import ir
from kgfplint.facts.lower import lower
from kgfplint.facts.terms import children

FIXTURES = [path.read_bytes() for path in sorted((Path(__file__).parent / "fixtures").rglob("*.c"))]
TOKENS = [b"{", b"}", b"(", b")", b";", b"\n", b"#if X\n", b"#else\n", b"#endif\n", b"/*", b"*/", b'"', b"'", b"\\\n", b"case 1:",
          b"#define M(x) ", b"goto a; a:", b"guard(g)(&l);", b"\n\tscoped_guard(g, &l) ", b"({", b"})",
          b"\0", b"\xff", b"else ", b"..."]
CODECS = {kind: (msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(kind)) for kind in (ir.FileFacts, tuple[ir.Body, ...])}
WHOLE = b"int g(void)\n{\n\treturn h();\n}\n"


def sound(data: bytes) -> None:
    limit = sys.getrecursionlimit()
    found = lower(data)
    assert found == lower(data)
    assert sys.getrecursionlimit() == limit
    assert len(found.facts.functions) == len(found.bodies)
    for value, (encoder, decoder) in zip(found, CODECS.values(), strict=True):
        assert decoder.decode(encoder.encode(value)) == value
    for body in found.bodies:
        assert body.blocks and all(0 <= edge.to < len(body.blocks) for block in body.blocks for edge in block.edges)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=300) | st.lists(st.sampled_from(TOKENS) | st.binary(max_size=6), max_size=40).map(b"".join))
def test_any_bytes(data):
    sound(data)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_spliced_kernel_code(data):
    """Pieces of real-looking C, cut anywhere, glued together with tokens that upset a parser."""
    pieces = []
    for _ in range(data.draw(st.integers(1, 3))):
        text = data.draw(st.sampled_from(FIXTURES))
        start = data.draw(st.integers(0, len(text)))
        pieces += [text[start : start + data.draw(st.integers(0, 1500))], data.draw(st.sampled_from(TOKENS))]
    sound(b"".join(pieces))


def function(statements: bytes) -> bytes:
    return b"int f(int a)\n{\n\t" + statements + b"\n}\n"


DEEP = {
    "parentheses": function(b"return " + b"(" * 100_000 + b"a" + b")" * 100_000 + b";"),
    "ifs": function(b"if (a) {" * 20_000 + b"p();" + b"}" * 20_000),
    "else ifs": function(b"if (a) p();\nelse " * 20_000 + b"q();"),
    "terms": function(b"return " + b" + ".join([b"a"] * 30_000) + b";"),
    "conditions": function(b"if (" + b" && ".join([b"p()"] * 20_000) + b") q();"),
    "calls": function(b"return " + b"p(" * 20_000 + b"a" + b")" * 20_000 + b";"),
    "members": function(b"x" + b"->p" * 20_000 + b" = 1;"),
    "blocks": function(b"{" * 50_000 + b"}" * 50_000),
    "arms": function(b"#ifdef A\n" * 3_000 + b"p();\n" + b"#endif\n" * 3_000),
    "a macro": b"#define M(x) " + b"!" * 5_900 + b"f(x)\n",
    "an initialiser": b"int a[] = " + b"{" * 20_000 + b"1" + b"}" * 20_000 + b";\n",
    "a declarator": b"int " + b"*" * 20_000 + b"p;\n",
    "structs": b"struct a { " * 5_000 + b"int x;" + b"};" * 5_000 + b"\n",
}


def depth(expr: ir.Expr) -> int:
    most, stack = 0, [(expr, 1)]
    while stack:
        term, level = stack.pop()
        most = max(most, level)
        stack.extend((child, level + 1) for child in children(term))
    return most


@pytest.mark.parametrize("name", DEEP)
def test_deep_nesting(name):
    """The file goes on behind it, and no expression is deeper than analyses can recurse."""
    found = lower(DEEP[name] + WHOLE)
    assert "g" in [row.name for row in found.facts.functions]
    msgspec.msgpack.decode(msgspec.msgpack.encode(found.bodies), type=tuple[ir.Body, ...])
    values = [event.value for body in found.bodies for block in body.blocks for event in block.events
              if isinstance(event, ir.Return | ir.Assign) and event.value is not None]
    assert all(depth(value) <= 200 for value in values)


@pytest.mark.parametrize("shape", ["a + " * 3_000 + "0", "p(" * 500 + "a" + ")" * 500])
def test_deep_expressions_leave_the_function_whole(shape):
    found = lowered(f"int f(int a)\n{{\n\tfirst();\n\ta = {shape};\n\tif (a)\n\t\tlast();\n\treturn 0;\n}}\n")
    [row] = found.facts.functions
    assert not row.flags & ir.DAMAGED
    assert {"first", "last"} <= {name for name, _ in row.calls}


def test_a_long_line():
    [row] = lower(function((b"p(a, " + b"1 + " * 20 + b"7); ") * 12_000)).facts.functions
    assert not row.flags & ir.DAMAGED and row.calls == (("p", 3),)


def test_code_is_told_from_lists_of_registers():
    assert not lowered("#define A 1\n/* int f(void) { } */\n#include <b.h>\n").facts.code
    assert lowered("#define A 1\nint f(void);\n").facts.code


def test_a_damaged_statement_costs_no_other():
    found = bodies("int f(int a)\n{\n\tp();\n\tif (a @@ ) {\n\t\tq();\n\t}\n\tr();\n}\n")["f"]
    calls = {event.callee.id for block in found.blocks for event in block.events if isinstance(event, ir.Call)}
    assert {"p", "r"} <= calls
