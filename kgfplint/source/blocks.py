"""Macros in statement position: loops and scopes that take a block, statements that lack their semicolon."""

import re

from kgfplint.source.canvas import Canvas
from kgfplint.source.regions import Regions
from kgfplint.source.words import ARGS

_STATEMENT = re.compile(
    rb"\n([ \t]++)(?!(?:if|for|while|switch|return|sizeof|else|do|typeof|__typeof__|__typeof|asm|__asm__|case|goto)\b)"
    rb"([A-Za-z_]\w*+)[ \t]*+(" + ARGS + rb")(?=(\s*+)(?:[A-Za-z_{}*]|\+\+|--))",
)
_ITERATES = re.compile(rb"for_?each|FOR_?EACH", re.I)
_EACH_CALL = re.compile(rb"\w{0,60}[ \t]*(" + ARGS + rb")(\s*)(?=[A-Za-z_{*(;+-])")
_WORD_END = re.compile(rb"\w*\Z")
_ENDS = b";{}:)"


def rewrite_blocks(canvas: Canvas, regions: Regions) -> None:
    """Turn `for_each_x(a) {` into `while (a) {` and close macro statements.

    Notes "block_macro" and "statement_macro" (with the macro's call).
    """
    for start, end in regions.functions:
        for match in _STATEMENT.finditer(canvas.text, start, end):
            _statement(canvas, regions, match)
    for word in (b"for_each", b"while_"):
        for start, end in regions.functions:
            _rewrite_iterators(canvas, regions, word, start, end)


def _statement(canvas: Canvas, regions: Regions, match: re.Match[bytes]) -> None:
    """Make a loop of a macro that a block or an indented statement follows, a statement of one that stands alone."""
    start, end = match.span(2)
    before = canvas.before(start)
    if not _begins(before) or regions.kind(start) != "function":
        return
    following = canvas.text[match.end(4)]
    if following == 0x7D:
        if before[-1:] in b";}" or before[:-1].rstrip()[-1:] == b")":
            _close(canvas, match)
    elif following == 0x7B or _ITERATES.search(match[2]) or match[2].startswith(b"scoped_"):
        _as_loop(canvas, start, end, match.start(3), match.end(3))
    elif b"\n" in match[4]:
        indent = match[4].rpartition(b"\n")[2]
        if len(indent.expandtabs()) > len(match[1].expandtabs()):
            _as_loop(canvas, start, end, match.start(3), match.end(3))
        else:
            _close(canvas, match)


def _rewrite_iterators(canvas: Canvas, regions: Regions, word: bytes, start: int, end: int) -> None:
    """Rewrite the for_each macros that do not begin their line, and those that end a `do { }`."""
    text = canvas.text
    at = text.find(word, start, end)
    while at >= 0:
        call = _EACH_CALL.match(text, at)
        if call and regions.kind(at) == "function":
            _iterator(canvas, at, call)
        at = text.find(word, at + len(word), end)


def _iterator(canvas: Canvas, at: int, call: re.Match[bytes]) -> None:
    text = canvas.text
    word = _WORD_END.search(text, max(0, at - 60), at)
    start = word.start() if word else at
    before = canvas.before(start)
    ends_do = before[-1:] == b"}" and text[call.end(2)] == 0x3B
    opens = text[call.end(2)] != 0x3B and text[at] != 0x77 and _begins(before)
    if opens or ends_do:
        end = call.start(1)
        while text[end - 1] in b" \t":
            end -= 1
        _as_loop(canvas, start, end, call.start(1), call.end(1))


def _begins(before: bytes) -> bool:
    """Tell whether a statement can begin behind this code."""
    return before[-1:] in _ENDS or before.endswith((b"else", b"do"))


def _as_loop(canvas: Canvas, start: int, end: int, opening: int, closing: int) -> None:
    """Write `while` (`if`, `for` where only that fits) over the name; an empty head becomes a true condition."""
    text = canvas.text
    canvas.note("block_macro", start, end)
    head = bytes(text[opening + 1 : closing - 1])
    width = end - start
    if not head.strip() or width < 2:
        canvas.blank(start, closing)
        if closing - start >= 5:
            canvas.put(closing - 5, b"if(1)")
        return
    canvas.blank(start, end)
    word = b"for" if head.count(b";") == 2 else b"while"
    canvas.put(start, word if width >= len(word) else b"if")


def _close(canvas: Canvas, match: re.Match[bytes]) -> None:
    """Put a semicolon behind a macro that stands as a statement of its own; blank it where there is no room."""
    start, end = match.start(2), match.end(3)
    canvas.note("statement_macro", start, end)
    # Just before the next token: no directive can stand there.
    last = match.end(4) - 1
    if last >= end and canvas.text[last] in b" \t":
        canvas.put(last, b";")
    else:
        canvas.blank(start, end)
