"""Following memory along the paths of one function.

Property simulation: per block, one entry for each distinct ownership state; what is known of tested values is kept apart where
the ownership differs and joined where it does not. A function too rich in states is cut short: a miss, never a guess.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kgfplint.facts import ir
from kgfplint.facts.terms import show
from kgfplint.ownership import ops
from kgfplint.ownership.conditions import ANY, after, join
from kgfplint.ownership.leaks import Leaks
from kgfplint.ownership.outcomes import APART, FITTING, UNTESTED, apart, excluded, leave_to, left, outcome
from kgfplint.ownership.states import ERROR, MAYBE, NULL, PARAM, UNKNOWN, VALID, Exit, Incident, Object, Origin, State, together

_MOST_STATES, _MOST_STEPS, _MOST_WAYS = 40, 6000, 12
"""With more states than the last in a block, it is not told any more from which failure a path comes, and whom it passed."""
_NULL_OBJECT, _ERROR_OBJECT, _HELD_OBJECT = -1, -2, -3
_UNMADE = {_NULL_OBJECT: "null", _ERROR_OBJECT: "err_ptr", _HELD_OBJECT: "held"}
_ADDRESS, _TESTED, _WITHIN, _FREED = -100_000, -200_000, -300_000, -400_000
"""Objects from there down: addresses given to lvalues, tested pointers of no known origin, pointers into objects, what is
freed without a known origin."""
Effect = Callable[[State, Any], bool | None]


class Paths:
    """The simulation of one function; `incidents`, `exits` and `leaks` are its result."""

    def __init__(self, program: ops.Reduced, params: Iterable[str] = ()) -> None:
        """Run to the end (or to the limit, then `complete` is False).

        `screened` are parameters tested for error pointers; `apt` the (line, verdict) of tests that some value gives a sense;
        `unasked`, by number, the allocations that calls were given before anything but other callees may have tested them, by who
        those are (see State.doubts).
        """
        self.incidents: dict[tuple[object, ...], Incident] = {}
        self.exits: list[Exit] = []
        self.releases: list[ops.Release] = [op for block in program.blocks for op in block if isinstance(op, ops.Release)]
        self.complete = True
        self.screened: set[int] = set()
        self.unasked: dict[int, dict[tuple[int, frozenset[int]], ops.Show]] = {}
        self.apt: set[tuple[int, str]] = set()
        self.lvalues = program.lvalues
        self.handed = program.handed
        self.facts = program.facts
        self._program = program
        self._origins = {number: Origin(None, kind) for number, kind in _UNMADE.items()}
        self._within: dict[tuple[int, int], int] = {}
        self._gone: dict[tuple[int, int], int] = {}
        self.leaks = Leaks(program, self._origins)
        self._numbers = {lvalue: number for number, lvalue in enumerate(program.lvalues)}
        effects = self._effects()
        self._code = [[(effects[type(op)], op) for op in block] for block in program.blocks]
        self._using = {block for block, edges in enumerate(program.edges) if any(b is not None and b.uses for _, b in edges)}
        self._run(tuple(params))

    def _effects(self) -> dict[type, Effect]:
        """What carries out each kind of operation; it returns False where the path ends."""
        return {
            ops.Allocate: self._allocate, ops.Release: self._release, ops.Copy: self._copy, ops.Set: self._set,
            ops.Shift: self._shift, ops.Inside: self._lead, ops.Ask: self._ask, ops.Forget: self._forget,
            ops.Learn: State.learn, ops.Adopt: State.adopt, ops.Use: self._use, ops.Pass: self._passed, ops.Show: self._shown,
            ops.Give: self.leaks.hand, ops.Regain: State.regain, ops.Leave: self._leave, ops.Stop: self._stop,
        }

    def number(self, lvalue: ir.Expr) -> int:
        """Return the number of a tracked lvalue, -1 for any other."""
        return self._numbers.get(lvalue, -1)

    def _run(self, params: tuple[str, ...]) -> None:
        values, objects = {}, {}
        for place, name in enumerate(params):
            lvalue = self._numbers.get(ir.Name(name))
            if lvalue is not None:
                number = PARAM - place
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
                    for targets, arriving in self._step(block, state):
                        for to in targets:
                            self._arrive(arriving, seen[to], waiting[to])

    def _arrive(self, state: State, seen: dict[object, State], waiting: dict[object, State]) -> None:
        if (state.way or state.given) and len(seen) + len(waiting) >= _MOST_WAYS:
            state = state.anyhow()
        key = state.key()
        before = waiting.get(key) or seen.get(key)
        if before is not None:
            facts = before.facts if state.facts == before.facts else {
                n: joined for n, known in before.facts.items()
                if n in state.facts and (joined := join(known, state.facts[n])) != ANY}
            given = together(before.given, state.given)
            if facts == before.facts and given is before.given:
                return
            state = state.joined(facts, given)
        elif len(seen) + len(waiting) >= _MOST_STATES:
            self.complete = False
            return
        waiting[key] = state

    def _step(self, block: int, state: State) -> Iterator[tuple[tuple[int, ...], State]]:
        """Run one block; yield the states that leave it."""
        edges = self._program.edges[block]
        if self._code[block] or state.loose or block in self._using:
            before, state = state, state.copy()
            self.leaks.block = block
            for effect, op in self._code[block]:
                if effect(state, op) is False:
                    return
            if state.loose or state.values != before.values or state.objects != before.objects:
                self._sweep(state, block)
            elif state.given is before.given:
                state.same_as(before)
        for to, branch in edges:
            if branch is None:
                yield to, state
                continue
            if branch.uses:
                alive = self._used(state, branch.uses, None, self._program.lines[block])
                state.changed()
                if not alive:
                    return
            arriving = self._refined(state, branch, self._program.lines[block])
            if arriving is not None:
                yield to, arriving

    def _sweep(self, state: State, block: int) -> None:
        """Drop objects that nothing points to (parameters stay: they belong to the caller)."""
        state.loose = False
        objects = state.objects
        live = set(state.values.values())
        if len(objects) > len(live) or not objects.keys() <= live:
            live.update(base for number in tuple(live) if (base := self._origins[number].within) is not None)
            for number in [n for n in objects if n not in live and not _ADDRESS < n <= PARAM]:
                if number >= 0 and self._program.made:
                    self.leaks.drop(state, number, self.leaks.last_line(block))
                del objects[number]

    def _copy(self, state: State, op: ops.Copy) -> None:
        number = state.values.get(op.source)
        if number is not None:
            state.values[op.target] = number
            self.leaks.stored(state, op.target)
        else:
            state.values.pop(op.target, None)

    def _forget(self, state: State, op: ops.Forget) -> None:
        for target in op.targets:
            if (number := state.values.pop(target, None)) is not None and target != op.assigned:
                self.leaks.changed(state, target, number)
        for fact in op.facts:
            state.facts.pop(fact, None)

    @staticmethod
    def _stop(_state: State, _op: ops.Stop) -> bool:
        return False

    def _use(self, state: State, op: ops.Use) -> bool:
        return self._used(state, op.targets, op.event, op.line)

    def _ask(self, state: State, op: ops.Ask) -> None:
        number = state.values.get(op.subject)
        if number is not None and state.objects[number].state == MAYBE and type(op.event) is ir.Call:
            self._report("error-test", state, op.subject, op.event, op.event.line)
            state.objects[number] = Object(UNKNOWN)

    def _allocate(self, state: State, op: ops.Allocate) -> None:
        """A new object; what still points to the one made here before points to something unknown."""
        target, site = op
        before = [lv for lv, number in state.values.items() if number == site.number]
        if site.number in state.objects and not before:
            self.leaks.drop(state, site.number, site.call.line)
        leave_to(state.values, site.number, self._origins)
        if site.number in state.given:
            state.given = {number: whom for number, whom in state.given.items() if number != site.number}
        self._origins[site.number] = Origin(site, "alloc")
        if site.alloc.ptr is not None and site.alloc.ptr < len(site.call.args):
            for lvalue, expr in enumerate(self.lvalues):
                if expr == site.call.args[site.alloc.ptr]:
                    self.leaks.give(state, state.values.pop(lvalue, None))
        if target >= 0:
            state.values[target] = site.number
            state.objects[site.number] = Object(UNKNOWN if site.alloc.fails in ("never", "errno") else MAYBE)
            self.leaks.stored(state, target)

    def _set(self, state: State, op: ops.Set) -> None:
        target, what = op
        number = {"null": _NULL_OBJECT, "err_ptr": _ERROR_OBJECT}.get(what)
        if number is not None:
            self.leaks.cleared(state, target)
            state.values[target] = number
            state.objects[number] = Object(NULL if what == "null" else ERROR)
        elif what:
            number = _ADDRESS - target
            self._origins[number] = Origin(None, what)
            state.values[target] = number
            state.objects[number] = Object(VALID)
        else:
            state.values.pop(target, None)

    def _shift(self, state: State, op: ops.Shift) -> None:
        """A pointer moved away from the start of its allocation; where a second move leads nobody knows."""
        number = state.values.get(op.source)
        if number is not None and self._origins[number].site is not None and state.objects[number].state in (MAYBE, VALID):
            self._lead(state, ops.Inside(op.target, op.source, "interior"))
        else:
            self._set(state, ops.Set(op.target, ""))

    def _lead(self, state: State, op: ops.Inside) -> None:
        """An address within an object; only one that is known to lead behind its start is no start itself."""
        base = state.values.get(op.source)
        if base is None:
            self._set(state, ops.Set(op.target, op.what))
            return
        number = self._within.setdefault((op.target, base), _WITHIN - len(self._within))
        self._origins[number] = Origin(None, op.what, within=base)
        state.values[op.target] = number
        state.objects[number] = Object(VALID if op.what else UNKNOWN)

    def _report(self, kind: str, state: State, lvalue: int, event: ir.Event | None, line: int,
                free: ops.Release | None = None, earlier: int = 0) -> None:
        number = state.values[lvalue]
        key = (kind, number, line, free.number if free else 0)
        if key not in self.incidents:
            shown = show(self.lvalues[lvalue])
            given = state.doubts(number) if kind == "doubted" else frozenset()
            self.incidents[key] = Incident(kind, self._origins[number], shown, event, line, free, earlier, given)

    def _release(self, state: State, op: ops.Release) -> None:
        subject = op.subject
        line = op.event.line
        freed = -line if op.soft else line
        self.leaks.alike(state, op)
        for lvalue in self.leaks.in_use(state, op):
            self._report("in-use", state, lvalue, op.event, line, op)
        number = state.values.get(subject)
        if number is not None and not self._origins[number].what and self._origins[number].within in state.objects:
            number = self._origins[number].within  # the first member stands for the whole
        if number is None:
            self.leaks.unseen(state, subject)
            if subject >= 0 and op.free.flavour not in ("put", "deferred"):
                number = self._gone.setdefault((subject, op.number), _FREED - len(self._gone))
                self._origins[number] = Origin(None, "freed")
                leave_to(state.values, number, self._origins)
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
        self.leaks.free(state, number, subject)
        if op.wrapped:
            self.leaks.released(state, number)
        if op.free.flavour not in ("put", "deferred"):
            state.objects[number] = Object(thing.state, freed)
        else:
            self.leaks.give(state, number)

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
                state.loose = True
            elif thing.state == NULL and self._origins[number].site is not None:
                self._report("null-use", state, target, event, line)
                alive = False
            elif (untested := UNTESTED.get(thing.state)) is not None:
                self._report(untested.kind, state, target, event, line)
                state.objects[number] = Object(untested.after)
            elif (base := self._origins[number].within) is not None and (self._origins[number].what or thing.state == UNKNOWN):
                alive = self._used(state, tuple(lv for lv, n in state.values.items() if n == base)[:1], event, line) and alive
        return alive

    def _shown(self, state: State, op: ops.Show) -> None:
        """Note what a callee is given that nobody has tested yet."""
        number = state.values.get(op.subject)
        whole = self._origins[number].within if number is not None else None
        number = number if whole is None else whole
        if number is not None and number in state.objects and state.objects[number].state in UNTESTED:
            self.unasked.setdefault(number, {})[id(op), state.doubts(number)] = op

    def _passed(self, state: State, op: ops.Pass) -> None:
        """An assertion macro may have tested what it was given; who takes a reference may keep it from dying."""
        for target in op.targets:
            number = state.values.get(target)
            if op.tested and number is not None and (whole := self._origins[number].within) in state.objects:
                number = whole  # who doubts an address within an object doubts the object
            if op.forgotten:
                self.leaks.give(state, number)
                state.values[target] = _HELD_OBJECT
                state.objects[_HELD_OBJECT] = Object(UNKNOWN)
            elif number is not None and op.tested and state.objects[number].state in UNTESTED:
                state.objects[number] = Object(UNKNOWN, state.objects[number].freed)

    def _leave(self, state: State, op: ops.Leave) -> None:
        self.leaks.leave(state, op)
        self.exits.append(left(op, state, self._origins))

    def _refined(self, state: State, branch: ops.Branch, line: int) -> State | None:
        """Return the state on an edge, None when it cannot be taken."""
        state = state.after_failure(branch.failed) if branch.failed else state.after_success(branch.passed)
        if branch.fact >= 0 and branch.test is not None:
            known = after(state.facts.get(branch.fact, ANY), branch.test)
            if known is None:
                return None
            state = state.with_facts({**state.facts, branch.fact: known})
        number = state.values.get(branch.lvalue)
        if number is None:
            self.apt.add((line, branch.verdict))
            if branch.verdict == "same" and branch.truth and self.leaks.is_unknown(state, state.values.get(branch.other)):
                return None
            return self._remembered(state, branch) if branch.verdict == "null" else state
        thing, origin = state.objects[number], self._origins[number]
        if branch.verdict == "origin" or (branch.verdict == "asked" and origin.site is None):
            given = together(state.given, {number: frozenset({-1})})
            values = {lv: n for lv, n in state.values.items() if n != number}
            return State(values, state.objects, state.facts, given, loose=True, way=state.way)
        if branch.verdict == "same":
            return None if self._excluded(state, branch, number) else state
        if branch.verdict in APART:
            return None if apart(branch, origin) else state
        if branch.verdict in ("err_ptr", "either") and origin.what == "param":
            self.screened.add(origin.param)
        outcome = self._tested(state, branch, number, line)
        if outcome is None:
            return None
        if outcome == thing:
            return state
        return State(state.values, {**state.objects, number: outcome}, state.facts, state.given, loose=state.loose, way=state.way)

    def _remembered(self, state: State, branch: ops.Branch) -> State:
        """A pointer of unknown origin was tested: the same test will have the same outcome."""
        number = _TESTED - branch.lvalue
        self._origins[number] = Origin(None, "tested")
        values = dict(state.values)
        leave_to(values, number, self._origins)
        loose = state.loose or len(values) < len(state.values)
        values[branch.lvalue] = number
        objects = {**state.objects, number: Object(VALID if branch.truth else NULL)}
        return State(values, objects, state.facts, state.given, loose=loose, way=state.way)

    def _excluded(self, state: State, branch: ops.Branch, number: int) -> bool:
        """Tell whether a comparison with another pointer cannot come out like this."""
        other = state.values.get(branch.other)
        if branch.truth and number != other and (self.leaks.is_unknown(state, number) or self.leaks.is_unknown(state, other)):
            return True
        return other is not None and number != _HELD_OBJECT and excluded(
            branch.truth, number == other, {self._origins[number].what, self._origins[other].what})

    def _tested(self, state: State, branch: ops.Branch, number: int, line: int) -> Object | None:
        """Return the object after a test; one that does not fit how its allocator fails tells nothing."""
        thing, site = state.objects[number], self._origins[number].site
        fits = FITTING.get(branch.verdict, ())
        wrong = False
        if fits and thing.state == MAYBE and site is not None:
            wrong = (site.alloc.fails == "err_ptr") != (branch.verdict == "err_ptr")
            self._report("null-test" if branch.verdict == "null" else "error-test", state, branch.lvalue, None, line)
        if thing.state in fits or (thing.state == MAYBE and not wrong):
            self.apt.add((line, branch.verdict))
        return thing if wrong and branch.truth else outcome(thing, branch)
