"""The values of variables and members that are from outside, forward through one function."""

from collections.abc import Callable, Iterable, Iterator

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.ownership.frame import Frame
from kgfplint.taint.known import ASKED, CONTENT, ROOT, SEEN, Known, State
from kgfplint.taint.places import Place, forget, target_of
from kgfplint.taint.rooted import behind_root
from kgfplint.taint.rules import stored_in, taint_rules
from kgfplint.taint.values import Origin, Value, Width, anything, combined, constant, converted, join

_ROUNDS, _PATIENCE = 40, 3
_CHECKED = frozenset({"check_add_overflow", "check_mul_overflow", "check_sub_overflow", "check_shl_overflow"})


class Outside(Known):
    """The values from outside in one function; `at(event, expr)` evaluates an expression before an event."""

    def __init__(self, frame: Frame) -> None:
        """Run through the function once."""
        super().__init__(frame)
        self._entries = self._run()

    def at(self, wanted: Callable[[ir.Call], Iterable[ir.Expr]]) -> Iterator[tuple[ir.Call, list[Value]]]:
        """Yield each reachable call with the values that the wanted expressions have before it; none for none wanted."""
        for block, entry in zip(self._frame.body.blocks, self._entries, strict=True):
            if entry is None:
                continue
            state = dict(entry)
            for event in block.events:
                if isinstance(event, ir.Call):
                    values = [self.value(expr, state) for expr in wanted(event)]
                    if values:
                        yield event, [value.of_root() for value in values] if (SEEN, ROOT) in state else values
                self._apply(event, state)

    def _run(self) -> list[State | None]:
        blocks = self._frame.body.blocks
        entries: list[State | None] = [None] * len(blocks)
        entries[0] = self._start()
        waiting, visits = {0}, [0] * len(blocks)
        for _ in range(_ROUNDS):
            for number, block in enumerate(blocks):
                entry = entries[number]
                if number not in waiting or entry is None:
                    continue
                waiting.discard(number)
                visits[number] += 1
                state = dict(entry)
                for event in block.events:
                    self._apply(event, state)
                for edge in block.edges:
                    arriving = state if edge.condition is None else self._refined(edge.condition, edge.truth, state)
                    merged = self._merged(entries[edge.to], arriving, visits[edge.to] > _PATIENCE)
                    if merged != entries[edge.to]:
                        entries[edge.to] = merged
                        waiting.add(edge.to)
            if not waiting:
                break
        return entries

    def _start(self) -> State:
        """Return what is from outside before the first event: parameters of functions that are stored somewhere."""
        frame = self._frame
        kind, places = stored_in(frame.program).get(frame.number, (None, ()))
        params = frame.row.params
        given = [params[place] for place in places if place < len(params)]
        start: State = {(one.name,): anything(width, Origin(kind, frame.row.line, one.name)) for one in given
                if kind is not None and (width := self._width(ir.Name(one.name))) is not None}
        if frame.number in behind_root(frame.program):
            start[SEEN, ROOT] = constant(0)
        return start

    def _merged(self, known: State | None, arriving: State, widen: bool) -> State:
        if known is None:
            return dict(arriving)
        merged: State = {}
        for place in known.keys() | arriving.keys():
            left, right = known.get(place), arriving.get(place)
            if left is None or right is None:
                if self._shared(place) is not None or place[0] == SEEN:
                    continue  # where nothing was found out, it is what it was
                one = left or right
                assert one is not None
                if one.origin is None:
                    continue
                above = self._content(place, known if left is None else arriving)
                value = join(one, above) if above is not None and one.width != CONTENT else one
            else:
                value = join(left, right)
            if widen and left is not None and value.high != left.high:
                value = value._replace(high=value.width.most, low=0)
            merged[place] = value
        return merged

    # The effect of events.

    def _apply(self, event: ir.Event, state: State) -> None:
        if isinstance(event, ir.Assign):
            value = ir.Binary(event.op, event.target, event.value) if event.op else event.value
            self._assign(event.target, value, state)
        elif isinstance(event, ir.Call):
            self._call(event, state)
        elif isinstance(event, ir.Declare):
            forget((event.name,), state)

    def _assign(self, target: ir.Expr, value: ir.Expr, state: State) -> None:
        place = self._place(target)
        state.pop((ASKED, show(target)), None)
        if place is None:
            return
        new = self._stored(target, value, state)
        forget(place, state)
        if new is not None:
            state[place] = new

    def _stored(self, target: ir.Expr, value: ir.Expr, state: State) -> Value | None:
        """Return what an assignment stores, None if nothing is known of it that its type does not tell."""
        source = self._place(value)
        whole = state.get(source) if source is not None else None
        if whole is not None and whole.width == CONTENT:
            return whole
        found = self.value(value, state)
        width = self._width(target)
        if width is not None:
            found = converted(found, width, f"{show(target)} = {show(value)}")
        return found if found.origin is not None or (width is not None and found.high < width.most) else None

    def _call(self, call: ir.Call, state: State) -> None:
        name = call.callee.id if isinstance(call.callee, ir.Name) else ""
        kind, source = taint_rules().sources.get(name, (None, None))
        if kind is not None and source is not None:
            origin = Origin(kind, call.line, name + "()")
            if source.fills is not None and source.fills < len(call.args):
                self._fill(target_of(call.args[source.fills], self._frame.value_of), origin, state)
            elif source.writes is not None and -len(call.args) <= source.writes < len(call.args):
                self._write(call.args[source.writes], origin, state)
            if source.memory and call.target is not None:
                place = self._place(call.target)
                if place is not None:
                    forget(place, state)
                    state[(*place, "*")] = anything(CONTENT, origin)
                return
        elif name in _CHECKED and len(call.args) == 3:
            self._checked(call, state)
        elif not self._tells_nothing(call.callee):
            self._look(call, state)
        if call.target is not None:
            self._assign(call.target, ir.CallResult(call.callee, call.args), state)
            self._ask(name, call, state)

    def _ask(self, name: str, call: ir.Call, state: State) -> None:
        """Note what kmalloc() was asked for: where it gave that, the size is one that it gives."""
        alloc = self._frame.meaning.catalogue.allocs.get(name)
        if alloc is not None and call.target is not None and alloc.slab_backed and alloc.cache is None and alloc.pool is None:
            places = (alloc.size, alloc.count)
            given = tuple(call.args[place] for place in places if place is not None and place < len(call.args))
            if given not in self._sizes:
                self._sizes.append(given)
            state[ASKED, show(call.target)] = constant(self._sizes.index(given))

    def _fill(self, place: Place | None, origin: Origin, state: State) -> None:
        if place is not None:
            forget(place, state)
            state[place] = anything(CONTENT, origin) if self._is_memory(place) else anything(self._named(place), origin)

    def _is_memory(self, place: Place) -> bool:
        return len(place) > 1 or self._named(place) is None

    def _named(self, place: Place) -> Width | None:
        return self._width(ir.Name(place[0])) if len(place) == 1 else None

    def _write(self, argument: ir.Expr, origin: Origin, state: State) -> None:
        """Write to a variable that is named (get_user) or pointed to (kstrtoul)."""
        variable = argument.base if isinstance(argument, ir.AddressOf) else argument
        place = self._place(variable)
        if place is not None:
            forget(place, state)
            state[place] = anything(self._width(variable), origin)

    def _checked(self, call: ir.Call, state: State) -> None:
        """check_mul_overflow(a, b, &d): d is their product, and no more than its type holds."""
        op = {"check_mul_overflow": "*", "check_shl_overflow": "<<"}.get(str(getattr(call.callee, "id", "")), "+")
        found = combined(op, self.value(call.args[0], state), self.value(call.args[1], state), "")
        place = target_of(call.args[2], self._frame.value_of)
        if place is not None:
            forget(place, state)
            state[place] = found._replace(wraps=None, grown=False)

    def _look(self, call: ir.Call, state: State) -> None:
        """What a callee is given the address of, it may have checked or changed; so it may a number, where its answer counts."""
        for arg in call.args:
            inner = bare(arg)
            place = target_of(inner, self._frame.value_of) if not isinstance(inner, ir.Number | ir.Text) else None
            if (place is not None and len(place) > 1) or isinstance(inner, ir.AddressOf):
                self._doubt(place, state)
            if call.target is not None:
                self._bound(inner, None, state)

    def _doubt(self, place: Place | None, state: State) -> None:
        if place is None:
            return
        for known in [one for one in state if one[: len(place)] == place or (place[: len(one)] == one and len(one) > 1)]:
            value = state[known]
            if value.origin is not None:
                state[known] = value._replace(bounded=True)
        if self._shared(place) is not None:
            state[place] = anything(CONTENT, Origin(taint_rules().kinds["uapi"], 0, ""))._replace(bounded=True)
