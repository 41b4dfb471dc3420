"""The order of bottom-up analyses: callees before callers, functions that call each other together.

Over integer arrays: a kernel has some 700,000 functions and three million calls.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kgfplint.facts import ir
from kgfplint.program.components import components
from kgfplint.program.link import Program

Ints = NDArray[np.int64]


class Calls:
    """The direct calls of a program as pairs: call `i` is in function `callers[i]` and may mean `targets[i]`.

    Each call by a name counts for every function that Program.resolve might choose for it, and a few more.
    """

    def __init__(self, program: Program, known: Iterable[str] = ()) -> None:
        """Resolve all calls at once, but for those of `known` names: what they do does not depend on any body."""
        rows = program.rows
        count = len(rows)
        files = np.fromiter((row.file for row in rows), np.int64, count)
        names = np.fromiter((program.number(row.name) for row in rows), np.int64, count)
        private = np.fromiter((bool(row.flags & (ir.STATIC | ir.MACRO)) for row in rows), np.bool_, count)
        private &= np.fromiter((path.endswith(".c") for path in program.paths), np.bool_, len(program.paths))[files]
        starts = np.frombuffer(program.call_start, np.int64)
        callers = np.repeat(np.arange(count), np.diff(starts))
        called = np.frombuffer(program.call_names, np.int32).astype(np.int64)
        width = len(program.name_list) + 1
        own = _pairs(files[callers] * width + called, files * width + names)
        at_home = np.zeros(len(called), np.bool_)
        at_home[own[0]] = True
        told = np.zeros(width, np.bool_)
        told[[program.names[name] for name in known if name in program.names]] = True
        away = np.flatnonzero(~at_home & ~told[called])
        public = np.flatnonzero(~private)
        others = _pairs(called[away], names[public])
        home = ~told[called[own[0]]]
        edges = np.concatenate([own[0][home], away[others[0]]])
        targets = np.concatenate([own[1][home], public[others[1]]])
        self.count = count
        self.callers: Ints = callers[edges]
        self.targets: Ints = targets


def _pairs(wanted: Ints, known: Ints) -> tuple[Ints, Ints]:
    """Return all (i, j) with wanted[i] == known[j], as two arrays."""
    order = np.argsort(known, kind="stable")
    ordered = known[order]
    first, last = np.searchsorted(ordered, wanted), np.searchsorted(ordered, wanted, "right")
    many = last - first
    left = np.repeat(np.arange(len(wanted)), many)
    offset = np.arange(len(left)) - np.repeat(np.cumsum(many) - many, many)
    return left, order[np.repeat(first, many) + offset]


class Wave(NamedTuple):
    """Functions to analyse together; before that, former summaries to forget; and functions whose former results are void,
    since nothing calls for any now."""

    functions: list[int]
    forget: list[int]
    void: list[int]


class Outcome(NamedTuple):
    """What came of a function: whether its summary is another one than before in this run (`fresh`), whether it has one,
    and whether it is another one than that of the former run (`moved`)."""

    number: int
    fresh: bool
    summed: bool
    moved: bool


class Former:
    """What is known from a former run, as bits by function: `made` has results, `summed` with a summary; `kept` stands as
    it was, with results or without."""

    def __init__(self, count: int) -> None:
        """Know nothing of so many functions."""
        self.made, self.summed, self.kept = (np.zeros(count, np.bool_) for _ in range(3))


class BottomUp:
    """The functions of a program by level: each calls only functions of lower levels, or of its own cycle.

    `group[f]` is the least number among the functions that call each other with f, f itself for most.
    """

    def __init__(self, calls: Calls) -> None:
        """Order all functions."""
        self.group = _cycles(calls)
        callers, targets = self.group[calls.callers], self.group[calls.targets]
        between = callers != targets
        level, _ = _peeled(calls.count, callers[between], targets[between])
        self._level = level[self.group]
        order = np.argsort(self._level[calls.callers], kind="stable")
        self._callers, self._targets = calls.callers[order], calls.targets[order]
        self._first = np.searchsorted(self._level[self._callers], np.arange(self._level.max(initial=0) + 2))

    def sweep(self, analyse: Callable[[Wave], Iterable[Outcome]], telling: Iterable[int], rounds: int,
              former: Former | None = None) -> NDArray[np.bool_]:
        """Have sets of functions analysed together, callees first; `analyse` returns what came of them.

        `telling` are the functions that are analysed in any case, others are when a callee has a summary; `former`
        results that still hold are not made again unless the summary of a callee is another one now. Functions of a
        cycle come again until nothing changes, in at most so many rounds, and always all of them from the beginning.
        Return, as bits by function, for which what was concluded in the former run, whatever it was, still holds.
        """
        count = len(self.group)
        former = former or Former(count)
        wanted, fresh = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        wanted[list(telling)] = True
        kept, summed, moved = former.kept.copy(), former.summed & former.kept, np.zeros(count, np.bool_)
        order = np.argsort(self._level, kind="stable")
        for level, members in enumerate(np.split(order, np.flatnonzero(np.diff(self._level[order])) + 1)):
            callers = self._callers[self._first[level] : self._first[level + 1]]
            targets = self._targets[self._first[level] : self._first[level + 1]]
            inner = self.group[callers] == self.group[targets]
            kept[callers[moved[targets] & ~inner]] = False
            lost = np.unique(self.group[members[~kept[members]]])
            together = members[np.isin(self.group[members], lost)]
            kept[together], summed[together] = False, False
            wanted[callers[summed[targets]]] = True
            wanted[members[kept[members] & former.made[members]]] = True
            forget = together[former.summed[together]].tolist()
            waiting = members[wanted[members] & ~(kept[members] & former.made[members])]
            for _ in range(rounds):
                if not len(waiting):
                    break
                fresh[:] = False
                for outcome in analyse(Wave(np.sort(waiting).tolist(), forget, [])):
                    fresh[outcome.number] = outcome.fresh
                    summed[outcome.number] |= outcome.summed
                    moved[outcome.number] = outcome.moved
                forget = []
                waiting = np.unique(callers[inner & fresh[targets]])
                wanted[waiting] = True
            gone = members[former.made[members] & ~kept[members] & ~wanted[members]]
            moved[gone] |= former.summed[gone]
            if len(gone):
                analyse(Wave([], forget, gone.tolist()))
        return kept


def _peeled(count: int, callers: Ints, targets: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the level of each function, taking away what calls nothing any more, and which are left in cycles."""
    order = np.argsort(targets, kind="stable")
    by_target, starts = callers[order], np.searchsorted(targets[order], np.arange(count + 1))
    waiting = np.bincount(callers, minlength=count)
    level = np.full(count, -1, np.int64)
    front, depth = np.flatnonzero(waiting == 0), 0
    while len(front):
        level[front] = depth
        many = starts[front + 1] - starts[front]
        offset = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        reached, times = np.unique(by_target[np.repeat(starts[front], many) + offset], return_counts=True)
        waiting[reached] -= times
        front = reached[waiting[reached] == 0]
        depth += 1
    return level, level < 0


def _cycles(calls: Calls) -> Ints:
    """Return the group of each function: strongly connected components of the call graph."""
    group = np.arange(calls.count)
    _, below = _peeled(calls.count, calls.callers, calls.targets)
    kept = below[calls.callers] & below[calls.targets]
    callers, targets = calls.callers[kept], calls.targets[kept]
    _, above = _peeled(calls.count, targets, callers)
    core = below & above
    kept = core[callers] & core[targets]
    callers, targets = callers[kept], targets[kept]
    following: dict[int, list[int]] = {}
    for caller, target in zip(callers.tolist(), targets.tolist(), strict=True):
        following.setdefault(caller, []).append(target)
    done: set[int] = set()
    for start in sorted(following):
        for members in components(start, lambda node: following.get(node, ()), done) if start not in done else ():
            done.update(members)
            group[members] = min(members)
    return group
