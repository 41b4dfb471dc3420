"""KGF402: pages freed with another order than they were allocated with."""

import re
from collections.abc import Iterator

from msgspec.structs import replace

from kgfplint.catalogue import Alloc, Free
from kgfplint.checks import Rule
from kgfplint.checks.page_orders import Order, differ, is_certain, may_be_zero, order_of
from kgfplint.checks.rewriting import rewritten
from kgfplint.checks.unit import Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import atom, bare, is_zero, names, root, show
from kgfplint.findings import Finding, Rewrite, Severity, Step
from kgfplint.ownership.ops import Release
from kgfplint.ownership.provenance import keys_of, made_key
from kgfplint.ownership.undoing import undoing_of

RULE = Rule(
    code="KGF402",
    name="free-order-mismatch",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="Pages are freed with the order that they were allocated with.",
)

_SIZE = re.compile(r"^(?:size|sz|len|length|bytes|order)$")
_NUMBERS = frozenset({"size_t", "unsigned long", "unsigned int", "int", "unsigned", "long", "u32", "u64"})


def check(unit: Unit) -> Iterator[Finding]:
    """Report each free of pages whose order is known to differ from that of the allocation."""
    if not unit.touches_memory or "split_page" in unit.callees:
        return
    paired: set[int] = set()
    told: set[int] = set()
    for release, alloc, call in _pairs(unit):
        paired.add(release.number)
        event = release.event
        freed = order_of(unit, release.free, event.args) if isinstance(event, ir.Call) else None
        allocated = order_of(unit, alloc, call.args)
        if release.number in told or freed is None or allocated is None or not differ(freed, allocated):
            continue
        if not allocated.values and may_be_zero(unit, alloc, call):
            continue
        told.add(release.number)
        yield _finding(unit, release, freed, allocated, alloc.name, unit.step(call.line, "", "alloc"))
    for release in unit.paths.releases:
        if release.number not in paired:
            found = (list(_by_provenance(unit, release)) or list(_by_assignment(unit, release))
                     or list(_by_size(unit, release)))
            yield from found


def _by_provenance(unit: Unit, release: Release) -> Iterator[Finding]:
    """Judge pages that no path shows the allocation of by what is asked for wherever such pages are allocated."""
    event = release.event
    freed = order_of(unit, release.free, event.args) if isinstance(event, ir.Call) else None
    keys = _keys(unit, release.argument) if freed is not None and freed.values else ()
    if not keys or freed is None:
        return
    if unit.provenance is None:
        unit.questions.append(Question(keys, ()))
        return
    _, made = unit.provenance.of(unit.file, keys)
    orders = [Order(source.pages, source.orders) for source in made]
    split = any(unit.program.file_of(f) == source.path for f in unit.program.functions_calling("split_page") for source in made)
    if made and not split and all(order.text and differ(freed, order) for order in orders):
        first = made[0]
        step = Step(first.path, first.line, first.function, "", "alloc")
        yield _finding(unit, release, freed, orders[0], first.alloc, step)


def _keys(unit: Unit, argument: ir.Expr) -> tuple[str, ...]:
    """Return what the provenance of freed pages goes by: a global or member, or the function that the present one undoes."""
    subject = _only_value(unit, bare(argument))
    keys = tuple(key for key in keys_of(subject, unit) if not key.startswith("struct "))
    if root(subject) in {param.name for param in unit.row.params} and "->" not in show(subject):
        undone = undoing_of(unit.meaning.catalogue).undone_by(unit.name)
        keys += tuple(made_key(unit.path, name) for name in sorted(undone))
    return keys


def _only_value(unit: Unit, expr: ir.Expr) -> ir.Expr:
    """Look through a local that holds one value, or NULL."""
    assigned = unit.values.get(expr.id, []) if isinstance(expr, ir.Name) else []
    values = [bare(value) for value in assigned if value is not None and not is_zero(bare(value))]
    return unit.value_of(values[0] if len(values) == 1 and None not in assigned else expr)


def _by_assignment(unit: Unit, release: Release) -> Iterator[Finding]:
    """Judge a local by the pages that this function assigns to it, where the paths do not show which memory it is any more."""
    event, subject = release.event, bare(release.argument)
    freed = order_of(unit, release.free, event.args) if isinstance(event, ir.Call) else None
    values = unit.values.get(subject.id, ()) if isinstance(subject, ir.Name) and subject.id in unit.locals else ()
    if freed is None or set(freed.values) != {0}:
        return
    found: list[tuple[Alloc, ir.Call, Order]] = []
    for value in map(bare, (value for value in values if value is not None)):
        alloc = unit.meaning.alloc(unit.file, value.callee.id) if (
            isinstance(value, ir.CallResult) and isinstance(value.callee, ir.Name)) else None
        call = next((call for call in unit.calls if isinstance(value, ir.CallResult) and call.callee == value.callee
                     and call.args == value.args), None)
        order = order_of(unit, alloc, call.args) if alloc is not None and call is not None else None
        if order is not None and alloc is not None and call is not None:
            if not differ(freed, order) or (not order.values and may_be_zero(unit, alloc, call)):
                return
            found.append((alloc, call, order))
    if found:
        alloc, call, order = found[0]
        yield _finding(unit, release, freed, order, alloc.name, unit.step(call.line, "", "alloc"))


def _beyond_a_page(unit: Unit, release: Release) -> str:
    """Return the size that is known to be more than a page where pages are freed, "" if none is."""
    for block in unit.body.blocks:
        for edge in block.edges:
            condition, truth = atom(edge.condition, edge.truth) if edge.condition is not None else (None, True)
            if not isinstance(condition, ir.Binary) or release.event not in unit.body.blocks[edge.to].events:
                continue
            left, right, page = condition.left, condition.right, ir.Name("PAGE_SIZE")
            if "offset_in_page" in names(condition):
                continue  # what is left of one page is asked for
            if right == page and (condition.op, truth) in ((">", True), ("<=", False)):
                return show(left)
            if left == page and (condition.op, truth) in (("<", True), (">=", False)):
                return show(right)
    return ""


def _by_size(unit: Unit, release: Release) -> Iterator[Finding]:
    """Report one page freed by a function that is told a size, or calculates an order, and does not look at it."""
    event = release.event
    freed = order_of(unit, release.free, event.args) if isinstance(event, ir.Call) else None
    if freed is None or set(freed.values) != {0} or release.free.name not in unit.meaning.catalogue.frees:
        return
    if not isinstance(event, ir.Call) or "page-address" not in release.free.accepts:
        return  # pages of an array, or split ones, go back one by one
    told = [param.name for param in unit.row.params if param.ctype in _NUMBERS and _SIZE.search(param.name)]
    given = root(unit.value_of(bare(release.argument))) in {param.name for param in unit.row.params}
    idle = next((name for name in told if not (_asked(unit, name) if given else _used(unit, name))), "")
    if not idle:
        orders = {name for name, values in unit.values.items() if values and all(map(_is_order, values))}
        idle = next((name for name in sorted(orders) if not _used(unit, name)), "") or _beyond_a_page(unit, release)
    if idle:
        message = f"{release.free.name}() frees one page of {show(release.argument)}, whatever {idle} says that there is"
        yield unit.finding(RULE, event, message, (), Severity.WARNING)


def _is_order(value: ir.Expr | None) -> bool:
    value = bare(value) if value is not None else None
    return isinstance(value, ir.CallResult) and isinstance(value.callee, ir.Name) and "order" in value.callee.id.split("_")


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
    severity = None if is_certain(freed, allocated) else Severity.WARNING
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
        seen = unit.viewed(_assigned(unit, bare(release.argument)))
        if seen is not None:
            yield release, *seen


def _assigned(unit: Unit, place: ir.Expr) -> ir.Expr:
    """Return the only value that a member gets in a function, anything else as it is."""
    if not isinstance(place, ir.Field):
        return place
    values = [event.value if isinstance(event, ir.Assign) else ir.CallResult(event.callee, event.args) for event in unit.events()
              if isinstance(event, ir.Assign | ir.Call) and event.target is not None and bare(event.target) == place]
    return values[0] if len(values) == 1 else place
