"""What a path knows of values that it tested: a small domain of intervals, one exact token, and exclusions.

Correlated conditions (`if (err) ...; if (!err) ...`) are the commonest reason why a path that a naive
analysis sees does not exist.
"""

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.facts.terms import atom, bare, walk
from kgfplint.facts.words import ERROR_NUMBERS, ERROR_POINTERS

QUESTION = re.compile(
    r"(?:^|_)(?:is|has|can|are|same|eq|equals?|should|uses?|needs?|supports?|supported|capable|enabled|valid|allowed|ok"
    r"|initiali[sz]ed)(?:_|$)")
"""Names of functions that tell the same again while what they are asked about does not change."""


def is_error_name(expr: ir.Expr) -> bool:
    """Tell whether an expression is a variable that is called as those for errors are: if it is not 0, it is one."""
    return type(expr) is ir.Name and bool(_ERRORS.search(expr.id))


@functools.lru_cache(1 << 14)
def asks(name: str) -> bool:
    """Tell whether the name of a function is that of a QUESTION."""
    return bool(QUESTION.search(name))


ORIGIN = re.compile(r"addr|alloc|slab|stack|static|embedded|inline|const|page|shared|own|free|external|dynamic")
"""What is in the names of such functions that may ask where memory comes from, or who must free it."""
_ERRORS = re.compile(r"^(?:e|err|error|r|rc|ret|retval|rv|res|result|status)\d?$")
LEAST, MOST = -(1 << 64), 1 << 64


_ERROR = re.compile(r"(?:^-E|_ERR(?:OR)?(?:_|$))")
"""Names of constants that are not 0."""
_NEGATIVE = ERROR_NUMBERS | ERROR_POINTERS
_CONSTANT = frozenset({"ARRAY_SIZE", "BITS_PER_LONG"})
"""Macros that have one value wherever they are (include/linux/array_size.h)."""


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
_WORDS = {"NULL": ZERO, "false": ZERO, "true": Known(1, 1)}


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
    if type(expr) is ir.Number:
        return Known(expr.value, expr.value)
    if type(expr) is ir.Name:
        name = expr.id
        if name in _WORDS:
            return _WORDS[name]
        return Known(token=name) if name.isupper() else None
    if type(expr) is ir.Unary and expr.op == "-" and type(expr.operand) is ir.Name and expr.operand.id[:1] == "E":
        return Known(-4095, -1, "-" + expr.operand.id)
    if type(expr) is ir.CallResult and type(expr.callee) is ir.Name and expr.callee.id in _NEGATIVE:
        return NEGATIVE
    return None


def reading(condition: ir.Expr, truth: bool) -> Test:
    """Return the normal form of a condition."""
    subject, truth = atom(condition, truth)
    if type(subject) is ir.Binary and subject.op in ("==", "<", "<="):
        left, right = subject.left, subject.right
        known = constant(right)
        if known is None and subject.op == "==":
            left, known = right, constant(left)
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
            if (token and token != value) or value in excluded or (lo == hi == 0 and _ERROR.search(value)):
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


def chosen(value: ir.Expr, known_of: Callable[[ir.Expr], Known]) -> ir.Expr:
    """Return the arm of `c ? a : b` that is taken for sure, by what is known of the subject of c; else the value itself."""
    if type(value) is not ir.Conditional:
        return value
    test = reading(value.condition, True)
    known = known_of(test.subject)
    if after(known, test._replace(truth=not test.truth)) is None:
        return bare(value.then)
    return bare(value.other) if after(known, test) is None else value


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
    if type(subject) is ir.CallResult:
        callee = subject.callee
        return type(callee) is ir.Name and (callee.id in ("defined", "IS_ENABLED") or asks(callee.id))
    if type(subject) is ir.Unknown:
        return subject.text.startswith("#if")
    return all(type(term) is not ir.Unknown and (type(term) is not ir.CallResult or _is_constant(term)) for term in walk(subject))


def _is_constant(call: ir.CallResult) -> bool:
    return type(call.callee) is ir.Name and call.callee.id in _CONSTANT
