"""One file: bytes to FileFacts and function bodies. A pure function; it never raises for any bytes."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

from tree_sitter import Node

from kgfplint.facts import ir
from kgfplint.facts.filescope import DocContexts, handed_at_file_scope
from kgfplint.facts.macros import MacroFunctions
from kgfplint.facts.outline import summarise
from kgfplint.facts.records import bindings, enumerators, function_declarator, local_records, parameters, records
from kgfplint.facts.sketch import Plain, plain, sketch
from kgfplint.facts.statements import Marks, Shallow, Statements
from kgfplint.facts.types import base_type, declarators, declared, text_of
from kgfplint.source.syntax import Syntax, parse
from kgfplint.source.tree import has_code

FACTS_VERSION = 1
"""Part of every store key; raise it when the meaning of facts changes (the code's digest covers the rest)."""

_FRAMES, _MOST_FRAMES = 400, 8000
"""Python frames for one function: expressions take two a level, so that none is nested deeper than 200
levels and every analysis can recurse over it; where that does not do, Shallow may take more."""
_NO_BODY = ir.Body((), ())
_NOT_FUNCTIONS = frozenset({"if", "else", "for", "while", "switch", "do", "return", "sizeof"})
_EXPORT = re.compile(rb"EXPORT_(?:SYMBOL|TRACEPOINT_SYMBOL|STATIC_CALL)\w*\(\s*(\w+)")
_DEFINE = re.compile(rb"#[ \t]*define[ \t]+(\w+)[ \t]+(\S[^\n]*)")
_INCLUDE = re.compile(rb'#[ \t]*include[ \t]+([<"][^>"\n]+[>"])')
_NORETURN = re.compile(rb"__noreturn\s[^;{}()]*?(\w+)\s*\(")
_COMMENT = re.compile(rb"/\*.*?(\*/|$)|//.*")
_CONDITIONAL = re.compile(rb"^[ \t]*#[ \t]*(?:if|el|endif)", re.MULTILINE)
_TRANSPARENT = ("preproc_if", "preproc_ifdef", "preproc_else", "preproc_elif", "preproc_elifdef",
                "linkage_specification", "declaration_list", "ERROR")


class Lowered(NamedTuple):
    """The facts of a file and the bodies of its functions, aligned with `facts.functions`."""

    facts: ir.FileFacts
    bodies: tuple[ir.Body, ...]


class _File:
    """The state of lowering one file."""

    def __init__(self, syntax: Syntax[Plain]) -> None:
        self.data = syntax.text
        self.functions: list[ir.Function] = []
        self.bodies: list[ir.Body] = []
        self.records: list[ir.Record] = []
        self.typedefs: list[tuple[str, str]] = []
        self.enumerators: list[tuple[str, str]] = []
        self.contexts = DocContexts(syntax.data, syntax.text)
        self.globals: list[tuple[str, str, int]] = []
        self.bindings: list[ir.Binding] = []
        self.prototypes: list[tuple[str, str, tuple[ir.Param, ...]]] = []
        self.marks = Marks(syntax.notes)
        self.spared = syntax.spared

    def top_level(self, node: Node, condition: str) -> None:
        for child in node.named_children:
            # What is nested deeper than any real code must not cost the rest of the file.
            with contextlib.suppress(RecursionError):
                self.defined(child, condition)

    def defined(self, child: Node, condition: str) -> None:
        kind = child.type
        if kind == "function_definition":
            self.function(child, condition)
        elif kind == "declaration":
            self.declaration(child, condition)
        elif kind == "type_definition":
            self.typedef(child, condition)
        elif kind in ("struct_specifier", "union_specifier"):
            self.records.extend(records(child, self.data, condition))
        elif kind == "enum_specifier":
            self.enumerators.extend(enumerators(child, self.data))
        elif kind in _TRANSPARENT:
            self.top_level(child, _under(child, condition, self.data))

    def specifier(self, node: Node, condition: str, synthetic: str = "") -> str:
        """Record what a type specifier defines on the way; return the base type."""
        named = node.child_by_field_name("type")
        if named is not None and named.type in ("struct_specifier", "union_specifier"):
            self.records.extend(records(named, self.data, condition, synthetic))
        elif named is not None and named.type == "enum_specifier":
            self.enumerators.extend(enumerators(named, self.data))
        return base_type(named, self.data, synthetic)

    def typedef(self, node: Node, condition: str) -> None:
        names = list(node.children_by_field_name("declarator"))
        first = declared(names[0], "", self.data)[0] if names else None
        synthetic = text_of(first, self.data) if first else ""
        base = self.specifier(node, condition, synthetic)
        for declarator in names:
            name, ctype = declared(declarator, base, self.data)
            if name is not None:
                self.typedefs.append((text_of(name, self.data), ctype))

    def declaration(self, node: Node, condition: str) -> None:
        names = list(declarators(node))
        first = declared(names[0], "", self.data)[0] if names else None
        base = self.specifier(node, condition, text_of(first, self.data) if first else "")
        for declarator in names:
            function, stars = function_declarator(declarator)
            if function is not None and function.child_by_field_name("declarator") is not None:
                self.prototype(function, base + " " + stars if stars else base)
                continue
            name, ctype = declared(declarator, base, self.data)
            if name is None:
                continue
            word = text_of(name, self.data)
            self.globals.append((word, ctype, name.start_point[0] + 1))
            value = declarator.child_by_field_name("value")
            if value is not None:
                self.bindings.extend(bindings(ctype, value, self.data, f"={word}"))

    def prototype(self, declarator: Node, returns: str) -> None:
        name = declared(declarator, "", self.data)[0]
        if name is not None:
            params, _ = parameters(declarator, self.data)
            if returns.endswith("*") or any(p.ctype == "gfp_t" for p in params):
                self.prototypes.append((text_of(name, self.data), returns, params))

    def function(self, node: Node, condition: str) -> None:
        declarator, body = node.child_by_field_name("declarator"), node.child_by_field_name("body")
        if declarator is None or body is None:
            return
        function, stars = function_declarator(declarator)
        target = function.child_by_field_name("declarator") if function is not None else None
        if function is None or target is None:
            return
        name = self.marks.function_name(node, body) or text_of(target, self.data)
        if name in _NOT_FUNCTIONS:
            return
        base = self.specifier(node, condition)
        params, variadic = parameters(function, self.data)
        flags = _linkage(node, self.data) | (ir.VARIADIC if variadic else 0) | (ir.DAMAGED if node.has_error else 0)
        notes = self.marks.attributes(node, body, self.data) + self.contexts.before(node.start_byte)
        line, last = target.start_point[0] + 1, body.end_point[0] + 1
        returns = f"{base} {stars}" if stars else base
        spared = self.spared.get(body.start_byte)
        if spared is not None:
            found = sketch(spared, body.start_point[0] + 1, {param.name: param.ctype for param in params})
            self.functions.append(
                ir.Function(name, line, last, flags | ir.SKETCHED, returns, params, condition, notes, *found[:4]))
            self.bodies.append(_NO_BODY)
            self.bindings.extend(ir.Binding(*stored, name) for stored in found.stored)
            return
        try:
            lowered = Statements(self.data, self.marks).body(body, last)
        except RecursionError:
            lowered, whole = _deep(self.data, self.marks, body, last)
            flags |= 0 if whole else ir.DAMAGED
        outline, stored = summarise(name, line, last, flags, returns, params, condition, notes, lowered)
        self.records.extend(local_records(body, self.data, condition))
        self.functions.append(outline)
        self.bodies.append(lowered)
        self.bindings.extend(stored)


def _deep(data: bytes, marks: Marks, body: Node, last: int) -> tuple[ir.Body, bool]:
    """Lower what is nested deeper than hands write; (a mere return, False) where even that fails."""
    try:
        with _room(_MOST_FRAMES):
            return Shallow(data, marks).body(body, last), True
    except RecursionError:
        return ir.Body((ir.Block((ir.Return(None, last, 1),), ()),), ()), False


@contextlib.contextmanager
def _room(frames: int) -> Iterator[None]:
    """Let calls nest by this many more frames than they do now."""
    depth, frame = 0, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    former = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(former)


def _linkage(node: Node, data: bytes) -> int:
    flags = 0
    for child in node.named_children:
        if child.type == "storage_class_specifier":
            word = text_of(child, data)
            flags |= ir.STATIC if word == "static" else ir.INLINE if "inline" in word else 0
        elif child.type in ("primitive_type", "type_identifier", "struct_specifier"):
            break
    return flags


def _under(node: Node, condition: str, data: bytes) -> str:
    """Extend the `#if` condition that code stands under; in an `#else` arm the last condition does not hold."""
    if node.type in ("preproc_else", "preproc_elif", "preproc_elifdef"):
        outer, _, last = condition.rpartition("; ")
        condition = f"{outer}; else {last}" if outer else f"else {last}"
    if node.type not in ("preproc_if", "preproc_ifdef", "preproc_elif", "preproc_elifdef"):
        return condition
    head = node.child_by_field_name("name") or node.child_by_field_name("condition")
    text = text_of(head, data) if head else ""
    word = f"{node.children[0].type.lstrip('#')} {text}"
    return f"{condition}; {word}" if condition else word


def _object_macros(data: bytes) -> Iterator[tuple[str, str]]:
    for match in _directives(_DEFINE, data):
        name, value = match.groups()
        value = value.rstrip()
        if len(value) <= 160 and not value.endswith(b"\\"):
            if b"/" in value:
                value = _COMMENT.sub(b"", value).strip()
            yield name.decode("utf-8", "replace"), value.decode("utf-8", "replace")


def _directives(pattern: re.Pattern[bytes], data: bytes) -> Iterator[re.Match[bytes]]:
    """Yield the matches of a pattern for a directive that begin a line; a literal sign is found sooner than a line's start."""
    for match in pattern.finditer(data):
        before = data[max(0, match.start() - 200) : match.start()].rstrip(b" \t")
        if not before or before.endswith(b"\n"):
            yield match


Spare = Callable[[bytes, int], Plain | None]
"""Tells which function bodies to sketch, by their code and the offset of their end (see normalise)."""


def sketchable(body: bytes, _: int) -> Plain | None:
    """Let every function body be sketched that need not be parsed for now."""
    return plain(body)


def lower(data: bytes, spare: Spare | None = None) -> Lowered:
    """Return the facts and bodies of one C file; what `spare` tells is sketched and has no body.

    A file without code (register lists) yields its includes only, with `code` False.
    """
    lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    includes = tuple(dict.fromkeys(m[1].decode("utf-8", "replace") for m in _directives(_INCLUDE, data)))
    if not has_code(data):
        few = tuple(_object_macros(data)) if len(data) < 200_000 else ()
        return Lowered(ir.FileFacts((), (), (), (), few, (), (), includes, (), (), (), lines, False), ())
    syntax = parse(data, spare)
    file = _File(syntax)
    with _room(_FRAMES):
        file.top_level(syntax.tree.root_node, "")
        for function, body in MacroFunctions(data).lowered():
            file.functions.append(function)
            file.bodies.append(body)
    exports = tuple(m[1].decode("utf-8", "replace") for m in _directives(_EXPORT, data))
    noreturn = tuple(m.decode("utf-8", "replace") for m in _NORETURN.findall(data))
    facts = ir.FileFacts(
        tuple(file.functions), tuple(file.records), tuple(file.typedefs), tuple(file.enumerators), tuple(_object_macros(data)),
        tuple(file.globals), tuple(file.bindings), includes, exports, tuple(file.prototypes), noreturn, lines, True,
        tuple(handed_at_file_scope(data)),
    )
    return Lowered(facts, tuple(file.bodies))


class Head(Protocol):
    """What tells a function of a file from the others, as ir.Function does."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def line(self) -> int:
        """The line of its name."""

    @property
    def end_line(self) -> int:
        """Its last line."""

    @property
    def flags(self) -> int:
        """Its flags, as in ir."""


def lower_alone(data: bytes, wanted: Mapping[int, Head]) -> Iterator[tuple[int, ir.Body]]:
    """Yield, under their keys, the bodies of some functions of a file that can be read without the rest of it.

    They are what lowering the whole file would give. One that cannot be read so, as with `#if` in it, is left out.
    """
    ends = [0, *(match.end() for match in re.finditer(rb"\n", data)), len(data)]
    for index, head in wanted.items():
        if head.flags & ir.DAMAGED or not 0 < head.line <= head.end_line < len(ends):
            continue
        first = head.line
        if first > 1 and data.startswith(head.name.encode(), ends[first - 1]):
            first -= 1  # the type stands on a line of its own
        piece = data[ends[first - 1] : ends[head.end_line]]
        body = None if _CONDITIONAL.search(piece) else _body_alone(piece, first, head)
        if body is not None:
            yield index, body


def _body_alone(piece: bytes, first: int, head: Head) -> ir.Body | None:
    """Return the body of the one function that a piece of text from line `first` on is, None if it is not that."""
    syntax: Syntax[Plain] = parse(piece)
    nodes = syntax.tree.root_node.named_children
    if len(nodes) != 1 or nodes[0].type != "function_definition" or nodes[0].has_error:
        return None
    declarator, body = nodes[0].child_by_field_name("declarator"), nodes[0].child_by_field_name("body")
    function = function_declarator(declarator)[0] if declarator is not None else None
    target = function.child_by_field_name("declarator") if function is not None else None
    if body is None or target is None or text_of(target, syntax.text) != head.name or first + body.end_point[0] != head.end_line:
        return None
    try:
        with _room(_FRAMES):
            return Statements(syntax.text, Marks(syntax.notes), first).body(body, head.end_line)
    except RecursionError:
        return None
