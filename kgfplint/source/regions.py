"""Regions: the top-level braces of a file and what each pair holds."""

import re
from bisect import bisect_right
from typing import NamedTuple

from kgfplint.source.canvas import Canvas

_RECORD = re.compile(rb"\b(struct|union|enum)\b[^;(){}=]*\Z")
_MEMBER = re.compile(rb"\s{0,200}\.\w+\s*=")
_EXTERN = re.compile(rb'\bextern\s*"\s*"\s*\Z')


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


def _kind(canvas: Canvas, position: int) -> str:
    before = canvas.before(position)
    last = before[-1:]
    if last == b")":
        return "variant" if _MEMBER.match(canvas.text, position + 1) else "function"
    if last in (b"=", b","):
        return "init"
    if last == b'"' and _EXTERN.search(before):
        return ""
    found = _RECORD.search(before)
    if found:
        return found[1].decode()
    return "function"


def _read(canvas: Canvas, resync: bool) -> tuple[list[Region], bool]:
    text = canvas.text
    regions: list[Region] = []
    depth = start = 0
    kind = ""
    balanced = True
    for at, opens in canvas.braces(0, len(text)):
        if opens:
            if depth == 0:
                kind = _kind(canvas, at)
                start = at
                if not kind:
                    canvas.blank(at, at + 1)
                    continue
            depth += 1
            continue
        if depth == 0:
            balanced = False
            continue
        depth -= 1
        if depth and resync and kind == "function" and (at == 0 or text[at - 1] == 0x0A):
            depth = 0
        if depth == 0:
            regions.append(Region(kind, start, at + 1))
    if depth:
        balanced = False
        regions.append(Region(kind, start, len(text)))
    return regions, balanced
