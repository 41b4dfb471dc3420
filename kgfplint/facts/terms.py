"""Working with expressions: reading and printing them as C, walking, substituting, and normal forms of conditions."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kgfplint.facts import ir

_INTEGER = re.compile(r"(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)([uUlL]*)$")
_TYPES = {"U": "unsigned int", "L": "long", "UL": "unsigned long", "LL": "long long", "ULL": "unsigned long long"}
_SUFFIXES = {ctype: suffix for suffix, ctype in _TYPES.items()}
_FLIPPED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
ZERO = ir.Number(0)
NULL = ir.Name("NULL")
TRUE: frozenset[ir.Expr] = frozenset({ir.Name("true"), ir.Number(1)})
"""How the value for yes is written."""


INNER = "\u02bc"
"""What follows, with a number, the name of a variable that hides another one (see shadows): a letter that no C name has."""


def integer(text: str) -> int | None:
    """Return the value of a C integer literal, None for anything else."""
    sign, text = (-1, text[1:].lstrip()) if text[:1] == "-" else (1, text)
    match = _INTEGER.match(text)
    if not match:
        return None
    digits = match.group(1)
    if len(digits) > 1 and digits[0] == "0" and digits.isdigit():
        return sign * int(digits, 8) if all(c < "8" for c in digits) else None
    return sign * int(digits, 0)


def typed(value: ir.Expr, text: str) -> ir.Expr:
    """Return what is shifted left with the type that its literal gives it, as a cast: the result has that type, too."""
    match = _INTEGER.match(text.strip("()-")) if type(value) is ir.Number else None
    suffix = "".join(sorted(match[2].upper(), reverse=True)) if match else ""
    return ir.Cast(_TYPES[suffix], value) if suffix in _TYPES else value


def show(expr: ir.Expr) -> str:
    """Return an expression as C text, for messages and fingerprints."""
    match expr:
        case ir.Name(text) | ir.TypeName(text):
            return text if text.isascii() else text.partition(INNER)[0]
        case ir.Number(value):
            return str(value)
        case ir.Text(value):
            return f'"{value}"'
        case ir.Field(base, member, arrow):
            return f"{_operand(base)}{'->' if arrow else '.'}{member}"
        case ir.Deref(base):
            return "*" + _operand(base)
        case ir.AddressOf(base):
            return "&" + _operand(base)
        case ir.Index(base, index):
            return f"{_operand(base)}[{show(index)}]"
        case ir.CallResult(callee, args):
            return f"{_operand(callee)}({', '.join(map(show, args))})"
        case ir.SizeOf(ctype, operand):
            return f"sizeof({show(operand) if operand is not None else ctype})"
        case ir.Cast(ctype, ir.Number(value)) if ctype in _SUFFIXES:
            return f"{value}{_SUFFIXES[ctype]}"
        case ir.Cast(ctype, operand):
            return f"({ctype}){_operand(operand)}"
        case ir.Unary(op, operand):
            return op + _operand(operand)
        case ir.Binary(op, left, right):
            return f"{_operand(left)} {op} {_operand(right)}"
        case ir.Conditional(condition, then, other):
            return f"{_operand(condition)} ? {_operand(then)} : {_operand(other)}"
        case ir.Initialiser(ctype, _):
            return f"({ctype}){{...}}" if ctype else "{...}"
        case ir.Unknown(text):
            return text or "..."


def _operand(expr: ir.Expr) -> str:
    return f"({show(expr)})" if isinstance(expr, ir.Binary | ir.Conditional) else show(expr)


_Parts = Callable[[Any], tuple[ir.Expr, ...]]
_PARTS: dict[type, _Parts] = {
    **dict.fromkeys((ir.Field, ir.Deref, ir.AddressOf), lambda term: (term.base,)),
    **dict.fromkeys((ir.Cast, ir.Unary), lambda term: (term.operand,)),
    ir.Index: lambda term: (term.base, term.index),
    ir.CallResult: lambda term: (term.callee, *term.args),
    ir.Binary: lambda term: (term.left, term.right),
    ir.Conditional: lambda term: (term.condition, term.then, term.other),
    ir.Initialiser: lambda term: tuple(value for _, value in term.items),
}
"""How to take each kind of expression apart: a table is several times faster than `match` over as many classes."""


def children(expr: ir.Expr) -> tuple[ir.Expr, ...]:
    """Return the direct operands of an expression; the operand of sizeof is not evaluated and not one."""
    parts = _PARTS.get(type(expr))
    return parts(expr) if parts is not None else ()


def walk(expr: ir.Expr) -> Iterator[ir.Expr]:
    """Yield an expression and everything evaluated inside it, outermost first."""
    stack = [expr]
    while stack:
        term = stack.pop()
        yield term
        parts = _PARTS.get(type(term))
        if parts is not None:
            stack.extend(parts(term)[::-1])


def names(expr: ir.Expr) -> set[str]:
    """Return the identifiers that an expression evaluates."""
    return {term.id for term in walk(expr) if type(term) is ir.Name}


def root(expr: ir.Expr) -> str:
    """Return the variable that an lvalue starts from (`p` of `p->a[i].b`), "" if it has none."""
    term: Any = expr
    while type(term) is not ir.Name:
        if type(term) in _PLACES:
            term = term.base
        elif type(term) is ir.Cast:
            term = term.operand
        else:
            return ""
    name: str = term.id
    return name


_PLACES = frozenset({ir.Field, ir.Deref, ir.AddressOf, ir.Index})


def member_of(lvalue: ir.Expr) -> str:
    """Return the name of the member that an lvalue is, `name[]` for what is an element of it; "" for any other."""
    element = ""
    while isinstance(lvalue, ir.Index):
        lvalue, element = lvalue.base, "[]"
    return lvalue.member + element if isinstance(lvalue, ir.Field) else ""


def bare(expr: ir.Expr) -> ir.Expr:
    """Strip casts."""
    while type(expr) is ir.Cast:
        expr = expr.operand
    return expr


def substitute(expr: ir.Expr, values: Mapping[str, ir.Expr]) -> ir.Expr:
    """Replace names by expressions (parameters by arguments)."""
    match expr:
        case ir.Name(name):
            return values.get(name, expr)
        case ir.Field(base, member, arrow):
            inner = substitute(base, values)
            if arrow and isinstance(inner, ir.AddressOf):
                return ir.Field(inner.base, member, False)
            return ir.Field(inner, member, arrow)
        case ir.Deref(base):
            inner = substitute(base, values)
            return inner.base if isinstance(inner, ir.AddressOf) else ir.Deref(inner)
        case ir.AddressOf(base):
            inner = substitute(base, values)
            return inner.base if isinstance(inner, ir.Deref) else ir.AddressOf(inner)
        case ir.Index(base, index):
            return ir.Index(substitute(base, values), substitute(index, values))
        case ir.CallResult(callee, args):
            return ir.CallResult(callee, tuple(substitute(arg, values) for arg in args))
        case ir.Cast(ctype, operand):
            return ir.Cast(ctype, substitute(operand, values))
        case ir.Unary(op, operand):
            return ir.Unary(op, substitute(operand, values))
        case ir.Binary(op, left, right):
            return ir.Binary(op, substitute(left, values), substitute(right, values))
        case ir.Conditional(condition, then, other):
            return ir.Conditional(*(substitute(part, values) for part in (condition, then, other)))
    return expr


def is_zero(expr: ir.Expr) -> bool:
    """Tell whether an expression is the constant 0 or NULL."""
    expr = bare(expr)
    return (type(expr) is ir.Number and expr.value == 0) or (type(expr) is ir.Name and expr.id == "NULL")


def atom(condition: ir.Expr, truth: bool) -> tuple[ir.Expr, bool]:
    """Return a condition's normal form: comparisons with 0 and negations folded into the truth value.

    `p != NULL` is (p, truth); `!p` is (p, not truth); `a != b` is (a == b, not truth);
    constants stand on the right.
    """
    while True:
        if type(condition) is ir.Unary and condition.op == "!":
            condition, truth = condition.operand, not truth
        elif type(condition) is ir.Cast:
            condition = condition.operand
        elif type(condition) is ir.Binary and condition.op in _FLIPPED:
            op, left, right = condition.op, condition.left, condition.right
            if type(bare(left)) is ir.Number or left == NULL:
                op, left, right = _MIRRORED[op], right, left
            if op in ("==", "!=") and is_zero(right):
                condition, truth = left, truth if op == "!=" else not truth
                continue
            if op in ("!=", ">=", ">"):
                op, truth = _FLIPPED[op], not truth
            return ir.Binary(op, left, right), truth
        else:
            return condition, truth
