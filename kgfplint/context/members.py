"""Conditions on the members of objects that a function hands to others, or is handed: `if (uc->pooled) drop(uc);`."""

from collections.abc import Collection, Iterator

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root


class Members:
    """Tells which conditions are about members that stay as they are while a function runs, as far as it goes itself.

    What the functions change that are called in between is not looked at: a miss is better than a false alarm.
    """

    def __init__(self, body: ir.Body, steady: Collection[str]) -> None:
        """`steady` are the parameters and locals that have one value only."""
        self._body = body
        self._steady = steady
        self._written: frozenset[str] | None = None

    def about(self, condition: ir.Expr) -> bool:
        """Tell whether a condition, in its normal form, is about such a member."""
        place = place_of(condition)
        if place is None or root(place) not in self._steady:
            return False
        if self._written is None:
            self._written = frozenset(self._writes())
        return not any(step.member in self._written for step in chain(place))

    def _writes(self) -> Iterator[str]:
        """Yield the members that are assigned to, or whose addresses are handed out."""
        for event in (event for block in self._body.blocks for event in block.events):
            if type(event) is ir.Call:
                yield from (_member(arg.base) for arg in event.args if type(arg) is ir.AddressOf)
            if (type(event) is ir.Call or type(event) is ir.Assign) and event.target is not None:
                yield _member(event.target)


def _member(place: ir.Expr) -> str:
    while type(place) is ir.Index:
        place = place.base
    return place.member if type(place) is ir.Field else ""


def place_of(condition: ir.Expr) -> ir.Field | None:
    """Return the member that a condition is about, None if it is about anything else: `m`, `m == VALUE`, `m & BIT`."""
    for op in ("==", "&"):
        if type(condition) is ir.Binary and condition.op == op:
            condition = bare(condition.left)
    return condition if type(condition) is ir.Field and type([*chain(condition)][-1].base) is ir.Name else None


def chain(place: ir.Expr) -> Iterator[ir.Field]:
    """Yield the members on the way from a place to its variable."""
    while type(place) is ir.Field:
        yield place
        place = place.base


def reaches(arg: ir.Expr, condition: ir.Expr) -> bool:
    """Tell whether an argument is the object that a condition is about, or a part of it that holds the member."""
    place = place_of(condition)
    inner = arg.base if type(arg) is ir.AddressOf else arg
    return place is not None and any(step.base == inner for step in chain(place))
