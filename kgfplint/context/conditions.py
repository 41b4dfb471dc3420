"""The conditions that a place in a function stands under, as far as callers and contexts decide on them."""

import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kgfplint.catalogue import Catalogue
from kgfplint.context.marks import Marks
from kgfplint.context.members import Members
from kgfplint.facts import ir
from kgfplint.facts.terms import atom, bare, show, substitute, walk
from kgfplint.program.meaning import Values

_MOST_BLOCKS = 2000
_PLACES = frozenset({ir.Field, ir.Deref, ir.Index})

Guard = tuple[ir.Expr, bool]
"""A condition in its normal form, and the truth value that it has on every path to a place."""
_ABSENT: Guard = ir.Name("it"), False
"""One or another of the places is empty that the function stores fresh memory to."""


class Standing(NamedTuple):
    """What a place stands under: `guards`; `once`, what must not be there yet ("dev->buf") where the function itself brings it
    there, and `through`, the locals that bring it there; `spills`, that something does not fit into a buffer of the function's
    own, as text; and `members`, what it found out about members of objects that it does not change itself.
    """

    guards: tuple[Guard, ...] = ()
    once: str = ""
    spills: str = ""
    members: tuple[Guard, ...] = ()
    through: tuple[str, ...] = ()


_FREELY = Standing()


@functools.lru_cache(maxsize=4)
def telling_names(catalogue: Catalogue) -> re.Pattern[str]:
    """Return what the names of variables, members and functions look like that tell code whether it may sleep."""
    operations = [re.escape(word) for flag in catalogue.flags.values() for word in flag.operations]
    pieces = "|".join(map(re.escape, catalogue.flags)) or "(?!)"
    return re.compile(rf"^(?!{'|'.join(operations) or '(?!)'}).*?(?:{pieces})", re.IGNORECASE)


class Conditions:
    """The relevant conditions that hold at the entry of each block, forward over the control flow graph."""

    def __init__(self, body: ir.Body, params: Collection[str], values: Values, catalogue: Catalogue,
                 allocates: Callable[[str], bool]) -> None:
        """Solve them for a body; `params` are the parameters that it never assigns to, `values` the values of its locals;
        `allocates` tells allocators by name.
        """
        self._allocates = allocates
        self._params = params
        self._values = values
        self._tests = catalogue.tests
        self._named = telling_names(catalogue)
        self._locals = {local.name for local in body.locals}
        self._members = Members(body, {*params, *(name for name in self._locals if len(values.get(name, ())) == 1)})
        self._blocks = body.blocks
        self._seen: dict[tuple[ir.Expr, bool], frozenset[Guard]] = {}
        stored = list(self._stored())
        self._kept = frozenset(place for place, _, _ in stored)
        self._keeping = frozenset(block for _, block, _ in stored)
        self._through = {place: tuple(name for other, _, name in stored if other == place and name) for place in self._kept}
        self._marks = Marks(body, self.looked_through)
        self.entry: list[frozenset[Guard] | None] = [frozenset()] * len(body.blocks)
        conditions = (edge for block in body.blocks for edge in block.edges if edge.condition is not None)
        if len(body.blocks) < _MOST_BLOCKS and any(self._guards(edge) for edge in conditions):
            self._solve()

    def _solve(self) -> None:
        self.entry = [None] * len(self._blocks)
        self.entry[0] = frozenset()
        waiting = [0]
        while waiting:
            number = waiting.pop()
            before = self.entry[number]
            assert before is not None
            for edge in self._blocks[number].edges:
                arriving = before | self._guards(edge) if edge.condition is not None else before
                known = self.entry[edge.to]
                joined = arriving if known is None else known & arriving
                if joined != known:
                    self.entry[edge.to] = joined
                    waiting.append(edge.to)

    def _guards(self, edge: ir.Edge) -> frozenset[Guard]:
        assert edge.condition is not None
        key = edge.condition, edge.truth
        if key not in self._seen:
            told = _parts(self.looked_through(edge.condition), edge.truth)
            guards = frozenset(guard for guard in told if self._relevant(guard[0]) or self._members.about(guard[0]))
            absent = any(not truth and (condition in self._kept or _counts(condition)) for condition, truth in guards)
            self._seen[key] = guards | {_ABSENT} if absent else guards
        return self._seen[key]

    def _relevant(self, condition: ir.Expr) -> bool:
        """Tell whether a condition is about parameters, contexts, or is called like a flag."""
        for term in walk(condition):
            if type(term) is ir.Name and (term.id in self._params or self._named.search(term.id)):
                return True
            if type(term) is ir.Field and self._named.search(term.member):
                return True
            if type(term) is ir.CallResult and type(term.callee) is ir.Name and term.callee.id in self._tests:
                return True
        return condition in self._kept or condition in self._marks or _counts(condition) or self._spills(condition)

    def _spills(self, condition: ir.Expr) -> bool:
        """Tell whether a condition asks for what does not fit into a buffer of the function's own."""
        sides = (condition.left, condition.right) if type(condition) is ir.Binary else ()
        measured = (side.operand for side in sides if type(side) is ir.SizeOf)
        return any(type(operand) is ir.Name and operand.id in self._locals for operand in measured)

    def at(self, number: int) -> Standing | None:
        """Return what a block stands under, None if it is not reached."""
        entry = self.entry[number]
        if not entry:
            return None if entry is None else _FREELY
        found = sorted(entry - {_ABSENT}, key=lambda guard: (show(guard[0]), guard[1]))
        members = tuple(guard for guard in found if self._members.about(guard[0]))
        guards = tuple(guard for guard in found if self._relevant(guard[0])) if members else tuple(found)
        spills = next((f"{show(what)} is {str(truth).lower()}" for what, truth in guards if self._spills(what)), "")
        place = self._once(number, guards)
        if place is not None:
            return Standing(guards, show(place), spills, members, self._through.get(place, ()))
        marked = next((show(what) for what, truth in guards if not truth and self._marks.later(what, number)), "")
        return Standing(guards, marked, spills, members)

    def _once(self, number: int, guards: Iterable[Guard]) -> ir.Expr | None:
        """Return the place that is empty where a block runs, for which the function has fresh memory."""
        counted = any(_counts(condition) and not truth for condition, truth in guards)
        filled = counted or any(_ABSENT in (self.entry[block] or ()) for block in self._keeping)
        if not filled or _ABSENT not in (self.entry[number] or ()):
            return None
        return next((condition for condition, truth in guards if not truth and condition in self._kept), ir.Name("the memory"))

    def _stored(self) -> Iterator[tuple[ir.Expr, int, str]]:
        """Yield the places that the function stores pointers to fresh memory to, in which block, and from which local."""
        for number, event in ((number, event) for number, block in enumerate(self._blocks) for event in block.events):
            target = event.target if type(event) is ir.Call or type(event) is ir.Assign else None
            if type(target) in _PLACES and target is not None and self._fresh(event):
                local = bare(event.value) if type(event) is ir.Assign else None
                yield self.looked_through(target), number, local.id if type(local) is ir.Name else ""

    def _fresh(self, event: ir.Event) -> bool:
        if type(event) is ir.Call:
            return type(event.callee) is ir.Name and self._allocates(event.callee.id)
        value = bare(event.value) if type(event) is ir.Assign and not event.op else None
        found = self._values.get(value.id, ()) if type(value) is ir.Name else (value,)
        made = (bare(term) for term in found if term is not None)
        return any(type(term) is ir.CallResult and type(term.callee) is ir.Name and self._allocates(term.callee.id)
                   for term in made)

    def looked_through(self, condition: ir.Expr) -> ir.Expr:
        """Replace locals that have one value only by that value."""
        once = {term.id: bare(found[0]) for term in walk(condition)
                if type(term) is ir.Name and len(found := self._values.get(term.id, ())) == 1 and found[0] is not None}
        plain = {name: value for name, value in once.items() if self._plain(value)}
        return substitute(condition, plain) if plain else condition

    def _plain(self, value: ir.Expr) -> bool:
        """Tell whether a value is no result of a call, but for one that tells the context."""
        return all(type(term) is not ir.CallResult or (type(term.callee) is ir.Name and term.callee.id in self._tests)
                   for term in walk(value))


def _counts(condition: ir.Expr) -> bool:
    """Tell whether a condition takes a reference to what may be there already: atomic_inc_not_zero(&users)."""
    callee = condition.callee if type(condition) is ir.CallResult else None
    return type(callee) is ir.Name and callee.id.endswith("_inc_not_zero")


def _parts(condition: ir.Expr, truth: bool) -> Iterator[Guard]:
    """Yield the normal form of a condition, of both sides where `a && b` is true or `a || b` is not."""
    condition, truth = atom(condition, truth)
    if type(condition) is ir.Binary and condition.op == ("&&" if truth else "||"):
        yield from _parts(condition.left, truth)
        yield from _parts(condition.right, truth)
    else:
        yield condition, truth


def decided(guards: Sequence[Guard], values: Mapping[str, ir.Expr]) -> Iterator[tuple[ir.Expr, bool]]:
    """Yield guards with the values of parameters put in."""
    for condition, truth in guards:
        yield atom(substitute(condition, values), truth)


def words(condition: ir.Expr) -> Iterator[str]:
    """Yield the names of variables and members in a condition."""
    for term in walk(condition):
        if type(term) is ir.Name:
            yield term.id
        elif type(term) is ir.Field:
            yield term.member
