"""Attribute words and calls: noted, then blanked, since no C grammar knows them."""

import re

from kgfplint.source.canvas import WORD, Canvas
from kgfplint.source.words import ARGS, ATTRIBUTE_CALLS, ATTRIBUTES, BUILTIN, MARKERS, STATEMENT, STORAGE, TAGS, TYPES

_DUNDER = re.compile(rb"__(?<![\w\x80-\xff]__)[A-Za-z_]\w*+")
_CALL = re.compile(rb"\s{0,99}(" + ARGS + rb")")
_NO_TYPE = STATEMENT | STORAGE | TAGS | {b"unsigned", b"signed"}
_NO_TYPE_BEFORE = _NO_TYPE | BUILTIN
_AFTER_FREE = re.compile(rb"\s{0,99}\*\s*\w+\s*[;=,]")
_CLEANUP = re.compile(rb"cleanup(?:__)?\s*\(\s*(\w+)")


def blank_annotations(canvas: Canvas) -> None:
    """Blank attribute words and calls; notes "cleanup" (class name) and "annotation" (the words)."""
    text = canvas.text
    for match in _DUNDER.finditer(text):
        word = match[0]
        if word not in TYPES:
            _annotation(canvas, word, match.start(), match.end())
    for marker in MARKERS:
        at = text.find(marker)
        while at >= 0:
            canvas.note("annotation", at, at + len(marker))
            canvas.blank(at, at + len(marker))
            at = text.find(marker, at)


def _annotation(canvas: Canvas, word: bytes, start: int, end: int) -> None:
    if word in ATTRIBUTE_CALLS:
        call = _CALL.match(canvas.text, end)
        if call and _beside_declaration(canvas, word, start, call.end()):
            _attribute_call(canvas, word, start, call)
            return
        if call:
            return
    following = bytes(canvas.text[end : end + 1])
    if not following.strip():
        following = canvas.after(end)[:1]
    if word in ATTRIBUTES:
        if following == b"(" and canvas.before(start)[-1:] in b";{})":
            return
        canvas.note("annotation", start, end)
        canvas.blank(start, end)
    elif following not in (b"(", b".", b"-", b"") and _stands_as_attribute(canvas.before(start), following):
        canvas.note("annotation", start, end)
        canvas.blank(start, end)


def _beside_declaration(canvas: Canvas, word: bytes, start: int, end: int) -> bool:
    """Tell an attribute call from a function that happens to have the same name."""
    if word != b"__free":
        return True
    earlier, sign, last = _before(canvas.before(start))
    if last == b"*" or _AFTER_FREE.match(canvas.text, end):
        return True
    return bool(
        last and last[0] in WORD and last not in _NO_TYPE_BEFORE and earlier not in STORAGE and (earlier or sign in (b"*", b","))
    )


def _before(code: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the last token of `code`, a word or a sign, after the word or the sign before it (the other is b"")."""
    rest = code.rstrip(WORD)
    last = code[len(rest) :]
    if not last:
        last, rest = rest[-1:], rest[:-1]
    apart = rest.rstrip()
    earlier = apart[len(apart.rstrip(WORD)) :]
    if not earlier:
        return b"", apart[-1:], last
    # A word that a sign follows without a blank is no word of a declaration.
    return (earlier if len(apart) < len(rest) else b""), b"", last


def _attribute_call(canvas: Canvas, word: bytes, start: int, call: re.Match[bytes]) -> None:
    end = call.end()
    if word in (b"__free", b"__cleanup"):
        canvas.note("cleanup", start, end, call[1][1:-1].strip())
    else:
        found = _CLEANUP.search(call[1]) if b"cleanup" in call[1] else None
        if found:
            canvas.note("cleanup", start, end, found[1])
        else:
            canvas.note("annotation", start, end)
    canvas.blank(start, end)


def _stands_as_attribute(before: bytes, following: bytes) -> bool:
    """Tell whether an unknown `__word` between `before` and `following` can only be an attribute."""
    if not before:
        return False
    earlier, sign, last = _before(before)
    named = following.isalpha() or following == b"_"
    if last[0] not in WORD:
        return last == b"]" or (last == b"*" and named) or (last == b")" and following == b"{")
    if last in _NO_TYPE or last.isdigit():
        return False
    if named or following == b"*":
        return True
    return following in b";=,){[:" and (sign == b"*" or (bool(earlier) and earlier not in _NO_TYPE_BEFORE))
