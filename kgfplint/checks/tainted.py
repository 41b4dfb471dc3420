"""Locks that reclaim waits for: which functions it runs take them, and what else is done while they are held."""

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from kgfplint.catalogue import Version
from kgfplint.checks.unit import Unit
from kgfplint.context.flow import Site
from kgfplint.context.held import Held
from kgfplint.context.steps import Assumed, Hop, Reached
from kgfplint.facts import ir
from kgfplint.facts.terms import show
from kgfplint.gfp.policy import policy
from kgfplint.program.link import Program

_DEPTH = 2
"""So many calls below what reclaim calls a function counts as run by reclaim."""
_READ = "rwsem-read"

_SAME = Assumed("both locks are of one object")
"""What is assumed of locks that are told by their type and member."""


class Taking(NamedTuple):
    """A lock that a function waits for: its class ("struct vol.lock"), whether as one of several readers, and the line."""

    lock: str
    shared: bool
    line: int


class Holding(NamedTuple):
    """A site that a function reaches while it holds the lock of a class, which it took `by` a call on a line."""

    site: Site
    lock: str
    shared: bool
    by: str
    line: int


def entered(program: Program, version: Version | None) -> dict[int, int]:
    """Map the functions that reclaim runs to those by which it enters their folder; calls out of that are not followed."""
    members, found = policy(version).entered, dict[int, int]()
    for (tag, member), key in program.keys.items():
        if f"{tag}.{member}" in members:
            found.update((target, target) for target in program.bound.get(key, {}))
    front = sorted(found)
    for _ in range(_DEPTH):
        below: list[int] = []
        for function in front:
            folder, file = posixpath.dirname(program.file_of(function)), program.rows[function].file
            for name in dict.fromkeys(name for name, _ in program.calls(function)):
                for target in program.resolve(file, name):
                    if target not in found and posixpath.dirname(program.file_of(target)) == folder:
                        found[target] = found[function]
                        below.append(target)
        front = below
    return found


class Taint:
    """The classes of locks that reclaim waits for, by where it takes them."""

    def __init__(self, program: Program, run: Mapping[int, int]) -> None:
        """`run` are the functions that reclaim runs (see entered())."""
        self._program = program
        self._run = run
        self._by: dict[str, tuple[int, int]] = {}
        self.shared: dict[str, bool] = {}

    def take(self, found: Iterable[tuple[int, tuple[Taking, ...]]]) -> None:
        """Add what functions that reclaim runs wait for."""
        for function, takings in found:
            for lock, shared, line in takings:
                self._by[lock] = min(self._by.get(lock, (function, line)), (function, line))
                self.shared[lock] = shared and self.shared.get(lock, True)

    def candidates(self, names: Iterable[str]) -> list[int]:
        """Return the functions beside those that reclaim runs which call something of `names`."""
        program = self._program
        folders = {self._folder(function) for function, _ in self._by.values()}
        calling = {function for name in names for function in program.functions_calling(name)}
        return sorted(function for function in calling if function not in self._run and self._folder(function) in folders)

    def states(self, function: int, holdings: Iterable[Holding]) -> Iterator[tuple[Site, Reached]]:
        """Yield the sites of a function under such locks, each with the state that this is."""
        path = self._program.file_of(function)
        for site, lock, _, by, line in holdings:
            taker, taken = self._by[lock]
            if self._folder(taker) != self._folder(function):
                continue
            name, entry = self._program.rows[taker].name, self._program.rows[self._run[taker]].name
            within = f" for {entry}()" if entry != name else ""
            hop = Hop(None, function, line, f"{by}: {name}() waits for this lock{within} in reclaim", mark="lock")
            why = f"under {by} taken at {path}:{line}, for which {name}() waits{within} at {self._program.file_of(taker)}:{taken}"
            yield site, Reached(function, ("nofs", *site.scopes), "tainted", (), why, hop, (_SAME,))

    def _folder(self, function: int) -> str:
        return posixpath.dirname(self._program.file_of(function))


def takings(unit: Unit) -> tuple[Taking, ...]:
    """Return the locks that a function waits for."""
    return tuple(Taking(lock, kind == _READ, line) for event in unit.events() for kind, expr, line in _waits(unit, event)
                 if (lock := _class_of(unit, expr)))


def _waits(unit: Unit, event: ir.Event) -> Iterator[tuple[str, ir.Expr, int]]:
    """Yield the lock that an event may wait for: kind, expression and line."""
    known = unit.meaning.catalogue
    if type(event) is ir.Call and type(event.callee) is ir.Name:
        effect = known.locks.get(event.callee.id)
        if effect is not None and effect.action == "acquire" and effect.sleeps and effect.lock is not None:
            yield from ((kind, event.args[effect.lock], event.line) for kind in effect.kinds if effect.lock < len(event.args))
    elif type(event) is ir.Guard and event.enter:
        guard = known.guards.get(event.cls)
        if guard is not None and guard.sleeps and not guard.conditional and guard.lock is not None:
            yield from ((kind, event.args[guard.lock], event.line) for kind in guard.kinds if guard.lock < len(event.args))


def holdings(unit: Unit, locks: Mapping[str, bool]) -> tuple[Holding, ...]:
    """Return what a function calls while it holds one of some locks by their class (True: reclaim only reads under it)."""
    held: dict[tuple[int, int], tuple[Held, str]] = {}
    for event, state in unit.states:
        if type(event) is ir.Call:
            found = ((one, lock) for one in state.held if one.lock is not None and (lock := _class_of(unit, one.lock)) in locks)
            fitting = next(((one, lock) for one, lock in found if not (one.kind == _READ and locks[lock])), None)
            if fitting is not None:
                held[event.line, event.column] = fitting
    if not held:
        return ()
    return tuple(Holding(site, lock, one.kind == _READ, one.place, one.line) for site in unit.flow.sites
                 for one, lock in [held.get((site.line, site.column), (None, ""))] if one is not None)


def _class_of(unit: Unit, expr: ir.Expr) -> str:
    """Return what all locks have in common that stand where this one does, "" if that is not known."""
    lock = expr.base if type(expr) is ir.AddressOf else expr
    if type(lock) is ir.Field:
        tag = unit.typing.of(lock.base).replace("*", "").strip()
        return f"{tag}.{lock.member}" if tag else ""
    return f"{unit.path}:{show(lock)}" if type(lock) is ir.Name and lock.id not in unit.types else ""
