"""Which locks and disabled contexts are held at each event: forward over the control flow graph.

At a join the smaller held set is right (a miss is better than a false alarm). A release without an
acquire of one's own drops what the caller holds and becomes part of the function's summary.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kgfplint.catalogue import Catalogue, LockEffect
from kgfplint.facts import ir
from kgfplint.facts.terms import atom, root, show, substitute
from kgfplint.program.meaning import LockChange, Meaning

_LOCKLESS = frozenset({"irq", "bh", "preempt", "rcu", "rcu_bh", "rcu_sched", "pagefault"})
"""Kinds of held state that no lock stands for."""
_ROUNDS = 12


class Held(Struct, frozen=True, array_like=True):
    """One kind of held state: which lock (None for BH, IRQ, preemption, RCU), by which call, on which line.

    `stated`: an assertion or annotation says that the caller holds it.
    """

    kind: str
    lock: ir.Expr | None
    by: str
    line: int
    stated: bool = False

    @property
    def place(self) -> str:
        """The call that took it, as text for messages."""
        return f"{self.by}({show(self.lock) if self.lock is not None else ''})"

    @property
    def since(self) -> str:
        """The call and its line, as text for messages."""
        return f"{self.place} {'stated' if self.stated else 'taken'} at line {self.line}"


class Pending(Struct, frozen=True, array_like=True):
    """A conditional acquire: held once `value` turns out to be as `truth` says."""

    value: ir.Expr
    truth: bool
    held: tuple[Held, ...]


class State(Struct, frozen=True, array_like=True):
    """What is held, what depends on a result not tested yet, what of the caller's was released, and what
    some path (but not every one) has taken: dropping that takes nothing from the caller.
    """

    held: tuple[Held, ...] = ()
    pending: tuple[Pending, ...] = ()
    released: frozenset[LockChange] = frozenset()
    perhaps: frozenset[LockChange] = frozenset()


def _join(left: State, right: State) -> State:
    if left is right or left == right:
        return left
    rest = [(h.kind, h.lock) for h in right.held]
    held = []
    for entry in left.held:
        if (entry.kind, entry.lock) in rest:
            rest.remove((entry.kind, entry.lock))
            held.append(entry)
    pending = tuple(p for p in left.pending if p in right.pending)
    taken = frozenset(LockChange(h.kind, h.lock) for h in left.held + right.held if h not in held)
    return State(tuple(held), pending, left.released | right.released, left.perhaps | right.perhaps | taken)


class HeldLocks:
    """The held states of one function."""

    def __init__(self, body: ir.Body, file: int, meaning: Meaning, type_of: Callable[[ir.Expr], str] = lambda _: "",
                 stated: Sequence[Held] = (), booting: bool = False) -> None:
        """Compute the state at the entry of every block; `type_of` gives the types of locks, `stated` is held at entry.

        `booting`: what the machine boots with anyway (interrupts off, no preemption) is not told as held.
        """
        self._silent = frozenset(kind.name for kind in meaning.catalogue.kinds.values() if kind.boot and booting)
        self._type_of = type_of
        self._stated = tuple(stated)
        self._file = file
        self._meaning = meaning
        self._blocks = body.blocks
        self._acting: set[int] = set()
        self._goes_on = [True] * len(body.blocks)
        self._events = [self._reached(number) for number in range(len(body.blocks))]
        self._acts = [not self._acting.isdisjoint(map(id, events)) for events in self._events]
        self._entry: list[State | None] = [None] * len(body.blocks)
        if body.blocks:
            self._solve()

    def _reached(self, number: int) -> tuple[ir.Event, ...]:
        """The events of a block up to one that does not come back; note those that may change what is held."""
        events = self._blocks[number].events
        for place, event in enumerate(events):
            if type(event) is ir.Call:
                if type(event.callee) is ir.Name:
                    called = self._meaning.called(self._file, event.callee.id)
                    if called.locks:
                        self._acting.add(id(event))
                    if not called.returns:
                        self._goes_on[number] = False
                        return events[: place + 1]
            elif type(event) is ir.Guard:
                self._acting.add(id(event))
        return events

    def _solve(self) -> None:
        self._entry[0] = State(self._stated)
        waiting = {0}
        for _ in range(_ROUNDS):
            if not waiting:
                return
            for number in range(len(self._blocks)):
                if number in waiting:
                    waiting.discard(number)
                    self._push(number, waiting)

    def _push(self, number: int, waiting: set[int]) -> None:
        block = self._blocks[number]
        state = self._entry[number]
        if state is None or not self._goes_on[number]:
            return
        # Where nothing is held, only what takes or drops something can make a difference.
        if self._acts[number] or state.held or state.pending:
            for event in self._events[number]:
                state = self.after(state, event)
        for edge in block.edges:
            arriving = _refined(state, edge)
            known = self._entry[edge.to]
            joined = arriving if known is None else _join(known, arriving)
            if joined is not known and joined != known:
                self._entry[edge.to] = joined
                waiting.add(edge.to)

    @property
    def atomic_kinds(self) -> frozenset[str]:
        """The kinds of held state that forbid to sleep."""
        return frozenset(kind.name for kind in self._meaning.catalogue.kinds.values() if kind.atomic)

    @property
    def told_kinds(self) -> frozenset[str]:
        """The kinds of held state that callers must know of: those, and those that say how far reclaim may go."""
        kinds = self._meaning.catalogue.kinds.values()
        return frozenset(kind.name for kind in kinds if kind.atomic or kind.leaves or kind.allows)

    def states(self) -> Iterator[tuple[ir.Event, State]]:
        """Yield every reachable event with the state before it."""
        for number in range(len(self._blocks)):
            yield from self.states_of(number)

    def states_of(self, number: int) -> Iterator[tuple[ir.Event, State]]:
        """Yield the events of a block with the state before each; none of a block that is not reached."""
        state = self._entry[number]
        if state is not None:
            for event in self._events[number]:
                yield event, self._told(state) if self._silent and state.held else state
                state = self.after(state, event)

    def _told(self, state: State) -> State:
        return replace(state, held=tuple(held for held in state.held if held.kind not in self._silent))

    def exits(self) -> list[tuple[ir.Return, State]]:
        """Return the state at each return."""
        leaving = [n for n, events in enumerate(self._events) if any(type(event) is ir.Return for event in events)]
        return [(event, state) for n in leaving for event, state in self.states_of(n) if type(event) is ir.Return]

    def after(self, state: State, event: ir.Event) -> State:
        """Return the state after an event."""
        if state.pending:
            if type(event) is ir.Call:
                state = _overwritten(state, event.target, ir.CallResult(event.callee, event.args))
            elif type(event) is ir.Assign:
                state = _overwritten(state, event.target)
            elif type(event) is ir.Declare:
                state = _overwritten(state, ir.Name(event.name))
        if type(event) is ir.Guard:
            return self._guard(state, event)
        if type(event) is not ir.Call:
            return state
        if id(event) in self._acting:
            return self._call(state, event)
        return self._unknown(state, event) if state.held else state

    def _unknown(self, state: State, event: ir.Call) -> State:
        if type(event.callee) is not ir.Name:
            return _unknown(state, event, str(getattr(event.callee, "member", "")))
        name = event.callee.id
        return state if self._meaning.definition(self._file, name).functions else _unknown(state, event, name)

    def _guard(self, state: State, event: ir.Guard) -> State:
        guard = self._meaning.catalogue.guards.get(event.cls)
        if guard is None or (guard.conditional and not event.scoped):
            return state
        lock = event.args[guard.lock] if guard.lock is not None and guard.lock < len(event.args) else None
        if event.enter:
            by = f"guard({event.cls})"
            return _acquired(state, tuple(Held(kind, _lock(kind, lock), by, event.line) for kind in guard.kinds))
        for kind in guard.kinds:
            state = _release(state, kind, _lock(kind, lock), own=True)
        return state

    def _call(self, state: State, event: ir.Call) -> State:
        assert isinstance(event.callee, ir.Name)
        name = event.callee.id
        section = self._meaning.catalogue.sections.get(name)
        if section is not None:
            state = self._effect(state, event, section)
        effect = self._meaning.catalogue.locks.get(name)
        return self._effect(state, event, effect) if effect is not None else self._summarised(state, event, name)

    def _effect(self, state: State, event: ir.Call, effect: LockEffect) -> State:
        lock = event.args[effect.lock] if effect.lock is not None and effect.lock < len(event.args) else None
        if effect.action == "release" and effect.when == "always":
            for kind in effect.kinds:
                state = _release(state, kind, _lock(kind, lock))
        elif effect.action == "assert":
            kinds = effect.kinds or tuple(kind_of(self._type_of(lock), self._meaning.catalogue) if lock is not None else ())
            fresh = (kind for kind in kinds if not any(h.kind == kind for h in state.held))
            state = _acquired(state, tuple(Held(kind, _lock(kind, lock), effect.name, event.line, True) for kind in fresh))
        elif effect.action == "acquire":
            # Interrupts are not counted: turned off once more without saving what they were, they are as off as before.
            off = {held.kind for held in state.held if held.kind == "irq"} if not event.args and not event.target else ()
            held = tuple(Held(kind, _lock(kind, lock), effect.name, event.line) for kind in effect.kinds if kind not in off)
            state = _conditional(state, event, held, effect.when)
        return state

    def _summarised(self, state: State, event: ir.Call, name: str) -> State:
        summary = self._meaning.summary(self._file, name)
        values = self._meaning.arguments(self._file, event)

        def given(change: LockChange) -> ir.Expr | None:
            return None if change.lock is None else substitute(change.lock, values)

        # A lock that the callee has no name for is most often one that it took in a way that was not seen; its
        # callers' locks it drops at most where it names one of them.
        named = any(change.lock is not None for change in summary.releases)
        for change in summary.releases:
            nameless = change.lock is None and not named and change.kind not in _LOCKLESS
            own = change.when != "always" or nameless
            state = _release(state, change.kind, given(change), own=own)
        for when in dict.fromkeys(change.when for change in summary.acquires):
            held = tuple(Held(c.kind, given(c), name, event.line) for c in summary.acquires if c.when == when)
            state = _conditional(state, event, held, when)
        return state


def _lock(kind: str, lock: ir.Expr | None) -> ir.Expr | None:
    """The lock that an entry of this kind is told apart by; disabled contexts have none."""
    return None if kind in _LOCKLESS else lock


def _acquired(state: State, held: tuple[Held, ...]) -> State:
    return replace(state, held=state.held + held)


def _overwritten(state: State, *values: ir.Expr | None) -> State:
    """Drop the conditional acquires that one of these values decided: it is another one now."""
    kept = tuple(p for p in state.pending if p.value not in values)
    return state if len(kept) == len(state.pending) else replace(state, pending=kept)


def _conditional(state: State, event: ir.Call, held: tuple[Held, ...], when: str) -> State:
    if when == "always":
        return _acquired(state, held)
    truth = when in ("nonzero", "nonnull")
    value = event.target if event.target is not None else ir.CallResult(event.callee, event.args)
    return replace(state, pending=(*state.pending, Pending(value, truth, held)))


def _release(state: State, kind: str, lock: ir.Expr | None, own: bool = False) -> State:
    """Drop one entry: the same lock, else (an alias) the last of the kind, else the caller's."""
    held = list(state.held)
    fitting = [h for h in held if h.kind == kind and h.lock == lock] or [h for h in held if h.kind == kind]
    if not fitting and lock is not None:  # an assertion does not tell readers from writers
        fitting = [h for h in held if h.stated and h.lock == lock]
    change = LockChange(kind, lock)
    if fitting:
        held.remove(fitting[-1])
        released = state.released | {change} if fitting[-1].stated else state.released
        return replace(state, held=tuple(held), released=released)
    if own or change in state.perhaps:
        return replace(state, perhaps=state.perhaps - {change})
    return replace(state, released=state.released | {change})


def _unknown(state: State, event: ir.Call, name: str) -> State:
    """A function we cannot see: it may drop a lock that it is handed, or whatever its name says."""
    if "unlock" in name or "release" in name or "enable" in name:
        return replace(state, held=())
    kept = tuple(h for h in state.held if h.lock is None or h.lock not in event.args)
    return replace(state, held=kept) if len(kept) < len(state.held) else state


def _refined(state: State, edge: ir.Edge) -> State:
    """Settle conditional acquires that the edge's condition decides."""
    if edge.condition is None or not state.pending:
        return state
    condition, truth = atom(edge.condition, edge.truth)
    held, pending = state.held, []
    for entry in state.pending:
        if entry.value == condition:
            if truth == entry.truth:
                held += entry.held
        elif isinstance(condition, ir.Binary) and entry.value in (condition.left, condition.right):
            if condition.op == "<" and truth and entry.truth is False:
                continue
            pending.append(entry)
        else:
            pending.append(entry)
    return replace(state, held=held, pending=tuple(pending))


def lock_changes(
    locks: HeldLocks, own: Collection[str],
) -> tuple[tuple[LockChange, ...], tuple[LockChange, ...], tuple[str, ...]]:
    """Return (acquires, releases, retakes) of a function from its exits, of the kinds that callers must know of.

    Acquired is what every return holds, or exactly the zero (or exactly the nonzero) ones; released
    "always" or only "sometimes". What is dropped and taken again is neither: of that the kinds are told.
    A lock that a local names has no name for callers.
    """
    exits = [(event, _own(state)) for event, state in locks.exits()]
    if not any(state.held or state.released for _, state in exits):
        return (), (), ()
    released = frozenset[LockChange]().union(*(state.released for _, state in exits))
    always = _common([state for _, state in exits])
    # What is released is a set; what nests (BH, preemption) counts once here, too.
    acquires = list(dict.fromkeys(LockChange(h.kind, h.lock) for h in always))
    for when, wanted in (("zero", False), ("nonzero", True)):
        fitting = [s for r, s in exits if _truth(r.value) is wanted]
        other = [s for r, s in exits if _truth(r.value) is (not wanted)]
        if fitting and other and len(fitting) + len(other) == len(exits) and not _common(other):
            acquires += [LockChange(h.kind, h.lock, when) for h in _common(fitting)]
    surely = frozenset[LockChange].intersection(*(state.released for _, state in exits))
    releases = [change if change in surely else replace(change, when="sometimes") for change in sorted(released, key=str)]
    again = {(a.kind, a.lock) for a in acquires} & {(r.kind, r.lock) for r in releases}
    told = locks.told_kinds
    taken, dropped = (tuple(_told(c, own) for c in changes if c.kind in told and (c.kind, c.lock) not in again)
                      for changes in (acquires, releases))
    return taken, dropped, tuple(sorted({kind for kind, _ in again if kind in locks.atomic_kinds}))


def _own(state: State) -> State:
    """Return a state without what the caller is said to hold."""
    if not any(held.stated for held in state.held):
        return state
    return replace(state, held=tuple(held for held in state.held if not held.stated))


def kind_of(ctype: str, catalogue: Catalogue) -> Iterator[str]:
    """Yield the kind of a lock of some type, or of a pointer to one; nothing if it is not known."""
    kind = catalogue.kind_of_type.get(ctype.replace("*", "").strip())
    if kind is not None:
        yield kind


def _told(change: LockChange, own: Collection[str]) -> LockChange:
    return replace(change, lock=None) if change.lock is not None and root(change.lock) in own else change


def _common(states: list[State]) -> tuple[Held, ...]:
    joined = states[0] if states else State()
    for state in states[1:]:
        joined = _join(joined, state)
    return joined.held


def _truth(value: ir.Expr | None) -> bool | None:
    if isinstance(value, ir.Number):
        return value.value != 0
    if isinstance(value, ir.Name) and value.id in ("NULL", "false"):
        return False
    if isinstance(value, ir.Name) and value.id == "true":
        return True
    if isinstance(value, ir.Unary) and value.op == "-":
        return True
    return None


