"""What one function does to the contexts of its callees: which calls it makes, holding what, and on which conditions.

All of it holds whoever calls the function; context.reach follows it across the program.
"""

import itertools
from collections.abc import Iterator, Sequence

from msgspec import Struct

from kgfplint.catalogue import Catalogue
from kgfplint.context.conditions import Conditions, Guard, Standing, telling_names
from kgfplint.context.held import HeldLocks, State
from kgfplint.context.members import reaches
from kgfplint.context.sleeping import Sleep, restricted, sleep_of
from kgfplint.facts import ir
from kgfplint.facts.terms import atom, bare, names, show, walk
from kgfplint.program.link import Row
from kgfplint.program.meaning import Meaning, Values

_MOST_GUARDS = 8
_NOTHING = State()
_CONSTANTS = frozenset({"NULL", "true", "false"})
_MADE = frozenset({ir.Binary, ir.Unary, ir.Cast})
PRESENT = ir.Name("(present)")
"""The value of an argument that is not NULL."""
LITERAL = ir.Text("")
"""The value of any string literal."""
SMALL = ir.Name("(small)")
"""The value of an argument that was allocated where sleeping is forbidden: no memory of vmalloc()."""


class Place(Struct, frozen=True, array_like=True):
    """A held state that forbids to sleep: its kind, the lock as text, by which call, on which line.

    `stated`: not taken here, but said to be held by an assertion or annotation.
    """

    kind: str
    lock: str
    by: str
    line: int
    stated: bool = False


class Site(Struct, frozen=True, array_like=True):
    """A call of `name` (a function, a parameter of this one, or a member if `member`) at a line and column.

    `given` are the arguments that say something beyond this function: constants, functions, own parameters; `sleep`
    how the call itself sleeps. `held` is what forbids to sleep here by this function's own doing, `dropped` the kinds
    that it may have taken from its caller before, `guards` the conditions on parameters and contexts that hold here.
    `mask`: what it is given as a mask, if that forbids to sleep ("GFP_ATOMIC") or is a parameter of this function ("gfp").
    `unsure`: something may be held that is not in `held`. `scopes`: the kinds of reclaim scopes and sections that it stands in;
    `asks`: how far the mask that it is given lets reclaim go, 3 (as far as it likes) if that is not known.
    `once`, `spills` and `members`: see Standing; `handed` are the arguments that `members` are about. `kept`: what it returns is
    what is kept at `once`.
    """

    name: str
    line: int
    column: int
    end_line: int
    key: str
    member: bool = False
    given: tuple[tuple[int, ir.Expr], ...] = ()
    sleep: Sleep | None = None
    held: tuple[Place, ...] = ()
    dropped: tuple[str, ...] = ()
    guards: tuple[Guard, ...] = ()
    mask: str = ""
    unsure: bool = False
    scopes: tuple[str, ...] = ()
    asks: int = 3
    once: str = ""
    spills: str = ""
    members: tuple[Guard, ...] = ()
    handed: tuple[tuple[int, ir.Expr], ...] = ()
    kept: bool = False


class Flow(Struct, frozen=True, array_like=True):
    """The sites of a function in the order of its text; `sleepy` is what it surely waits for ("mutex_lock"), "" if nothing.

    A function that waits whatever it is given is not called where sleeping is wrong: a chain that says so is wrong.
    """

    sites: tuple[Site, ...]
    sleepy: str = ""


class _Sites:
    """Collects the sites of one function."""

    def __init__(self, body: ir.Body, row: Row, meaning: Meaning, values: Values, locks: HeldLocks | None) -> None:
        self._body = body
        self._file = row.file
        self._meaning = meaning
        self._catalogue = meaning.catalogue
        self._values = values
        self._locks = locks
        # A parameter that is assigned to is not what the caller gave.
        self._params = {param.name for param in row.params if not values.get(param.name)}
        self._own = {param.name for param in row.params}
        self.sleepy = ""
        self._scopes = ("noreclaim",) if any(map(_sets_memalloc, itertools.chain.from_iterable(
            block.events for block in body.blocks))) else ()
        self._taken = {(event.callee.id, taken) for block in body.blocks for event in block.events
                       if type(event) is ir.Call and type(event.callee) is ir.Name and "get" in event.callee.id
                       for taken in (event.args[:1], (event.target,))}

    def all(self) -> Iterator[Site]:
        conditions: Conditions | None = None
        for number, states in enumerate(self._states()):
            for event, state in states:
                if type(event) is ir.Call and self._telling(event):
                    if conditions is None:
                        conditions = Conditions(self._body, self._params, self._values, self._catalogue, self._allocates)
                    under = conditions.at(number)
                    if under is not None:
                        handed = tuple(self._handed(event, under, conditions)) if under.members else ()
                        yield from self._site(event, state, under, handed)

    def _handed(self, call: ir.Call, under: Standing, conditions: Conditions) -> Iterator[tuple[int, ir.Expr]]:
        """Yield (place, value) of the arguments that something is known about."""
        for place, arg in enumerate(call.args):
            value = conditions.looked_through(bare(arg))
            if any(reaches(value, condition) for condition, _ in under.members):
                yield place, value

    def _allocates(self, name: str) -> bool:
        return self._meaning.alloc(self._file, name) is not None or self._meaning.allocates_by_mask(name)

    def _states(self) -> Iterator[Sequence[tuple[ir.Event, State]]]:
        if self._locks is None:
            yield from ([(event, _NOTHING) for event in block.events] for block in self._body.blocks)
        else:
            yield from (list(self._locks.states_of(number)) for number in range(len(self._body.blocks)))

    def _telling(self, call: ir.Call) -> bool:
        """Tell whether a call may sleep, or leads to code that is known."""
        if type(call.callee) is ir.Field:
            return True
        if type(call.callee) is not ir.Name:
            return False
        name = call.callee.id
        known = self._catalogue
        return (name in known.sleepers or name in known.primitives or name in known.walkers or name in self._params
                or name in self._meaning.program.defined)

    def _site(self, call: ir.Call, state: State, under: Standing, handed: tuple[tuple[int, ir.Expr], ...]) -> Iterator[Site]:
        guards = under.guards
        kinds = self._catalogue.kinds
        held = tuple(Place(h.kind, show(h.lock) if h.lock is not None else "", h.by, h.line, h.stated)
                     for h in state.held if kinds[h.kind].atomic)
        dropped = tuple(sorted({change.kind for change in state.released}))
        name = call.callee.id if type(call.callee) is ir.Name else getattr(call.callee, "member", "")
        if "put" in name and (name.replace("put", "get"), call.args[:1]) in self._taken:
            return  # it gives back what this function took: never the last reference
        sleeper = self._catalogue.sleepers.get(name) if type(call.callee) is ir.Name else None
        always = sleeper is not None and not sleeper.unless and sleeper.cond is None and sleeper.gfp is None
        if always and not (held or dropped or guards):
            self.sleepy = self.sleepy or name
        sleep = sleep_of(self._meaning, self._file, call, self._values)
        if sleep is not None and held and (drops := self._meaning.inferred(self._file, name).drops):
            held = tuple(place for place in held if place.kind not in drops)
        if sleep is None and name in self._catalogue.described:
            return
        if len(guards) > _MOST_GUARDS:
            guards = guards[:_MOST_GUARDS]
        if sleep is not None and sleep.unless is not None:
            guards = (*guards, atom(sleep.unless, False))
        key = show(ir.CallResult(call.callee, call.args)) if sleep is not None or held else ""
        if sleep is not None and call.target is not None:
            key = f"{show(call.target)} = {key}"
        mask, asks = self._mask(call, name)
        scopes = (*self._scopes, *(h.kind for h in state.held if kinds[h.kind].leaves or kinds[h.kind].allows))
        yield Site(name, call.line, call.column, call.end_line, key, type(call.callee) is ir.Field,
                   tuple(self._given(call)), sleep, held, dropped, guards, mask,
                   bool(state.perhaps or state.pending), scopes, asks, under.once, under.spills,
                   under.members[:_MOST_GUARDS], handed,
                   call.target is not None and show(call.target) in (under.once, *under.through))

    def _mask(self, call: ir.Call, name: str) -> tuple[str, int]:
        """Return the mask that a call is given if that is a parameter or forbids something, and how far it lets reclaim go."""
        place = self._meaning.gfp_argument(self._file, name) if type(call.callee) is ir.Name else None
        if place is None or place >= len(call.args):
            return "", 3
        given = bare(call.args[place])
        if type(given) is ir.Name and given.id in self._params:
            return given.id, 3
        masks = self._meaning.masks
        mask = self._meaning.evaluate(self._file, given, self._values)
        # Without any of them it is no mask, but bits to be added to one.
        whole = any(masks.has(mask, name) for name in ("__GFP_KSWAPD_RECLAIM", "__GFP_HIGH"))
        if whole and masks.may_sleep(mask) is False:
            return masks.describe(mask), 0
        return "", restricted(masks, mask)

    def _given(self, call: ir.Call) -> Iterator[tuple[int, ir.Expr]]:
        """Yield (place, value) of the arguments whose value the callee may be told."""
        knows = self._meaning.program.knows
        for place, arg in enumerate(call.args):
            value = bare(arg)
            address = type(value) is ir.AddressOf
            if type(value) is ir.AddressOf:
                value = value.base  # &function is function
                known = type(value) is ir.Name and value.id in self._meaning.program.defined
            else:
                known = type(value) is ir.Name and (value.id in self._params or value.id in _CONSTANTS or knows(value.id)
                                                    or self._replaces(call, value))
            if known or type(value) is ir.Number or self._constant(value):
                yield place, value
            elif type(value) is ir.Text:
                yield place, LITERAL
            elif address:
                yield place, PRESENT
            elif type(value) is ir.Name:
                yield from self._local(call, place, value)

    def _constant(self, value: ir.Expr) -> bool:
        """Tell whether a value is made of numbers, macros and enumerators: SYNC | WRITE, 4 * UNIT."""
        if type(value) not in _MADE:
            return False
        program = self._meaning.program
        parts = (term for term in walk(value) if type(term) not in _MADE and type(term) is not ir.Number)
        return all(type(part) is ir.Name and (part.id in program.enumerators or part.id in program.macros) for part in parts)

    def _replaces(self, call: ir.Call, param: ir.Name) -> bool:
        """Tell whether a call is the only one to give a parameter another value: `name = kstrdup_const(name, gfp)`."""
        values = self._values.get(param.id, ())  # None: what the caller gave
        return call.target == param and param.id in self._own and sum(value is not None for value in values) == 1

    def _local(self, call: ir.Call, place: int, local: ir.Name) -> Iterator[tuple[int, ir.Expr]]:
        """Yield what is known of a local that is handed over: from which memory it comes, or that it is not NULL."""
        values = self._values.get(local.id, ())
        if values and all(value is not None and self._never_slept(bare(value)) for value in values):
            yield place, SMALL
        elif any(type(term) is ir.Field and term.arrow and term.base == local for arg in call.args for term in walk(arg)):
            yield place, PRESENT  # foo(p, &p->lock)

    def _never_slept(self, value: ir.Expr) -> bool:
        """Tell whether a value is memory that was asked for with a mask which forbids to sleep."""
        if type(value) is not ir.CallResult or type(value.callee) is not ir.Name:
            return False
        place = self._meaning.gfp_argument(self._file, value.callee.id)
        if place is None or place >= len(value.args):
            return False
        return self._meaning.masks.may_sleep(self._meaning.evaluate(self._file, value.args[place], self._values)) is False


def _sets_memalloc(event: ir.Event) -> bool:
    """Tell whether an event sets a flag of the task by hand that the scopes of rules/gfp.toml set."""
    return type(event) is ir.Assign and event.op == "|" and any(
        type(term) is ir.Name and term.id.startswith("PF_MEMALLOC") for term in walk(event.value))


def flow_of(body: ir.Body, row: Row, meaning: Meaning, values: Values, locks: HeldLocks | None) -> Flow:
    """Return the flow of a function; `locks` are its held states, None if it takes and drops nothing."""
    collected = _Sites(body, row, meaning, values, locks)
    sites = sorted(collected.all(), key=lambda site: (site.line, site.column))
    return Flow(tuple(sites), collected.sleepy)


def is_plain(site: Site, catalogue: Catalogue) -> bool:
    """Tell whether a site may sleep wherever its function may: nothing is held there, and nobody asked for the context."""
    return not (site.held or site.unsure) and not any(_asks(condition, catalogue) for condition, _ in site.guards)


def _asks(condition: ir.Expr, catalogue: Catalogue) -> bool:
    for term in walk(condition):
        if type(term) is ir.CallResult and type(term.callee) is ir.Name and term.callee.id in catalogue.tests:
            return True
        word = term.id if type(term) is ir.Name else term.member if type(term) is ir.Field else ""
        if word and telling_names(catalogue).search(word):
            return True
    return False


def mentioned(site: Site) -> Iterator[str]:
    """Yield the names that decide whether a site is reached, or that it hands on."""
    for condition, _ in site.guards:
        yield from names(condition)
    yield from (value.id for _, value in site.given if type(value) is ir.Name)
