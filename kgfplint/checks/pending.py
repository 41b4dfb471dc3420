"""Findings that hang on what functions further down do with a pointer they are given, settled when all is known."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from kgfplint.facts import ir
from kgfplint.findings import Finding, Step
from kgfplint.ownership.fates import KEPT, UNCLEAR, Fate
from kgfplint.program.link import Program

DEPTH = 8
"""Calls further down than this are not looked at: what they are given counts as kept."""


class Asked(NamedTuple):
    """What must be true of a callee and the pointer that it is given at a place (fates.MADE: the one it returns).

    "lent": it does not outlive the call elsewhere; "forgotten": nor is it in what the call returns; "used": it is
    dereferenced without a test; "untested": nothing compares it, neither there nor further down; "unfreed": no way through it
    frees it. `assumed`: where that cannot be told, it is believed.
    """

    callee: str
    place: int
    what: Literal["lent", "forgotten", "used", "untested", "unfreed"]
    assumed: bool = False


class Case(NamedTuple):
    """One way in which a finding comes about: everything asked must hold; then this is the message and a step of the trace.

    `sure`: nothing had to be believed for it, so that its message comes first.
    """

    asked: tuple[Asked, ...]
    message: str
    step: Step
    sure: bool = False


class Pending(NamedTuple):
    """A finding that stands if one of its cases does: the first gives the message, all of them belong to the trace."""

    finding: Finding
    cases: tuple[Case, ...]


class _Way(NamedTuple):
    """How far down it is looked for an answer to `whats`: through `depth` functions, and on from those whose fate says so."""

    whats: tuple[str, ...]
    depth: int
    goes_on: Callable[[Fate], bool]


_LENT, _UNCLEAR, _KEPT = range(3)
_At = tuple[int, int]
"""A parameter of a function: its number and the place."""
_MOST_STEPS = 4
_FREES_WITHIN = 3
"""Calls further down than this are not thought to free what they are given."""
_TESTS_WITHIN = 4
"""Calls further down than this may test what they are given."""
_WAYS = (
    _Way(("lent", "forgotten"), DEPTH, lambda fate: not fate.kept),
    _Way(("used", "untested"), _TESTS_WITHIN + 1, lambda fate: not fate.asks and UNCLEAR not in fate.passes),
    _Way(("unfreed",), _FREES_WITHIN + 1, lambda fate: True),
)
_UNSEEN: Mapping[int, Fate] = {0: KEPT}
Look = Callable[[Sequence[int]], Iterable[tuple[int, Mapping[int, Fate]]]]


class Settling:
    """Settles pending findings; `look` returns, for functions by number, the fates of their pointers."""

    def __init__(self, program: Program, look: Look) -> None:
        """Nothing is looked at before it is asked for."""
        self._program = program
        self._look = look
        self._fates: dict[int, Mapping[int, Fate]] = {}
        self._tested: dict[_At, int] = {}
        self._verdicts: dict[_At, int] = {}
        self._resolved: dict[tuple[int, str], list[int]] = {}

    def findings(self, pending: Iterable[tuple[int, Pending]]) -> list[tuple[int, Finding]]:
        """Return the findings that stand, each with the number of its function; `pending` likewise."""
        waiting = list(pending)
        rows = self._program.rows
        asked = {(rows[number].file, asked) for number, one in waiting for case in one.cases for asked in case.asked}
        for way in _WAYS:
            self._gather({(function, one.place) for file, one in asked if one.what in way.whats
                          for function in self._targets(file, one.callee)}, way)
        return [(number, finding) for number, one in waiting if (finding := self._settled(rows[number].file, one)) is not None]

    def _frees(self, file: int, callee: str, place: int, depth: int) -> bool:
        """Tell whether a callee may free what it is given, perhaps because it failed."""
        for function in self._targets(file, callee):
            fate = self._fate(function, place)
            if fate.freed:
                return True
            own = self._program.rows[function].file
            if depth and any(name and self._frees(own, name, at, depth - 1) for name, at in fate.passes):
                return True
        return False

    def _settled(self, file: int, pending: Pending) -> Finding | None:
        cases = [case for case in pending.cases if all(self._holds(file, asked) for asked in case.asked)]
        if not cases:
            return None
        first = next((case for case in cases if case.sure), cases[0])
        steps = tuple(dict.fromkeys((first.step, *(case.step for case in cases))))[:_MOST_STEPS]
        trace = (*pending.finding.trace, *steps)
        return msgspec.structs.replace(pending.finding, message=first.message, trace=trace)

    def _holds(self, file: int, asked: Asked) -> bool:
        functions = self._telling(file, asked.callee)
        if asked.what == "used":
            return bool(functions) and all(self._fate(function, asked.place).uses or (
                not self._tests(function, asked.place) and self._touches(function, asked.place, _TESTS_WITHIN)
            ) for function in functions)
        if asked.what == "untested":
            return bool(functions) and not any(self._tests(function, asked.place) for function in functions)
        if asked.what == "unfreed":
            return not self._frees(file, asked.callee, asked.place, _FREES_WITHIN)
        if asked.what == "forgotten" and not (functions and all(self._forgets(function, asked.place) for function in functions)):
            return False
        return self._given(file, asked.callee, asked.place) <= (_UNCLEAR if asked.assumed else _LENT)

    def _tests(self, function: int, place: int) -> bool:
        """Tell whether a function, or what it calls, may test a pointer it is given; who cannot be told may."""
        return self._worst((function, place), 1, self._tested, self._may_test) > 0

    def _may_test(self, function: int, place: int) -> tuple[int, list[_At]]:
        fate = self._fates.get(function, {}).get(place)
        if fate is None or fate.asks:
            return 1, []
        below, known = self._below(function, fate)
        return (0, below) if known else (1, [])

    def _worst(self, start: _At, most: int, known: dict[_At, int], look: Callable[[int, int], tuple[int, list[_At]]]) -> int:
        """Return the worst that `look` tells of a pointer where it is given and wherever it is handed on from there, 0 to `most`.

        What does not depend on where one began is kept in `known`: a bad end, or that there is none anywhere below.
        """
        worst, seen, waiting = 0, {start}, [start]
        while waiting and worst < most:
            at = waiting.pop()
            if at in known:
                worst = max(worst, known[at])
                continue
            told, below = look(*at)
            worst = max(worst, told)
            fresh = [step for step in below if step not in seen]
            seen.update(fresh)
            waiting += fresh
        known[start] = worst
        if not worst:
            known.update(dict.fromkeys(seen, 0))
        return worst

    def _below(self, function: int, fate: Fate) -> tuple[list[_At], bool]:
        """Return where a pointer is handed to, and whether that is known of each call."""
        file = self._program.rows[function].file
        calls = [[(target, at) for target in self._telling(file, name)] for name, at in fate.passes]
        return [step for steps in calls for step in steps], all(calls)

    def _touches(self, function: int, place: int, depth: int) -> bool:
        """Tell whether a function, or what it calls, dereferences a pointer it is given."""
        fate = self._fate(function, place)
        file = self._program.rows[function].file
        return fate.touches or (depth > 0 and any(self._touches(target, at, depth - 1) for name, at in fate.passes
                                                  for target in self._telling(file, name)))

    def _forgets(self, function: int, place: int) -> bool:
        """Tell whether a pointer is not part of what a function returns; what macros paste together is anybody's guess."""
        return not self._program.rows[function].flags & ir.MACRO and not self._fate(function, place).returned

    def _gather(self, wanted: Collection[_At], way: _Way) -> None:
        """Look at what is wanted and at all that it leads to on a way."""
        seen: set[_At] = set()
        for _ in range(way.depth):
            wanted = set(wanted) - seen
            seen |= wanted
            fresh = sorted({function for function, _ in wanted} - self._fates.keys())
            self._fates.update(self._look(fresh) if fresh else ())
            wanted = {step for function, place in wanted for step in self._steps(function, place, way)}

    def _steps(self, function: int, place: int, way: _Way) -> Iterator[_At]:
        """Yield where a function hands a pointer to."""
        fate = self._fate(function, place)
        if way.goes_on(fate):
            file = self._program.rows[function].file
            for name, at in fate.passes:
                yield from ((target, at) for target in self._targets(file, name))

    def _targets(self, file: int, name: str) -> list[int]:
        """Return all functions that a call may mean under some configuration: the file's own, else all that others can see."""
        key = file, name
        found = self._resolved.get(key)
        if found is None:
            rows = self._program.rows
            known = self._program.defined.get(name, [])
            own = [number for number in known if rows[number].file == file]
            private = ir.STATIC | ir.MACRO
            found = self._resolved[key] = own or [number for number in known if not (
                rows[number].flags & private and self._program.file_of(number).endswith(".c"))]
        return found

    def _telling(self, file: int, name: str) -> list[int]:
        """Return those that are more than stubs, as far as they have been looked at."""
        return [number for number in self._targets(file, name) if self._fates.get(number, _UNSEEN)]

    def _fate(self, function: int, place: int) -> Fate:
        return self._fates.get(function, {}).get(place, KEPT)

    def _given(self, file: int, callee: str, place: int) -> int:
        """Return what becomes of a pointer that is given to a callee: the worst of what may."""
        functions = self._telling(file, callee)
        return max((self._worst((one, place), _KEPT, self._verdicts, self._becomes) for one in functions), default=_UNCLEAR)

    def _becomes(self, function: int, place: int) -> tuple[int, list[_At]]:
        """Return what becomes of a pointer in a function itself, and where it goes on from there."""
        fate = self._fate(function, place)
        if fate.kept:
            return _KEPT, []
        below, known = self._below(function, fate)
        return _LENT if known else _UNCLEAR, below
