"""Following memory along the paths of one function.

Property simulation: per block, one entry for each distinct ownership state; what is known of tested
values is kept apart where the ownership differs and joined where it does not. A function too rich in
states is cut short: a miss, never a guess.
"""

from collections.abc import Iterable, Iterator

from kgfplint.facts import ir
from kgfplint.facts.terms import show
from kgfplint.ownership import ops
from kgfplint.ownership.addresses import ADDRESSES
from kgfplint.ownership.conditions import ANY, after, join
from kgfplint.ownership.states import ERROR, MAYBE, NULL, UNKNOWN, VALID, Exit, Incident, Object, Origin, State

_MOST_STATES = 40
_MOST_STEPS = 6000
_NULL_OBJECT, _ERROR_OBJECT, _HELD_OBJECT = -1, -2, -3
_PARAM, _ADDRESS, _TESTED, _WITHIN = -100, -100_000, -200_000, -300_000
"""Objects with these numbers and below: parameters, addresses that lvalues were set to, pointers of no known origin,
and pointers into objects."""


class Paths:
    """The simulation of one function; `incidents` and `exits` are its result."""

    def __init__(self, program: ops.Reduced, params: Iterable[str] = ()) -> None:
        """Run to the end (or to the limit, then `complete` is False).

        `screened` are parameters that are tested for error pointers; `apt` the (line, verdict) of tests that
        make sense for some value that reaches them.
        """
        self.incidents: dict[tuple[object, ...], Incident] = {}
        self.exits: list[Exit] = []
        self.releases: list[ops.Release] = [op for block in program.blocks for op in block if isinstance(op, ops.Release)]
        self.complete = True
        self.screened: set[int] = set()
        self.apt: set[tuple[int, str]] = set()
        self._program = program
        self._origins: dict[int, Origin] = {_NULL_OBJECT: Origin(None, "null"), _ERROR_OBJECT: Origin(None, "err_ptr"),
                                          _HELD_OBJECT: Origin(None, "held")}
        self._within: dict[tuple[int, int], int] = {}
        self._run(tuple(params))

    def number(self, lvalue: ir.Expr) -> int:
        """Return the number of a tracked lvalue, -1 for any other."""
        return next((n for n, known in enumerate(self._program.lvalues) if known == lvalue), -1)

    def _run(self, params: tuple[str, ...]) -> None:
        values, objects = {}, {}
        for place, name in enumerate(params):
            lvalue = next((n for n, lv in enumerate(self._program.lvalues) if lv == ir.Name(name)), None)
            if lvalue is not None:
                number = _PARAM - place
                values[lvalue], objects[number] = number, Object(UNKNOWN)
                self._origins[number] = Origin(None, "param", place)
        start = State(values, objects, {})
        seen: list[dict[object, State]] = [{} for _ in self._program.blocks]
        waiting: list[dict[object, State]] = [{} for _ in self._program.blocks]
        waiting[0][start.key()] = start
        steps = 0
        progress = True
        while progress:
            progress = False
            for block in range(len(waiting)):
                while waiting[block]:
                    progress = True
                    key, state = waiting[block].popitem()
                    steps += 1
                    if steps > _MOST_STEPS:
                        self.complete = False
                        return
                    seen[block][key] = state
                    for to, arriving in self._step(block, state):
                        self._arrive(arriving, seen[to], waiting[to])

    def _arrive(self, state: State, seen: dict[object, State], waiting: dict[object, State]) -> None:
        key = state.key()
        before = waiting.get(key) or seen.get(key)
        if before is not None:
            facts = {n: joined for n, known in before.facts.items()
                     if n in state.facts and (joined := join(known, state.facts[n])) != ANY}
            if facts == before.facts:
                return
            state = State(state.values, state.objects, facts)
        elif len(seen) + len(waiting) >= _MOST_STATES:
            self.complete = False
            return
        waiting[key] = state

    def _step(self, block: int, state: State) -> Iterator[tuple[int, State]]:
        """Run one block; yield the states that leave it."""
        state = State(dict(state.values), dict(state.objects), dict(state.facts))
        for op in self._program.blocks[block]:
            if isinstance(op, ops.Stop):
                return
            if isinstance(op, ops.Use):
                if not self._used(state, op.targets, op.event, op.line):
                    return
                continue
            self._apply(state, op)
        self._sweep(state)
        for to, branch in self._program.edges[block]:
            if branch is None:
                yield to, state
                continue
            if branch.uses and not self._used(state, branch.uses, None, self._program.lines[block]):
                return
            arriving = self._refined(state, branch, self._program.lines[block])
            if arriving is not None:
                yield to, arriving

    @staticmethod
    def _sweep(state: State) -> None:
        """Drop objects that nothing points to (parameters stay: they belong to the caller)."""
        live = set(state.values.values())
        for number in [n for n in state.objects if n not in live and not _is_param(n)]:
            del state.objects[number]

    def _apply(self, state: State, op: ops.Op) -> None:
        match op:
            case ops.Allocate(target, site):
                self._allocate(state, target, site)
            case ops.Release():
                self._release(state, op)
            case ops.Copy(target, source):
                if source in state.values:
                    state.values[target] = state.values[source]
                else:
                    state.values.pop(target, None)
            case ops.Set(target, what):
                self._set(state, target, what)
            case ops.Shift(target, source):
                self._shift(state, target, source)
            case ops.Inside():
                self._lead(state, op)
            case ops.Ask(subject, event):
                number = state.values.get(subject)
                if number is not None and state.objects[number].state == MAYBE and isinstance(event, ir.Call):
                    self._report("error-test", state, subject, event, event.line)
                    state.objects[number] = Object(UNKNOWN)
            case ops.Forget(targets, facts):
                for target in targets:
                    state.values.pop(target, None)
                for fact in facts:
                    state.facts.pop(fact, None)
            case ops.Learn(fact, known):
                state.facts[fact] = known
            case ops.Pass():
                self._passed(state, op)
            case ops.Leave():
                self._leave(state, op)

    def _allocate(self, state: State, target: int, site: ops.Site) -> None:
        """A new object; what still points to the one made here before points to something unknown."""
        for lvalue in [lv for lv, number in state.values.items() if number == site.number]:
            del state.values[lvalue]
        self._origins[site.number] = Origin(site, "alloc")
        if site.alloc.ptr is not None and site.alloc.ptr < len(site.call.args):
            for lvalue, expr in enumerate(self._program.lvalues):
                if expr == site.call.args[site.alloc.ptr]:
                    state.values.pop(lvalue, None)
        if target >= 0:
            state.values[target] = site.number
            state.objects[site.number] = Object(UNKNOWN if site.alloc.fails in ("never", "errno") else MAYBE)

    def _set(self, state: State, target: int, what: str) -> None:
        number = {"null": _NULL_OBJECT, "err_ptr": _ERROR_OBJECT}.get(what)
        if number is not None:
            state.values[target] = number
            state.objects[number] = Object(NULL if what == "null" else ERROR)
        elif what:
            number = _ADDRESS - target
            self._origins[number] = Origin(None, what)
            state.values[target] = number
            state.objects[number] = Object(VALID)
        else:
            state.values.pop(target, None)

    def _shift(self, state: State, target: int, source: int) -> None:
        """A pointer moved away from the start of its allocation; where a second move leads nobody knows."""
        number = state.values.get(source)
        moved = number is not None and self._origins[number].site is not None and state.objects[number].state in (MAYBE, VALID)
        self._set(state, target, "interior" if moved else "")

    def _lead(self, state: State, op: ops.Inside) -> None:
        """An address within an object; only one that is known to lead behind its start is no start itself."""
        base = state.values.get(op.source)
        if base is None:
            self._set(state, op.target, op.what)
            return
        number = self._within.setdefault((op.target, base), _WITHIN - len(self._within))
        self._origins[number] = Origin(None, op.what, within=base)
        state.values[op.target] = number
        state.objects[number] = Object(VALID if op.what else UNKNOWN)

    def _report(self, kind: str, state: State, lvalue: int, event: ir.Event | None, line: int,
                free: ops.Release | None = None, earlier: int = 0) -> None:
        number = state.values[lvalue]
        origin = self._origins[number]
        key = (kind, number, line, free.number if free else 0)
        self.incidents.setdefault(key, Incident(kind, origin, _shown(self._program, lvalue), event, line, free, earlier))

    def _release(self, state: State, op: ops.Release) -> None:
        subject = op.subject
        line = op.event.line
        freed = -line if op.soft else line
        number = state.values.get(subject)
        if number is None:
            if subject >= 0 and op.free.flavour not in ("put", "deferred"):
                number = op.number
                self._origins[number] = Origin(None, "freed")
                state.values[subject] = number
                state.objects[number] = Object(UNKNOWN, freed)
            return
        thing = state.objects[number]
        if thing.state == NULL or number == _HELD_OBJECT:
            return
        if thing.state == ERROR:
            if op.free.accepts_err_ptr:
                return
            self._report("freed-error", state, subject, op.event, line, op)
            return
        if thing.freed:
            if thing.freed > 0:
                self._report("double-free", state, subject, op.event, line, op, thing.freed)
            return
        self._report("free", state, subject, op.event, line, op)
        if op.free.flavour not in ("put", "deferred"):
            state.objects[number] = Object(thing.state, freed)

    def _used(self, state: State, targets: tuple[int, ...], event: ir.Event | None, line: int) -> bool:
        """Note the use of what pointers lead to; False when one is NULL: nothing comes after that."""
        alive = True
        for target in targets:
            number = state.values.get(target)
            thing = state.objects.get(number) if number is not None else None
            if number is None or thing is None:
                continue
            if thing.freed < 0:
                continue
            if thing.freed:
                self._report("use-after-free", state, target, event, line, None, thing.freed)
                del state.values[target]
            elif thing.state == NULL and self._origins[number].site is not None:
                self._report("null-use", state, target, event, line)
                alive = False
            elif thing.state == MAYBE:
                self._report("unchecked", state, target, event, line)
                state.objects[number] = Object(VALID)
            elif (base := self._origins[number].within) is not None:
                alive = self._used(state, tuple(lv for lv, n in state.values.items() if n == base)[:1], event, line) and alive
        return alive

    def _passed(self, state: State, op: ops.Pass) -> None:
        """An assertion macro may have tested what it was given; who takes a reference may keep it from dying."""
        for target in op.targets:
            number = state.values.get(target)
            if op.forgotten:
                state.values[target] = _HELD_OBJECT
                state.objects[_HELD_OBJECT] = Object(UNKNOWN)
            elif number is not None and op.tested and state.objects[number].state == MAYBE:
                state.objects[number] = Object(UNKNOWN, state.objects[number].freed)

    def _leave(self, state: State, op: ops.Leave) -> None:
        freed = frozenset(_PARAM - n for n, thing in state.objects.items() if _is_param(n) and thing.freed)
        null = frozenset(_PARAM - n for n, thing in state.objects.items() if _is_param(n) and thing.state in (NULL, ERROR))
        lvalues = frozenset(lv for lv, n in state.values.items() if state.objects[n].freed or state.objects[n].state == NULL)
        stored = {lv: self._origins[n] for lv, n in state.values.items() if not state.objects[n].freed}
        number = state.values.get(op.value)
        if op.site is not None:
            origin: Origin | None = Origin(op.site, "alloc")
            self.exits.append(Exit(op.event, origin, MAYBE, freed, null, lvalues, stored))
        elif number is None:
            self.exits.append(Exit(op.event, None, UNKNOWN, freed, null, lvalues, stored))
        else:
            thing = state.objects[number]
            state_of = VALID if thing.freed else thing.state
            self.exits.append(Exit(op.event, self._origins[number], state_of, freed, null, lvalues, stored))

    def _refined(self, state: State, branch: ops.Branch, line: int) -> State | None:
        """Return the state on an edge, None when it cannot be taken."""
        if branch.fact >= 0 and branch.test is not None:
            known = after(state.facts.get(branch.fact, ANY), branch.test)
            if known is None:
                return None
            state = State(state.values, state.objects, {**state.facts, branch.fact: known})
        number = state.values.get(branch.lvalue)
        if number is None:
            self.apt.add((line, branch.verdict))
            return self._remembered(state, branch) if branch.verdict == "null" else state
        thing, origin = state.objects[number], self._origins[number]
        if branch.verdict == "asked":
            return State({lv: n for lv, n in state.values.items() if n != number}, state.objects, state.facts)
        if branch.verdict == "same":
            return self._compared(state, branch, number)
        if branch.verdict == "address":
            impossible = origin.site is not None if branch.truth else origin.what in ADDRESSES
            return None if impossible else state
        if branch.verdict in ("err_ptr", "either") and origin.what == "param":
            self.screened.add(origin.param)
        outcome = self._tested(state, branch, number, line)
        if outcome is None:
            return None
        return state if outcome == thing else State(state.values, {**state.objects, number: outcome}, state.facts)

    def _remembered(self, state: State, branch: ops.Branch) -> State:
        """A pointer of unknown origin was tested: the same test will have the same outcome."""
        number = _TESTED - branch.lvalue
        self._origins[number] = Origin(None, "tested")
        values = {**state.values, branch.lvalue: number}
        return State(values, {**state.objects, number: Object(VALID if branch.truth else NULL)}, state.facts)

    def _compared(self, state: State, branch: ops.Branch, number: int) -> State | None:
        """Two copies of one pointer are equal; an allocation is equal to no address of something else."""
        other = state.values.get(branch.other)
        if other is None or number == _HELD_OBJECT:
            return state
        whats = {self._origins[n].what for n in (number, other)}
        if not whats <= {"alloc", *ADDRESSES}:
            return state
        differ = number != other and "alloc" in whats
        return None if (differ if branch.truth else number == other) else state

    def _tested(self, state: State, branch: ops.Branch, number: int, line: int) -> Object | None:
        """Return the object after a test; one that does not fit how its allocator fails tells nothing."""
        thing, site = state.objects[number], self._origins[number].site
        fits = {"null": (NULL, UNKNOWN), "err_ptr": (ERROR, UNKNOWN)}.get(branch.verdict, ())
        wrong = False
        if fits and thing.state == MAYBE and site is not None:
            wrong = (site.alloc.fails == "err_ptr") != (branch.verdict == "err_ptr")
            self._report("null-test" if branch.verdict == "null" else "error-test", state, branch.lvalue, None, line)
        if thing.state in fits or (thing.state == MAYBE and not wrong):
            self.apt.add((line, branch.verdict))
        return thing if wrong and branch.truth else _outcome(thing, branch)


def _is_param(number: int) -> bool:
    return _ADDRESS < number <= _PARAM


def _outcome(thing: Object, branch: ops.Branch) -> Object | None:
    """Return the object after a test of its pointer: `truth` tells that it is good, as far as the test goes."""
    state, good = thing.state, branch.truth
    if branch.verdict == "mention":
        return Object(UNKNOWN, thing.freed) if state == MAYBE else thing
    if branch.verdict == "err_ptr":
        if good:
            return None if state == ERROR else Object(VALID, thing.freed) if state == MAYBE else thing
        return None if state in (VALID, NULL) else Object(ERROR, thing.freed)
    if good:
        return None if state == NULL or (state == ERROR and branch.verdict == "either") else (
            Object(VALID, thing.freed) if state in (MAYBE, UNKNOWN) else thing)
    if state == VALID:
        return None
    return Object(NULL, thing.freed) if state != ERROR else thing if branch.verdict == "either" else None


def _shown(program: ops.Reduced, lvalue: int) -> str:
    return show(program.lvalues[lvalue])
