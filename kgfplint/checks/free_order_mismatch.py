"""KGF402: pages freed with another order than they were allocated with."""

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from kgfplint.catalogue import CALCULATED, Alloc, Free
from kgfplint.checks import Rule
from kgfplint.checks.rewriting import rewritten
from kgfplint.checks.unit import Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import atom, bare, names, root, show, walk
from kgfplint.findings import Finding, Rewrite, Severity, Step
from kgfplint.ownership.ops import Release
from kgfplint.ownership.provenance import keys_of
from kgfplint.program.constants import constants_of

RULE = Rule(
    code="KGF402",
    name="free-order-mismatch",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="Pages are freed with the order that they were allocated with.",
)

_SIZE = re.compile(r"^(?:size|sz|len|length|bytes|order)$")
_NUMBERS = frozenset({"size_t", "unsigned long", "unsigned int", "int", "unsigned", "long", "u32", "u64"})


class Order(NamedTuple):
    """An order as it is written, and the values that it may have (none: it is calculated)."""

    text: str
    values: Collection[int]

    def __str__(self) -> str:
        """Say it as messages do."""
        known = " or ".join(map(str, sorted(self.values)))
        return f"{known} ({self.text})" if known and known != self.text else self.text


def check(unit: Unit) -> Iterator[Finding]:
    """Report each free of pages whose order is known to differ from that of the allocation."""
    if not unit.touches_memory or "split_page" in unit.callees:
        return
    paired: set[int] = set()
    told: set[int] = set()
    for release, alloc, call in _pairs(unit):
        paired.add(release.number)
        event = release.event
        freed = _order(unit, release.free, event.args) if isinstance(event, ir.Call) else None
        allocated = _order(unit, alloc, call.args)
        if release.number in told or freed is None or allocated is None or not _differ(freed, allocated):
            continue
        if not allocated.values and _may_be_zero(unit, alloc, call):
            continue
        told.add(release.number)
        yield _finding(unit, release, freed, allocated, alloc.name, unit.step(call.line, "", "alloc"))
    for release in unit.paths.releases:
        if release.number not in paired:
            found = list(_by_provenance(unit, release)) or list(_by_size(unit, release))
            yield from found


def _differ(freed: Order, allocated: Order) -> bool:
    """Tell whether no order fits both; one page is not what somebody calculated an order for."""
    if not allocated.values:
        return set(freed.values) == {0} and not allocated.text.isupper()
    return bool(freed.values) and set(freed.values).isdisjoint(allocated.values)


def _by_provenance(unit: Unit, release: Release) -> Iterator[Finding]:
    """Judge pages that no path shows the allocation of by what is asked for wherever such pages are allocated."""
    event = release.event
    freed = _order(unit, release.free, event.args) if isinstance(event, ir.Call) else None
    keys = keys_of(unit.value_of(bare(release.argument)), unit) if freed is not None and freed.values else ()
    if not keys or freed is None:
        return
    if unit.provenance is None:
        unit.questions.append(Question(keys, ()))
        return
    key, made = unit.provenance.of(unit.file, keys)
    orders = [Order(source.pages, source.orders) for source in made]
    split = any(unit.program.file_of(f) == source.path for f in unit.program.functions_calling("split_page") for source in made)
    if made and not split and not key.startswith("struct ") and all(order.text and _differ(freed, order) for order in orders):
        first = made[0]
        step = Step(first.path, first.line, first.function, "", "alloc")
        yield _finding(unit, release, freed, orders[0], first.alloc, step)


def _by_size(unit: Unit, release: Release) -> Iterator[Finding]:
    """Report one page freed by a function that is told a size, or calculates an order, and does not look at it."""
    event = release.event
    freed = _order(unit, release.free, event.args) if isinstance(event, ir.Call) else None
    if freed is None or set(freed.values) != {0} or release.free.name not in unit.meaning.catalogue.frees:
        return
    if not isinstance(event, ir.Call) or "page-address" not in release.free.accepts:
        return  # pages of an array, or split ones, go back one by one
    told = [param.name for param in unit.row.params if param.ctype in _NUMBERS and _SIZE.search(param.name)]
    given = root(unit.value_of(bare(release.argument))) in {param.name for param in unit.row.params}
    idle = next((name for name in told if not (_asked(unit, name) if given else _used(unit, name))), "")
    if not idle:
        orders = {name for name, values in unit.values.items() if values and all(map(_is_order, values))}
        idle = next((name for name in sorted(orders) if not _used(unit, name)), "")
    if idle:
        message = f"{release.free.name}() frees one page of {show(release.argument)}, whatever {idle} says that there is"
        yield unit.finding(RULE, event, message, (), Severity.WARNING)


def _is_order(value: ir.Expr | None) -> bool:
    value = bare(value) if value is not None else None
    return isinstance(value, ir.CallResult) and value.callee == ir.Name("get_order")


def _asked(unit: Unit, name: str) -> bool:
    """Tell whether any condition is about a variable."""
    return any(edge.condition is not None and name in names(edge.condition) for block in unit.body.blocks for edge in block.edges)


def _used(unit: Unit, name: str) -> bool:
    """Tell whether a variable is read: by a condition, or by an event that does not only assign to it."""
    return _asked(unit, name) or any(name in names(expr) for event in unit.events() for expr in _read(event))


def _read(event: ir.Event) -> tuple[ir.Expr, ...]:
    """Return the expressions that an event reads."""
    match event:
        case ir.Call(callee, args, target):
            return (callee, *args) if target is None or isinstance(target, ir.Name) else (callee, *args, target)
        case ir.Assign(target, value):
            return (value,) if isinstance(target, ir.Name) else (value, target)
        case ir.Return(value) | ir.Evaluate(value):
            return (value,) if value is not None else ()
    return ()


def _finding(unit: Unit, release: Release, freed: Order, allocated: Order, alloc: str, step: Step) -> Finding:
    event = release.event
    assert isinstance(event, ir.Call)
    place = f"line {step.line}" if step.path == unit.path else f"{step.path}:{step.line}"
    message = (f"{show(release.argument)} has order {allocated} from {alloc}() at {place}, "
               f"but {release.free.name}() frees order {freed}")
    trace = (replace(step, note=f"{alloc}() allocates order {allocated}"),
             unit.step(event.line, f"{release.free.name}() frees order {freed}", "free"))
    severity = None if allocated.values else Severity.WARNING
    return unit.finding(RULE, event, message, trace, severity, _fix(unit, release.free, event, allocated))


def _fix(unit: Unit, free: Free, event: ir.Call, allocated: Order) -> Rewrite | None:
    """Return the call that frees the pages with the constant order they were allocated with; wrappers are left alone."""
    if len(allocated.values) != 1 or free.name not in unit.meaning.catalogue.frees:
        return None
    if free.order is not None:
        return rewritten(event, instead={free.order: allocated.text})
    ordered = [other for other in unit.meaning.catalogue.frees.values()
               if other.order is not None and other.accepts == free.accepts and other.params[:-1] == free.params]
    plain = rewritten(event)
    if plain is None or len(ordered) != 1:
        return None
    return Rewrite(plain.callee, ordered[0].name, (*plain.args, allocated.text))


def _pairs(unit: Unit) -> Iterator[tuple[Release, Alloc, ir.Call]]:
    """Yield the frees with the allocations that they free, along paths and through page_address()."""
    for incident in unit.paths.incidents.values():
        if incident.kind == "free" and incident.free is not None and incident.origin.site is not None:
            yield incident.free, incident.origin.site.alloc, incident.origin.site.call
    for release in unit.paths.releases:
        seen = unit.viewed(release.argument)
        if seen is not None:
            yield release, *seen


def _may_be_zero(unit: Unit, alloc: Alloc, call: ir.Call) -> bool:
    """Tell whether the function knows that a calculated order may be 0: it asks, sets it so, or gets it from elsewhere."""
    if alloc.order is None or alloc.order >= len(call.args):
        return alloc.fixed_order != CALCULATED
    given = bare(call.args[alloc.order])
    conditions = [edge.condition for block in unit.body.blocks for edge in block.edges if edge.condition is not None]
    if any(_asks_for_zero(condition, given) for condition in conditions):
        return True
    values = unit.values.get(given.id, []) if isinstance(given, ir.Name) else []
    return any(value is None or ir.Number(0) in walk(value) for value in values)


def _asks_for_zero(condition: ir.Expr, order: ir.Expr) -> bool:
    condition, _ = atom(condition, True)
    if condition == order:
        return True
    if isinstance(condition, ir.Binary) and condition.op in ("&&", "||"):
        return _asks_for_zero(condition.left, order) or _asks_for_zero(condition.right, order)
    return isinstance(condition, ir.Binary) and order in (condition.left, condition.right) and (
        any(side in (ir.Number(0), ir.Number(1)) for side in (condition.left, condition.right)))


def _order(unit: Unit, how: Alloc | Free, args: tuple[ir.Expr, ...]) -> Order | None:
    """Return the order of an allocation or a free, None when it has none."""
    if how.fixed_order == CALCULATED:
        constants = constants_of(unit.program)
        plain = (arg for place, arg in enumerate(args) if not isinstance(how, Alloc) or place != how.gfp)
        return None if any(constants.value(unit.file, arg) is not None for arg in plain) else Order("of its own", ())
    if how.order is None or how.order >= len(args):
        return Order(str(how.fixed_order), {how.fixed_order}) if how.fixed_order is not None else None
    given = args[how.order]
    return Order(show(given), constants_of(unit.program).values(unit.file, unit.value_of(given)))
