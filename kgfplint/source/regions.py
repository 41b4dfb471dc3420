"""Regions: the top-level braces of a file and what each pair holds."""

import re
from bisect import bisect_right
from typing import NamedTuple

from kgfplint.source.canvas import Canvas, reduced

_RECORD = re.compile(rb"\b(struct|union|enum)\b[^;(){}=]*+\Z")
_MEMBER = re.compile(rb"\s{0,200}+\.\w++\s*+=")
_EXTERN = re.compile(rb'\bextern\s*"\s*"\s*\Z')
_FIRST_COLUMN = re.compile(rb"\}(?<=\n\})")
_NO_BRACE = bytes(c for c in range(256) if c not in b"{}")


class Region(NamedTuple):
    """One pair of top-level braces.

    `kind` is "function", "init", "variant" (`MACRO(x) { .a = b }`), "struct", "union" or "enum".
    """

    kind: str
    start: int
    end: int


class Regions:
    """The top-level braces of a canvas, in order."""

    def __init__(self, canvas: Canvas) -> None:
        """Read the braces of `canvas`; where they do not balance, one in the first column ends a region."""
        self.all, balanced = _read(canvas, resync=False)
        if not balanced:
            self.all, _ = _read(canvas, resync=True)
        self._starts = [region.start for region in self.all]
        self.functions = _stretches(self.all, len(canvas.text))
        """The stretches, from offset to offset, that hold every function and no other region."""

    def at(self, position: int) -> Region | None:
        """Return the region around `position`, or None at the top level."""
        index = bisect_right(self._starts, position) - 1
        if index >= 0 and position < self.all[index].end:
            return self.all[index]
        return None

    def kind(self, position: int) -> str:
        """Return the kind of region around `position`, "" at the top level."""
        region = self.at(position)
        return region.kind if region else ""


def _stretches(regions: list[Region], end: int) -> list[tuple[int, int]]:
    stretches: list[tuple[int, int]] = []
    start = -1
    for region in regions:
        if region.kind == "function":
            start = region.start if start < 0 else start
        elif start >= 0:
            stretches.append((start, region.start))
            start = -1
    return [*stretches, (start, end)] if start >= 0 else stretches


def _kind(canvas: Canvas, position: int) -> str:
    text = canvas.text
    usual = text[position - 2 : position]
    if usual == b"= ":
        return "init"
    before = b")" if usual == b")\n" else canvas.before(position)
    last = before[-1:]
    if last == b")":
        return "variant" if _MEMBER.match(text, position + 1) else "function"
    if last in (b"=", b","):
        return "init"
    if last == b'"' and _EXTERN.search(before):
        return ""
    # The keyword of a tag cannot be before the last item: a pattern would try every byte there.
    found = _RECORD.search(before, max(before.rfind(b";"), before.rfind(b"}")) + 1)
    return found[1].decode() if found else "function"


def _read(canvas: Canvas, resync: bool) -> tuple[list[Region], bool]:
    """Return the regions, and whether the braces balance."""
    text = canvas.text
    regions: list[Region] = []
    balanced = True
    column = -1
    position = 0
    while True:
        start = text.find(b"{", position)
        if balanced and text.find(b"}", position, start if start >= 0 else len(text)) >= 0:
            balanced = False
        if start < 0:
            return regions, balanced
        kind = _kind(canvas, start)
        if not kind:
            canvas.blank(start, start + 1)
            position = start + 1
            continue
        end = text.find(b"}", start) + 1
        if end and text.find(b"{", start + 1, end) >= 0:
            # Most functions end at the next brace in the first column. Each such brace is tried once: linear.
            tried = column > start
            if not tried:
                found = _FIRST_COLUMN.search(text, start)
                column = found.start() if found else len(text)
            if not tried and column < len(text) and not reduced(bytes(text[start + 1 : column]).translate(None, _NO_BRACE)):
                end = column + 1
            else:
                end = _closing(canvas, start, resync and kind == "function")
        if not end:
            balanced = False
            end = len(text)
        regions.append(Region(kind, start, end))
        position = end


def _closing(canvas: Canvas, opening: int, resync: bool) -> int:
    """Return where the region that begins with the brace at `opening` ends, 0 when it stays open."""
    text = canvas.text
    depth = 0
    for at, opens in canvas.braces(opening, len(text)):
        depth += 1 if opens else -1
        if depth == 0 or (resync and not opens and text[at - 1] == 0x0A):
            return at + 1
    return 0
