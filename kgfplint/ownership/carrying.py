"""Which pointers the value of an expression carries: whoever keeps the value may reach what they point to."""

import re
from collections.abc import Callable, Iterator

from kgfplint.facts import ir
from kgfplint.facts.terms import bare

LVALUES = frozenset({ir.Name, ir.Field, ir.Deref, ir.Index})
_ARITHMETIC = frozenset({"+", "-", "|", "&", "^", ","})
_WORD = re.compile(r"[A-Za-z_]\w*")


def carried(expr: ir.Expr, returns: Callable[[ir.Expr], bool]) -> Iterator[ir.Expr]:
    """Yield the lvalues whose values, or places within what they point to, are part of the value of an expression.

    `&p->list` and `(void *)p + 4` carry p; `p->n` and `!p` do not. `returns` tells of a callee whether what it returns
    may be an argument. An expression that nobody understands carries every name in it.
    """
    stack = [expr]
    while stack:
        term = bare(stack.pop())
        kind = type(term)
        if kind in LVALUES:
            yield term
        elif type(term) is ir.AddressOf:
            stack.append(_holder(term.base))
        elif type(term) is ir.Binary:
            if term.op in _ARITHMETIC:
                stack += (term.left, term.right)
        elif type(term) is ir.Conditional:
            stack += (term.then, term.other)
        elif type(term) is ir.CallResult:
            if returns(term.callee):
                stack += term.args
        elif type(term) is ir.Initialiser:
            stack += (value for _, value in term.items)
        elif type(term) is ir.Unknown:
            yield from map(ir.Name, _WORD.findall(term.text))


def _holder(place: ir.Expr) -> ir.Expr:
    """Return the pointer or variable that a place lies in: p for `p->a.b[i]`, the array for an element of one."""
    place = bare(place)
    while True:
        if type(place) is ir.Field:
            if place.arrow:
                return place.base
            place = bare(place.base)
        elif type(place) is ir.Index:
            place = bare(place.base)
            if type(place) is not ir.Field or not place.arrow:
                continue
            return place.base
        elif type(place) is ir.Deref:
            return place.base
        else:
            return place
