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
_PAGES = {"PAGE_SHIFT": 12, "PAGE_SIZE": 4096}
"""What most configurations have; architectures differ (include/asm-generic/page.h)."""


def _told(name: str) -> int | None:
    """Return the value of a name that is known without its definition."""
    if match := _SZ.fullmatch(name):
        return int(match[1]) << _SHIFTS[match[2]]
    return _PAGES.get(name)


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
        return self._fold(file, show(expr))

    def values(self, file: int, expr: ir.Expr) -> frozenset[int]:
        """Return the values that an expression may have: several for a macro that configurations define differently.

        Empty if it is not constant, or one of them is not known.
        """
        value = self.value(file, expr)
        if value is not None:
            return frozenset({value})
        texts = self._definitions(file, expr.id) if type(expr) is ir.Name else set()
        found = {self._fold(file, text) for text in texts}
        return frozenset(value for value in found if value is not None) if None not in found else frozenset()

    def named(self, file: int, name: str) -> int | None:
        """Return the value of a macro or enumerator as `file` sees it, None if it is none or its definitions differ."""
        if (file, name) not in self._named:
            self._resolve(file, name)
        return self._named[file, name]

    def _resolve(self, file: int, name: str) -> None:
        """Find the values of a name and of all that it stands for, however deep: enumerators count on from one another."""
        waiting, texts = [name], dict[str, str]()
        while waiting:
            word = waiting[-1]
            if (file, word) not in self._named:
                if word not in texts:
                    texts[word] = self.definition(file, word) if (told := _told(word)) is None else str(told)
                    # What stands for itself, by other names or not, is left out.
                    below = [one for one in _WORD.findall(texts[word]) if (file, one) not in self._named and one not in texts]
                    if below:
                        waiting += below
                        continue
                self._named[file, word] = self._folded(file, texts[word]) if texts[word] else None
            waiting.pop()

    def _fold(self, file: int, text: str) -> int | None:
        for word in set(_WORD.findall(text)):
            self.named(file, word)
        return self._folded(file, text)

    def _folded(self, file: int, text: str) -> int | None:
        """Return the value of a text by what is known of its names."""
        found = ((word, self._named.get((file, word))) for word in set(_WORD.findall(text)))
        return evaluate(text, {word: value for word, value in found if value is not None})

    def definition(self, file: int, name: str) -> str:
        """Return the text of a macro or enumerator, "" when it has none or several that `file` may mean."""
        found = self._definitions(file, name)
        return found.pop() if len(found) == 1 else ""

    def _definitions(self, file: int, name: str) -> set[str]:
        """Return the texts of a macro or enumerator that `file` may mean."""
        macros, enumerators = self._program.macros.get(name), self._program.enumerators.get(name)
        return self._chosen(file, [*macros, *enumerators] if enumerators else macros)

    def _chosen(self, file: int, known: list[tuple[int, str]]) -> set[str]:
        """Return what a file may mean: its own, those of headers it includes, or all but what other .c files have."""
        own = {text for where, text in known if where == file}
        includes = self._program.types.includes
        if not own and len(known) > 1 and includes is not None:
            own = {text for where, text in known if includes.sees(file, where)}
        paths = self._program.paths
        return own or {text for where, text in known if not paths[where].endswith(".c")}


@functools.lru_cache(maxsize=1)
def constants_of(program: Program) -> Constants:
    """Return the constants of a program, one table for all who ask."""
    return Constants(program)
