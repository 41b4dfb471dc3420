"""The canvas: C source with comments, literals and directives masked, edited in place at true offsets."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_LITERAL = re.compile(
    rb"""/\*[^*]*(?:\*(?!/)[^*]*)*(?:\*/)?|//[^\n\\]*(?:\\[\s\S][^\n\\]*)*"""
    rb"""|"[^"\\\n]*(?:\\[\s\S][^"\\\n]*)*"?|'(?:[^'\\\n]|\\[^\n]){1,10}'"""
)
_DIRECTIVE = re.compile(rb"#[ \t]*(\w*)[^\n\\]*(?:\\(?:\r\n|[\s\S]|\Z)[^\n\\]*)*")
_BLANK = bytes(c if c in b"\n\r" else 0x20 for c in range(256))
_UNSPLICED = re.compile(rb"[^\\\r\n]|\\(?!\r?\n)")
_WORDS = bytes(c if (c < 128 and chr(c).isalnum()) or c == 0x5F else 0x20 for c in range(256))
_REACH = 400
"""How far, in bytes, a look backwards for the previous token may go: keeps every pass linear."""


class Note(NamedTuple):
    """Something the normaliser took out of the text: what kind, where (byte offsets), and its words."""

    kind: str
    start: int
    end: int
    text: str


class Directive(NamedTuple):
    """One preprocessor directive with its continuation lines: byte span, first word, text without comments."""

    start: int
    end: int
    word: bytes
    text: bytes


def blanked(piece: bytes) -> bytes:
    """Return `piece` with every byte but line ends turned into a space."""
    return piece.translate(_BLANK)


class Canvas:
    """Source being normalised: `text` shows code only (comments blank, literals empty, directives blank).

    Every edit keeps the length and the line ends, so an offset into `text` is one into `data`.
    """

    def __init__(self, data: bytes) -> None:
        """Mask `data`; linear in its length, never raises."""
        self.data = data
        self.notes: list[Note] = []
        self.literals: list[tuple[int, int]] = []
        self.text = bytearray(_LITERAL.sub(self._mask, data))
        self.directives = [
            Directive(m.start(), m.end(), m[1], m[0])
            for m in _DIRECTIVE.finditer(bytes(self.text))
            if self._begins_line(m.start())
        ]
        self._dropped: set[int] = set()
        for line in self.directives:
            self.blank(line.start, line.end)

    def _begins_line(self, position: int) -> bool:
        """Tell whether only blanks stand before `position` in its line."""
        before = self.text[max(0, position - _REACH) : position].rstrip(b" \t")
        return not before or before[-1:] == b"\n"

    def _mask(self, match: re.Match[bytes]) -> bytes:
        piece = match[0]
        quote = piece[:1]
        if quote == b"/":
            return self._masked_comment(match.start(), piece)
        if len(piece) == 1 or piece[-1:] != quote:
            return blanked(piece)
        self.literals.append(match.span())
        return quote + blanked(piece[1:-1]) + quote

    def _masked_comment(self, start: int, piece: bytes) -> bytes:
        if b"\n" not in piece:
            return blanked(piece)
        if b"\\\n" in piece or b"\\\r" in piece:
            return _UNSPLICED.sub(b" ", piece)
        line = self.data[self.data.rfind(b"\n", 0, start) + 1 : start]
        if line.lstrip()[:1] == b"#":  # the directive goes on behind the comment
            return re.sub(rb" (?=\r?\n)", rb"\\", blanked(piece))
        return blanked(piece)

    def braces(self, start: int, end: int) -> Iterator[tuple[int, bool]]:
        """Yield (position, whether it opens) of the braces between `start` and `end`."""
        find = self.text.find
        opening, closing = find(b"{", start, end), find(b"}", start, end)
        while opening >= 0 or closing >= 0:
            if closing < 0 or 0 <= opening < closing:
                yield opening, True
                opening = find(b"{", opening + 1, end)
            else:
                yield closing, False
                closing = find(b"}", closing + 1, end)

    def blank(self, start: int, end: int) -> None:
        """Turn the bytes from `start` to `end` into spaces."""
        self.text[start:end] = self.text[start:end].translate(_BLANK)

    def put(self, start: int, piece: bytes) -> None:
        """Write `piece` over the bytes at `start`."""
        self.text[start : start + len(piece)] = piece

    def note(self, kind: str, start: int, end: int, text: bytes | None = None) -> None:
        """Record what stands in the original from `start` to `end` (or `text`) under `kind`."""
        words = self.data[start:end] if text is None else text
        self.notes.append(Note(kind, start, end, words.decode("utf-8", "replace")))

    def before(self, position: int) -> bytes:
        """Return the code just before `position`, without trailing blanks (b"" at the start or after a long gap)."""
        return bytes(self.text[max(0, position - _REACH) : position]).rstrip()

    def word_before(self, position: int) -> bytes:
        """Return the word that ends just before `position`, blanks aside (b"" when a sign does)."""
        tail = self.text[max(0, position - 80) : position].rstrip()
        return bytes(tail.translate(_WORDS).rpartition(b" ")[2])

    def after(self, position: int) -> bytes:
        """Return the code from `position` on, without leading blanks (b"" at the end or before a long gap)."""
        return bytes(self.text[position : position + _REACH]).lstrip()

    def drop(self, index: int) -> None:
        """Leave the directive with this index out of the finished text."""
        self._dropped.add(index)

    def dropped(self, index: int) -> bool:
        """Tell whether the directive with this index has been dropped."""
        return index in self._dropped

    def finish(self) -> bytes:
        """Return the normalised text: the edited code with directives and literals put back."""
        text = self.text
        for index, line in enumerate(self.directives):
            if index not in self._dropped:
                text[line.start : line.end] = line.text
        data = self.data
        for start, end in self.literals:
            if text[start] == data[start]:
                text[start:end] = data[start:end]
        return bytes(text)
