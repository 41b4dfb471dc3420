"""Members that macros declare: groups become unnamed structs, known macros the member they stand for, others go."""

import re
from collections.abc import Iterator

from kgfplint.source.canvas import Canvas
from kgfplint.source.regions import Region, Regions
from kgfplint.source.words import ATTRIBUTES, BUILTIN, STORAGE, TAGS, syntax_rules

_MEMBER = re.compile(rb"[;{}]\s*([A-Za-z_]\w*)\b\s*(?=\()")
_NEXT = re.compile(rb"\s*(;)?\s*(?:([A-Za-z_]\w*)\b[ \t]*(?=\())?")
_ALONE = re.compile(rb"[;{}]\s*\b([A-Z][A-Z0-9_]+)\b[ \t]*\r?\n\s*(?=[A-Za-z_}])")
_NO_NAME = re.compile(rb"[;{]\s*\b((?:(?:unsigned|signed)\s+(?:char|short|int|long)|\w+)\s*:\s*\w+\s*;)")
_NO_NAME_MORE = re.compile(rb"\w\s*(,\s*:\s*\w+)\s*(?=[,;])")
_SIGN = re.compile(rb"[(),]")
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
    text = canvas.text
    for match in _MEMBER.finditer(text, region.start, region.end):
        _macros(canvas, match.start(1), match.end(1), region.end)
    for pattern in (_ALONE, _NO_NAME, _NO_NAME_MORE):
        for match in pattern.finditer(text, region.start, region.end):
            if pattern is _NO_NAME and match[1].startswith((b"case", b"default")):
                continue
            canvas.note("member_macro", match.start(1), match.end(1))
            canvas.blank(match.start(1), match.end(1))


def _macros(canvas: Canvas, start: int, end: int, limit: int) -> None:
    """Rewrite the macro call whose name is at `start`, and those that follow it without a semicolon."""
    while True:
        name = bytes(canvas.text[start:end])
        arguments = [] if name in _NO_MACRO else list(_arguments(canvas.text, canvas.text.index(b"(", end), limit))
        if not arguments:
            return
        closing = arguments[-1][1]
        following = _NEXT.match(canvas.text, closing + 1, limit)
        if following is None or (not following[2] and canvas.text.startswith((b"(", b":"), following.end())):
            return
        canvas.note("member_macro", start, closing + 1)
        if name in _GROUPS:
            _group(canvas, start, arguments, _GROUPS[name])
            return
        if canvas.text.find(b";", end, closing) >= 0:  # members handed to a macro that may leave them out
            canvas.blank(start, canvas.text.index(b"(", end) + 1)
            canvas.blank(closing, following.end(1) if following[1] else closing + 1)
            return
        last = following.end(1) if following[1] else closing + 1
        _declare(canvas, start, last, [bytes(canvas.text[a:b]).strip() for a, b in arguments], _DECLARE.get(name))
        if not following[2]:
            return
        start, end = following.span(2)


def _arguments(text: bytearray, opening: int, limit: int) -> Iterator[tuple[int, int]]:
    """Yield where the arguments of a call begin and end, the last one at the closing parenthesis; none if it stays open."""
    found: list[tuple[int, int]] = []
    depth, begin = 0, opening + 1
    for match in _SIGN.finditer(text, opening, limit):
        if match[0] == b"(":
            depth += 1
        elif match[0] == b")":
            depth -= 1
            if depth == 0:
                yield from (*found, (begin, match.start()))
                return
        elif depth == 1:
            found.append((begin, match.start()))
            begin = match.end()


def _group(canvas: Canvas, start: int, arguments: list[tuple[int, int]], rule: dict[str, int]) -> None:
    """Write an unnamed struct over a group; what it is called is kept as its tag."""
    if len(arguments) <= rule["members"]:
        return
    name, tag = (bytes(canvas.text[slice(*arguments[rule[word]])]).strip() if word in rule else b"" for word in ("name", "tag"))
    first, closing = arguments[rule["members"]][0], arguments[-1][1]
    canvas.blank(start, first)
    canvas.put(closing, b"}")
    _write(canvas, start, first, b"struct " + tag + b"$" + name + b"{")


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
