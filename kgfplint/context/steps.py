"""The steps of a chain of calls, and the states that functions are reached in."""

from collections.abc import Sequence
from typing import NamedTuple

from kgfplint.context.conditions import Guard
from kgfplint.context.flow import Site
from kgfplint.facts import ir
from kgfplint.findings import Mark
from kgfplint.program.link import Program


class Hop(NamedTuple):
    """One step of a chain, in `function` at `line`: `note` and `mark` say what happens there, `above` is the step before it.

    `files`: of the first step of a function that is registered, those that do so, the one with the line first.
    """

    above: "Hop | None"
    function: int
    line: int
    note: str
    column: int = 1
    mark: Mark = "call"
    files: tuple[int, ...] = ()

    def path(self, program: Program) -> str:
        """Return the path of the file that the line is in."""
        return program.paths[self.files[0]] if self.files else program.file_of(self.function)

    def chain(self) -> list["Hop"]:
        """Return the steps from the root to this one."""
        found: list[Hop] = []
        hop: Hop | None = self
        while hop is not None:
            found.append(hop)
            hop = hop.above
        return found[::-1]


def registered(function: int, places: Sequence[tuple[int, int]], note: str) -> Hop:
    """Return the first step of a function that is registered at some (file, line) places (see Program.stored)."""
    return Hop(None, function, places[0][1], note, mark="root", files=tuple(dict.fromkeys(file for file, _ in places)))


class Assumed(NamedTuple):
    """Something that a chain assumes, in words; `near`: it is a condition in the file where the chain begins; `seldom`: it is
    more often wrong than right.
    """

    text: str
    near: bool = False
    seldom: bool = False


class Known(NamedTuple):
    """What a caller found out about the members of objects (`guards`), in its own words, and what it gives for the
    parameters of the function that it calls (`args`).
    """

    guards: tuple[Guard, ...]
    args: tuple[tuple[str, ir.Expr], ...]


class Reached(NamedTuple):
    """A function in a state: `kinds` of held locks, a `context` ("" for none), constant values of its parameters.

    `why` is the reason in words, `hop` the last step to it, `assumed` what steps assume, in words: one of several targets
    of an indirect call, a condition on a parameter of unknown value, or that a reference is the last one. `known`: what the
    last step knows beside the values.
    """

    function: int
    kinds: tuple[str, ...]
    context: str
    values: tuple[tuple[str, ir.Expr], ...]
    why: str
    hop: Hop
    assumed: tuple[Assumed, ...] = ()
    known: Known | None = None


class Hit(NamedTuple):
    """Something that sleeps where it must not: the site in `state.function`.

    `assumed` is what all its steps assume, and this site does.
    """

    state: Reached
    site: Site
    assumed: tuple[Assumed, ...] = ()
