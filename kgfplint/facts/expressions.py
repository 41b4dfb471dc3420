"""Lowering expressions: syntax nodes to IR expressions, with call and assignment events on the way."""

import sys
from collections.abc import Callable, Mapping

from tree_sitter import Node

from kgfplint.facts import ir
from kgfplint.facts.cfg import Builder, OpenBlock
from kgfplint.facts.terms import integer
from kgfplint.facts.types import descriptor, text_of

TRANSPARENT = frozenset({"likely", "unlikely", "READ_ONCE", "ACCESS_ONCE", "data_race", "__builtin_expect"})
"""Macros whose value is their first argument (linux/compiler.h)."""
WARNINGS = frozenset({"WARN_ON", "WARN_ON_ONCE", "WARN", "WARN_ONCE", "WARN_TAINT", "VM_WARN_ON", "VM_WARN_ON_ONCE"})
"""Macros whose value is the truth of their first argument (asm-generic/bug.h)."""
LOOKED_THROUGH = TRANSPARENT | WARNINGS
FATAL = frozenset({"BUG_ON", "VM_BUG_ON", "VM_BUG_ON_PAGE", "VM_BUG_ON_FOLIO"})
"""Macros that do not return when their first argument is true (asm-generic/bug.h)."""
NORETURN = frozenset({"BUG", "panic", "do_exit", "unreachable", "__builtin_unreachable", "make_task_dead", "die"})
"""Functions and macros that never return."""

_PLAIN = ("assignment_expression", "update_expression", "comma_expression")


class Expressions:
    """Lowers expressions of one function into a builder.

    `data` is the normalised text, `types` the types that were arguments of macros by the offset of
    their end, `line_base` what to add to a row for its 1-based line.
    """

    def __init__(self, data: bytes, types: Mapping[int, str], line_base: int = 1) -> None:
        """Start with an empty control flow graph."""
        self.data = data
        self.types = types
        self._names: dict[bytes, ir.Name] = {}
        self.line_base = line_base
        self.flow = Builder()
        self._kinds: dict[str, Callable[[Node], ir.Expr]] = {
            "identifier": self._identifier, "null": self._identifier, "field_identifier": self._identifier,
            "type_identifier": self._identifier, "primitive_type": self._type_name, "sized_type_specifier": self._type_name,
            "struct_specifier": self._type_name, "type_descriptor": self._descriptor,
            "number_literal": self._number, "true": self._true, "false": self._false, "char_literal": self._char,
            "string_literal": self._string, "concatenated_string": self._string,
            "parenthesized_expression": self._parenthesized, "field_expression": self._field,
            "pointer_expression": self._pointer, "subscript_expression": self._subscript, "call_expression": self._call,
            "sizeof_expression": self._sizeof, "alignof_expression": self._sizeof, "offsetof_expression": self._offsetof,
            "cast_expression": self._cast, "unary_expression": self._unary, "binary_expression": self._binary,
            "conditional_expression": self._conditional, "assignment_expression": self._assignment,
            "update_expression": self._update, "comma_expression": self._comma, "initializer_list": self._initialiser,
            "compound_literal_expression": self._compound_literal, "compound_statement": self._statement_expression,
        }

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
        lower = self._kinds.get(node.type)
        return lower(node) if lower else self._unknown(node)

    def evaluate(self, node: Node) -> None:
        """Lower an expression whose value is not used."""
        value = self.expr(node)
        if not isinstance(value, ir.CallResult | ir.Number) and node.type not in _PLAIN:
            self.flow.emit(ir.Evaluate(value, *self.place(node)))

    def assign(self, target: ir.Expr, value: Node, line: int, column: int) -> ir.Expr:
        """Emit `target = value`, as a Call with a target when the value is one call; return the target."""
        value = _bare(value)
        while value.type == "comma_expression":
            left, _, right = _operands(value)
            if left is None or right is None:
                break
            self.evaluate(left)
            value = _bare(right)
        if value.type == "call_expression":
            self._plain_call(value, target)
        elif value.type == "conditional_expression":
            self._diamond(value, lambda arm: self.assign(target, arm, line, column))
        else:
            self.flow.emit(ir.Assign(target, self.expr(value), "", line, column))
        return target

    def condition(self, node: Node, then: OpenBlock, other: OpenBlock) -> None:
        """Branch on an expression, splitting `&&`, `||` and `!` into edges of single conditions."""
        node = _bare(node, casts=False)
        if node.type == "binary_expression":
            left, op, right = _operands(node)
            if left and op and right and op.type in ("&&", "||"):
                middle = OpenBlock()
                self.condition(left, *((middle, other) if op.type == "&&" else (then, middle)))
                self.flow.current = middle
                self.condition(right, then, other)
                return
        elif node.type == "unary_expression" and self.data[node.start_byte : node.start_byte + 1] == b"!":
            argument = node.child_by_field_name("argument")
            if argument:
                self.condition(argument, other, then)
                return
        elif node.type == "call_expression" and self._callee_word(node) in LOOKED_THROUGH and self._arguments(node):
            self.condition(self._arguments(node)[0], then, other)
            return
        value = self.expr(node)
        self.flow.branch(value, self.line(node), then, other)

    def _identifier(self, node: Node) -> ir.Expr:
        if self.types and node.end_byte in self.types:
            return ir.TypeName(self.types[node.end_byte])
        word = self.data[node.start_byte : node.end_byte]
        name = self._names.get(word)
        if name is None:
            name = self._names[word] = ir.Name(sys.intern(word.decode("utf-8", "replace")))
        return name

    def _type_name(self, node: Node) -> ir.Expr:
        return ir.TypeName(self.text(node))

    def _descriptor(self, node: Node) -> ir.Expr:
        ctype = descriptor(node, self.data)
        return ir.Name(ctype) if ctype.isidentifier() else ir.TypeName(ctype)

    def _number(self, node: Node) -> ir.Expr:
        value = integer(self.text(node))
        return ir.Unknown(self.text(node)) if value is None or value >= 1 << 64 else ir.Number(value)

    def _true(self, _: Node) -> ir.Expr:
        return ir.Number(1)

    def _false(self, _: Node) -> ir.Expr:
        return ir.Number(0)

    def _char(self, node: Node) -> ir.Expr:
        text = self.text(node)
        return ir.Number(ord(text[1])) if len(text) == 3 else ir.Unknown(text)

    def _string(self, node: Node) -> ir.Expr:
        return ir.Text(self.text(node)[:80].strip('"'))

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

    def _offsetof(self, node: Node) -> ir.Expr:
        named, member = node.child_by_field_name("type"), node.child_by_field_name("member")
        ctype = descriptor(named, self.data) if named else ""
        return ir.CallResult(ir.Name("offsetof"), (ir.TypeName(ctype), ir.Name(self.text(member) if member else "")))

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
        left, op, right = _operands(node)
        word = sys.intern(op.type) if op else "?"
        if word in ("&&", "||") and right is not None and self._calls(right):
            first = self.expr(left)
            then, after = OpenBlock(), OpenBlock()
            self.flow.branch(first, self.line(node), *((then, after) if word == "&&" else (after, then)))
            self.flow.current = then
            second = self.expr(right)
            self.flow.go(after)
            return ir.Binary(word, first, second)
        return ir.Binary(word, self.expr(left), self.expr(right))

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
        left, op, right = _operands(node)
        target = self.expr(left)
        line, column = self.place(node)
        word = op.type[:-1] if op else ""
        if right is None:
            return target
        if word:
            self.flow.emit(ir.Assign(target, self.expr(right), word, line, column))
            return target
        if _bare(right).type == "assignment_expression":
            self.flow.emit(ir.Assign(target, self.expr(right), "", line, column))
            return target
        self.assign(target, right, line, column)
        return target

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

    def _statement_expression(self, node: Node) -> ir.Expr:
        return self.statement_value(node)

    def _unknown(self, node: Node) -> ir.Expr:
        if node.type == "ERROR" or node.type.startswith("gnu_asm") or node.type in ("extension_expression", "generic_expression"):
            operand = node.child_by_field_name("value")
            for child in [operand] if operand else node.named_children:
                if child.type.startswith("gnu_asm"):
                    self._unknown(child)
                elif child.type in self._kinds and child.type != "string_literal":
                    value = self.expr(child)
                    if node.type == "gnu_asm_output_operand":
                        self.flow.emit(ir.Assign(value, ir.Unknown("asm"), "", *self.place(child)))
        return ir.Unknown(self.data[node.start_byte : min(node.end_byte, node.start_byte + 40)].decode("utf-8", "replace"))

    def _calls(self, node: Node) -> bool:
        """Tell (by its text) whether an expression may contain a call or an assignment."""
        text = self.data[node.start_byte : node.end_byte]
        return b"(" in text or b"=" in text or b"++" in text

    def _callee_word(self, node: Node) -> str:
        function = node.child(0)
        if function is None or function.type != "identifier":
            return ""
        return self.data[function.start_byte : function.end_byte].decode("utf-8", "replace")

    def _arguments(self, node: Node) -> list[Node]:
        return node.children[-1].named_children

    def _plain_call(self, node: Node, target: ir.Expr) -> None:
        """Emit a call whose value goes to `target`, looking through macros whose value is their argument."""
        arguments = self._arguments(node) if self._callee_word(node) in TRANSPARENT else []
        if arguments:
            self.assign(target, arguments[0], *self.place(node))
        else:
            self._emit_call(node, target)

    def _call(self, node: Node) -> ir.Expr:
        word = self._callee_word(node)
        if word in LOOKED_THROUGH:
            arguments = self._arguments(node)
            if arguments:
                return self.expr(arguments[0])
        if word in FATAL:
            arguments = self._arguments(node)
            if arguments:
                after = OpenBlock()
                self.condition(arguments[0], OpenBlock(), after)
                self.flow.current = after
                return ir.Number(0)
        return self._emit_call(node, None)

    def _emit_call(self, node: Node, target: ir.Expr | None) -> ir.Expr:
        parts = node.children
        callee = self.expr(parts[0])
        args = tuple([self.expr(argument) for argument in parts[-1].named_children])
        line, column = self.place(node)
        if isinstance(callee, ir.CallResult) and isinstance(callee.callee, ir.Name) and callee.callee.id in ("guard", "CLASS"):
            self._guard(callee, args, line, column)
            return ir.Number(0)
        self.flow.emit(ir.Call(callee, args, target, line, column, node.end_point[0] + self.line_base))
        if isinstance(callee, ir.Name) and callee.id in NORETURN:
            self.flow.stop()
        return ir.CallResult(callee, args)

    def _guard(self, maker: ir.CallResult, args: tuple[ir.Expr, ...], line: int, column: int) -> None:
        """`guard(cls)(args)` and `CLASS(cls, name)(args)`: enter now, leave at the end of the scope."""
        events = self.flow.current.events
        if events and isinstance(events[-1], ir.Call) and events[-1].callee == maker.callee:
            events.pop()
        first = maker.args[0] if maker.args else None
        cls = first.id if isinstance(first, ir.Name) else ""
        self.flow.emit(ir.Guard(cls, args, True, line, column))
        self.flow.at_exit(ir.Guard(cls, args, False, line, column))


def _operands(node: Node) -> tuple[Node | None, Node | None, Node | None]:
    """The left side, operator and right side of a binary expression or assignment."""
    parts = node.children
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    return node.child_by_field_name("left"), node.child_by_field_name("operator"), node.child_by_field_name("right")


def _bare(node: Node, casts: bool = True) -> Node:
    """Strip parentheses (and casts) around an expression; statement expressions stay."""
    while True:
        if node.type == "parenthesized_expression":
            inner = node.named_children
            if len(inner) != 1 or inner[0].type == "compound_statement":
                return node
            node = inner[0]
        elif casts and node.type == "cast_expression":
            value = node.child_by_field_name("value")
            if value is None:
                return node
            node = value
        else:
            return node
