"""Places in a text as an editor counts them: lines from 0, columns in the units that it agreed on."""

import re
from collections.abc import Sequence

from lsprotocol import types

_EXPRESSION = re.compile(r"~?\w+(?:\s*[|&]\s*~?\w+)*")
_WORD = re.compile(r"\w+")
_FUNCTION = re.compile(r"([A-Za-z_]\w*)\s*\(")
_NO_FUNCTIONS = frozenset(("if", "while", "for", "switch", "return", "sizeof", "typeof", "defined", "do", "else"))
_BYTES = {types.PositionEncodingKind.Utf8: ("utf-8", 1), types.PositionEncodingKind.Utf32: ("utf-32-le", 4)}


class Text:
    """A text of an editor, by lines; findings count the bytes of the same text in UTF-8."""

    def __init__(self, source: str, encoding: types.PositionEncodingKind | str | None = None) -> None:
        """`encoding` is what columns are counted in, UTF-16 by default."""
        self.data = source.encode("utf-8", "surrogatepass")
        # Not splitlines(): a form feed, which kernel files have, ends no line.
        self._lines = re.split("\r\n|\n|\r", source)
        self._encoding, self._size = _BYTES.get(types.PositionEncodingKind(encoding or "utf-16"), ("utf-16-le", 2))

    def position(self, line: int, column: int) -> types.Position:
        """Return the place of a line and a column that are counted from 1 and in bytes; one beyond the end is the end."""
        if line > len(self._lines):
            return types.Position(len(self._lines) - 1, self._units(self._lines[-1]))
        before = self._lines[line - 1].encode("utf-8", "surrogatepass")[: column - 1]
        return types.Position(line - 1, self._units(before.decode("utf-8", "replace")))

    def end(self, line: int) -> types.Position:
        """Return the end of the code in a line that is counted from 1."""
        number = min(line, len(self._lines))
        return types.Position(number - 1, self._units(self._lines[number - 1].rstrip()))

    def indent(self, line: int) -> str:
        """Return the blanks that a line, counted from 1, begins with."""
        text = self._lines[line - 1]
        return text[: len(text) - len(text.lstrip())]

    def continues(self, line: int) -> bool:
        """Tell whether a line, counted from 1, goes on in the next one, as those of macros do."""
        return 0 < line <= len(self._lines) and self._lines[line - 1].endswith("\\")

    def function_at(self, place: types.Position) -> str | None:
        """Return the name of what looks like a function, called or defined, at a place."""
        line, at = self._at(place)
        names = (found[1] for found in _FUNCTION.finditer(line) if found.start(1) <= at <= found.end(1))
        return next((name for name in names if name not in _NO_FUNCTIONS), None)

    def masks_at(self, place: types.Position) -> Sequence[str]:
        """Return what may be a mask at a place: the word there, and the expression that it is part of."""
        line, at = self._at(place)
        found = [next((one[0] for one in pattern.finditer(line) if one.start() <= at <= one.end()), "")
                 for pattern in (_WORD, _EXPRESSION)]
        return list(dict.fromkeys(found)) if "GFP_" in found[0] else []

    def _at(self, place: types.Position) -> tuple[str, int]:
        """Return the line of a place, and the index there."""
        if place.line >= len(self._lines):
            return "", 0
        line = self._lines[place.line]
        head = line.encode(self._encoding, "surrogatepass")[: place.character * self._size]
        return line, len(head.decode(self._encoding, "replace"))

    def _units(self, text: str) -> int:
        return len(text.encode(self._encoding, "surrogatepass")) // self._size
