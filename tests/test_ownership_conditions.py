"""What a path knows of values, held against the integers and names themselves."""

import operator

from hypothesis import given, settings
from hypothesis import strategies as st
from test_facts_harness import body_of

from kgfplint.facts import ir
from kgfplint.facts.terms import atom
from kgfplint.ownership.conditions import ANY, LEAST, MOST, Known, after, constant, join, reading
from kgfplint.ownership.conditions import Test as Asked

NAMES = {"RED": 101, "GREEN": 102, "BLUE": 103}
"""Symbolic constants and the values they have in these tests: all different, none a number that is compared."""
INTEGERS = [*range(-6, 7), -4095, -4096]
VALUES = [*INTEGERS, *NAMES.values()]
OPS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}

small = st.integers(-6, 6)
knowns = st.builds(
    Known,
    small | st.just(LEAST), small | st.just(MOST), st.sampled_from(["", *NAMES]),
    st.frozensets(small | st.sampled_from(sorted(NAMES)), max_size=3),
)
tests = st.builds(Asked, st.just(ir.Name("x")), st.sampled_from(["==", "<", "<=", ""]), small, st.booleans()) | st.builds(
    Asked, st.just(ir.Name("x")), st.just("=="), st.sampled_from(sorted(NAMES)), st.booleans())


def fits(known: Known, value: int) -> bool:
    return (known.lo <= value <= known.hi and known.token in ("", *(n for n, v in NAMES.items() if v == value))
            and not any(NAMES.get(e, e) == value for e in known.excluded))


def holds(test: Asked, value: int) -> bool:
    wanted = NAMES.get(test.value, test.value)
    return (OPS[test.op](value, wanted) if test.op else bool(value)) == test.truth


@settings(deadline=None)
@given(knowns, tests)
def test_no_value_that_satisfies_both_is_lost(known, test):
    left = [value for value in VALUES if fits(known, value) and holds(test, value)]
    now = after(known, test)
    assert now is not None or not left
    assert now is None or all(fits(now, value) for value in left)


@settings(deadline=None)
@given(knowns, tests)
def test_what_is_known_stays_known(known, test):
    """Never more values than before, and the same test again brings nothing new."""
    now = after(known, test)
    if now is not None:
        assert all(fits(known, value) for value in VALUES if fits(now, value))
        assert after(now, test) == now


@settings(deadline=None)
@given(st.lists(tests, max_size=6))
def test_a_value_found_to_be_impossible_is(asked):
    known = ANY
    for test in asked:
        known = known and after(known, test)
    if known is None:
        assert not [value for value in VALUES if all(holds(test, value) for test in asked)]


@settings(deadline=None)
@given(knowns, knowns)
def test_a_join_contains_both_sides(left, right):
    both = join(left, right)
    assert all(fits(both, value) for value in VALUES if fits(left, value) or fits(right, value))
    assert join(both, left) == join(both, right) == both


@given(knowns)
def test_nothing_is_lost_in_a_join_with_itself(known):
    assert join(known, known) == known
    assert join(known, ANY) == ANY


x = ir.Name("x")
operands = st.just(x) | st.integers(-3, 3).map(ir.Number) | st.sampled_from([ir.Name("NULL"), *map(ir.Name, NAMES)])
conditions = st.recursive(
    st.builds(ir.Binary, st.sampled_from(sorted(OPS)), operands, operands) | st.just(x),
    lambda inner: st.builds(ir.Unary, st.just("!"), inner) | st.builds(ir.Cast, st.just("long"), inner)
    | st.builds(ir.Binary, st.sampled_from(["==", "!="]), inner, st.sampled_from([ir.Number(0), ir.Name("NULL")])),
    max_leaves=3,
)


def value_of(expr: ir.Expr, value: int) -> int:
    match expr:
        case ir.Name("x"):
            return value
        case ir.Name(name):
            return {"NULL": 0, **NAMES}[name]
        case ir.Number(number):
            return number
        case ir.Cast(_, inner):
            return value_of(inner, value)
        case ir.Unary("!", inner):
            return int(not value_of(inner, value))
        case ir.Binary(op, left, right):
            return int(OPS[op](value_of(left, value), value_of(right, value)))
    raise AssertionError(expr)


@settings(max_examples=300, deadline=None)
@given(conditions, st.booleans(), st.sampled_from(VALUES))
def test_normal_forms_mean_the_same(condition, truth, value):
    wanted = bool(value_of(condition, value)) == truth
    subject, turned = atom(condition, truth)
    assert (bool(value_of(subject, value)) == turned) == wanted
    test = reading(condition, truth)
    compared = value_of(test.subject, value)
    assert holds(test, compared) == wanted


def read(condition: str) -> Asked:
    """The reading of a C condition, when it is true."""
    blocks = body_of(f"if ({condition}) p();").blocks
    [edge] = [edge for block in blocks for edge in block.edges if edge.condition is not None and len(blocks[edge.to].events) == 1
              and isinstance(blocks[edge.to].events[0], ir.Call)]
    return reading(edge.condition, edge.truth)


def test_spellings_of_one_test_read_alike():
    assert len({read(c) for c in ("x", "x != NULL", "NULL != x", "!!x", "(void *)x", "x != 0", "0 != (long)x")}) == 1
    assert len({read(c) for c in ("a < 0", "0 > a", "!(a >= 0)")}) == 1
    assert len({read(c) for c in ("a == -EINVAL", "-EINVAL == a")}) == 1
    assert read("x->n > 4") == Asked(ir.Field(x, "n", True), "<=", 4, False)


def test_constants():
    assert constant(ir.Unary("-", ir.Name("ENOMEM"))) == Known(-4095, -1, "-ENOMEM")
    assert constant(ir.Name("NULL")) == constant(ir.Name("false")) == Known(0, 0)
    assert constant(ir.CallResult(ir.Name("PTR_ERR"), (x,))) == Known(-4095, -1)
    assert constant(x) is None
