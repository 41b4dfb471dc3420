"""Sizes as ranges: against the values that expressions take."""

import itertools
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_facts_harness import body_of

from kgfplint.allocator.sizes import UNKNOWN, show_bytes, size
from kgfplint.facts import ir
from kgfplint.source.layouts import Range


class Names:
    """Variables with the values that they may have, types with their sizes."""

    def __init__(self, variables: Mapping[str, Iterable[int]], sizes: Mapping[str, Range]) -> None:
        self._variables = {name: list(values) for name, values in variables.items()}
        self._sizes = sizes

    def value(self, expr: ir.Expr) -> int | None:
        return expr.value if isinstance(expr, ir.Number) else None

    def sizeof(self, term: ir.SizeOf) -> Range | None:
        return self._sizes.get(term.ctype or str(type(term.operand).__name__))

    def offset(self, ctype: str, path: str) -> Range | None:
        return Range(len(path), len(path)) if ctype == "struct s" else None

    def values(self, expr: ir.Expr) -> Iterable[ir.Expr | None]:
        return [ir.Number(value) for value in self._variables.get(expr.id, ())] if isinstance(expr, ir.Name) else ()

    def limits(self, expr: ir.Expr) -> Range:
        return Range(0, 255) if expr == ir.Name("byte") else UNKNOWN


SIZES = {"struct s": Range(16, 24), "Deref": Range(16, 24), "Index": Range(4, 4), "struct open": Range(8, None)}


def expression(text: str) -> ir.Expr:
    events = [event for block in body_of(f"return {text};").blocks for event in block.events]
    [value] = [event.value for event in events if isinstance(event, ir.Return)]
    return value


@pytest.mark.parametrize(("text", "found"), [
    ("4 * 8 + 2", Range(34, 34)), ("sizeof(struct s) * 2", Range(32, 48)), ("sizeof(struct open) + 1", Range(9, None)),
    ("sizeof(struct nobody)", UNKNOWN), ("n", UNKNOWN), ("n & 63", Range(0, 63)), ("n % 10", Range(0, 9)),
    ("byte * 4", Range(0, 1020)), ("struct_size(x, items, 3)", Range(28, 36)), ("struct_size(x, items, n)", Range(16, None)),
    ("array_size(3, 5)", Range(15, 15)),
    ("array3_size(2, 3, 4)", Range(24, 24)), ("size_add(size_mul(2, 3), 1)", Range(7, 7)), ("size_sub(9, 4)", Range(5, 5)),
    ("min(n, 64)", Range(0, 64)), ("max(n, 64)", Range(64, None)), ("clamp(n, 8, 64)", Range(8, 64)),
    ("min_t(size_t, n, sizeof(struct s))", Range(0, 24)), ("round_up(sizeof(struct s), 16)", Range(16, 32)),
    ("roundup_pow_of_two(sizeof(struct s))", Range(16, 32)), ("DIV_ROUND_UP(sizeof(struct s), 5)", Range(4, 5)),
    ("n ? 4 : 8", Range(4, 8)), ("1 << 20", Range(1 << 20, 1 << 20)), ("1 << n", Range(1, None)), ("1000 >> 3", Range(125, 125)),
    ("8 - n", UNKNOWN), ("64 - byte", UNKNOWN), ("300 - byte", Range(45, 300)), ("offsetof(struct s, items)", Range(5, 5)),
    ("flex_array_size(x, items, 3)", Range(12, 12)), ("anything(3)", UNKNOWN), ("n > 3", Range(0, 1)), ("min(n)", UNKNOWN),
    ("0 * n", Range(0, 0)), ("-1", UNKNOWN), ("n * 0x100000", UNKNOWN), ("1 << 100", UNKNOWN),
])  # fmt: skip
def test_ranges(text: str, found: Range):
    assert size(expression(text), Names({}, SIZES)) == found


OPERATORS = {
    "+": lambda a, b: a + b, "*": lambda a, b: a * b, "-": lambda a, b: a - b if a >= b else None,
    "/": lambda a, b: a // b if b else None, "%": lambda a, b: a % b if b else None, "&": lambda a, b: a & b,
    "|": lambda a, b: a | b, "<<": lambda a, b: a << b if b < 32 else None,
}  # fmt: skip


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> tuple[ir.Expr, object]:
    """An expression over a and b, and the function that it is."""
    leaves = ["number", "a", "b"]
    kind = draw(st.sampled_from([*leaves, "operator", "operator", "choice", "min"] if depth else leaves))
    if kind == "number":
        number = draw(st.integers(0, 40))
        return ir.Number(number), lambda a, b: number
    if kind in ("a", "b"):
        return ir.Name(kind), (lambda a, b: a) if kind == "a" else (lambda a, b: b)
    (left, one), (right, other) = draw(trees(depth - 1)), draw(trees(depth - 1))
    if kind == "operator":
        op = draw(st.sampled_from(sorted(OPERATORS)))

        def apply(a: int, b: int) -> int | None:
            values = one(a, b), other(a, b)
            return None if None in values else OPERATORS[op](*values)

        return ir.Binary(op, left, right), apply

    def pick(a: int, b: int) -> int | None:
        values = one(a, b), other(a, b)
        return (None if None in values else min(values)) if kind == "min" else values[b % 2]

    if kind == "min":
        return ir.CallResult(ir.Name("min"), (left, right)), pick
    return ir.Conditional(ir.Name("c"), left, right), pick


VALUES = st.lists(st.integers(0, 50), min_size=1, max_size=3)


@given(tree=trees(), a=VALUES, b=VALUES)
def test_the_range_holds_every_value(tree: tuple[ir.Expr, object], a: list[int], b: list[int]):
    expr, function = tree
    found = size(expr, Names({"a": a, "b": b}, {}))
    for one, other in itertools.product(a, b):
        value = function(one, other)
        if value is not None:
            assert found.low <= value and (found.high is None or value <= found.high)


@pytest.mark.parametrize(("number", "shown"), [(1, "1 byte"), (4100, "4100 bytes"), (4096, "4 KiB"), (4 << 20, "4 MiB"),
                                                (3 << 30, "3 GiB"), ((8 << 20) + 64, "8388672 bytes"), (0, "0 bytes")])
def test_bytes_as_people_write_them(number: int, shown: str):
    assert show_bytes(number) == shown
