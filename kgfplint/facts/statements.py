"""Lowering statements: a function body to basic blocks with conditions on the edges."""

import itertools
import sys
from collections.abc import Callable, Iterable

from tree_sitter import Node

from kgfplint.facts import ir
from kgfplint.facts.cfg import OpenBlock
from kgfplint.facts.expressions import Expressions
from kgfplint.facts.marks import Marks
from kgfplint.facts.phrases import Phrases, one_type
from kgfplint.facts.shadows import renamed
from kgfplint.facts.types import base_type, declared

__all__ = ["Marks", "Shallow", "Statements"]


class Statements(Phrases):
    """Lowers one function body."""

    def __init__(self, data: bytes, marks: Marks, line_base: int = 1) -> None:
        """Prepare to lower one body of the normalised text `data`."""
        super().__init__(data, marks, line_base)
        self.locals: dict[str, ir.Local] = {}

    def body(self, node: Node, last_line: int) -> ir.Body:
        """Lower a compound statement (or any statement) as a whole function body."""
        if node.has_error:
            self.texts = None  # In a syntax error, a text is not always the same expression.
        if not self.marks.types_within(node.start_byte, node.end_byte):
            self.types = {}
        self.cleanups = {at: cls for at, cls in self.cleanups.items() if node.start_byte <= at < node.end_byte}
        self.statement(node)
        self.flow.emit(ir.Return(None, last_line, 1))
        blocks = self.flow.finish()
        return ir.Body(renamed(blocks, self.shadows) if self.shadows else blocks, tuple(self.locals.values()))

    def statement(self, node: Node) -> None:
        """Lower one statement into the current block."""
        kind = node.type
        lower = _KINDS.get(kind)
        if lower:
            lower(self, node)
        elif kind.endswith("_expression"):
            self.evaluate(node)

    def statement_value(self, node: Node) -> ir.Expr:
        """Lower a statement expression; its value is that of its last expression statement."""
        children = [child for child in node.named_children if child.type != "comment"]
        self.flow.enter_scope()
        for child in children[:-1]:
            self.statement(child)
        value: ir.Expr = ir.Unknown("({})")
        if children and children[-1].type == "expression_statement":
            inner = children[-1].named_children
            value = self.expr(inner[0]) if inner else value
        elif children:
            self.statement(children[-1])
        self.flow.leave_scope()
        return value

    def _compound(self, node: Node) -> None:
        flow = self.flow
        flow.enter_scope()
        self.scopes.append((node.end_point[0] + self.line_base, set()))
        for child in node.children:
            self.statement(child)
        self.scopes.pop()
        flow.leave_scope()

    def _children(self, node: Node) -> None:
        for child in node.children:
            self.statement(child)

    def _damaged(self, node: Node) -> None:
        """Lower what is recognisable inside a syntax error."""
        for child in node.named_children:
            if child.type in ("call_expression", "assignment_expression") or child.type in _KINDS:
                self.statement(child)

    def _expression(self, node: Node) -> None:
        if self.action(node):
            return
        for child in node.children:
            if child.is_named and child.type != "comment":
                self.evaluate(child)

    def _declaration(self, node: Node) -> None:
        if self.declaration(node, self.locals):
            return
        base = base_type(node.child_by_field_name("type"), self.data)
        storage = next((self.text(c) for c in node.children if c.type == "storage_class_specifier"), "")
        declarators = node.children_by_field_name("declarator")
        for declarator, after in itertools.zip_longest(declarators, declarators[1:]):
            value = None
            own = declarator.start_byte, node.end_byte if after is None else after.start_byte
            if declarator.type == "init_declarator":
                parts = declarator.children
                declarator, value = parts[0], parts[-1]
            name_node, ctype = declared(declarator, base, self.data)
            if name_node is None or ctype.endswith("()"):
                continue
            name = sys.intern(self.text(name_node))
            line, column = self.place(name_node)
            cleanup = self._cleanup_class(node, declarators[0].start_byte, *own)
            own_name = self.own_name(name, ctype, (line, column))
            self.locals[own_name] = ir.Local(own_name, one_type(self.locals.get(own_name), ctype), line, storage, cleanup)
            if value is None or storage == "static":
                self.flow.emit(ir.Declare(name, line))
            else:
                self.assign(ir.Name(name), value, line, column)
            if cleanup:
                self.flow.at_exit(ir.Cleanup(name, cleanup, line))

    def _cleanup_class(self, declaration: Node, first: int, start: int, end: int) -> str:
        """Return the class of the cleanup of a declarator, "" for none; one that stands before the first is that of all."""
        if not self.cleanups:
            return ""
        return next((cls for at, cls in self.cleanups.items() if start <= at < end or declaration.start_byte <= at < first), "")

    def _if(self, node: Node) -> None:
        parts = node.children
        condition: Node | None
        consequence: Node | None
        alternative: Node | None
        if len(parts) == 3 or (len(parts) == 4 and parts[3].type == "else_clause"):
            condition, consequence, alternative = parts[1], parts[2], parts[3] if len(parts) == 4 else None
        else:
            condition, consequence, alternative = (
                node.child_by_field_name(field) for field in ("condition", "consequence", "alternative"))
        macro = self.marks.block_macro(node)
        if macro is not None and condition is not None:
            self._block_macro(node, macro, condition, consequence)
            return
        then, other, after = OpenBlock(), OpenBlock(), OpenBlock()
        if condition:
            self.condition(condition, then, other)
        flow = self.flow
        flow.current = then
        if consequence:
            self.statement(consequence)
        flow.link(after)
        if alternative is None:
            other.edges.append((after, None, True))
        else:
            flow.current = other
            self.statement(alternative)
            flow.link(after)
        flow.current = after

    def _loop(self, head: OpenBlock, after: OpenBlock, body: Node | None) -> None:
        """Lower a loop body in the current block; `continue` goes to head."""
        self.flow.loops.append((head, after, len(self.flow.scopes)))
        if body:
            self.statement(body)
        self.flow.loops.pop()
        self.flow.link(head)

    def _while(self, node: Node) -> None:
        condition, body = node.child_by_field_name("condition"), node.child_by_field_name("body")
        macro = self.marks.block_macro(node)
        if macro is not None and condition is not None:
            self._block_macro(node, macro, condition, body)
            return
        head, inside, after = OpenBlock(), OpenBlock(), OpenBlock()
        self.flow.go(head)
        if condition:
            self.condition(condition, inside, after)
        self.flow.current = inside
        self._loop(head, after, body)
        self.flow.current = after

    def _block_macro(self, node: Node, macro: str, condition: Node, body: Node | None) -> None:
        head, inside, after = OpenBlock(), OpenBlock(), OpenBlock()
        self.flow.go(head)
        line, column = self.place(node)
        args = tuple(self.expr(arg) for arg in _comma_separated(condition))
        if macro.startswith("scoped_") and args and isinstance(args[0], ir.Name):
            rest = args[2:] if macro.startswith("scoped_cond") else args[1:]
            self._scoped_guard(ir.Guard(args[0].id, rest, True, line, column, True), body)
            return
        self.flow.emit(ir.Call(ir.Name(macro), args, None, line, column, condition.end_point[0] + self.line_base, True))
        self.flow.link(inside)
        self.flow.link(after)
        self.flow.current = inside
        self._loop(head, after, body)
        self.flow.current = after

    def _scoped_guard(self, enter: ir.Guard, body: Node | None) -> None:
        """`scoped_guard(cls, args) statement`: a scope that `break` and `continue` leave, like the one-pass loop it is."""
        after = OpenBlock()
        self.flow.enter_scope()
        self.flow.emit(enter)
        self.flow.at_exit(ir.Guard(enter.cls, enter.args, False, enter.line, enter.column, True))
        self.flow.loops.append((after, after, len(self.flow.scopes) - 1))
        if body:
            self.statement(body)
        self.flow.loops.pop()
        self.flow.leave_scope()
        self.flow.go(after)

    def _do(self, node: Node) -> None:
        condition, body = node.child_by_field_name("condition"), node.child_by_field_name("body")
        head, test, after = OpenBlock(), OpenBlock(), OpenBlock()
        self.flow.go(head)
        self._loop(test, after, body)
        self.flow.current = test
        if condition:
            self.condition(condition, head, after)
        self.flow.current = after

    def _for(self, node: Node) -> None:
        start, condition = node.child_by_field_name("initializer"), node.child_by_field_name("condition")
        update, body = node.child_by_field_name("update"), node.child_by_field_name("body")
        macro = self.marks.block_macro(node)
        if macro is not None:
            self._block_macro(node, macro, start or condition or node, body)
            return
        if start:
            self.statement(start)
        head, inside, step, after = OpenBlock(), OpenBlock(), OpenBlock(), OpenBlock()
        self.flow.go(head)
        if condition:
            self.condition(condition, inside, after)
        else:
            self.flow.link(inside)
        self.flow.current = inside
        self._loop(step, after, body)
        self.flow.current = step
        if update:
            self.evaluate(update)
        self.flow.link(head)
        self.flow.current = after

    def _switch(self, node: Node) -> None:
        condition, body = node.child_by_field_name("condition"), node.child_by_field_name("body")
        subject = self.expr(condition) if condition else ir.Unknown("switch")
        dispatch, after = self.flow.current, OpenBlock()
        dispatch.line = self.line(node)
        self.flow.stop()
        self.flow.loops.append((None, after, len(self.flow.scopes)))
        self.flow.enter_scope()
        defaulted = False
        for child in _cases(body):
            if child.type == "case_statement":
                block = OpenBlock()
                self.flow.go(block)
                value = child.child_by_field_name("value")
                defaulted = defaulted or value is None
                ranged = any(part.type == ":" and part.start_byte in self.marks.ranges for part in child.children)
                one = None if value is None or ranged else ir.Binary("==", subject, self.expr(value))
                dispatch.edges.append((block, one, True))
                for inner in child.named_children:
                    if value is None or inner.id != value.id:
                        self.statement(inner)
            else:
                self.statement(child)
        self.flow.leave_scope()
        self.flow.loops.pop()
        self.flow.link(after)
        if not defaulted:
            dispatch.edges.append((after, None, True))
        self.flow.current = after

    def _return(self, node: Node) -> None:
        value = self.returned(node)
        if value is None:
            inner = [child for child in node.children if child.is_named and child.type != "comment"]
            value = self.expr(inner[0]) if inner else None
        self.flow.unwind(0)
        self.flow.emit(ir.Return(value, *self.place(node)))
        self.flow.stop()

    def _break(self, _: Node) -> None:
        self.flow.leave_loop(False)

    def _continue(self, _: Node) -> None:
        self.flow.leave_loop(True)

    def _goto(self, node: Node) -> None:
        label = node.child_by_field_name("label")
        if label:
            self.flow.goto(self.text(label))
        else:
            self.flow.stop()

    def _label(self, node: Node) -> None:
        label = node.child_by_field_name("label")
        if label:
            self.flow.label(self.text(label))
        for child in node.named_children:
            if label is None or child.id != label.id:
                self.statement(child)

    def _conditional_code(self, node: Node) -> None:
        """`#if` in a body: its arms as alternative paths under a condition that correlates with its twins."""
        if label := self.marks.label(node, self.data):
            self.flow.label(label)
        alternative = node.child_by_field_name("alternative")
        head = {node.child_by_field_name("name"), node.child_by_field_name("condition"), alternative}
        heads = {child.id for child in head if child is not None}
        then, other, after = OpenBlock(), OpenBlock(), OpenBlock()
        self.flow.branch(_directive(node, self), self.line(node), then, other)
        self.flow.current = then
        for child in node.named_children:
            if child.id not in heads:
                self.statement(child)
        self.flow.link(after)
        self.flow.current = other
        if alternative:
            self.statement(alternative)
        self.flow.go(after)


_KINDS: dict[str, Callable[[Statements, Node], None]] = {
    "compound_statement": Statements._compound, "expression_statement": Statements._expression,
    "declaration": Statements._declaration, "if_statement": Statements._if, "else_clause": Statements._children,
    "while_statement": Statements._while, "do_statement": Statements._do, "for_statement": Statements._for,
    "switch_statement": Statements._switch, "case_statement": Statements._children, "return_statement": Statements._return,
    "goto_statement": Statements._goto, "labeled_statement": Statements._label, "break_statement": Statements._break,
    "continue_statement": Statements._continue, "preproc_if": Statements._conditional_code,
    "preproc_ifdef": Statements._conditional_code, "preproc_else": Statements._children,
    "preproc_elif": Statements._conditional_code, "preproc_elifdef": Statements._conditional_code,
    "attributed_statement": Statements._children, "ERROR": Statements._damaged, "linkage_specification": Statements._children,
}


class Shallow(Statements):
    """Lowers bodies nested without measure: expressions deeper than DEEPEST levels are unknown."""

    DEEPEST = 100
    _depth = 0

    def __init__(self, data: bytes, marks: Marks, line_base: int = 1) -> None:
        """Prepare to lower one body, remembering no expression: what it is depends on its depth."""
        super().__init__(data, marks, line_base)
        self.texts = None

    def expr(self, node: Node | None) -> ir.Expr:
        """Lower one expression down to that depth."""
        if node is None or self._depth >= self.DEEPEST:
            return ir.Unknown("" if node is None else self.text(node)[:40])
        self._depth += 1
        try:
            return super().expr(node)
        finally:
            self._depth -= 1


def _directive(node: Node, lowering: Expressions) -> ir.Expr:
    """The condition of a `#if`, as an expression over `defined(X)`."""
    name = node.child_by_field_name("name")
    if name is not None:
        defined: ir.Expr = ir.CallResult(ir.Name("defined"), (ir.Name(lowering.text(name)),))
        first = node.children[0].type if node.children else ""
        return ir.Unary("!", defined) if first.endswith("ndef") else defined
    condition = node.child_by_field_name("condition")
    text = lowering.text(condition) if condition else ""
    return ir.Number(int(text)) if text in ("0", "1") else ir.Unknown("#if " + text)


def _comma_separated(node: Node) -> Iterable[Node]:
    """Yield the arguments of a block macro, parsed as a comma expression in parentheses."""
    if node.type in ("parenthesized_expression", "comma_expression"):
        for child in node.named_children:
            yield from _comma_separated(child)
    elif node.type != "comment":
        yield node


def _cases(body: Node | None) -> Iterable[Node]:
    """Yield the statements of a switch body, looking into `#if` arms around case labels."""
    for child in body.named_children if body else ():
        if child.type.startswith("preproc_") and any(c.type == "case_statement" for c in child.named_children):
            yield from _cases(child)
        elif child.type != "comment":
            yield child
