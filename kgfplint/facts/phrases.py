"""Phrases: the commonest statements, which are read from their text without opening their syntax."""

import re
import sys

from tree_sitter import Node

from kgfplint.facts import ir
from kgfplint.facts.expressions import Expressions
from kgfplint.facts.marks import Marks
from kgfplint.facts.shadows import Shadow, inner
from kgfplint.facts.words import NO_CALLS, NORETURN, spelled

_NAME = rb"[A-Za-z_]\w*"
_VALUE = rb"(?:(" + _NAME + rb")\(([^(){}\[\]'#]*)\)|([^\n(){}\"'#=]+))"
_ACTION = re.compile(rb"(?:(\*?" + _NAME + rb"(?:(?:->|\.)" + _NAME + rb")*)[ \t]*([-+|&*/%^]|<<|>>)?=[ \t]*)?" + _VALUE + rb";")
_DECLARATION = re.compile(
    rb"(?:const )?((?:struct |union |enum |unsigned )?" + _NAME + rb")[ \t]+(\**" + _NAME + rb"(?:, \**" + _NAME + rb")*)"
    rb"(?:[ \t]*=[ \t]*" + _VALUE + rb")?;")
_LONGEST = 160
"""Bytes of the longest statement that is tried."""
_OPERATORS = frozenset({
    b"sizeof", b"alignof", b"__alignof__", b"__alignof", b"_alignof", b"_Alignof", b"offsetof", b"typeof", b"_Generic",
    b"asm", b"__asm__", b"__asm",
}) | spelled(NO_CALLS)
"""Operators that look like calls, and calls that are looked through."""
_NORETURN = spelled(NORETURN)
_NO_TYPE = frozenset({
    b"struct", b"union", b"enum", b"const", b"volatile", b"static", b"extern", b"register", b"auto", b"inline", b"typedef",
})


def one_type(known: ir.Local | None, ctype: str) -> str:
    """Return the type of a local, "" where another block has one of its name: which is meant where is not told apart."""
    return "" if known is not None and known.ctype != ctype else ctype


class Phrases(Expressions):
    """Lowers calls, assignments and declarations whose parts are all plain expressions."""

    def __init__(self, data: bytes, marks: Marks, line_base: int = 1) -> None:
        """Prepare to lower one body; `scopes` are the open blocks, each with its last line and what it declares so far."""
        super().__init__(data, marks, line_base)
        self.scopes: list[tuple[int, set[str]]] = [(0, set())]
        self.shadows: list[Shadow] = []

    def action(self, node: Node) -> bool:
        """Lower `f(a, b);`, `x = f(a, b);` or `x op= a;`; False, with nothing done, for any other statement."""
        match = self._matched(_ACTION, node)
        if match is None or self.texts is None:
            return False
        assigned, op, callee, listed, plain = match.groups()
        row, column = node.start_point
        line = row + self.line_base
        target = self.texts.read(assigned) if assigned else None
        if callee and not op and bool(assigned) == bool(target):
            return self._called(callee, listed, target, line, column + match.start(3) - match.start() + 1)
        value = self.texts.read(plain) if plain and target else None
        if target is None or value is None:
            return False
        self.flow.current.events.append(ir.Assign(target, value, sys.intern(op.decode()) if op else "", line, column + 1))
        return True

    def declaration(self, node: Node, found: dict[str, ir.Local]) -> bool:
        """Lower `type name;`, `type *name = f(a);` and their like, adding to the locals found; False for any other."""
        match = None if self.cleanups else self._matched(_DECLARATION, node)
        if match is None or self.texts is None:
            return False
        base, names, callee, listed, plain = match.groups()
        value = self.texts.read(plain) if plain else None
        if base in _NO_TYPE or (plain and value is None) or ((plain or callee) and b"," in names):
            return False
        row, column = node.start_point
        line, offset = row + self.line_base, column - match.start() + 1
        if callee and not self._called(callee, listed, ir.Name(sys.intern(names.lstrip(b"*").decode())), line,
                                       offset + match.start(3)):
            return False
        at = offset + match.start(2)
        for declarator in names.split(b", "):
            word = declarator.lstrip(b"*")
            stars = len(declarator) - len(word)
            name = sys.intern(word.decode())
            ctype = base.decode() + " " + "*" * stars if stars else base.decode()
            own = self.own_name(name, ctype, (line, at + stars))
            found[own] = ir.Local(own, one_type(found.get(own), ctype), line)
            if value is not None:
                self.flow.current.events.append(ir.Assign(ir.Name(name), value, "", line, at + stars))
            elif not callee:
                self.flow.current.events.append(ir.Declare(name, line))
            at += len(declarator) + 2
        return True

    def own_name(self, name: str, ctype: str, place: tuple[int, int]) -> str:
        """Note a declaration; return the name, another one for a pointer that hides one of an outer block."""
        last, here = self.scopes[-1]
        here.add(name)
        if not ctype.endswith("*") or not any(name in outer for _, outer in self.scopes[:-1]):
            return name
        self.shadows.append(Shadow(name, place, last))
        return inner(name, len(self.shadows) - 1)

    def returned(self, node: Node) -> ir.Expr | None:
        """Return the plain expression of a `return`; None for any other, or none at all."""
        if self.texts is None or self.types:
            return None
        return self.texts.read(self.data[node.start_byte + 6 : node.end_byte - 1].strip())

    def _matched(self, pattern: re.Pattern[bytes], node: Node) -> re.Match[bytes] | None:
        start, end = node.start_byte, node.end_byte
        if self.texts is None or self.types or end - start > _LONGEST:
            return None
        return pattern.fullmatch(self.data, start, end)

    def _called(self, word: bytes, listed: bytes, target: ir.Expr | None, line: int, column: int) -> bool:
        args = self.texts.listed(listed) if self.texts is not None and word not in _OPERATORS else None
        callee = self.texts.read(word) if self.texts is not None else None
        if args is None or callee is None:
            return False
        self.flow.current.events.append(ir.Call(callee, args, target, line, column, line + listed.count(b"\n")))
        if word in _NORETURN:
            self.flow.stop()
        return True
