"""Macros in statement position: loops and scopes that take a block, statements that lack their semicolon."""

import re

from kgfplint.source.canvas import Canvas
from kgfplint.source.regions import Regions
from kgfplint.source.words import ARGS

_STATEMENT = re.compile(
    rb"\n([ \t]++)(?!(?:if|for|while|switch|return|sizeof|else|do|typeof|__typeof__|__typeof|asm|__asm__|case|goto)\b)"
    rb"([A-Za-z_]\w*+)[ \t]*+(" + ARGS + rb")(?=(\s*+)[A-Za-z_{*])",
)
_ITERATES = re.compile(rb"for_?each|FOR_?EACH", re.I)
_EACH_CALL = re.compile(rb"\w{0,60}+[ \t]*+(" + ARGS + rb")(\s*+)(?=[A-Za-z_{*(])")
_WORD_END = re.compile(rb"\w*\Z")
_GIVES_UP = re.compile(rb",\s*(?:return|goto|break|continue)\b[^,]*+")
_ENDS = b";{}:)"


def rewrite_blocks(canvas: Canvas, regions: Regions) -> None:
    """Turn `for_each_x(a) {` into `while (a) {` and close macro statements.

    Notes "block_macro" and "statement_macro" (with the macro's call).
    """
    text = canvas.text
    for match in _STATEMENT.finditer(text):
        start = match.start(2)
        before = canvas.before(start)
        if before[-1:] not in _ENDS and not before.endswith((b"else", b"do")):
            continue
        if regions.kind(start) != "function":
            continue
        following = text[match.end(4)]
        if following == 0x7B or _ITERATES.search(match[2]) or match[2].startswith(b"scoped_"):
            _as_loop(canvas, match.start(2), match.end(2), match.start(3), match.end(3))
        elif b"\n" in match[4]:
            indent = match[4].rpartition(b"\n")[2]
            if len(indent.expandtabs()) > len(match[1].expandtabs()):
                _as_loop(canvas, match.start(2), match.end(2), match.start(3), match.end(3))
            else:
                _close(canvas, match)
    _rewrite_iterators(canvas, regions)


def _rewrite_iterators(canvas: Canvas, regions: Regions) -> None:
    """Rewrite the for_each macros that do not begin their line."""
    text = canvas.text
    at = text.find(b"for_each")
    while at >= 0:
        call = _EACH_CALL.match(text, at)
        if call and regions.kind(at) == "function":
            word = _WORD_END.search(text, max(0, at - 60), at)
            start = word.start() if word else at
            before = canvas.before(start)
            if before[-1:] in _ENDS or before.endswith((b"else", b"do")):
                end = call.start(1)
                while text[end - 1] in b" \t":
                    end -= 1
                _as_loop(canvas, start, end, call.start(1), call.end(1))
        at = text.find(b"for_each", at + 8)


def _as_loop(canvas: Canvas, start: int, end: int, opening: int, closing: int) -> None:
    """Write `while` (or `if` where it does not fit) over the name; an empty head becomes a true condition."""
    text = canvas.text
    canvas.note("block_macro", start, end)
    if not text[opening + 1 : closing - 1].strip():
        if closing - start < 5:
            canvas.blank(start, closing)
            return
        canvas.blank(start, closing)
        canvas.put(closing - 5, b"if(1)")
        return
    canvas.blank(start, end)
    if end - start >= 2:
        canvas.put(start, b"while" if end - start >= 5 else b"if")
    else:
        canvas.blank(start, closing)
        return
    head = bytes(text[opening:closing])
    for part in _GIVES_UP.finditer(head):
        canvas.blank(opening + part.start(), opening + min(part.end(), len(head) - 1))


def _close(canvas: Canvas, match: re.Match[bytes]) -> None:
    """Put a semicolon behind a macro that stands as a statement of its own."""
    gap = match[4]
    for offset, byte in enumerate(gap):
        if byte in b" \t":
            canvas.put(match.end(3) + offset, b";")
            canvas.note("statement_macro", match.start(2), match.end(3))
            return
