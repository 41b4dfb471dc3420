"""The canvas: C source with comments, literals and directives masked, edited in place at true offsets."""

import re
import string
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

_LITERAL = re.compile(
    rb"""(/\*[^*]*+(?:\*(?!/)[^*]*+)*(?:\*/)?|//[^\n\\]*+(?:\\[\s\S][^\n\\]*+)*"""
    rb"""|"[^"\\\n]*+(?:\\[\s\S][^"\\\n]*+)*"?|'(?:[^'\\\n]|\\[^\n]){1,10}')"""
)
_REST = rb"[^\n\\]*+(?:\\(?:\r\n|[\s\S]|\Z)[^\n\\]*+)*"
_OTHER = rb"#[ \t]*+(?!if|el|endif)" + _REST
_DIRECTIVES = re.compile(
    rb"#(?:[ \t]*+((?:if|el|endif)\w*+)" + _REST + rb"|(?<![^\n]#)" + _REST + rb"(?:\n" + _OTHER + rb")*|" + _REST + rb")"
)
_COMMENTED = re.compile(rb"(?:/\*|//)[ \t]*#[ \t]*define[ \t]+([A-Za-z_]\w*)")
_NAMED = re.compile(rb"^[ \t]*#[ \t]*define[ \t]+([A-Za-z_]\w*)")
_BY_MAKEFILES = frozenset({b"DEBUG", b"VERBOSE_DEBUG"})
_DEFINED = re.compile(rb"^[ \t]*+#[ \t]*+(?:define|undef)[ \t]++(\w++)[ \t]*+(\w*+[^\s/]*+)", re.MULTILINE)
_DIRECTIVE = re.compile(rb"#" + _REST)
_BLANK = bytes(c if c in b"\n\r" else 0x20 for c in range(256))
_UNSPLICED = re.compile(rb"[^\\\r\n]|\\(?!\r?\n)")
WORD = string.ascii_letters.encode() + b"0123456789_"
"""The bytes of words."""
_LEVELS = 12
_REACH = 400
"""How far, in bytes, a look backwards for the previous token may go: keeps every pass linear."""


class Note(NamedTuple):
    """Something the normaliser took out of the text: what kind, where (byte offsets), and its words."""

    kind: str
    start: int
    end: int
    text: str


class Directive(NamedTuple):
    """A conditional directive with its continuation lines, or a run of lines of other directives.

    Byte span, text without comments, and the first word of a conditional directive (None for the others).
    """

    start: int
    end: int
    text: bytes
    word: bytes | None

    def lines(self) -> Iterator[tuple[int, int]]:
        """Yield the byte span of each directive of a run."""
        for line in _DIRECTIVE.finditer(self.text):
            yield self.start + line.start(), self.start + line.end()


def reduced(signs: bytes, pair: bytes = b"{}") -> bytes:
    """Return `signs` without the pairs that match, some levels deep: nothing is left of signs that balance."""
    for _ in range(_LEVELS):
        shorter = signs.replace(pair, b"")
        if len(shorter) == len(signs):
            break
        signs = shorter
    return signs


class Canvas:
    """Source being normalised: `text` shows code only (comments blank, literals empty, directives blank).

    Every edit keeps the length and the line ends, so an offset into `text` is one into `data`.
    """

    def __init__(self, data: bytes) -> None:
        """Mask `data`; linear in its length, never raises."""
        self.data = data
        self.notes: list[Note] = []
        self.literals = self._mask_literals()
        self.directives = self._mask_directives()
        self._dropped: set[int] = set()

    @cached_property
    def zeros(self) -> frozenset[bytes]:
        """The names that the file defines as 0 and as nothing else: switches that somebody turned off for good."""
        values: dict[bytes, set[bytes]] = {}
        for match in _DEFINED.finditer(self.data):
            values.setdefault(match[1], set()).add(match[2])
        return frozenset(name for name, found in values.items() if found == {b"0"})

    @cached_property
    def commented_out(self) -> frozenset[bytes]:
        """The names whose definition the file has in a comment only (`/* #define BENCH */`): turned off, too.

        Makefiles define DEBUG and the like, whatever a file says.
        """
        off = frozenset(_COMMENTED.findall(self.data)) - _BY_MAKEFILES
        return off - {match[1] for line in self.directives if (match := _NAMED.match(line.text))} if off else off

    def _mask_literals(self) -> list[tuple[int, int]]:
        """Write `text`, with comments and the insides of literals blank; return the spans of the literals."""
        literals: list[tuple[int, int]] = []
        pieces = _LITERAL.split(self.data)  # code and literals by turns
        end = 0
        for index in range(1, len(pieces), 2):
            piece = pieces[index]
            start = end + len(pieces[index - 1])
            end = start + len(piece)
            quote = piece[0]
            if quote == 0x2F:
                pieces[index] = self._masked_comment(start, piece) if b"\n" in piece else piece.translate(_BLANK)
            elif piece[-1] == quote and end - start > 1:
                literals.append((start, end))
                pieces[index] = piece[:1] + piece[1:-1].translate(_BLANK) + piece[:1]
            else:
                pieces[index] = piece.translate(_BLANK)
        self.text = bytearray(b"".join(pieces))
        return literals

    def _mask_directives(self) -> list[Directive]:
        text = self.text
        directives: list[Directive] = []
        for match in _DIRECTIVES.finditer(text):
            start, end = match.span()
            if not start or text[start - 1] == 0x0A or self._begins_line(start):
                words, word = match.group(0, 1)
                directives.append(Directive(start, end, words, word))
                text[start:end] = words.translate(_BLANK)
        return directives

    def _begins_line(self, position: int) -> bool:
        """Tell whether only blanks stand before `position` in its line."""
        before = self.text[max(0, position - _REACH) : position].rstrip(b" \t")
        return not before or before[-1:] == b"\n"

    def _masked_comment(self, start: int, piece: bytes) -> bytes:
        """Return a comment of several lines blanked, such that it joins the same lines as before."""
        if b"\\\n" in piece or b"\\\r" in piece:
            return _UNSPLICED.sub(b" ", piece)
        line = self.data[self.data.rfind(b"\n", 0, start) + 1 : start]
        if line.lstrip()[:1] == b"#":  # the directive goes on behind the comment
            return re.sub(rb" (?=\r?\n)", rb"\\", piece.translate(_BLANK))
        return piece.translate(_BLANK)

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
        reach = position - _REACH
        return bytes(self.text[reach if reach > 0 else 0 : position].rstrip())

    def word_before(self, position: int) -> bytes:
        """Return the word that ends just before `position`, blanks aside (b"" when a sign does)."""
        tail = self.text[max(0, position - 80) : position].rstrip()
        return bytes(tail[len(tail.rstrip(WORD)) :])

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
