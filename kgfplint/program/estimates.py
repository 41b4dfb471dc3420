"""About how many bytes a type takes, from the members that the facts tell: enough to know whether its layout is of interest."""

import re
from functools import lru_cache

from kgfplint.facts.types import tag_of
from kgfplint.program.constants import constants_of
from kgfplint.program.link import Program

_DIMENSIONS = re.compile(r"\[([^\]]*)\]")
_WORD, _DEEPEST, _UNKNOWN = 8, 8, 64
"""Bytes of what is no struct; nested structs that are looked into; elements of an array whose length is not known."""


class Estimates:
    """Estimates of the types of one program, kept by struct tag."""

    def __init__(self, program: Program) -> None:
        """Nothing is estimated before it is asked for."""
        self._types = program.types
        self._constants = constants_of(program)
        self._known: dict[str, int] = {}

    def of(self, file: int, ctype: str, depth: int = 0) -> int:
        """Return about how many bytes a type takes as a file sees it; never less than one."""
        base, bracket, _ = ctype.partition("[")
        count = 1
        for text in _DIMENSIONS.findall(ctype) if bracket else ():
            count *= max(1, int(text) if text.isdigit() else self._length(file, text))
        if base.rstrip().endswith("*") or "(" in base:
            return count * _WORD
        tag = tag_of(base) or tag_of(self._types.expand(file, base))
        return count * (self._struct(file, tag, depth) if tag and depth < _DEEPEST else _WORD)

    def _length(self, file: int, text: str) -> int:
        value = self._constants.named(file, text) if text.isidentifier() else None
        return _UNKNOWN if value is None and text else value or 0

    def _struct(self, file: int, tag: str, depth: int) -> int:
        if tag not in self._known:
            self._known[tag] = _WORD  # one that holds itself is wrong anyway
            members = self._types.record(file, tag)
            parts = [self.of(members.file, ctype, depth + 1) for ctype in members.values()] if members else [_WORD]
            self._known[tag] = max(1, max(parts, default=1) if members and members.union else sum(parts))
        return self._known[tag]


@lru_cache(maxsize=1)
def estimates_of(program: Program) -> Estimates:
    """Return the estimates of a program, one table for all who ask."""
    return Estimates(program)
