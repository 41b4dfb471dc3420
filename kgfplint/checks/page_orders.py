"""Orders of pages: what a call asks for or gives back, and whether two of them can be the same."""

from collections.abc import Collection
from typing import NamedTuple

from kgfplint.catalogue import CALCULATED, Alloc, Free
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import atom, bare, show, walk
from kgfplint.program.constants import constants_of


class Order(NamedTuple):
    """An order as it is written, and the values that it may have (none: it is calculated)."""

    text: str
    values: Collection[int]

    def __str__(self) -> str:
        """Say it as messages do."""
        known = " or ".join(map(str, sorted(self.values)))
        return f"{known} ({self.text})" if known and known != self.text else self.text


def differ(freed: Order, allocated: Order) -> bool:
    """Tell whether no order fits both; one page is not what somebody calculated an order for, nor what a macro is for that is
    greater than 0 in some configurations.
    """
    if set(freed.values) == {0}:
        return any(allocated.values) if allocated.values else not (allocated.text.isidentifier() and allocated.text.isupper())
    return bool(freed.values) and bool(allocated.values) and set(freed.values).isdisjoint(allocated.values)


def is_certain(freed: Order, allocated: Order) -> bool:
    """Tell whether two orders are both known and differ in all configurations."""
    return bool(allocated.values) and set(freed.values).isdisjoint(allocated.values)


def may_be_zero(unit: Unit, alloc: Alloc, call: ir.Call) -> bool:
    """Tell whether the function knows that a calculated order may be 0: it asks, sets it so, or gets it from elsewhere."""
    if alloc.order is None or alloc.order >= len(call.args):
        return alloc.fixed_order != CALCULATED
    given = bare(call.args[alloc.order])
    conditions = [edge.condition for block in unit.body.blocks for edge in block.edges if edge.condition is not None]
    if any(_asks_for_zero(condition, given) for condition in conditions):
        return True
    values = unit.values.get(given.id, []) if isinstance(given, ir.Name) else []
    if values and any(param.name == given.id for param in unit.row.params if isinstance(given, ir.Name)) and not any(
            ir.AddressOf(given) in call.args for call in unit.calls):
        values = values[:-1]  # what it was at first
    counted = any(isinstance(value, ir.Binary) and value.left == given for value in values)
    return any(value is None or (ir.Number(0) in walk(value) and not counted) for value in values)


def _asks_for_zero(condition: ir.Expr, order: ir.Expr) -> bool:
    condition, _ = atom(condition, True)
    if condition == order:
        return True
    if isinstance(condition, ir.Binary) and condition.op in ("&&", "||"):
        return _asks_for_zero(condition.left, order) or _asks_for_zero(condition.right, order)
    return isinstance(condition, ir.Binary) and order in (condition.left, condition.right) and (
        any(side in (ir.Number(0), ir.Number(1)) for side in (condition.left, condition.right)))


def order_of(unit: Unit, how: Alloc | Free, args: tuple[ir.Expr, ...]) -> Order | None:
    """Return the order of an allocation or a free, None when it has none."""
    if how.fixed_order == CALCULATED:
        constants = constants_of(unit.program)
        plain = (arg for place, arg in enumerate(args) if not isinstance(how, Alloc) or place != how.gfp)
        return None if any(constants.value(unit.file, arg) is not None for arg in plain) else Order("of its own", ())
    if how.order is None or how.order >= len(args):
        return Order(str(how.fixed_order), {how.fixed_order}) if how.fixed_order is not None else None
    given = args[how.order]
    return Order(show(given), constants_of(unit.program).values(unit.file, unit.value_of(given)))
