"""Memory that nobody can reach any more, on the paths of the function that allocated it."""

from collections.abc import Iterator, Mapping

from kgfplint.facts.ir import Call, Index
from kgfplint.facts.terms import NULL, bare, walk
from kgfplint.ownership.conditions import ANY, ZERO, chosen, constant, is_error_name
from kgfplint.ownership.failing import has_failed, standing
from kgfplint.ownership.handing import AWAY, NEARBY, holder_of, is_away, stored_in
from kgfplint.ownership.ops import Adopt, Allocate, Give, Leave, Reduced, Release
from kgfplint.ownership.states import MAYBE, VALID, Origin, State, Way
from kgfplint.ownership.walks import reached, repeated

Whom = frozenset[int]
_NOBODY: Whom = frozenset()
_MOST_WAYS = 6
_MANY, _SAME = 3, 2
"""Calls with so many arguments, of which so many are the same, are about the same memory."""


class Leaks:
    """Watches the objects of one simulation.

    `freed` holds, by number of the allocation, the calls that it was handed to before it was freed here after all; `spared`
    the same but for the last of them, which may have failed; `well` the lines of returns without an error number, of NULL, too.
    """

    def __init__(self, program: Reduced, origins: Mapping[int, Origin]) -> None:
        """`origins` are those of the simulation, which goes on filling them."""
        self.block = 0
        self.sites = program.sites
        self.handed = program.handed
        self._lost: dict[int, dict[int, dict[tuple[Way, object, bool], Whom]]] = {}
        self.well: set[int] = set()
        self._nothing: set[int] = set()
        self._facts = {fact: number for number, fact in enumerate(program.facts)}
        self._adopted = {op.fact for block in program.blocks for op in block if type(op) is Adopt
                         and not is_error_name(program.facts[op.source])}
        self._blocks = program.blocks
        self._lines = program.lines
        self._following = [[to for targets, _ in edges for to in targets] for edges in program.edges] if program.made else []
        self._repeated = repeated(self._following)
        self._decided: set[tuple[int, Way]] = set()
        self._fresh: dict[tuple[int, int], bool] = {}
        self._edges = program.edges
        self._reached: dict[int, set[int]] = {}
        self.freed: dict[int, set[int]] = {}
        self.spared: dict[int, set[int]] = {}
        self._again: dict[int, dict[int, Whom]] = {}
        self._cleared: set[int] = set()
        self._origins = origins
        self._locals = program.locals
        self._made = program.made
        numbers = {lvalue: number for number, lvalue in enumerate(program.lvalues)}
        self._holders: dict[int, int] = {}
        self._places: dict[int, int] = {}
        for number in program.made:
            holder = holder_of(program.lvalues[number])
            if holder in numbers:
                self._holders[number] = numbers[holder]
            place = holder_of(program.lvalues[number], elements=True)
            if place in numbers:
                self._places[number] = numbers[place]
        self._stacked = program.stacked
        self._elements = {number for number in program.made if any(type(term) is Index for term in walk(program.lvalues[number]))}

    def lost(self, failing: bool) -> Iterator[tuple[int, int, Whom]]:
        """Yield where memory was lost: the number of the allocation, the line, and the calls that it had been handed to by then.

        None of these must have kept it. Of several ways to a line it is the one with the fewest calls, and each that returns
        an error; what loops before that line hand it to belongs to them, as if none of them were passed by. `failing`: only
        where an error is returned.
        """
        for site, lines in self._lost.items():
            for line, states in sorted(lines.items()):
                together = self._together(site, states)
                well = line in self.well and line not in self._nothing
                if well and any(is_away(whom) for (_, failed), whom in together.items() if failed or not failing):
                    continue  # where others keep it on some ways to a return without an error, there is a reason
                known = [whom for (_, failed), whom in together.items() if failed or not failing]
                ways: set[tuple[Whom, Way]] = {(min(known, key=_order), ())} if known else set()
                ways |= {(whom, way) for (way, _, failed), whom in states.items()
                         if failed and way and (site, way) not in self._decided}
                found = {whom | self._looped(site, line, way) for whom, way in ways}
                yield from ((site, line, whom) for whom in sorted(found, key=_order)[:_MOST_WAYS] if not is_away(whom))

    def _together(self, site: int, states: Mapping[tuple[Way, object, bool], Whom]) -> dict[tuple[object, bool], Whom]:
        """Return whom memory was handed to by the ownership it was lost with, and whether an error is returned.

        Whoever frees it after one and the same failure, or hands it on, or does not, knows more of that failure than is known
        here: what is lost after it may as well have come any other way.
        """
        found: dict[tuple[object, bool], Whom] = {}
        for (way, key, failed), whom in states.items():
            if not way or (site, way) not in self._decided:
                found[key, failed] = found.get((key, failed), _NOBODY) | whom
        for (way, key, _), whom in states.items():
            if way and (site, way) in self._decided:
                for plain in [(key, error) for error in (False, True) if (key, error) in found] or [(key, False)]:
                    found[plain] = found.get(plain, _NOBODY) | whom
        return found

    def _looped(self, site: int, line: int, way: Way) -> Whom:
        """Return whom loops before a line hand memory to that was allocated before them; not those that a failure leads past."""
        looped = [whom for block, whom in self._again.get(site, {}).items()
                  if self.last_line(block) < line and not self._is_fresh(site, block) and self._is_on(block, way)]
        return frozenset[int]().union(*looped) - self._cleared

    def _is_on(self, block: int, way: Way) -> bool:
        """Tell whether a block may be passed before or after the failure that a path comes from."""
        if not way:
            return True
        failures = [(source, to) for source, edges in enumerate(self._edges) for targets, branch in edges
                    if branch is not None and branch.failed == way for to in targets]
        return any(block in (source, to) or block in self._after(to) or source in self._after(block) for source, to in failures)

    def _after(self, block: int) -> set[int]:
        """Return the blocks that a block leads to."""
        if block not in self._reached:
            self._reached[block] = reached(self._following, block)
        return self._reached[block]

    def _is_fresh(self, site: int, block: int) -> bool:
        """Tell whether a block is not passed twice without a new allocation in between."""
        key = site, block
        if key not in self._fresh:
            made = {number for number, block_ops in enumerate(self._blocks)
                    if any(type(op) is Allocate and op.site.number == site for op in block_ops)}
            self._fresh[key] = block in made or block not in reached(self._following, block, made)
        return self._fresh[key]

    def last_line(self, block: int) -> int:
        """Return the line of the last event of a block that has one, else that of its condition."""
        events = (getattr(op, "event", None) for op in reversed(self._blocks[block]))
        return next((event.line for event in events if event is not None), self._lines[block])

    def give(self, state: State, number: int | None, to: int = AWAY) -> None:
        """Note that an object, or the one that an address leads into, goes elsewhere."""
        origin = self._origins[number] if number is not None else None
        if origin is not None and origin.within is not None:
            self.give(state, origin.within, to)
        elif number is not None and origin is not None and origin.site is not None:
            state.give(number, to)
            if state.way:
                self._decided.add((number, state.way))
            if self.block in self._repeated:
                blocks = self._again.setdefault(number, {})
                blocks[self.block] = blocks.get(self.block, _NOBODY) | {to}

    def hand(self, state: State, op: Give) -> None:
        """Note that objects go elsewhere, but for that in which they are stored."""
        into = self._whole(state.values.get(op.into))
        for target in op.targets:
            number = state.values.get(target)
            if into is None or self._whole(number) != into:
                self.give(state, number, op.to)

    def _whole(self, number: int | None) -> int | None:
        """Return the object that an address leads into, or the number itself."""
        within = self._origins[number].within if number is not None else None
        return number if within is None else within

    def stored(self, state: State, target: int) -> None:
        """Note that an object was stored: only in a local or in a member of another object of ours it is still our own."""
        number = state.values.get(target)
        if target not in self._locals and not self._is_ours(state, target) and not self._lies_in(state, target, number):
            self.give(state, number, NEARBY if target in self._stacked else stored_in(target))

    def cleared(self, state: State, target: int) -> None:
        """Note that an lvalue becomes NULL: nobody finds there any more what was stored before; an element may be another one."""
        gone = AWAY if target in self._elements else stored_in(target)
        for number in [number for number, whom in state.given.items() if gone != AWAY and gone in whom]:
            self._cleared.add(gone)
            state.given = {**state.given, number: state.given[number] - {gone}}

    def unseen(self, state: State, target: int) -> None:
        """Note that what an lvalue leads to is freed, though nobody knows what that is by now."""
        for number in [number for number, whom in state.given.items() if stored_in(target) in whom]:
            self.give(state, number)

    def alike(self, state: State, op: Release) -> None:
        """Note that something is freed that is allocated like what a call that failed was handed: it may be that."""
        args = set(op.event.args) if type(op.event) is Call and len(op.event.args) >= _MANY else set()
        for number, whom in state.given.items() if args else ():
            if any(map(has_failed, whom)) and len(args.intersection(self.sites[number].call.args)) >= _SAME:
                self._decided.add((number, state.way))

    def changed(self, state: State, target: int, number: int) -> None:
        """Note that a call may have changed an lvalue, and seen its object."""
        known = stored_in(target) in state.given.get(number, _NOBODY)
        if not known and not self._lies_in(state, target, number):
            self.give(state, number)

    def _lies_in(self, state: State, member: int, number: int | None) -> bool:
        """Tell whether a member lies in the very memory that it points to: nobody finds that there who does not know it."""
        holder = state.values.get(self._places.get(member, AWAY))
        return holder is not None and self._whole(holder) == self._whole(number)

    def _is_ours(self, state: State, member: int) -> bool:
        holder = state.values.get(self._holders.get(member, AWAY))
        return holder is not None and self._origins[holder].site is not None and not is_away(state.given.get(holder, _NOBODY))

    def in_use(self, state: State, op: Release) -> list[int]:
        """Return the lvalues of memory of ours that is alive while the cache or pool that it came from is destroyed."""
        found: list[int] = []
        for lvalue, number in state.values.items():
            site = self._origins[number].site
            place = None if site is None else site.alloc.cache if site.alloc.cache is not None else site.alloc.pool
            if site is not None and place is not None and place < len(site.call.args) and not state.given.get(number) and (
                    self.is_unknown(state, number) and not state.objects[number].freed
                    and bare(site.call.args[place]) == bare(op.argument)):
                found.append(lvalue)
        return found

    def is_unknown(self, state: State, number: int | None) -> bool:
        """Tell whether an object is memory that was allocated here and that nothing else can point to."""
        return (number is not None and self._origins[number].site is not None and state.objects[number].state == VALID
                and not is_away(state.given.get(number, _NOBODY)))

    def free(self, state: State, number: int, subject: int) -> None:
        """Note that this function frees memory itself: no call before kept it, but perhaps the last one, if it could fail.

        A pointer that is only known not to be NULL may lead to what was stored there before.
        """
        if self._origins[number].what == "tested":
            self.unseen(state, subject)
        whom = sorted(one for one in standing(state.given.get(number, _NOBODY)) if one >= 0)
        self._decided.add((number, state.way))
        self.freed.setdefault(number, set()).update(whom)
        if whom and not self.handed[whom[-1]].void:
            whom.pop()
        self.spared.setdefault(number, set()).update(whom)

    def released(self, state: State, number: int) -> None:
        """Note that a function of the tree freed an object: what hangs on it may be gone, too."""
        for member, holder in self._holders.items():
            if state.values.get(holder) == number:
                self.give(state, state.values.get(member))

    def drop(self, state: State, number: int, line: int) -> None:
        """Note that nothing points to an object any more."""
        if self._may_be_lost(state, number):
            self._note(state, number, line)

    def leave(self, state: State, op: Leave) -> None:
        """Note the objects that are lost with the locals when the function returns."""
        if not self._made:
            return
        returned = state.values.get(op.value)
        kept = {returned, self._origins[returned].within if returned is not None else None}
        value = constant(op.event.value) if op.event.value is not None else ZERO
        nothing = op.event.value is not None and bare(op.event.value) == NULL
        if value is not None and value.lo >= 0:
            self.well.add(op.event.line)
        if nothing:
            self._nothing.add(op.event.line)
        failed = nothing or self._is_error(state, op)
        for number in state.objects:
            if number not in kept and self._may_be_lost(state, number):
                if not self._only_locals(state, number):
                    state.give(number, AWAY)
                self._note(state, number, op.event.line, failed)

    def _is_error(self, state: State, op: Leave) -> bool:
        """Tell whether what is returned is an error: a negative constant, an error pointer, or what was found to be not 0.

        What is known to be positive tells of success.
        """
        value = op.event.value
        if value is not None:
            value = chosen(bare(value), lambda subject: state.facts.get(self._facts.get(subject, AWAY), ANY))
        known = constant(value) if value is not None else None
        fact = self._facts.get(value, AWAY) if value is not None and known is None else AWAY
        known = state.facts.get(fact, known)
        return known is not None and (known.hi < 0 or (known.lo < 0 and 0 in known.excluded and fact not in self._adopted))

    def _may_be_lost(self, state: State, number: int) -> bool:
        site, thing = self._origins[number].site, state.objects[number]
        return (site is not None and not site.alloc.managed and site.alloc.out is None and not thing.freed
                and thing.state in (MAYBE, VALID))

    def _only_locals(self, state: State, number: int) -> bool:
        """Tell whether nothing but locals and members of freed objects points to an object."""
        for lvalue, pointed in state.values.items():
            if number in (pointed, self._origins[pointed].within) and lvalue not in self._locals and lvalue not in self._stacked:
                holder = state.values.get(self._holders.get(lvalue, AWAY))
                gone = holder is not None and state.objects[holder].freed
                if not gone and not self._lies_in(state, lvalue, number):
                    return False
        return True

    def _note(self, state: State, number: int, line: int, failed: bool = False) -> None:
        """Note a loss; paths that come the same way later add whom they had handed the memory to."""
        site = self._origins[number].site
        assert site is not None
        states = self._lost.setdefault(site.number, {}).setdefault(line, {})
        whom = state.given.get(number, _NOBODY)
        key = state.way, (*state.key()[:2], failed and not whom), failed
        states[key] = states.get(key, _NOBODY) | whom


def _order(whom: Whom) -> tuple[bool, int, list[int]]:
    return is_away(whom), len(standing(whom)), sorted(whom)
