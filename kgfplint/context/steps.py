"""The steps of a chain of calls, and the states that functions are reached in."""

from typing import NamedTuple

from kgfplint.context.conditions import Guard
from kgfplint.context.flow import Site
from kgfplint.facts import ir
from kgfplint.findings import Mark


class Hop(NamedTuple):
    """One step of a chain, in `function` at `line`: `note` and `mark` say what happens there, `above` is the step before it."""

    above: "Hop | None"
    function: int
    line: int
    note: str
    column: int = 1
    mark: Mark = "call"

    def chain(self) -> list["Hop"]:
        """Return the steps from the root to this one."""
        found: list[Hop] = []
        hop: Hop | None = self
        while hop is not None:
            found.append(hop)
            hop = hop.above
        return found[::-1]


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
