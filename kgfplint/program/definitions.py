"""What names mean in files: the definitions behind a call, remembered while the program is analysed."""

import functools
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.program.link import Program, Row

GFP_TYPES = frozenset({"gfp_t", "const gfp_t"})
_MOST = 1 << 17
"""So many names in files are remembered; a kernel has millions, but analyses go from file to file."""


class Definition(NamedTuple):
    """What a name means in a file: functions by number, and what holds for all who call it there.

    `mask` is the place of the first parameter that is a gfp_t, None if there is none; `macro` tells that one of the
    functions is a macro, `source` that one is in a .c file.
    """

    functions: tuple[int, ...]
    mask: int | None
    macro: bool
    source: bool


NOTHING = Definition((), None, False, False)


def takes_mask(row: Row) -> bool:
    """Tell whether a function has a parameter that is a gfp_t."""
    return any(param.ctype in GFP_TYPES for param in row.params)


class Definitions:
    """The definitions of one program."""

    def __init__(self, program: Program) -> None:
        """Nothing is looked up before it is asked for."""
        self._program = program
        self._known: dict[tuple[int, str], Definition] = {}
        self._masked: dict[str, bool] = {}

    def of(self, file: int, name: str) -> Definition:
        """Return what a call of `name` in `file` means."""
        if name not in self._program.defined:
            return NOTHING
        key = file, name
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[key] = self._define(file, name)
        return known

    def mask(self, file: int, name: str) -> int | None:
        """Return `of(file, name).mask`; where no function of that name takes a mask there is nothing to resolve.

        What has no body in the program is known by its prototype.
        """
        if name not in self._program.defined:
            return self.promised(name)
        masked = self._masked.get(name)
        if masked is None:
            rows, numbers = self._program.rows, self._program.defined.get(name, ())
            masked = any(takes_mask(rows[number]) for number in numbers)
            self._masked[name] = masked
        return self.of(file, name).mask if masked else None

    def promised(self, name: str) -> int | None:
        """Return the place of the mask in the prototype of what allocates with it, by all that one can see.

        What is given nothing but a mask, or returns one or a truth value, looks at it.
        """
        returns, params = self._program.masked.get(name, ("", ()))
        if len(params) < 2 or returns in (*GFP_TYPES, "bool"):
            return None
        return next((place for place, param in enumerate(params) if param.ctype in GFP_TYPES), None)

    def _define(self, file: int, name: str) -> Definition:
        program = self._program
        functions = tuple(program.resolve(file, name))
        rows = [program.rows[number] for number in functions]
        masks = (place for row in rows for place, param in enumerate(row.params) if param.ctype in GFP_TYPES)
        return Definition(functions, next(masks, None), any(row.flags & ir.MACRO for row in rows),
                          any(program.paths[row.file].endswith(".c") for row in rows))


@functools.lru_cache(maxsize=1)
def definitions_of(program: Program) -> Definitions:
    """Return the definitions of a program, one table for all who ask."""
    return Definitions(program)
