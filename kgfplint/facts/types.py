"""C types as normalised text: reading specifiers and declarators, peeling pointers and arrays.

A type is a base (`u32`, `struct foo`, `typeof(x)`) followed by its derivations from the inside
out: ` *` for a pointer, `[16]` or `[]` for an array, `()` for a function. Qualifiers are dropped.
"""

import re
from collections.abc import Iterator

from tree_sitter import Node

_TAGGED = re.compile(r"\b(?:struct|union) +(\w[\w.]*)")
_DECLARATORS = frozenset({
    "pointer_declarator", "array_declarator", "function_declarator", "parenthesized_declarator",
    "init_declarator", "attributed_declarator", "abstract_pointer_declarator", "abstract_array_declarator",
    "abstract_function_declarator", "abstract_parenthesized_declarator",
})


def text_of(node: Node, data: bytes) -> str:
    """Return the source text of a node on one line, single spaced."""
    text = data[node.start_byte : node.end_byte].decode("utf-8", "replace")
    return text if text.isidentifier() else " ".join(text.split())


def unnamed(node: Node) -> str:
    """Return the tag given to an unnamed struct that no member or global names: its place in the file."""
    return f"unnamed.{node.start_byte}"


def base_type(node: Node | None, data: bytes, synthetic: str = "") -> str:
    """Return the normalised base of a type specifier; `synthetic` names an unnamed struct."""
    if node is None:
        return "int"
    kind = node.type
    if kind in ("struct_specifier", "union_specifier", "enum_specifier"):
        name = node.child_by_field_name("name")
        word = kind.partition("_")[0]
        return f"{word} {text_of(name, data) if name else synthetic or unnamed(node)}"
    return text_of(node, data)


def declared(node: Node, base: str, data: bytes) -> tuple[Node | None, str]:
    """Return (name node, full type) of a declarator below a base type; name None if abstract."""
    kind = node.type
    if kind in ("pointer_declarator", "abstract_pointer_declarator"):
        base = base + "*" if base.endswith("*") else base + " *"
    elif kind in ("array_declarator", "abstract_array_declarator"):
        size = node.child_by_field_name("size")
        return _array(node, base, text_of(size, data) if size else "", data)
    elif kind in ("function_declarator", "abstract_function_declarator"):
        base += "()"
    elif kind not in _DECLARATORS:
        return node, base
    inner = node.child_by_field_name("declarator") or _inner(node)
    if inner is None:
        return None, base
    return declared(inner, base, data)


def _array(node: Node, base: str, size: str, data: bytes) -> tuple[Node | None, str]:
    inner = node.child_by_field_name("declarator")
    if inner is None:
        return None, f"{base}[{size}]"
    return declared(inner, f"{base}[{size}]", data)


def _inner(node: Node) -> Node | None:
    for child in node.named_children:
        if child.type in _DECLARATORS or child.type in ("identifier", "field_identifier", "type_identifier"):
            return child
    return None


def declarators(node: Node) -> Iterator[Node]:
    """Yield the declarator children of a declaration, field declaration or typedef."""
    return iter(node.children_by_field_name("declarator"))


def descriptor(node: Node, data: bytes) -> str:
    """Return the normalised text of a type_descriptor (as in casts and sizeof)."""
    base = base_type(node.child_by_field_name("type"), data)
    abstract = node.child_by_field_name("declarator")
    return declared(abstract, base, data)[1] if abstract else base


def pointee(ctype: str) -> str | None:
    """Return what a pointer or array type leads to, None for anything else."""
    if ctype.endswith("*"):
        return ctype[:-1].rstrip()
    if ctype.endswith("]"):
        return ctype[: ctype.rindex("[")]
    return None


def is_pointer(ctype: str) -> bool:
    """Tell whether a type is a pointer (not an array)."""
    return ctype.endswith("*")


def tag_of(ctype: str) -> str:
    """Return the struct or union tag of a type, however many pointers away; "" if it has none."""
    match = _TAGGED.match(ctype)
    return match.group(1) if match else ""
