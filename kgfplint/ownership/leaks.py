"""Memory that nobody can reach any more, on the paths of the function that allocated it."""

from collections.abc import Mapping

from kgfplint.facts import ir
from kgfplint.ownership.branches import in_loop, loops_of
from kgfplint.ownership.conditions import ZERO, constant
from kgfplint.ownership.handing import AWAY
from kgfplint.ownership.ops import Leave, Reduced
from kgfplint.ownership.states import MAYBE, VALID, Origin, State

Whom = frozenset[int]
_NOBODY: Whom = frozenset()


class Leaks:
    """Watches the objects of one simulation."""

    def __init__(self, program: Reduced, origins: Mapping[int, Origin]) -> None:
        """`origins` are those of the simulation, which goes on filling them."""
        self.block = 0
        self._lost: dict[int, dict[int, dict[object, Whom]]] = {}
        self._well: set[int] = set()
        self._blocks = program.blocks
        self._lines = program.lines
        self._loops = loops_of([[to for targets, _ in edges for to in targets] for edges in program.edges])
        self._again: dict[int, dict[int, Whom]] = {}
        self._origins = origins
        self._locals = program.locals
        self._made = program.made
        numbers = {lvalue: number for number, lvalue in enumerate(program.lvalues)}
        self._holders: dict[int, int] = {}
        for number in program.made:
            lvalue = program.lvalues[number]
            if type(lvalue) is ir.Field and lvalue.arrow and lvalue.base in numbers:
                self._holders[number] = numbers[lvalue.base]
        self._held: dict[int, list[int]] = {}
        for member, holder in self._holders.items():
            self._held.setdefault(holder, []).append(member)

    @property
    def lost(self) -> dict[int, dict[int, Whom]]:
        """Where memory was lost, by number of the allocation: the line, and the calls that it had been handed to by then.

        None of these must have kept it. Of several ways to a line it is the one with the fewest calls; what loops before
        that line hand it to belongs to them, as if none of them were passed by.
        """
        return {site: {line: whom for line, states in lines.items() if AWAY not in (whom := self._whom(site, line, states))}
                for site, lines in self._lost.items()}

    def _whom(self, site: int, line: int, states: Mapping[object, Whom]) -> Whom:
        """Return whom memory had been handed to when it was lost at a line; where a function returns without an error and
        others keep it on some ways to that return, there is a reason why they do not on the rest."""
        if line in self._well and any(AWAY in whom for whom in states.values()):
            return frozenset({AWAY})
        looped = (whom for block, whom in self._again.get(site, {}).items() if self.last_line(block) < line)
        return min(states.values(), key=_order).union(*looped)

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
            if self._loops and in_loop(self._loops, self.block):
                blocks = self._again.setdefault(number, {})
                blocks[self.block] = blocks.get(self.block, _NOBODY) | {to}

    def stored(self, state: State, target: int) -> None:
        """Note that an object was stored: only in a local or in a member of another object of ours it is still our own."""
        if target not in self._locals and not self._is_ours(state, target):
            self.give(state, state.values.get(target))

    def _is_ours(self, state: State, member: int) -> bool:
        holder = state.values.get(self._holders.get(member, AWAY))
        return holder is not None and self._origins[holder].site is not None and AWAY not in state.given.get(holder, _NOBODY)

    def released(self, state: State, subject: int) -> None:
        """Note that a function of the tree freed an object: what hangs on it may be gone, too."""
        for member in self._held.get(subject, ()):
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
        if value is not None and value.lo >= 0:
            self._well.add(op.event.line)
        for number in state.objects:
            if number not in kept and self._may_be_lost(state, number):
                if not self._only_locals(state, number):
                    state.give(number, AWAY)
                self._note(state, number, op.event.line)

    def _may_be_lost(self, state: State, number: int) -> bool:
        site, thing = self._origins[number].site, state.objects[number]
        return (site is not None and not site.alloc.managed and site.alloc.out is None and not thing.freed
                and thing.state in (MAYBE, VALID))

    def _only_locals(self, state: State, number: int) -> bool:
        """Tell whether nothing but locals and members of freed objects points to an object."""
        for lvalue, pointed in state.values.items():
            if pointed == number and lvalue not in self._locals:
                holder = state.values.get(self._holders.get(lvalue, AWAY))
                if holder is None or not state.objects[holder].freed:
                    return False
        return True

    def _note(self, state: State, number: int, line: int) -> None:
        """Note a loss; paths that come the same way later add whom they had handed the memory to."""
        site = self._origins[number].site
        assert site is not None
        states = self._lost.setdefault(site.number, {}).setdefault(line, {})
        key = state.key()
        states[key] = states.get(key, _NOBODY) | state.given.get(number, _NOBODY)


def _order(whom: Whom) -> tuple[bool, int, list[int]]:
    return AWAY in whom, len(whom), sorted(whom)
