"""The shapes of syntax nodes: the sides of an operator, and what stands in parentheses."""

from tree_sitter import Node

_WRAPPING = ("parenthesized_expression", "cast_expression")


def operands(node: Node) -> tuple[Node | None, Node | None, Node | None]:
    """The left side, operator and right side of a binary expression or assignment."""
    parts = node.children
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    return node.child_by_field_name("left"), node.child_by_field_name("operator"), node.child_by_field_name("right")


def bare(node: Node, casts: bool = True) -> Node:
    """Strip parentheses (and casts) around an expression; statement expressions stay."""
    while (kind := node.type) in _WRAPPING:
        if kind == "parenthesized_expression":
            inner = node.named_children
            if len(inner) != 1 or inner[0].type == "compound_statement":
                return node
            node = inner[0]
        else:
            value = node.child_by_field_name("value") if casts else None
            if value is None:
                return node
            node = value
    return node
