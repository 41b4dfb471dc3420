"""What a path knows of values that it tested: a small domain of intervals, one exact token, and exclusions.

Correlated conditions (`if (err) ...; if (!err) ...`) are the commonest reason why a path that a naive
analysis sees does not exist.
"""

import re
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.facts.terms import atom, bare, walk

QUESTION = re.compile(
    r"(?:^|_)(?:is|has|can|are|same|should|uses?|needs?|supports?|supported|capable|enabled|valid|allowed)(?:_|$)")
"""Names of functions that tell the same again while what they are asked about does not change."""
LEAST, MOST = -(1 << 64), 1 << 64


class Known(NamedTuple):
    """A value between lo and hi; equal to `token` (a symbolic constant) if set; none of `excluded`."""

    lo: int = LEAST
    hi: int = MOST
    token: str = ""
    excluded: frozenset[str | int] = frozenset()


ANY = Known()
NONZERO = Known(excluded=frozenset({0}))
NEGATIVE = Known(-4095, -1)
ZERO = Known(0, 0)


class Test(NamedTuple):
    """A condition in normal form: `subject` compared by `op` with an integer or a symbolic constant.

    op is "" for the truth of the subject itself.
    """

    subject: ir.Expr
    op: str
    value: int | str
    truth: bool


def constant(expr: ir.Expr) -> Known | None:
    """Return what an assigned constant is: a number, a symbolic constant, or a negative error."""
    expr = bare(expr)
    if isinstance(expr, ir.Number):
        return Known(expr.value, expr.value)
    if isinstance(expr, ir.Name) and expr.id in ("NULL", "false"):
        return ZERO
    if isinstance(expr, ir.Name) and expr.id == "true":
        return Known(1, 1)
    if isinstance(expr, ir.Name) and expr.id.isupper():
        return Known(token=expr.id)
    if isinstance(expr, ir.Unary) and expr.op == "-" and isinstance(expr.operand, ir.Name) and expr.operand.id[:1] == "E":
        return Known(-4095, -1, "-" + expr.operand.id)
    if isinstance(expr, ir.CallResult) and isinstance(expr.callee, ir.Name) and expr.callee.id in ("PTR_ERR", "ERR_PTR"):
        return NEGATIVE
    return None


def reading(condition: ir.Expr, truth: bool) -> Test:
    """Return the normal form of a condition."""
    subject, truth = atom(condition, truth)
    if isinstance(subject, ir.Binary) and subject.op in ("==", "<", "<="):
        left, right = subject.left, subject.right
        if subject.op == "==" and constant(right) is None:
            left, right = right, left
        known = constant(right)
        if known is not None and known.lo == known.hi:
            return Test(bare(left), subject.op, known.lo, truth)
        if known is not None and known.token and subject.op == "==":
            return Test(bare(left), "==", known.token, truth)
    return Test(subject, "", 0, truth)


def after(known: Known, test: Test) -> Known | None:
    """Return what is known once a test had its outcome, None if that outcome is impossible."""
    lo, hi, token, excluded = known
    op, value, truth = test.op, test.value, test.truth
    if op == "":
        op, value, truth = "==", 0, not truth
    if isinstance(value, str):
        if truth:
            if (token and token != value) or value in excluded:
                return None
            return Known(lo, hi, value, excluded)
        return None if token == value else Known(lo, hi, token, excluded | {value})
    if op == "==":
        if truth:
            return Known(value, value, token, excluded) if lo <= value <= hi and value not in excluded else None
        if lo == hi == value:
            return None
        lo, hi = (lo + 1 if lo == value else lo), (hi - 1 if hi == value else hi)
        return Known(lo, hi, token, excluded | {value})
    bound = value if op == "<=" else value - 1
    lo, hi = (lo, min(hi, bound)) if truth else (max(lo, bound + 1), hi)
    while lo in excluded and lo <= hi:
        lo += 1
    while hi in excluded and lo <= hi:
        hi -= 1
    return Known(lo, hi, token, excluded) if lo <= hi else None


def join(left: Known, right: Known) -> Known:
    """Return what holds for both."""
    if left == right:
        return left
    excluded = frozenset(v for v in left.excluded | right.excluded if _excludes(left, v) and _excludes(right, v))
    if _excludes(left, 0) and _excludes(right, 0):
        excluded |= {0}
    return Known(min(left.lo, right.lo), max(left.hi, right.hi), left.token if left.token == right.token else "", excluded)


def _excludes(known: Known, value: str | int) -> bool:
    return value in known.excluded or (isinstance(value, int) and not known.lo <= value <= known.hi)


def stable(subject: ir.Expr) -> bool:
    """A subject that stays what it is until something it names is assigned."""
    if isinstance(subject, ir.CallResult):
        return isinstance(subject.callee, ir.Name) and (
            subject.callee.id in ("defined", "IS_ENABLED") or bool(QUESTION.search(subject.callee.id)))
    return not any(isinstance(term, ir.CallResult | ir.Unknown) for term in walk(subject)) or (
        isinstance(subject, ir.Unknown) and subject.text.startswith("#if"))
