"""Function-like macros as small functions: their bodies are wrapped, parsed together and lowered."""

import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from tree_sitter import Node

from kgfplint.facts import ir
from kgfplint.facts.outline import summarise
from kgfplint.facts.statements import Marks, Statements
from kgfplint.source.syntax import Syntax, parse

_DEFINE = re.compile(rb"#[ \t]*define[ \t]+(\w+)\(([^()\n]*)\)([^\n\\]*(?:\\(?:\r?\n)?[^\n\\]*)*)")
_SPLICE = re.compile(rb"\\(\r?\n)")
_CALL = re.compile(rb"[A-Za-z_]\w*[ \t]*\(|->|\*[ \t]*\)|\bstruct\b")
_REST = re.compile(rb"(,[ \t\\\r\n]*)##(?=[ \t]*(?:__VA_ARGS__|args|arg)\b)")
"""Before the rest of the arguments, `##` pastes nothing: where there is none it drops the comma."""
_MOST = 6000
"""Bytes of the longest macro body that is lowered: longer ones generate code, they do not act as functions."""


def _unpasted(match: re.Match[bytes]) -> bytes:
    return match[1] + b"  "


class _Macro(NamedTuple):
    name: str
    params: tuple[str, ...]
    line: int
    lines: int


class MacroFunctions:
    """The function-like macros of one file whose bodies call something."""

    def __init__(self, data: bytes) -> None:
        """Collect the macros of a file's original bytes."""
        self._found: dict[int, _Macro] = {}
        pieces: list[bytes] = []
        row = 0
        line, last = 1, 0
        for match in _DEFINE.finditer(data):
            body = _REST.sub(_unpasted, match.group(3)) if b"##" in match.group(3) else match.group(3)
            if data[data.rfind(b"\n", 0, match.start()) + 1 : match.start()].strip(b" \t"):
                continue
            if len(body) > _MOST or b"##" in body or not _CALL.search(body):
                continue
            line += data.count(b"\n", last, match.start(1))
            last = match.start(1)
            params = tuple(word.strip().rstrip(".").strip() or "__VA_ARGS__" for word in
                           match.group(2).decode("utf-8", "replace").split(",") if word.strip())
            lines = body.count(b"\n") + 1
            self._found[row] = _Macro(match.group(1).decode("utf-8", "replace"), params, line, lines)
            # The wrapper's head is as long as what stands before the body, so that columns stay true.
            head = b"void f(){".ljust(match.start(3) - data.rfind(b"\n", 0, match.start()) - 1)
            pieces.append(head + _SPLICE.sub(rb" \1", body).rstrip() + b"\n;}\n")
            row += pieces[-1].count(b"\n")
        self._text = b"".join(pieces)

    def lowered(self) -> Iterator[tuple[ir.Function, ir.Body]]:
        """Yield the outline and body of each macro that parses as statements or as an expression."""
        if not self._found:
            return
        syntax: Syntax[object] = parse(self._text)
        marks = Marks(syntax.notes)
        for node in syntax.tree.root_node.named_children:
            macro = self._found.get(node.start_point[0])
            if node.type == "function_definition" and macro is not None and not node.has_error:
                body = node.child_by_field_name("body")
                if body is not None:
                    base = macro.line - node.start_point[0]
                    lowering = Statements(syntax.text, marks, base)
                    with contextlib.suppress(RecursionError):
                        yield _lower(macro, body, lowering)


def _lower(macro: _Macro, body: Node, lowering: Statements) -> tuple[ir.Function, ir.Body]:
    last = macro.line + macro.lines - 1
    statements = [c for c in body.named_children if c.type != "comment"]
    values = [c for c in statements if c.type == "expression_statement" and c.named_children]
    flags = ir.MACRO
    end = ir.Return(None, last, 1)
    if len(values) == 1 and len(statements) <= 2:
        flags |= ir.EXPRESSION
        end = ir.Return(lowering.expr(values[0].named_children[0]), macro.line, 1)
        lowering.flow.emit(end)
        lowered = ir.Body(lowering.flow.finish(), tuple(lowering.locals.values()))
    else:
        lowered = lowering.body(body, last)
    returns = {event for block in lowered.blocks for event in block.events if type(event) is ir.Return}
    if returns and end not in returns:
        flags = ir.MACRO | ir.LEAVES
    params = tuple(ir.Param(name, "") for name in macro.params)
    return summarise(macro.name, macro.line, last, flags, "", params, "", (), lowered)[0], lowered
