"""The values of variables and members that are from outside, forward through one function."""

from collections.abc import Callable, Iterable, Iterator

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show, walk
from kgfplint.ownership.frame import Frame
from kgfplint.program.constants import constants_of
from kgfplint.program.estimates import estimates_of
from kgfplint.taint.entering import is_shared, is_shared_member, kind_of_shared, pointers
from kgfplint.taint.places import Place, place_of, target_of
from kgfplint.taint.rules import stored_in, taint_rules
from kgfplint.taint.values import WORD, Origin, Value, Width, anything, combined, constant, converted, join, least, width_of

State = dict[Place, Value]
"""What is known of places; one that is memory stands for all that lies in it and is not told apart."""
_CONTENT = Width(0, False)
"""The width of memory as a whole."""
_SEEN = "="
"""The place of what was looked at: `if (a + b < a) return`, or a call with one value, `if (nla_get_u32(attr) > MAX) return`."""
_ROUNDS, _PATIENCE = 40, 3
_LEAST = frozenset({"min", "min_t", "min3", "umin", "clamp", "clamp_t", "clamp_val", "min_not_zero"})
_CHECKED = frozenset({"check_add_overflow", "check_mul_overflow", "check_sub_overflow", "check_shl_overflow"})
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
_NEGATED = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}
_PRODUCTS = {"array_size": "*", "array3_size": "*", "size_mul": "*", "flex_array_size": "*", "size_add": "+", "struct_size": "+"}


class Outside:
    """The values from outside in one function; `at(event, expr)` evaluates an expression before an event."""

    def __init__(self, frame: Frame) -> None:
        """Run through the function once."""
        self._frame = frame
        self._constants = constants_of(frame.program)
        self._through: set[ir.Expr] = set()
        self._counters = {event.target for event in frame.events() if isinstance(event, ir.Assign) and event.op in ("+", "-")
                          and event.value == ir.Number(1)}
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
                        yield event, values
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
        return {(one.name,): anything(width, Origin(kind, frame.row.line, one.name)) for one in given
                if kind is not None and (width := self._width(ir.Name(one.name))) is not None}

    def _merged(self, known: State | None, arriving: State, widen: bool) -> State:
        if known is None:
            return dict(arriving)
        merged: State = {}
        for place in known.keys() | arriving.keys():
            left, right = known.get(place), arriving.get(place)
            if left is None or right is None:
                if self._shared(place) is not None or place[0] == _SEEN:
                    continue  # where nothing was found out, it is what it was
                one = left or right
                assert one is not None
                if one.origin is None:
                    continue
                above = self._content(place, known if left is None else arriving)
                value = join(one, above) if above is not None and one.width != _CONTENT else one
            else:
                value = join(left, right)
            if widen and left is not None and value.high != left.high:
                value = value._replace(high=value.width.most, low=0)
            merged[place] = value
        return merged

    def _content(self, place: Place, state: State) -> Value | None:
        """Return the memory from outside that a place lies in."""
        for end in range(len(place) - 1, 0, -1):
            found = state.get(place[:end])
            if found is not None and found.width == _CONTENT:
                return found
        return None

    def _place(self, expr: ir.Expr) -> Place | None:
        return place_of(expr, self._frame.value_of)

    def _width(self, expr: ir.Expr) -> Width | None:
        typing = self._frame.typing
        ctype = typing.of(expr)
        return (width_of(ctype) or width_of(typing.expanded(expr))) if ctype else None

    # The effect of events.

    def _apply(self, event: ir.Event, state: State) -> None:
        if isinstance(event, ir.Assign):
            value = ir.Binary(event.op, event.target, event.value) if event.op else event.value
            self._assign(event.target, value, state)
        elif isinstance(event, ir.Call):
            self._call(event, state)
        elif isinstance(event, ir.Declare):
            _forget((event.name,), state)

    def _assign(self, target: ir.Expr, value: ir.Expr, state: State) -> None:
        place = self._place(target)
        if place is None:
            return
        new = self._stored(target, value, state)
        _forget(place, state)
        if new is not None:
            state[place] = new

    def _stored(self, target: ir.Expr, value: ir.Expr, state: State) -> Value | None:
        """Return what an assignment stores, None if nothing is known of it that its type does not tell."""
        source = self._place(value)
        whole = state.get(source) if source is not None else None
        if whole is not None and whole.width == _CONTENT:
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
                    _forget(place, state)
                    state[(*place, "*")] = anything(_CONTENT, origin)
                return
        elif name in _CHECKED and len(call.args) == 3:
            self._checked(call, state)
        elif not self._tells_nothing(call.callee):
            self._look(call, state)
        if call.target is not None:
            self._assign(call.target, ir.CallResult(call.callee, call.args), state)

    def _fill(self, place: Place | None, origin: Origin, state: State) -> None:
        if place is not None:
            _forget(place, state)
            state[place] = anything(_CONTENT, origin) if self._is_memory(place) else anything(self._named(place), origin)

    def _is_memory(self, place: Place) -> bool:
        return len(place) > 1 or self._named(place) is None

    def _named(self, place: Place) -> Width | None:
        return self._width(ir.Name(place[0])) if len(place) == 1 else None

    def _write(self, argument: ir.Expr, origin: Origin, state: State) -> None:
        """Write to a variable that is named (get_user) or pointed to (kstrtoul)."""
        variable = argument.base if isinstance(argument, ir.AddressOf) else argument
        place = self._place(variable)
        if place is not None:
            _forget(place, state)
            state[place] = anything(self._width(variable), origin)

    def _checked(self, call: ir.Call, state: State) -> None:
        """check_mul_overflow(a, b, &d): d is their product, and no more than its type holds."""
        op = {"check_mul_overflow": "*", "check_shl_overflow": "<<"}.get(str(getattr(call.callee, "id", "")), "+")
        found = combined(op, self.value(call.args[0], state), self.value(call.args[1], state), "")
        place = target_of(call.args[2], self._frame.value_of)
        if place is not None:
            _forget(place, state)
            state[place] = found._replace(wraps=None, grown=False)

    def _tells_nothing(self, callee: ir.Expr) -> bool:
        """Tell whether a call says nothing about the numbers that it is given."""
        rules, name = taint_rules(), callee.id if isinstance(callee, ir.Name) else ""
        return name in rules.callees or name in rules.blind or self._frame.meaning.alloc(self._frame.file, name) is not None

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
            state[place] = anything(_CONTENT, Origin(taint_rules().kinds["uapi"], 0, ""))._replace(bounded=True)

    def _shared(self, place: Place) -> Origin | None:
        """Return where a place is from if it lies in a struct that user space knows and that a parameter points to."""
        frame = self._frame
        if len(place) < 2 or place[1] != "*" or place[0] not in pointers(frame):
            return None
        ctype = frame.types[place[0]]
        if ctype != "void *" and not is_shared(frame, ctype):
            return None  # a copy that is kept has been looked at
        return Origin(kind_of_shared(frame, place[0]), frame.row.line, place[0])

    # The values of expressions.

    def value(self, expr: ir.Expr, state: State) -> Value:
        """Return what is known of an expression."""
        match expr:
            case ir.Number(number):
                return constant(number)
            case ir.SizeOf():
                return Value(1, self._sizeof(expr), Width(WORD, False), bounded=True)
            case ir.Name() | ir.Field() | ir.Deref() | ir.Index():
                return self._read(expr, state)
            case ir.Cast(ctype, operand):
                width = width_of(ctype) or width_of(self._frame.program.types.expand(self._frame.file, ctype))
                found = self.value(operand, state)
                return converted(found, width, show(expr)) if width is not None else found
            case ir.Binary(op, left, right):
                text = show(expr)
                found = combined(op, self.value(left, state), self.value(right, state), text)
                return found._replace(wraps=None) if found.wraps is not None and (_SEEN, text) in state else found
            case ir.Conditional(condition, then, other):
                return join(self.value(then, self._refined(condition, True, state)),
                            self.value(other, self._refined(condition, False, state)))
            case ir.CallResult(ir.Name(name), args):
                return self._result(name, expr, args, state)
        return anything(self._width(expr))

    def _sizeof(self, term: ir.SizeOf) -> int:
        ctype = term.ctype or (self._frame.typing.of(term.operand) if term.operand is not None else "")
        return estimates_of(self._frame.program).of(self._frame.file, ctype) if ctype else 64

    def _read(self, expr: ir.Expr, state: State) -> Value:
        place = self._place(expr)
        found = state.get(place) if place is not None else None
        if found is not None and found.width != _CONTENT:
            return found
        if isinstance(expr, ir.Name) and expr.id not in self._frame.types:
            number = self._constants.named(self._frame.file, expr.id)
            return constant(number) if number is not None else anything(None)
        width = self._width(expr)
        if place is None or width is None:
            return anything(width)
        content = found or self._content(place, state)
        if content is not None:
            return anything(width, content.origin)._replace(bounded=content.bounded)
        if isinstance(expr, ir.Field) and (origin := self._shared(place)) is not None and is_shared_member(self._frame, expr):
            return anything(width, Origin(origin.kind, origin.line, show(expr)))
        return anything(width)

    def _result(self, name: str, expr: ir.Expr, args: tuple[ir.Expr, ...], state: State) -> Value:
        values = [self.value(arg, state) for arg in args if not isinstance(arg, ir.TypeName)]
        rules = taint_rules()
        kind, source = rules.sources.get(name, (None, None))
        width = self._width(expr)
        if name in _LEAST and values:
            return least(values)
        if kind is not None and source is not None and source.returns:
            given = next((value for value in values if value.origin is not None), None)
            found = given or anything(None, Origin(kind, 0, name + "()"))
            seen = found.bounded or (_SEEN, show(expr)) in state
            return found._replace(width=Width.by_name(name), high=min(found.high, Width.by_name(name).most), bounded=seen)
        if name in _PRODUCTS and len(values) > 1:
            return self._product(_PRODUCTS[name], name, expr, values)
        if name in rules.carriers and values:
            worst = next((value for value in values if value.open), values[0])
            return worst._replace(high=max(value.high for value in values)) if worst.open else worst
        return anything(width)

    def _product(self, op: str, name: str, expr: ir.Expr, values: list[Value]) -> Value:
        """Return what a macro of sizes makes, which saturates and does not overflow."""
        given = values[-1:] if name in ("struct_size", "flex_array_size") else values
        found = given[0]._replace(width=Width(WORD, False), grown=False)
        for value in given[1:]:
            found = combined(op, found, value._replace(width=Width(WORD, False)), show(expr))
        scale = 64 if name in ("struct_size", "flex_array_size") else 1
        return found._replace(high=min(found.high * scale, Width(WORD, False).most), grown=False)

    # Conditions.

    def _refined(self, condition: ir.Expr, truth: bool, state: State) -> State:
        """Return what is known where a condition has come out so."""
        changed = dict(state)
        self._suppose(condition, truth, changed)
        return changed

    def _suppose(self, condition: ir.Expr, truth: bool, state: State) -> None:
        match condition:
            case ir.Unary("!", operand):
                self._suppose(operand, not truth, state)
            case ir.Binary("&&", left, right) if truth:
                self._suppose(left, True, state)
                self._suppose(right, True, state)
            case ir.Binary("||", left, right) if not truth:
                self._suppose(left, False, state)
                self._suppose(right, False, state)
            case ir.Binary(op, left, right) if op in _NEGATED:
                op = op if truth else _NEGATED[op]
                self._compare(op, left, right, state)
                self._compare(_MIRRORED[op], right, left, state)
            case ir.Binary("&", left, ir.Unary("~", _)) if not truth:
                self._bound(left, None, state)
            case ir.Name() | ir.Field() | ir.Deref() | ir.Index() if not truth:
                self._bound(condition, 0, state)
            case ir.CallResult(callee, args) if not self._tells_nothing(callee):
                for arg in args:
                    if isinstance(arg, ir.Binary) and arg.op in _NEGATED:
                        self._suppose(arg, truth, state)
                    else:
                        self._bound(arg, None, state)

    def _compare(self, op: str, left: ir.Expr, right: ir.Expr, state: State) -> None:
        """Learn that left is less than, or equal to, right."""
        if isinstance(left, ir.Binary) and left.op == "+" and right in (left.left, left.right):
            state[_SEEN, show(left)] = constant(0)
            return
        if op not in ("<", "<=", "==") or bare(right) in self._counters:
            return
        limit = self.value(right, state)
        most = limit.high - (op == "<") if limit.bounded or limit.high < limit.width.most else None
        self._bound(bare(left), most, state)
        for term in walk(right):  # n < MAX / size bounds the size as well
            if isinstance(term, ir.Binary) and term.op == "/":
                self._bound(bare(term.right), None, state)

    def _bound(self, expr: ir.Expr, most: int | None, state: State) -> None:
        """Note that an expression is no more than something (None: something that is not known)."""
        match expr:
            case ir.Binary("+" | "*" | "<<" | "|", left, right):
                self._bound(bare(left), most, state)
                self._bound(bare(right), most, state)
                return
            case ir.Binary("-" | "/" | ">>", left, _):
                self._bound(bare(left), None, state)
                return
            case ir.CallResult(_, args):
                state[_SEEN, show(expr)] = constant(0)
                for arg in args:
                    self._bound(bare(arg), None, state)
                return
            case ir.Name() | ir.Field() | ir.Deref() | ir.Index():
                made = self._frame.value_of(expr)
                if isinstance(made, ir.Binary) and made not in self._through:
                    self._through.add(made)  # start += len says something of itself
                    self._bound(made, most, state)  # last = start + len; if (last > limit)
                    self._through.discard(made)
                place = self._place(expr)
                value = self._read(expr, state)
                if place is not None and value.origin is not None:
                    high = value.high if most is None else max(min(value.high, most), 0)
                    state[place] = value._replace(high=high, bounded=True)
                elif place is not None and most is not None and place in state:
                    state[place] = value._replace(high=max(min(value.high, most), value.low))


def _forget(place: Place, state: State) -> None:
    """Forget a place and all that lies in it."""
    for known in [one for one in state if one[: len(place)] == place]:
        del state[known]
