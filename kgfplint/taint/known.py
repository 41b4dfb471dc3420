"""What is known of expressions in some state of places, and what conditions tell about them."""

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show, walk
from kgfplint.ownership.frame import Frame
from kgfplint.program.constants import constants_of
from kgfplint.program.estimates import estimates_of
from kgfplint.taint.entering import is_shared, is_shared_member, kind_of_shared, pointers
from kgfplint.taint.places import Place, place_of
from kgfplint.taint.rules import taint_rules
from kgfplint.taint.values import (
    PRODUCTS,
    WORD,
    Origin,
    Value,
    Width,
    anything,
    combined,
    constant,
    converted,
    join,
    least,
    saturating,
    width_of,
)

State = dict[Place, Value]
"""What is known of places; one that is memory stands for all that lies in it and is not told apart."""
CONTENT = Width(0, False)
"""The width of memory as a whole."""
SEEN = "="
"""The place of what was looked at: `if (a + b < a) return`, or a call with one value, `if (nla_get_u32(attr) > MAX) return`."""
ROOT = "root"
"""What was looked at where only root comes."""
ASKED = "= asked"
"""The place of an allocation that is not tested yet, by its target; the value is its place among the calls."""
_LEAST = frozenset({"min", "min_t", "min3", "umin", "clamp", "clamp_t", "clamp_val", "min_not_zero"})
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
_NEGATED = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}


class Known:
    """Values of expressions in one function by the state before them; refines a state by a condition."""

    def __init__(self, frame: Frame) -> None:
        """Look at one function."""
        self._frame = frame
        self._constants = constants_of(frame.program)
        self._through: set[ir.Expr] = set()
        self._sizes: list[tuple[ir.Expr, ...]] = []
        self._counters = {event.target for event in frame.events() if isinstance(event, ir.Assign) and event.op in ("+", "-")
                          and event.value == ir.Number(1)}

    def _place(self, expr: ir.Expr) -> Place | None:
        return place_of(expr, self._frame.value_of)

    def _width(self, expr: ir.Expr) -> Width | None:
        typing = self._frame.typing
        ctype = typing.of(expr)
        return (width_of(ctype) or width_of(typing.expanded(expr))) if ctype else None

    def _content(self, place: Place, state: State) -> Value | None:
        """Return the memory from outside that a place lies in."""
        for end in range(len(place) - 1, 0, -1):
            found = state.get(place[:end])
            if found is not None and found.width == CONTENT:
                return found
        return None

    def _shared(self, place: Place) -> Origin | None:
        """Return where a place is from if it lies in a struct that user space knows and that a parameter points to."""
        frame = self._frame
        if len(place) < 2 or place[1] != "*" or place[0] not in pointers(frame):
            return None
        ctype = frame.types[place[0]]
        if ctype != "void *" and not is_shared(frame, ctype):
            return None  # a copy that is kept has been looked at
        return Origin(kind_of_shared(frame, place[0]), frame.row.line, place[0])

    def _tells_nothing(self, callee: ir.Expr) -> bool:
        """Tell whether a call says nothing about the numbers that it is given."""
        rules, name = taint_rules(), callee.id if isinstance(callee, ir.Name) else ""
        return name in rules.callees or name in rules.blind or name in self._frame.meaning.catalogue.allocs

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
                return found._replace(wraps=None) if found.wraps is not None and (SEEN, text) in state else found
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
        if found is not None and found.width != CONTENT:
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
            seen = found.bounded or (SEEN, show(expr)) in state
            return found._replace(width=Width.by_name(name), high=min(found.high, Width.by_name(name).most), bounded=seen)
        if name in PRODUCTS and len(values) > 1:
            return saturating(name, values, show(expr))
        if name in rules.carriers and values:
            worst = next((value for value in values if value.open), values[0])
            return worst._replace(high=max(value.high for value in values)) if worst.open else worst
        return anything(width)

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
            case ir.Binary("&&" | "||", left, right):
                one, other = self._refined(left, truth, state), self._refined(right, truth, state)
                if (SEEN, ROOT) in one and (SEEN, ROOT) in other:
                    state[SEEN, ROOT] = constant(0)
            case ir.Binary("==" | "!=" as op, left, ir.Name("NULL")):
                self._suppose(left, truth == (op == "!="), state)
            case ir.Binary(op, left, right) if op in _NEGATED:
                op = op if truth else _NEGATED[op]
                self._compare(op, left, right, state)
                self._compare(_MIRRORED[op], right, left, state)
            case ir.Binary("&", left, ir.Unary("~", _)) if not truth:
                self._bound(left, None, state)
            case ir.Name() | ir.Field() | ir.Deref() | ir.Index():
                if truth:
                    self._got(condition, state)
                else:
                    self._bound(condition, 0, state)
            case ir.CallResult(ir.Name(name)) if name in taint_rules().root:
                if truth:
                    state[SEEN, ROOT] = constant(0)
            case ir.CallResult(callee, args) if not self._tells_nothing(callee):
                for arg in args:
                    if isinstance(arg, ir.Binary) and arg.op in _NEGATED:
                        self._suppose(arg, truth, state)
                    else:
                        self._bound(arg, None, state)

    def _got(self, pointer: ir.Expr, state: State) -> None:
        """Where an allocation has not failed, its size is bounded: more of the same size is no news."""
        found = state.get((ASKED, show(pointer)))
        for size in self._sizes[found.low] if found is not None and found.low == found.high else ():
            self._bound(bare(size), None, state)

    def _compare(self, op: str, left: ir.Expr, right: ir.Expr, state: State) -> None:
        """Learn that left is less than, or equal to, right."""
        if isinstance(left, ir.Binary) and left.op == "+" and right in (left.left, left.right):
            state[SEEN, show(left)] = constant(0)
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
                state[SEEN, show(expr)] = constant(0)
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
                    self._bound_with(value.origin, state)
                elif place is not None and most is not None and place in state:
                    state[place] = value._replace(high=max(min(value.high, most), value.low))

    def _bound_with(self, origin: Origin, state: State) -> None:
        """What comes of one number is bounded with it: `size` of `args->count`, if a copy of that is no more than so many."""
        if not origin.text.endswith("()"):  # what a call fills holds many numbers
            for place, value in state.items():
                if value.open and value.origin == origin and value.width != CONTENT:
                    state[place] = value._replace(bounded=True)
