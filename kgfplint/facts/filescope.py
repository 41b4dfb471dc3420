"""What a file says outside of its functions' bodies: macros called at file scope, and contexts told by kernel-doc comments."""

import re
from bisect import bisect_right
from collections.abc import Iterator

Declared = tuple[str, int, str, int]
"""A macro called at file scope, the place of an argument, the plain name given there, and the line (1-based)."""

_CALL = re.compile(rb"^(?:static[ \t]+)?([A-Za-z]\w*)\(((?:\s*+&?\s*+[\w\"-]+\s*+,?)++)\s*+\)[ \t]*+;?[ \t]*+$", re.MULTILINE)
_NAME = re.compile(rb"\s*&?\s*([a-z_]\w*)\s*")
_KEYWORDS = frozenset({b"if", b"for", b"while", b"switch", b"return", b"sizeof"})
_DOC = re.compile(rb"\n[ \t]*\*[ \t]*Context:[ \t]*+([^\n]*(?:\n[ \t]*\*[ \t]+(?!@|[A-Z][a-z]+:)[^\n]*\w[^\n]*)*)")
_APART = 400
"""Between a comment and the name of its function there are at most so many bytes (return type, attributes)."""


def handed_at_file_scope(data: bytes) -> Iterator[Declared]:
    """Yield what is given to macros at file scope, `DEFINE_TIMER(timer, tick);`, by name; linking keeps the functions."""
    line, at = 1, 0
    for match in _CALL.finditer(data):
        if match[1] in _KEYWORDS:
            continue
        line += data.count(b"\n", at, match.start())
        at = match.start()
        for place, argument in enumerate(match[2].split(b",")):
            name = _NAME.fullmatch(argument)
            if name:
                yield match[1].decode(), place, name[1].decode(), line


class DocContexts:
    """The `Context:` sections of a file's kernel-doc comments, by where their comment ends."""

    def __init__(self, data: bytes, text: bytes) -> None:
        """Look for them in the bytes of a file; in `text`, as long, attributes are blanked."""
        self._text = text
        self._ends: list[int] = []
        self._texts: list[str] = []
        for match in _DOC.finditer(data) if b"Context:" in data else ():
            end = data.find(b"*/", match.end())
            if end >= 0:
                self._ends.append(end + 2)
                self._texts.append(" ".join(match[1].replace(b"*", b" ").decode("utf-8", "replace").split()))

    def before(self, offset: int) -> tuple[str, ...]:
        """Return ("Context: …",) of the comment that belongs to the definition which begins at an offset, () if none does."""
        at = bisect_right(self._ends, offset) - 1
        if at < 0 or offset - self._ends[at] > _APART or self._text[self._ends[at] : offset].strip():
            return ()
        return (f"Context: {self._texts[at]}",)
