"""Members that macros declare: groups become unnamed structs, known macros the member they stand for, others go."""

import re

from kgfplint.source.canvas import Canvas
from kgfplint.source.regions import Region, Regions
from kgfplint.source.words import ATTRIBUTES, BUILTIN, STORAGE, TAGS, syntax_rules

_MEMBER = re.compile(rb"[;{}]\s*+([A-Za-z_]\w*+)\s*+(?=\((?!\s*\*))")
_NEXT = re.compile(rb"\s*(;)?\s*(?:([A-Za-z_]\w*)\b[ \t]*(?=\())?")
_ALONE = re.compile(
    rb"[;{}]\s*+(?=[A-Z_])((?:_{0,2}[A-Z][A-Z0-9_]{3,}\s+)*_{0,2}[A-Z][A-Z0-9_]+)\b"
    rb"(?:[ \t]*\r?\n\s*(?=[A-Za-z_])|\s*(?=\})|\s+(?!const|volatile)(?=[a-z]\w*\s+[\w*]|[A-Z]\w*\s*\())"
)
_ATTRIBUTE = re.compile(rb"[\w\]]\s+(__[a-z]\w*\s*\([^();]*\))\s*(?=;)")
_BEGINS_MEMBER = re.compile(rb"\s*(?:;|\w+\s*\(|\w+[\s*]+\w)")
_NO_NAME = re.compile(rb"[;{]\s*\b((?:(?:unsigned|signed)\s+(?:char|short|int|long)|\w+)\s*:\s*\w+\s*;)")
_NO_NAME_MORE = re.compile(rb"\w\s*(,\s*:\s*\w+)\s*(?=[,;])")
_PARENTHESIS = re.compile(rb"[()]")
_SIGN = re.compile(rb"[(,]")
_REACH = 20_000
"""How far into the arguments of a macro, in bytes, members are looked for."""
_NO_MACRO = BUILTIN | STORAGE | TAGS | ATTRIBUTES
_GROUPS: dict[bytes, dict[str, int]] = {name.encode(): rule for name, rule in syntax_rules()["member_groups"].items()}
_DECLARE: dict[bytes, str] = {name.encode(): shape for name, shape in syntax_rules()["member_macros"].items()}


def rewrite_members(canvas: Canvas, regions: Regions) -> None:
    """Let struct and union bodies hold plain members only; notes "member_macro".

    A group `struct_group(name, int a;)` becomes `struct $name { int a; };`, with the tag of a tagged
    one before the dollar sign, which no name in the kernel has.
    """
    for region in regions.all:
        if region.kind in ("struct", "union"):
            _rewrite(canvas, region)


def _rewrite(canvas: Canvas, region: Region) -> None:
    start, end = region.start, region.end
    find = canvas.text.find
    _blank_all(canvas, region, _ALONE)
    if find(b"(", start, end) >= 0:
        _calls(canvas, region)
    if find(b"__", start, end) >= 0:
        _blank_all(canvas, region, _ATTRIBUTE)
    if find(b":", start, end) >= 0:
        _blank_all(canvas, region, _NO_NAME)
        _blank_all(canvas, region, _NO_NAME_MORE)


def _calls(canvas: Canvas, region: Region) -> None:
    pairs: dict[int, int] | None = None
    for match in _MEMBER.finditer(canvas.text, region.start, region.end):
        if match[1] not in _NO_MACRO:
            pairs = _pairs(canvas.text, region) if pairs is None else pairs
            _macros(canvas, match.start(1), match.end(1), region.end, pairs)


def _blank_all(canvas: Canvas, region: Region, pattern: re.Pattern[bytes]) -> None:
    for match in pattern.finditer(canvas.text, region.start, region.end):
        canvas.note("member_macro", match.start(1), match.end(1))
        canvas.blank(match.start(1), match.end(1))


def _macros(canvas: Canvas, start: int, end: int, limit: int, pairs: dict[int, int]) -> None:
    """Rewrite the macro call whose name is at `start`, and those that follow it without a semicolon."""
    while True:
        name = bytes(canvas.text[start:end])
        arguments = [] if name in _NO_MACRO else _arguments(canvas.text, canvas.text.index(b"(", end), pairs)
        if not arguments:
            return
        closing = arguments[-1][1]
        following = _NEXT.match(canvas.text, closing + 1, limit)
        if following is None or (not following[2] and canvas.text.startswith((b"(", b":", b"["), following.end())):
            return
        canvas.note("member_macro", start, closing + 1)
        if name in _GROUPS:
            _group(canvas, start, arguments, _GROUPS[name])
            return
        last = following.end(1) if following[1] else closing + 1
        if canvas.text.find(b";", end, min(closing, end + _REACH)) >= 0:
            _open(canvas, start, last, arguments)
            return
        _declare(canvas, start, last, [bytes(canvas.text[a:b]).strip() for a, b in arguments], _DECLARE.get(name))
        if not following[2]:
            return
        start, end = following.span(2)


def _pairs(text: bytearray, region: Region) -> dict[int, int]:
    """Map each opening parenthesis of a region to the one that closes it."""
    pairs: dict[int, int] = {}
    waiting: list[int] = []
    for match in _PARENTHESIS.finditer(text, region.start, region.end):
        if match[0] == b"(":
            waiting.append(match.start())
        elif waiting:
            pairs[waiting.pop()] = match.start()
    return pairs


def _arguments(text: bytearray, opening: int, pairs: dict[int, int]) -> list[tuple[int, int]]:
    """Return where the arguments of a call begin and end, the last one at the closing parenthesis; none if it stays open."""
    closing = pairs.get(opening)
    if closing is None:
        return []
    found, begin, at = [], opening + 1, opening + 1
    while (match := _SIGN.search(text, at, closing)) is not None:
        if match[0] == b"(":
            at = pairs.get(match.start(), closing)
        else:
            found.append((begin, match.start()))
            begin = at = match.end()
    return [*found, (begin, closing)]


def _group(canvas: Canvas, start: int, arguments: list[tuple[int, int]], rule: dict[str, int]) -> None:
    """Write an unnamed struct over a group; what it is called is kept as its tag."""
    if len(arguments) <= rule["members"]:
        return
    name, tag = (bytes(canvas.text[slice(*arguments[rule[word]])]).strip() if word in rule else b"" for word in ("name", "tag"))
    first, closing = arguments[rule["members"]][0], arguments[-1][1]
    canvas.blank(start, first)
    canvas.put(closing, b"}")
    _write(canvas, start, first, b"struct " + tag + b"$" + name + b"{")


def _open(canvas: Canvas, start: int, end: int, arguments: list[tuple[int, int]]) -> None:
    """Let the members handed to a macro, which may leave them out, stand as members."""
    closing = arguments[-1][1]
    canvas.blank(start, arguments[0][0])
    canvas.blank(closing, end)
    for begin, _ in arguments[1:]:
        if _BEGINS_MEMBER.match(canvas.text, begin, closing):
            canvas.put(begin - 1, b";")


def _declare(canvas: Canvas, start: int, end: int, arguments: list[bytes], shape: str | None) -> None:
    """Write the member that a macro declares over its call, nothing for an unknown macro."""
    canvas.blank(start, end)
    if shape is not None and len(arguments) > shape.count("{1}"):
        _write(canvas, start, end, shape.format(*(argument.decode("latin-1") for argument in arguments)).encode("latin-1") + b";")


def _write(canvas: Canvas, start: int, end: int, piece: bytes) -> None:
    """Write words over a blank stretch, going on behind each line end; they stay out where they do not fit."""
    words = piece.split()
    places: list[tuple[int, bytes]] = []
    at = start
    for word in words:
        while (line := canvas.text.find(b"\n", at, min(end, at + len(word)))) >= 0:
            at = line + 1
        if at + len(word) > end:
            return
        places.append((at, word))
        at += len(word) + 1
    for at, word in places:
        canvas.put(at, word)
