"""Lowering expressions: syntax nodes to IR expressions, with call and assignment events on the way."""

import sys
from collections.abc import Callable

from tree_sitter import Node

from kgfplint.facts import ir
from kgfplint.facts.cfg import Builder, OpenBlock
from kgfplint.facts.leaves import LEAVES
from kgfplint.facts.marks import Marks
from kgfplint.facts.shapes import bare, operands
from kgfplint.facts.terms import typed
from kgfplint.facts.texts import Texts
from kgfplint.facts.types import descriptor, text_of
from kgfplint.facts.words import FATAL, LOOKED_THROUGH, NO_CALLS, NORETURN, TRANSPARENT, spelled

__all__ = ["FATAL", "LOOKED_THROUGH", "Expressions"]

_TRANSPARENT, _LOOKED_THROUGH, _FATAL = spelled(TRANSPARENT), spelled(LOOKED_THROUGH), spelled(FATAL)
_NO_CALLS, _NORETURN = spelled(NO_CALLS), spelled(NORETURN)
_EVENTS = ("assignment_expression", "update_expression", "comma_expression")
_NOT = ord("!")
_SHORT = 200
"""Bytes of the longest argument list that is looked at for plain arguments only."""
_MEMORABLE = frozenset({
    "identifier", "null", "field_expression", "pointer_expression", "subscript_expression", "number_literal",
    "unary_expression", "binary_expression", "sizeof_expression",
})
"""Kinds of syntax nodes whose expression is remembered by its text, where it emits no event."""


class Expressions:
    """Lowers expressions of one function into a builder.

    `data` is the normalised text, `line_base` what to add to a row for its 1-based line.
    """

    def __init__(self, data: bytes, marks: Marks, line_base: int = 1) -> None:
        """Start with an empty control flow graph."""
        self.data = data
        self.marks = marks
        self.types = marks.types
        self.cleanups = marks.cleanups
        self.texts: Texts | None = marks.texts
        self.line_base = line_base
        self.flow = Builder()

    def statement_value(self, node: Node) -> ir.Expr:
        """Lower a compound statement used as a value; the statement lowering overrides it."""
        raise TypeError(node.type)

    def line(self, node: Node) -> int:
        """Return the 1-based line where a node starts."""
        return node.start_point[0] + self.line_base

    def place(self, node: Node) -> tuple[int, int]:
        """Return the 1-based line and column where a node starts."""
        row, column = node.start_point
        return row + self.line_base, column + 1

    def text(self, node: Node) -> str:
        """Return the source text of a node, single spaced."""
        return text_of(node, self.data)

    def expr(self, node: Node | None) -> ir.Expr:
        """Lower one expression, emitting the events it implies; never fails."""
        if node is None:
            return ir.Unknown("")
        kind = node.type
        lower = _KINDS.get(kind, Expressions._unknown)
        texts = self.texts
        if texts is None or kind not in _MEMORABLE:
            return lower(self, node)
        start, end = node.start_byte, node.end_byte
        if self.types and self.marks.types_within(start, end):
            return lower(self, node)
        text = self.data[start:end]
        value = texts.known.get(text) or texts.read(text)
        if value is None:
            block = self.flow.current
            events = len(block.events)
            value = lower(self, node)
            if block is self.flow.current and len(block.events) == events:
                texts.remember(text, value)
        return value

    def evaluate(self, node: Node) -> None:
        """Lower an expression whose value is not used."""
        kind = node.type
        if kind == "call_expression":
            value = self._call(node)
        elif kind in _EVENTS:
            _KINDS[kind](self, node)
            return
        else:
            value = self.expr(node)
        if not isinstance(value, ir.CallResult | ir.Number):
            self.flow.emit(ir.Evaluate(value, *self.place(node)))

    def assign(self, target: ir.Expr, value: Node, line: int, column: int) -> ir.Expr:
        """Emit `target = value`, as a Call with a target when the value is one call; return the target."""
        value = bare(value)
        kind = value.type
        while kind == "comma_expression":
            left, _, right = operands(value)
            if left is None or right is None:
                break
            self.evaluate(left)
            value = bare(right)
            kind = value.type
        if kind == "call_expression":
            self._call(value, target)
        elif kind == "conditional_expression":
            self._diamond(value, lambda arm: self.assign(target, arm, line, column))
        else:
            self.flow.emit(ir.Assign(target, self.expr(value), "", line, column))
        return target

    def condition(self, node: Node, then: OpenBlock, other: OpenBlock) -> None:
        """Branch on an expression, splitting `&&`, `||` and `!` into edges of single conditions."""
        kind = node.type
        if kind == "parenthesized_expression":
            if (value := self._enclosed(node)) is not None:
                self.flow.decide(value, self.line(node), then, other)
                return
            node = bare(node, casts=False)
            kind = node.type
        if kind == "binary_expression":
            left, op, right = operands(node)
            if left and op and right and op.type in ("&&", "||"):
                middle = OpenBlock()
                self.condition(left, *((middle, other) if op.type == "&&" else (then, middle)))
                self.flow.current = middle
                self.condition(right, then, other)
                return
        elif kind == "comma_expression" and node.named_child_count == 2:
            self.evaluate(node.named_children[0])
            self.condition(node.named_children[1], then, other)
            return
        elif kind == "unary_expression" and self.data[node.start_byte] == _NOT:
            argument = node.child_by_field_name("argument")
            if argument:
                self.condition(argument, other, then)
                return
        elif kind == "call_expression":
            arguments = node.children[-1].named_children if self._word(node.children[0]) in _LOOKED_THROUGH else []
            if arguments:
                self.condition(arguments[0], then, other)
                return
        self.flow.decide(self.expr(node), self.line(node), then, other)

    def _enclosed(self, node: Node) -> ir.Expr | None:
        """Return the plain expression in parentheses, on one line; None for anything else."""
        start, end = node.start_byte, node.end_byte
        if self.texts is None or (self.types and self.marks.types_within(start, end)):
            return None
        text = self.data[start + 1 : end - 1].strip()
        return None if b"\n" in text else self.texts.read(text)

    def _identifier(self, node: Node) -> ir.Expr:
        end = node.end_byte
        if self.types and end in self.types:
            return ir.TypeName(self.types[end])
        return ir.Name(sys.intern(self.data[node.start_byte : end].decode("utf-8", "replace")))

    def _parenthesized(self, node: Node) -> ir.Expr:
        inner = node.named_children
        return self.expr(inner[0]) if inner else ir.Unknown("()")

    def _field(self, node: Node) -> ir.Expr:
        parts = node.children
        base, member = self.expr(parts[0]), parts[-1]
        name = sys.intern(self.data[member.start_byte : member.end_byte].decode("utf-8", "replace"))
        arrow = parts[1].type == "->"
        if arrow and isinstance(base, ir.AddressOf):
            return ir.Field(base.base, name, False)
        return ir.Field(base, name, arrow)

    def _pointer(self, node: Node) -> ir.Expr:
        base = self.expr(node.child_by_field_name("argument"))
        if self.data[node.start_byte : node.start_byte + 1] == b"*":
            return base.base if isinstance(base, ir.AddressOf) else ir.Deref(base)
        return base.base if isinstance(base, ir.Deref) else ir.AddressOf(base)

    def _subscript(self, node: Node) -> ir.Expr:
        base = self.expr(node.child_by_field_name("argument"))
        return ir.Index(base, self.expr(node.child_by_field_name("index")))

    def _sizeof(self, node: Node) -> ir.Expr:
        named = node.child_by_field_name("type")
        if named:
            return ir.SizeOf(descriptor(named, self.data), None)
        value = node.child_by_field_name("value")
        if value is None:
            return ir.Unknown(self.text(node))
        kept, self.flow.current = self.flow.current, OpenBlock()
        operand = self.expr(value)
        self.flow.current = kept
        return ir.SizeOf("", operand)

    def _cast(self, node: Node) -> ir.Expr:
        named = node.child_by_field_name("type")
        return ir.Cast(descriptor(named, self.data) if named else "", self.expr(node.child_by_field_name("value")))

    def _unary(self, node: Node) -> ir.Expr:
        operand = self.expr(node.child_by_field_name("argument"))
        op = self.data[node.start_byte : node.start_byte + 1].decode("latin-1")
        if op == "-" and isinstance(operand, ir.Number):
            return ir.Number(-operand.value)
        return operand if op == "+" else ir.Unary(op, operand)

    def _binary(self, node: Node) -> ir.Expr:
        left, op, right = operands(node)
        word = sys.intern(op.type) if op else "?"
        if word in ("&&", "||") and right is not None and self._calls(right):
            first = self.expr(left)
            then, after = OpenBlock(), OpenBlock()
            self.flow.branch(first, self.line(node), *((then, after) if word == "&&" else (after, then)))
            self.flow.current = then
            second = self.expr(right)
            self.flow.go(after)
            return ir.Binary(word, first, second)
        first = self.expr(left)
        return ir.Binary(word, typed(first, self.text(left)) if word == "<<" and left else first, self.expr(right))

    def _conditional(self, node: Node) -> ir.Expr:
        if self._calls(node):
            return self._diamond(node, self.expr)
        then, other = node.child_by_field_name("consequence"), node.child_by_field_name("alternative")
        condition = self.expr(node.child_by_field_name("condition"))
        return ir.Conditional(condition, self.expr(then) if then else condition, self.expr(other))

    def _diamond(self, node: Node, arm: Callable[[Node], ir.Expr]) -> ir.Expr:
        """Lower `c ? a : b` as two paths, each arm by the given function; return the whole. In `c ?: b` c runs once."""
        condition = node.child_by_field_name("condition")
        then, other = node.child_by_field_name("consequence"), node.child_by_field_name("alternative")
        first, second, after = OpenBlock(), OpenBlock(), OpenBlock()
        tested: ir.Expr = ir.Unknown(self.text(condition)[:80] if condition else "")
        values: list[ir.Expr] = []
        if condition and then:
            self.condition(condition, first, second)
        elif condition:
            tested = arm(condition)
            values.append(tested)
            self.flow.branch(tested, self.line(condition), first, second)
        for block, side in ((first, then), (second, other)):
            self.flow.current = block
            if side:
                values.append(arm(side))
            self.flow.link(after)
        self.flow.current = after
        return ir.Conditional(tested, values[0], values[-1]) if values else tested

    def _assignment(self, node: Node) -> ir.Expr:
        left, op, right = operands(node)
        target = self.expr(left)
        if right is None:
            return target
        row, column = node.start_point
        line, column = row + self.line_base, column + 1
        word = op.type[:-1] if op else ""
        if word or bare(right).type == "assignment_expression":
            self.flow.emit(ir.Assign(target, self.expr(right), word, line, column))
            return target
        return self.assign(target, right, line, column)

    def _update(self, node: Node) -> ir.Expr:
        target = self.expr(node.child_by_field_name("argument"))
        op = "+" if b"++" in self.data[node.start_byte : node.end_byte] else "-"
        self.flow.emit(ir.Assign(target, ir.Number(1), op, *self.place(node)))
        return target

    def _comma(self, node: Node) -> ir.Expr:
        left = node.child_by_field_name("left")
        if left:
            self.evaluate(left)
        return self.expr(node.child_by_field_name("right"))

    def _initialiser(self, node: Node, ctype: str = "") -> ir.Expr:
        items: list[tuple[str, ir.Expr]] = []
        for child in node.named_children:
            if child.type == "initializer_pair":
                value = child.child_by_field_name("value")
                words = [self.text(d).lstrip(".") for d in child.children_by_field_name("designator")]
                items.append((".".join(words), self.expr(value)))
            elif child.type not in ("comment", "preproc_ifdef", "preproc_if"):
                items.append(("", self.expr(child)))
            if len(items) >= 64:
                break
        return ir.Initialiser(ctype, tuple(items))

    def _compound_literal(self, node: Node) -> ir.Expr:
        named, value = node.child_by_field_name("type"), node.child_by_field_name("value")
        ctype = descriptor(named, self.data) if named else ""
        return self._initialiser(value, ctype) if value else ir.Initialiser(ctype, ())

    def _unknown(self, node: Node) -> ir.Expr:
        if node.type == "ERROR" or node.type.startswith("gnu_asm") or node.type in ("extension_expression", "generic_expression"):
            operand = node.child_by_field_name("value")
            for child in [operand] if operand else node.named_children:
                if child.type.startswith("gnu_asm"):
                    self._unknown(child)
                elif child.type in _KINDS and child.type != "string_literal":
                    value = self.expr(child)
                    if node.type == "gnu_asm_output_operand":
                        self.flow.emit(ir.Assign(value, ir.Unknown("asm"), "", *self.place(child)))
        return ir.Unknown(self.data[node.start_byte : min(node.end_byte, node.start_byte + 40)].decode("utf-8", "replace"))

    def _calls(self, node: Node) -> bool:
        """Tell (by its text) whether an expression may contain a call or an assignment."""
        text = self.data[node.start_byte : node.end_byte]
        return b"(" in text or b"=" in text or b"++" in text

    def _word(self, callee: Node) -> bytes:
        """Return the name of what is called, empty where it is not called by a name."""
        return self.data[callee.start_byte : callee.end_byte] if callee.type == "identifier" else b""

    def _call(self, node: Node, target: ir.Expr | None = None) -> ir.Expr:
        """Emit a call, looking through macros whose value is their argument."""
        parts = node.children
        called, listed = parts[0], parts[-1]
        word = self._word(called)
        if word in _NO_CALLS and listed.named_children:
            first = listed.named_children[0]
            if word in _FATAL:
                if target is None:
                    after = OpenBlock()
                    self.condition(first, OpenBlock(), after)
                    self.flow.current = after
                    return ir.Number(0)
            elif target is None:
                return self.expr(first)
            elif word in _TRANSPARENT:
                return self.assign(target, first, *self.place(node))
        callee = self.texts.known.get(word) if self.texts is not None and not self.types else None
        if callee is None:
            callee = self.expr(called)
        args = self._arguments(listed)
        row, column = node.start_point
        line = row + self.line_base
        if isinstance(callee, ir.CallResult) and isinstance(callee.callee, ir.Name) and callee.callee.id in ("guard", "CLASS"):
            self._guard(callee, args, line, column + 1)
            return ir.Number(0)
        self.flow.current.events.append(ir.Call(callee, args, target, line, column + 1, node.end_point[0] + self.line_base))
        if word in _NORETURN:
            self.flow.stop()
        return ir.CallResult(callee, args)

    def _arguments(self, listed: Node) -> tuple[ir.Expr, ...]:
        """Lower the arguments of a call: by their text alone where all of them are plain."""
        start, end = listed.start_byte, listed.end_byte
        texts = self.texts
        if texts is not None and end - start <= _SHORT and not (self.types and self.marks.types_within(start, end)):
            args = texts.listed(self.data[start + 1 : end - 1])
            if args is not None:
                return args
        return tuple([self.expr(argument) for argument in listed.named_children])

    def _guard(self, maker: ir.CallResult, args: tuple[ir.Expr, ...], line: int, column: int) -> None:
        """`guard(cls)(args)` and `CLASS(cls, name)(args)`: enter now, leave at the end of the scope."""
        events = self.flow.current.events
        if events and isinstance(events[-1], ir.Call) and events[-1].callee == maker.callee:
            events.pop()
        first = maker.args[0] if maker.args else None
        cls = first.id if isinstance(first, ir.Name) else ""
        self.flow.emit(ir.Guard(cls, args, True, line, column))
        self.flow.at_exit(ir.Guard(cls, args, False, line, column))


def _leaf(read: Callable[[Node, bytes], ir.Expr]) -> Callable[[Expressions, Node], ir.Expr]:
    return lambda lowering, node: read(node, lowering.data)


_KINDS: dict[str, Callable[[Expressions, Node], ir.Expr]] = {
    "identifier": Expressions._identifier, "null": Expressions._identifier, "field_identifier": Expressions._identifier,
    "type_identifier": Expressions._identifier, **{kind: _leaf(read) for kind, read in LEAVES.items()},
    "parenthesized_expression": Expressions._parenthesized,
    "field_expression": Expressions._field, "pointer_expression": Expressions._pointer,
    "subscript_expression": Expressions._subscript, "call_expression": Expressions._call,
    "sizeof_expression": Expressions._sizeof, "alignof_expression": Expressions._sizeof,
    "cast_expression": Expressions._cast,
    "unary_expression": Expressions._unary, "binary_expression": Expressions._binary,
    "conditional_expression": Expressions._conditional, "assignment_expression": Expressions._assignment,
    "update_expression": Expressions._update, "comma_expression": Expressions._comma,
    "initializer_list": Expressions._initialiser, "compound_literal_expression": Expressions._compound_literal,
    "compound_statement": lambda lowering, node: lowering.statement_value(node),
}
