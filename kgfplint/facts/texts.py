"""Texts expressions: read from their text and remembered, so that none of their syntax nodes has to be opened."""

import functools
import re
import sys

from kgfplint.facts import ir
from kgfplint.facts.terms import integer, typed

_TERM = rb"([&*!~-]?)([A-Za-z_]\w*(?:(?:->|\.)[A-Za-z_]\w*)*|\d\w*)"
_PLAIN = re.compile(_TERM + rb"(?: ([=!<>]=|[<>&|^+*/%-]|&&|\|\||<<|>>) " + _TERM + rb")?")
_STEP = re.compile(r"(->|\.)")
_ARGUMENT = re.compile(rb'(?:^|,)((?:[^,"]|"(?:[^"\\\n]|\\.)*")*)')
_STRINGS = re.compile(rb'"(?:[^"\\\n]|\\.)*"(?:\s*"(?:[^"\\\n]|\\.)*")*')
_TRUTH = {"true": 1, "TRUE": 1, "false": 0, "FALSE": 0}
_LONGEST = 100
"""Bytes of the longest text that is read or remembered, which also bounds how deep its expression nests."""


class Texts:
    """The expressions of one file that depend on nothing but their text: they call and assign nothing."""

    def __init__(self) -> None:
        """Know the words that are not names."""
        self.known: dict[bytes, ir.Expr] = {word.encode(): ir.Number(value) for word, value in _TRUTH.items()}

    def read(self, text: bytes) -> ir.Expr | None:
        """Return the expression that `text` is, None where only syntax tells: two operators, brackets, odd spacing."""
        known = self.known.get(text)
        if known is None:
            match = _PLAIN.fullmatch(text) if len(text) <= _LONGEST else None
            known = self._made(match) if match else None
            if known is not None:
                self.known[text] = known
        return known

    def listed(self, text: bytes) -> tuple[ir.Expr, ...] | None:
        """Return the arguments that stand between the parentheses of a call, None where not all of them are plain."""
        args = []
        for part in text.split(b",") if b'"' not in text else _ARGUMENT.findall(text):
            part = part.strip()
            value = self.known.get(part) or self.read(part)
            if value is None:
                if _STRINGS.fullmatch(part):
                    value = string(part.decode("utf-8", "replace"))
                else:
                    return () if not part and not text.strip() else None
            args.append(value)
        return tuple(args)

    def remember(self, text: bytes, value: ir.Expr) -> None:
        """Keep what syntax told about an expression without parentheses, or a `sizeof` of something without."""
        if len(text) <= _LONGEST and text.count(b"(") <= text.startswith(b"sizeof"):
            self.known[text] = value

    def _made(self, match: re.Match[bytes]) -> ir.Expr | None:
        sign, word, op, other_sign, other_word = match.groups()
        left = self._term(sign, word)
        if op is None or left is None:
            return left
        right = self._term(other_sign, other_word)
        if op == b"<<":
            left = typed(left, word.decode())
        return ir.Binary(sys.intern(op.decode()), left, right) if right is not None else None

    def _term(self, sign: bytes, word: bytes) -> ir.Expr | None:
        value = self.known.get(word)
        if value is None:
            value = _operand(word)
            if value is None:
                return None
            self.known[word] = value
        if not sign:
            return value
        if isinstance(value, ir.Unknown):
            return None
        if sign == b"&":
            return ir.AddressOf(value)
        if sign == b"*":
            return ir.Deref(value)
        if sign == b"-" and isinstance(value, ir.Number):
            return ir.Number(-value.value)
        return ir.Unary(sys.intern(sign.decode()), value)


@functools.lru_cache(maxsize=1 << 15)
def _operand(text: bytes) -> ir.Expr | None:
    """Return a number (None for one that is no integer of 64 bits), a name or a member of a member of a name."""
    word = text.decode()
    if word.isidentifier():
        return ir.Name(sys.intern(word))
    if word[0].isdigit():
        number = integer(word)
        return None if number is None or number >= 1 << 64 else ir.Number(number)
    first, *steps = _STEP.split(word)
    if first in _TRUTH:
        return None
    value: ir.Expr = ir.Name(sys.intern(first))
    for arrow, member in zip(steps[::2], steps[1::2], strict=True):
        value = ir.Field(value, sys.intern(member), arrow == "->")
    return value


def string(text: str) -> ir.Text:
    """Return a string literal, or several in a row, by its text on one line."""
    return ir.Text(" ".join(text.split())[:80].strip('"'))
