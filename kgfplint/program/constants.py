"""The values of constant expressions in a file: numbers, macros and enumerators folded by source.constants."""

import functools
import re

from kgfplint.facts import ir
from kgfplint.facts.terms import show, walk
from kgfplint.program.link import Program
from kgfplint.source.constants import evaluate

_WORD = re.compile(r"[A-Za-z_]\w*")
_SZ = re.compile(r"SZ_(\d+)([KMGT]?)")
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
"""SZ_4K says what it is (include/linux/sizes.h)."""
_DEPTH = 8
_PAGES = {"PAGE_SHIFT": 12, "PAGE_SIZE": 4096}
"""What most configurations have; architectures differ (include/asm-generic/page.h)."""


class Constants:
    """Folds expressions of the program's files; what it found once it keeps."""

    def __init__(self, program: Program) -> None:
        """Read macros and enumerators of `program`."""
        self._program = program
        self._named: dict[tuple[int, str], int | None] = {}

    def value(self, file: int, expr: ir.Expr) -> int | None:
        """Return the value of an expression of `file`, None when it is not constant or not known."""
        if isinstance(expr, ir.Number):
            return expr.value
        if any(isinstance(term, ir.Field | ir.Deref | ir.Index | ir.AddressOf | ir.Text | ir.Unknown) for term in walk(expr)):
            return None
        return self._fold(file, show(expr), _DEPTH)

    def named(self, file: int, name: str, depth: int = _DEPTH) -> int | None:
        """Return the value of a macro or enumerator as `file` sees it, None if it is none or its definitions differ."""
        if name in _PAGES:
            return _PAGES[name]
        if match := _SZ.fullmatch(name):
            return int(match[1]) << _SHIFTS[match[2]]
        key = file, name
        if key not in self._named:
            self._named[key] = None
            text = self._definition(file, name)
            self._named[key] = self._fold(file, text, depth - 1) if text and depth else None
        return self._named[key]

    def _fold(self, file: int, text: str, depth: int) -> int | None:
        found = ((word, self.named(file, word, depth)) for word in set(_WORD.findall(text)))
        return evaluate(text, {word: value for word, value in found if value is not None})

    def _definition(self, file: int, name: str) -> str:
        """Return the text of a macro or enumerator, "" when it has none or several that `file` may mean."""
        program = self._program
        macros = program.macros.get(name)
        if not macros:
            return program.enumerators.get(name, "")
        own = {text for where, text in macros if where == file}
        includes = program.types.includes
        if not own and len(macros) > 1 and includes is not None:
            own = {text for where, text in macros if includes.sees(file, where)}
        own = own or {text for _, text in macros}
        return own.pop() if len(own) == 1 else ""


@functools.lru_cache(maxsize=1)
def constants_of(program: Program) -> Constants:
    """Return the constants of a program, one table for all who ask."""
    return Constants(program)
