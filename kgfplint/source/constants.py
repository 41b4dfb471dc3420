"""Constant expressions of C macros and enumerators, read by pycparser."""

import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from pycparser import CParser, c_ast
from pycparser.c_parser import ParseError

from kgfplint.source.words import SIZES

_POINTER = 8
_LIMIT = 4096
"""Longest expression that is read, in characters: nobody writes a longer constant by hand."""
_DEPTH = 60
_ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0, "a": 7, "b": 8, "f": 12, "v": 11, "\\": 92, "'": 39, '"': 34}
_SIZEOF = re.compile(r"\bsizeof\s*\(\s*([\w\s]+?)\s*(\**)\s*\)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_KEYWORDS = frozenset(("char", "short", "int", "long", "unsigned", "signed", "float", "double", "_Bool"))
_SIGNED = re.compile(r"(?:s\d+|__s\d+|int\d+_t|ssize_t|bool|_Bool|char|short|int|long|signed)\Z")
_ELVIS = re.compile(r"\?\s*:")
_UNSAFE = re.compile(r"[;{}#\"`@$]|\bsizeof\b")

_BINARY: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "&": operator.and_, "|": operator.or_, "^": operator.xor,
}  # fmt: skip
_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., int]] = {
    "BIT": lambda n: _shift("<<", 1, n),
    "BIT_ULL": lambda n: _shift("<<", 1, n),
    "ilog2": lambda n: n.bit_length() - 1,
    "roundup_pow_of_two": lambda n: 1 << (n - 1).bit_length(),
    "ALIGN": lambda n, a: (n + a - 1) // a * a,
    "DIV_ROUND_UP": lambda n, d: (n + d - 1) // d,
    "get_order": lambda n: ((n - 1) >> 12).bit_length(),
    "max": max,
    "min": min,
    "GENMASK": lambda h, low: _shift("<<", 1, h + 1) - _shift("<<", 1, low),
}
"""Function-like macros that constants are made of: include/linux/{bits,log2,align,math,minmax}.h, and for pages
of 4 KiB include/asm-generic/getorder.h."""


_LITERAL = re.compile(r"(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)(?:[uU][lL]{0,2}|[lL]{1,2}[uU]?)?")
_NAME = re.compile(r"(?<![\w'\\])[A-Za-z_]\w*")
_SHORT_CUT = re.compile(r"&&|\|\||\?|\b(?:struct|union|enum|void)\b")
"""What leaves an operand unevaluated, or casts to a pointer; elsewhere one unknown name makes the value unknown."""
_MEANT = frozenset((*SIZES, *_KEYWORDS, *_FUNCTIONS, "const", "volatile", "sizeof"))


class _UnknownValueError(Exception):
    """The expression has no value that we can tell."""


class _Typed(NamedTuple):
    """A value with its C type: width in bits, and whether it wraps around."""

    value: int
    bits: int = 32
    unsigned: bool = False

    def with_value(self, value: int) -> "_Typed":
        """Return `value` in this type; signed values stay unbounded, since C leaves their overflow undefined."""
        return _Typed(value % (1 << self.bits) if self.unsigned else value, self.bits, self.unsigned)


def evaluate(text: str, names: Mapping[str, int]) -> int | None:
    """Return the value of a C constant expression, or None when it has none that is known; never raises.

    `names` gives the values of macros and enumerators. Types and sizes are those of a 64-bit
    machine (`SIZES`).
    """
    plain = text.strip()
    if not plain or len(plain) > _LIMIT:
        return None
    if plain in names:
        return names[plain]
    if _LITERAL.fullmatch(plain):
        digits = plain.rstrip("uUlL")
        return int(digits, 8 if digits[:1] == "0" and digits.isdigit() else 0)
    if plain.endswith(" + 1") and plain[:-4] in names:
        return names[plain[:-4]] + 1  # most enumerators
    words = set(_NAME.findall(plain))
    if not _SHORT_CUT.search(plain) and not words <= (_MEANT | names.keys()):
        return None
    return _evaluated(plain, tuple(sorted((word, names[word]) for word in words & names.keys())))


@lru_cache(maxsize=1 << 13)
def _evaluated(plain: str, known: tuple[tuple[str, int], ...]) -> int | None:
    names = dict(known)
    plain = _SIZEOF.sub(_size, plain)
    if _UNSAFE.search(plain) or _ELVIS.search(plain) or _too_deep(plain):
        return None
    types = {word for word in _WORD.findall(plain) if word in SIZES and word not in _KEYWORDS and word not in names}
    prologue = "".join(f"typedef int {word};" for word in sorted(types))
    try:
        tree = CParser().parse(f"{prologue}int x = ({plain});")
        return _value(tree.ext[-1].init, names).value
    except (
        ParseError,
        _UnknownValueError,
        RecursionError,
        ArithmeticError,
        ValueError,
        TypeError,
        AttributeError,
        AssertionError,
    ):
        return None  # pycparser raises the last three on some malformed input


def _type_size(words: list[str]) -> int:
    """Return the bytes of a scalar type given by its words; KeyError for any other type."""
    kept = [word for word in words if word not in ("const", "volatile", "signed", "unsigned", "int")] or ["int"]
    return SIZES["long" if kept == ["long", "long"] else " ".join(kept)]


def _size(match: re.Match[str]) -> str:
    if match[2]:
        return f"{_POINTER}UL"
    try:
        return f"{_type_size(match[1].split())}UL"
    except KeyError:
        return match[0]


def _too_deep(text: str) -> bool:
    """Tell whether brackets do not match, or pile up higher than a recursive parser likes."""
    depth = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if not 0 <= depth <= _DEPTH:
            return True
    return len(re.findall(r"[-+~!?*/%&|^<>=]", text)) > 4 * _DEPTH


def _shift(op: str, left: int, right: int) -> int:
    if not 0 <= right < 128:
        raise _UnknownValueError
    return left << right if op == "<<" else left >> right


def _value(node: c_ast.Node, names: Mapping[str, int]) -> _Typed:
    match node:
        case c_ast.Constant():
            return _constant(node)
        case c_ast.ID() if node.name in names:
            value = names[node.name]
            return _Typed(value, 32 if -(1 << 31) <= value < 1 << 31 else 64)
        case c_ast.UnaryOp():
            return _unary(node.op, _value(node.expr, names))
        case c_ast.BinaryOp():
            return _binary(node, names)
        case c_ast.TernaryOp():
            return _value(node.iftrue if _value(node.cond, names).value else node.iffalse, names)
        case c_ast.Cast():
            return _cast(node, names)
        case c_ast.FuncCall(name=c_ast.ID()) if node.name.name in _FUNCTIONS and node.args is not None:
            value = _FUNCTIONS[node.name.name](*(_value(arg, names).value for arg in node.args.exprs))
            return _Typed(value, 64)
    raise _UnknownValueError


def _cast(node: c_ast.Cast, names: Mapping[str, int]) -> _Typed:
    operand = _value(node.expr, names)
    kind = node.to_type.type
    if isinstance(kind, c_ast.PtrDecl):
        return operand
    words = list(getattr(kind.type, "names", ()))
    try:
        bits = 8 * _type_size(words)
    except KeyError:
        raise _UnknownValueError from None
    if not words:  # (struct x)…
        raise _UnknownValueError
    unsigned = "unsigned" in words or not _SIGNED.match(words[-1])
    return _Typed(0, bits, unsigned).with_value(operand.value)


def _constant(node: c_ast.Constant) -> _Typed:
    text = node.value
    if node.type == "char":
        return _Typed(_character(text))
    if "float" in node.type or "double" in node.type or node.type == "string":
        raise _UnknownValueError
    digits = text.rstrip("uUlL")
    suffix = text[len(digits) :].lower()
    value = int(digits, 8) if digits[:1] == "0" and digits[1:].isdigit() else int(digits, 0)
    return _Typed(value, 64 if "l" in suffix or value >> 32 else 32, "u" in suffix)


def _character(text: str) -> int:
    inner = text[text.index("'") + 1 : -1]
    if len(inner) == 1:
        return ord(inner)
    if inner[:2] == "\\x":
        return int(inner[2:], 16)
    if inner[:1] == "\\" and inner[1:].isdigit():
        return int(inner[1:], 8)
    if inner[:1] == "\\" and inner[1:] in _ESCAPES:
        return _ESCAPES[inner[1:]]
    raise _UnknownValueError


def _unary(op: str, operand: _Typed) -> _Typed:
    match op:
        case "-":
            return operand.with_value(-operand.value)
        case "+":
            return operand
        case "~":
            return operand.with_value(~operand.value)
        case "!":
            return _Typed(int(not operand.value))
    raise _UnknownValueError


def _binary(node: c_ast.BinaryOp, names: Mapping[str, int]) -> _Typed:
    op = node.op
    left = _value(node.left, names)
    if op == "&&":
        return _Typed(int(bool(left.value and _value(node.right, names).value)))
    if op == "||":
        return _Typed(int(bool(left.value or _value(node.right, names).value)))
    right = _value(node.right, names)
    if op in ("<<", ">>"):
        return left.with_value(_shift(op, left.value, right.value))
    bits = max(left.bits, right.bits)
    common = _Typed(0, bits, any(side.unsigned for side in (left, right) if side.bits == bits))
    a, b = common.with_value(left.value).value, common.with_value(right.value).value
    if op in _COMPARE:
        return _Typed(int(_COMPARE[op](a, b)))
    if op in ("/", "%"):
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        return common.with_value(quotient if op == "/" else a - quotient * b)
    if op in _BINARY:
        return common.with_value(_BINARY[op](a, b))
    raise _UnknownValueError
