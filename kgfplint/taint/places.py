"""Places in memory by name: `p->n`, `(*p).n` and `q->n` after `q = p` are one."""

from collections.abc import Callable
from typing import TypeVar

from kgfplint.facts import ir

Place = tuple[str, ...]
"""A variable and the steps from it: members, and "*" for what is pointed to or an element."""
_DEPTH = 8
_Known = TypeVar("_Known")


def place_of(expr: ir.Expr, value_of: Callable[[ir.Expr], ir.Expr], depth: int = _DEPTH) -> Place | None:
    """Return the place of an lvalue or pointer, None if it has none; `value_of` looks through locals that are set once."""
    steps: list[str] = []
    while depth:
        depth -= 1
        match expr:
            case ir.Name(name):
                seen = value_of(expr)
                if steps and steps[-1] == "*" and seen != expr and not isinstance(seen, ir.CallResult):
                    expr = seen
                    continue
                return (name, *reversed(steps))
            case ir.Field(base, member, arrow):
                steps.append(member)
                if arrow:
                    steps.append("*")
                expr = base
            case ir.Deref(base) | ir.Index(base, _):
                steps.append("*")
                expr = base
            case ir.Cast(_, operand):
                expr = operand
            case ir.AddressOf(base):
                if not steps or steps[-1] != "*":
                    return None
                steps.pop()
                expr = base
            case ir.Binary("+" | "-", left, _) if steps and steps[-1] == "*":
                expr = left
            case _:
                return None
    return None


def target_of(pointer: ir.Expr, value_of: Callable[[ir.Expr], ir.Expr]) -> Place | None:
    """Return the place that a pointer points to."""
    return place_of(ir.Deref(pointer), value_of)


def forget(place: Place, known: dict[Place, _Known]) -> None:
    """Forget a place and all that lies in it."""
    for one in [one for one in known if one[: len(place)] == place]:
        del known[one]
