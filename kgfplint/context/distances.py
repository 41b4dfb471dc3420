"""How far functions are from what sleeps: along the calls that can be meant, over integer arrays."""

import functools
import re
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from kgfplint.catalogue import Catalogue
from kgfplint.facts import ir
from kgfplint.program.definitions import definitions_of
from kgfplint.program.link import Program
from kgfplint.program.order import Calls, Ints

FAR = 127
"""The distance of functions that are further away than anybody follows, or lead nowhere."""
MOST_TARGETS = 8
"""An indirect call with more targets than this is not followed: it says too little of each."""

_TEST = re.compile(r"[-_](?:kunit|test|kunit[-_]test)\.c$|/(?:tests|kunit)/")
NO_KERNEL = ("tools", "scripts", "Documentation")
"""Code there has locks of its own kind: programs for user space, and for BPF."""


class Distances:
    """How many calls each function of a program is away from the nearest of some others."""

    def __init__(self, program: Program, catalogue: Catalogue, calls: Calls) -> None:
        """Lay out the calls once, those through members and handed-over functions among them."""
        self._program = program
        self._catalogue = catalogue
        sources, sinks = [calls.callers], [calls.targets]
        more = [*self._handed(), *self._indirect()]
        if more:
            pairs = np.array(more, np.int64)
            sources.append(pairs[:, 0])
            sinks.append(pairs[:, 1])
        callers, targets = np.concatenate(sources), np.concatenate(sinks)
        kept = self._likely(callers, targets)
        self._callers, self._targets = callers[kept], targets[kept]

    def to(self, functions: Iterable[int], most: int) -> NDArray[np.int8]:
        """Return the distance of each function to the nearest of `functions`, FAR if that is more than `most` calls."""
        away = np.full(len(self._program.rows), FAR, np.int8)
        away[list(functions)] = 0
        for distance in range(1, most + 1):
            away[self._callers[(away[self._targets] == distance - 1) & (away[self._callers] == FAR)]] = distance
        return away

    def callers(self, function: int) -> int:
        """Return how many functions call a function, directly or through a member: 0, 1, or 2 for more."""
        return int(self._called[function])

    @functools.cached_property
    def _called(self) -> NDArray[np.int8]:
        count = len(self._program.rows)
        one = np.full(count, -1, np.int64)
        one[self._targets] = self._callers  # one of them
        several = self._targets[one[self._targets] != self._callers]
        called = (one >= 0).astype(np.int8)
        called[several] = 2
        return called

    def _likely(self, sources: Ints, sinks: Ints) -> NDArray[np.bool_]:
        """Return, as bits, the calls that may be meant: not those of BUG(), of another architecture, or of a user's program."""
        program = self._program
        homes = [home_of(path) for path in program.paths]
        known = {home: number for number, home in enumerate(dict.fromkeys(["", *homes]))}
        numbers = np.fromiter((known[home] for home in homes), np.int64, len(homes))
        files = np.fromiter((row.file for row in program.rows), np.int64, len(program.rows))
        ends = np.fromiter((bool(row.flags & ir.NORETURN) or row.name in program.noreturn for row in program.rows),
                           np.bool_, len(program.rows))
        there, here = numbers[files[sinks]], numbers[files[sources]]
        likely: NDArray[np.bool_] = ~ends[sinks] & ((there == 0) | (there == here))
        return likely

    def _handed(self) -> Iterator[tuple[int, int]]:
        program, definitions = self._program, definitions_of(self._program)
        for function, callee, _, given, _ in program.handed:
            if callee not in self._catalogue.callbacks:
                for target in definitions.of(program.rows[function].file, given).functions:
                    yield function, target

    def _indirect(self) -> Iterator[tuple[int, int]]:
        program = self._program
        for function in range(len(program.rows)):
            for key, _ in program.indirect(function):
                targets = program.bound.get(key, {})
                if len(targets) <= MOST_TARGETS:
                    yield from ((function, target) for target in targets)


def home_of(path: str) -> str:
    """Return the part of the tree whose functions mean nothing elsewhere, "" for code that all share."""
    first, _, rest = path.partition("/")
    if first == "arch":
        return f"arch/{rest.partition('/')[0]}" + "/boot" * ("/boot/" in rest)
    if _TEST.search(path):
        return "tests"
    return first if first in ("tools", "scripts", "samples", "Documentation") else ""
