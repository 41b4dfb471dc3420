"""Lowering declarations outside functions: structs, typedefs, enums, globals, prototypes and stored function names."""

import re
from collections.abc import Iterable, Iterator

from tree_sitter import Node

from kgfplint.facts import ir
from kgfplint.facts.types import base_type, declarators, declared, tag_of, text_of, unnamed

_LOWER = re.compile(rb"(?<!\w)[a-z_]\w{2,}")
_DIGITS = re.compile(r"\d+")
_DEFINES = re.compile(rb"struct\s+(?:\w+\s*)?\{"), re.compile(rb"union\s+(?:\w+\s*)?\{")
"""Each starts with a plain word, which makes searching quick."""
_NO_DEFINITION = ("expression_statement", "return_statement", "init_declarator")
_RECORDS = ("struct_specifier", "union_specifier")


def records(node: Node, data: bytes, condition: str, outer: str = "") -> Iterator[ir.Record]:
    """Yield the record that a struct or union specifier with a body defines, then those nested in it."""
    fields = node.child_by_field_name("body")
    if fields is None:
        return
    name = node.child_by_field_name("name")
    tag = text_of(name, data) if name else outer or unnamed(node)
    nested: list[ir.Record] = []
    members = tuple(_members(fields, data, condition, tag, nested))
    first = next((child for child in fields.named_children if child.type != "comment"), None)
    if first is not None and (leading := set(_leading(first, data))):
        members = tuple((name, ctype, -2 if name in leading else bits) for name, ctype, bits in members)
    yield ir.Record(node.type.partition("_")[0], tag, members, node.start_point[0] + 1, condition)
    yield from nested


def _members(fields: Node, data: bytes, condition: str, tag: str, nested: list[ir.Record]) -> Iterator[tuple[str, str, int]]:
    """Yield (name, type, bits or -1) of each member, looking into unnamed structs and `#if` arms."""
    for child in fields.named_children:
        if child.type == "ERROR" or child.type.startswith("preproc_"):
            yield from _members(child, data, condition, tag, nested)
        elif child.type == "field_declaration":
            yield from _member(child, data, condition, tag, nested)


def _leading(child: Node, data: bytes) -> Iterator[str]:
    """Yield the members that an unnamed union puts at the start of what begins with it, a struct in that those it begins with."""
    specifier = child.child_by_field_name("type") if child.type == "field_declaration" else None
    body = specifier.child_by_field_name("body") if specifier is not None and specifier.type in _RECORDS else None
    if specifier is None or body is None or list(declarators(child)):
        return
    parts = [part for part in body.named_children if part.type != "comment"]
    for part in parts if specifier.type == "union_specifier" else parts[:1]:
        names = list(declarators(part)) if part.type == "field_declaration" else []
        yield from (text_of(name, data) for name in (declared(one, "", data)[0] for one in names[:1]) if name is not None)
        yield from () if names else _leading(part, data)


def _member(child: Node, data: bytes, condition: str, tag: str, nested: list[ir.Record]) -> Iterator[tuple[str, str, int]]:
    specifier = child.child_by_field_name("type")
    names = list(declarators(child))
    body = specifier.child_by_field_name("body") if specifier is not None and specifier.type in _RECORDS else None
    synthetic = ""
    if specifier is not None and body is not None:
        named = specifier.child_by_field_name("name")
        if not names and (named is None or b"$" in data[named.start_byte : named.end_byte]):
            members = tuple(_members(body, data, condition, tag, nested))
            yield from members
            if named is not None:
                yield _group(text_of(named, data), tag, members, child, condition, nested)
            return
        if names:
            first = declared(names[0], "", data)[0]
            synthetic = f"{tag}.{text_of(first, data)}" if first else tag
        nested.extend(records(specifier, data, condition, synthetic))
    base = base_type(specifier, data, synthetic)
    for declarator in names:
        name, ctype = declared(declarator, base, data)
        if name is not None and name.end_byte > name.start_byte:
            yield text_of(name, data), ctype, _bits(declarator, data)


def _bits(declarator: Node, data: bytes) -> int:
    """Return the width of a bit-field in bits as far as it is a number (the first in an expression), -1 for other members."""
    width = declarator.next_named_sibling
    digits = _DIGITS.search(text_of(width, data)) if width is not None and width.type == "bitfield_clause" else None
    return int(digits[0]) if digits else -1


def local_records(body: Node, data: bytes, condition: str) -> Iterator[ir.Record]:
    """Yield the records defined inside a function body."""
    start, end = body.start_byte, body.end_byte
    if not any(defines.search(data, start, end) for defines in _DEFINES):
        return
    stack = [body]
    while stack:
        node = stack.pop()
        if node.type in _RECORDS:
            yield from records(node, data, condition)
        elif node.type not in _NO_DEFINITION:
            stack.extend(reversed(node.named_children))


def _group(name: str, outer: str, members: tuple[tuple[str, str, int], ...], child: Node, condition: str,
           nested: list[ir.Record]) -> tuple[str, str, int]:
    """Return the member that names a group of members (`tag$name` since normalising), its struct is noted."""
    tag, _, member = name.partition("$")
    tag = tag or f"{outer}.{member}"
    nested.append(ir.Record("struct", tag, members, child.start_point[0] + 1, condition))
    return member, f"struct {tag}", -1


def enumerators(node: Node, data: bytes) -> Iterator[tuple[str, str]]:
    """Yield (name, value text or "") of an enum specifier with a body; "+name" counts on from the one before."""
    body = node.child_by_field_name("body")
    last = ""
    for child in body.named_children if body else ():
        if child.type == "enumerator":
            name, value = child.child_by_field_name("name"), child.child_by_field_name("value")
            if name is not None:
                word = text_of(name, data)
                yield word, text_of(value, data) if value else (f"{last} + 1" if last else "0")
                last = word


def bindings(owner: str, value: Node, data: bytes, inside: str) -> Iterator[ir.Binding]:
    """Yield the names stored by an initialiser of a variable of type `owner`; `inside` is what ir.Binding wants.

    Positional values have `#n` as their place in the path; linking keeps those that are functions.
    """
    if value.type == "initializer_list" and _LOWER.search(data, value.start_byte, value.end_byte):
        yield from _stored(tag_of(owner) or owner, "", value, data, inside)


def _stored(owner: str, path: str, node: Node, data: bytes, inside: str) -> Iterator[ir.Binding]:
    position = 0
    for child in _items(node):
        if child.type == "initializer_pair":
            value = child.child_by_field_name("value")
            words = [text_of(d, data) for d in child.children_by_field_name("designator")]
            word = ".".join(w.lstrip(".") for w in words if w.startswith("."))
        else:
            value, word = child, f"#{position}"
            position += 1
        if value is None or (value.type == "number_literal"):
            continue
        inner = f"{path}.{word}" if path and word else path or word
        if value.type == "initializer_list":
            array = child.type != "initializer_pair" or not word
            if _LOWER.search(data, value.start_byte, value.end_byte):
                yield from _stored(owner, path if array else inner, value, data, inside)
            continue
        name = _function_name(value, data)
        if name:
            yield ir.Binding(owner, inner, name, value.start_point[0] + 1, inside)


def _items(node: Node) -> Iterable[Node]:
    for child in node.named_children:
        if child.type.startswith("preproc_"):
            yield from _items(child)
        elif child.type != "comment":
            yield child


def _function_name(value: Node, data: bytes) -> str:
    """The name of a plain (or cast, or addressed) identifier that may be a function."""
    while value.type in ("cast_expression", "parenthesized_expression", "pointer_expression"):
        inner = value.child_by_field_name("value") or value.child_by_field_name("argument")
        if inner is None:
            break
        value = inner
    if value.type != "identifier":
        return ""
    name = text_of(value, data)
    return "" if name.isupper() else name


def parameters(declarator: Node, data: bytes) -> tuple[tuple[ir.Param, ...], bool]:
    """Return the parameters of a function declarator and whether it takes a variable number."""
    found: list[ir.Param] = []
    variadic = False
    listed = declarator.child_by_field_name("parameters")
    for child in listed.named_children if listed else ():
        if child.type == "parameter_declaration":
            base = base_type(child.child_by_field_name("type"), data)
            inner = child.child_by_field_name("declarator")
            name, ctype = declared(inner, base, data) if inner else (None, base)
            if ctype != "void":
                found.append(ir.Param(text_of(name, data) if name else "", ctype))
        elif child.type == "identifier":
            found.append(ir.Param(text_of(child, data), "int"))
        variadic = variadic or child.type == "variadic_parameter"
    return tuple(found), variadic


def function_declarator(node: Node) -> tuple[Node | None, str]:
    """Return the function declarator below a declarator and the pointer stars on the way (the result's)."""
    stars = ""
    while node.type in ("pointer_declarator", "attributed_declarator", "init_declarator"):
        if node.type == "init_declarator":
            return None, ""
        stars += "*" if node.type == "pointer_declarator" else ""
        inner = node.child_by_field_name("declarator") or next(
            (c for c in node.named_children if c.type.endswith("declarator")), None)
        if inner is None:
            return None, ""
        node = inner
    return (node, stars) if node.type == "function_declarator" else (None, "")
