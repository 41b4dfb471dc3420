"""Statements handed to macros as arguments, macros that stand alone, and declarations made by a macro."""

import re

from kgfplint.source.canvas import Canvas
from kgfplint.source.regions import Regions
from kgfplint.source.words import ARGS, BUILTIN, STATEMENT, STORAGE, TAGS

_LAST_SEMICOLON = re.compile(rb";\s*+\)")
_ODD_ARGUMENT = re.compile(
    rb",\s*+(?=[,)rgbc=!<>+&|^-])(?:(?=[,)])|(return|goto|break|continue)\b\s*([,)]?)|([=!]=|[<>]=?|[-+&|^])\s*(?=,))"
)
_UNNAMED_BITS = re.compile(rb": (?<= : )(?=\d+\s*;)")
_BITS_TYPE = re.compile(rb"\n[ \t]*(?:unsigned\s+|signed\s+)?(?!case\b|default\b)\w+[ \t]*\Z")
_ALONE = re.compile(rb"\n[ \t]++([A-Za-z_]\w*+)[ \t]*+(?=\r?\n)")
_NOT_ALONE = BUILTIN | STORAGE | STATEMENT | TAGS
_BRACED = re.compile(rb"=(?<![\w\]] =)\s*+\{")
_DECLARES = re.compile(rb"([A-Z]\w*)\s*(\()\s*\w+\s*(,)[^(){};]*(\))\s*\Z")
_PAIR = re.compile(rb"\(([A-Z][A-Z0-9_]+)\b\s+[A-Z][A-Z0-9_]+\s*[,)]")
_LOCAL = re.compile(rb"static\s++([A-Za-z_]\w*+)\s*+(" + ARGS + rb")\s*+[;=]")
_REACH = 2000


def rewrite_statements(canvas: Canvas, regions: Regions) -> None:
    """Make arguments expressions or blocks, and macros that stand alone go.

    Notes "argument_statement", "argument_operator", "bare_macro", "macro_declaration" and "glue".
    """
    text = canvas.text
    for match in _LAST_SEMICOLON.finditer(text):
        _statement_argument(canvas, match.start(), match.end() - 1)
    for match in _ODD_ARGUMENT.finditer(text):
        _odd_argument(canvas, match)
    for match in _PAIR.finditer(text):
        canvas.note("glue", match.start(1), match.end(1))
        canvas.blank(match.start(1), match.end(1))
    for start, end in regions.functions:
        for match in _LOCAL.finditer(text, start, end):
            if b"," in match[2] and regions.kind(match.start()) == "function":
                canvas.blank(match.start(), match.start() + 6)
        for match in _ALONE.finditer(text, start, end):
            _bare_macro(canvas, regions, match)
    for match in _BRACED.finditer(text):
        _macro_declaration(canvas, match.start())
    for match in _UNNAMED_BITS.finditer(text):
        blank = match.start() - 1
        found = _BITS_TYPE.search(text, max(0, blank - 60), blank)
        if found and canvas.before(found.start())[-1:] in (b";", b"{"):
            canvas.put(blank, b" _:")


def _odd_argument(canvas: Canvas, match: re.Match[bytes]) -> None:
    """Rewrite an argument that is empty, an operator, or begins with a keyword of a statement."""
    if match[3]:
        canvas.note("argument_operator", match.start(3), match.end(3))
        canvas.blank(match.start(), match.end(3))
    elif match[1]:
        canvas.note("argument_statement", match.start(1), match.end(1))
        if match[2]:
            canvas.put(match.start(1), match[1].capitalize())
        else:
            canvas.blank(match.start(1), match.end(1))
    else:
        canvas.blank(match.start(), match.start() + 1)


def _bare_macro(canvas: Canvas, regions: Regions, match: re.Match[bytes]) -> None:
    """Blank a word that is a line and a statement of its own."""
    start = match.start(1)
    if bytes(match[1]) in _NOT_ALONE or canvas.before(start)[-1:] not in b";{}:":
        return
    following = canvas.after(match.end())[:1]
    if regions.kind(start) != "function" or (following and following in b";=,.-+*/%&|()[<>?:"):
        return
    canvas.note("bare_macro", start, match.end(1))
    canvas.blank(start, match.end(1))


def _macro_declaration(canvas: Canvas, position: int) -> None:
    """Turn `DECLARE_X(name, size) = {` into `DECLARE_X name[size] = {`; `position` is that of the equals sign."""
    if canvas.before(position)[-1:] != b")":
        return
    found = _DECLARES.search(canvas.text, max(0, position - 200), position)
    if found:
        canvas.note("macro_declaration", found.start(1), found.end(1))
        canvas.put(found.start(2), b" ")
        canvas.put(found.start(3), b"[")
        canvas.put(found.start(4), b"]")


def _opening(text: bytearray, closing: int) -> int:
    """Return where the parenthesis that closes at `closing` opens, -1 when that is far away."""
    depth, at, limit = 0, closing, max(0, closing - _REACH)
    while at > limit:
        opening = text.rfind(b"(", limit, at)
        if opening < 0:
            return -1
        depth += text.count(b")", opening, at)
        if depth == 0:
            return opening
        depth -= 1
        at = opening
    return -1


def _statement_argument(canvas: Canvas, semicolon: int, closing: int) -> None:
    """Make `(a, x; y;)` either `(a,{x; y;})`, where blanks leave room, or `(a, x, y )`."""
    text = canvas.text
    opening = _opening(text, closing)
    if opening < 0 or canvas.before(opening).endswith((b"for", b"while", b"if", b"switch")):
        return
    inside = bytes(text[opening + 1 : closing])
    if b"{" in inside and inside.lstrip()[:1] == b"{":
        return
    first = opening + 1 + inside.index(b";")
    depth = start = 0
    for at in range(opening + 1, first):
        byte = text[at]
        if byte == 0x28:
            depth += 1
        elif byte == 0x29:
            depth -= 1
        elif byte == 0x2C and depth == 0:
            start = at
    start = start or opening
    canvas.note("argument_statement", start + 1, closing)
    room = [at for at in range(start + 1, first) if text[at] in b" \t"][:1]
    behind = [at for at in range(semicolon + 1, closing) if text[at] in b" \t"][-1:]
    if room and behind and not bytes(text[start + 1 : room[0]]).strip():
        canvas.put(room[0], b"{")
        canvas.put(behind[0], b"}")
        return
    canvas.blank(semicolon, semicolon + 1)
    if b"{" not in inside:
        canvas.put(opening + 1, bytes(text[opening + 1 : closing]).replace(b";", b","))
