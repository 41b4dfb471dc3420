"""Expressions without operands: syntax nodes whose text alone tells what they are."""

from collections.abc import Callable

from tree_sitter import Node

from kgfplint.facts import ir
from kgfplint.facts.terms import integer
from kgfplint.facts.texts import string
from kgfplint.facts.types import descriptor, text_of


def _type_name(node: Node, data: bytes) -> ir.Expr:
    return ir.TypeName(text_of(node, data))


def _descriptor(node: Node, data: bytes) -> ir.Expr:
    ctype = descriptor(node, data)
    return ir.Name(ctype) if ctype.isidentifier() else ir.TypeName(ctype)


def _number(node: Node, data: bytes) -> ir.Expr:
    text = text_of(node, data)
    value = integer(text)
    return ir.Unknown(text) if value is None or value >= 1 << 64 else ir.Number(value)


def _true(_: Node, __: bytes) -> ir.Expr:
    return ir.Number(1)


def _false(_: Node, __: bytes) -> ir.Expr:
    return ir.Number(0)


def _char(node: Node, data: bytes) -> ir.Expr:
    text = text_of(node, data)
    return ir.Number(ord(text[1])) if len(text) == 3 else ir.Unknown(text)


def _string(node: Node, data: bytes) -> ir.Expr:
    return string(text_of(node, data))


def _offsetof(node: Node, data: bytes) -> ir.Expr:
    named, member = node.child_by_field_name("type"), node.child_by_field_name("member")
    ctype = descriptor(named, data) if named else ""
    return ir.CallResult(ir.Name("offsetof"), (ir.TypeName(ctype), ir.Name(text_of(member, data) if member else "")))


LEAVES: dict[str, Callable[[Node, bytes], ir.Expr]] = {
    "primitive_type": _type_name, "sized_type_specifier": _type_name, "struct_specifier": _type_name,
    "type_descriptor": _descriptor, "number_literal": _number, "true": _true, "false": _false, "char_literal": _char,
    "string_literal": _string, "concatenated_string": _string, "offsetof_expression": _offsetof,
}
"""How to read each kind of node from the text of its file."""
