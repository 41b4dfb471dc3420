"""KGF214: memory zeroed twice, or by hand where the allocator could have done it."""

from collections import Counter
from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, every_taker, mask_text
from kgfplint.checks.rewriting import is_plain, rewritten
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, is_zero, names, root, show
from kgfplint.findings import Finding, Rewrite, Severity
from kgfplint.ownership.conditions import reading

RULE = Rule(
    code="KGF214",
    name="redundant-zero",
    severity=Severity.WARNING,
    guide="Selecting memory allocator",
    summary="Memory is zeroed once, by the allocator: kzalloc() and its kin need neither __GFP_ZERO nor memset().",
)

_MEMSET = "memset"
_ZERO = ir.Name("__GFP_ZERO")


def check(unit: Unit) -> Iterator[Finding]:
    """Report zeroing allocators given __GFP_ZERO, and allocations followed by memset() of all they gave."""
    told: set[int] = set()
    for choice in choices(unit):
        if choice.sets("__GFP_ZERO") and _zeroes_anyway(unit, choice):
            told.add(id(choice.call))
            message = f"{choice.name}() is given {mask_text(unit, choice)}, but it zeroes in any case: drop __GFP_ZERO"
            yield unit.finding(RULE, choice.call, message, fix=_without_zero(choice))
    zeroed = {id(choice.call) for choice in choices(unit) if choice.sets("__GFP_ZERO")}
    if not any(call.callee == ir.Name(_MEMSET) for call in unit.calls):
        return
    for allocation in unit.allocations:
        if id(allocation.call) not in told and (wiped := _wiped(unit, allocation)) is not None:
            yield _finding(unit, allocation, wiped, allocation.alloc.zeroes or id(allocation.call) in zeroed)


def _zeroes_anyway(unit: Unit, choice: Choice) -> bool:
    """Tell whether an allocator zeroes whatever its mask says; a wrapper, all that it allocates."""
    if choice.alloc is None or not choice.alloc.zeroes:
        return False
    return choice.name in unit.meaning.catalogue.allocs or every_taker(unit, choice.name, lambda alloc: alloc.zeroes)


def _without_zero(choice: Choice) -> Rewrite | None:
    """Return the call with a mask that does not name __GFP_ZERO, if it is one of its flags as written."""
    flags = list(_flags(choice.expr))
    left = [show(flag) for flag in flags if flag != _ZERO]
    place = next((place for place, arg in enumerate(choice.call.args) if arg == choice.expr), None)
    if place is None or not left or len(left) == len(flags) or not is_plain(choice.expr):
        return None
    return rewritten(choice.call, instead={place: " | ".join(left)})


def _flags(expr: ir.Expr) -> Iterator[ir.Expr]:
    if isinstance(expr, ir.Binary) and expr.op == "|":
        yield from _flags(expr.left)
        yield from _flags(expr.right)
    else:
        yield expr


def _finding(unit: Unit, allocation: Allocation, wiped: ir.Call, zeroed: bool) -> Finding:
    name, line = allocation.name, wiped.line
    what = show(wiped.args[0])
    if zeroed:
        message = f"{name}() zeroes {what} already: drop the memset() at line {line}"
        fix = rewritten(allocation.call, drop=wiped)
    else:
        twin = allocation.alloc.zeroing
        known = unit.meaning.catalogue.allocs.get(twin) if twin else None
        same = known is not None and known.params == allocation.alloc.params
        fix = rewritten(allocation.call, twin or "", drop=wiped) if same else None
        advice = f"use {twin}() instead of {name}()" if twin else f"give {name}() __GFP_ZERO"
        message = f"{what} is zeroed by hand at line {line}: {advice}"
    return unit.finding(RULE, allocation.call, message, (unit.step(allocation.call.line, f"{name}() allocates {what}", "alloc"),
                                                         unit.step(line, f"memset() zeroes {what}")), fix=fix)


def _wiped(unit: Unit, allocation: Allocation) -> ir.Call | None:
    """Return the memset() that comes next after an allocation, with only tests of its result between."""
    target = allocation.call.target
    alloc = allocation.alloc
    # An element of a pool comes back as it was left, and what is resized keeps what it holds: no __GFP_ZERO.
    can_zero = alloc.zeroes or alloc.zeroing is not None or (alloc.gfp is not None and alloc.pool is None and not alloc.pooled)
    if target is None or not can_zero or alloc.ptr is not None:
        return None
    for event in _following(unit, allocation.call, bare(target)):
        if isinstance(event, ir.Call) and event.callee == ir.Name(_MEMSET) and len(event.args) == 3:
            same = bare(event.args[0]) == bare(target) and is_zero(event.args[1])
            return event if same and _same_size(unit, allocation, event.args[2], bare(target)) else None
        if isinstance(event, ir.Return) or root(target) in _mentioned(event):
            return None
    return None


def _following(unit: Unit, call: ir.Call, target: ir.Expr) -> Iterator[ir.Event]:
    """Yield what runs after a call that succeeded and after nothing else, as far as there is one way only."""
    blocks = unit.body.blocks
    entered = Counter(edge.to for block in blocks for edge in block.edges)
    number = next(n for n, block in enumerate(blocks) if any(event is call for event in block.events))
    place = next(n for n, event in enumerate(blocks[number].events) if event is call) + 1
    seen: set[int] = set()
    while number not in seen:
        seen.add(number)
        yield from blocks[number].events[place:]
        place = 0
        ways = [edge.to for edge in blocks[number].edges if edge.condition is None or _succeeds(edge, target)]
        if len(ways) != 1 or entered[ways[0]] != 1:
            return
        number = ways[0]


def _succeeds(edge: ir.Edge, target: ir.Expr) -> bool:
    """Tell whether an edge is not the way of a failed allocation: anything but `target` being NULL."""
    test = reading(edge.condition, edge.truth) if edge.condition is not None else None
    return test is None or test.subject != target or test.op != "" or test.truth


def _mentioned(event: ir.Event) -> set[str]:
    """Return the variables that an event names."""
    match event:
        case ir.Call(callee, args, target):
            return names(ir.CallResult(callee, args)) | (names(target) if target is not None else set())
        case ir.Assign(target, value):
            return names(target) | names(value)
        case ir.Declare(name) | ir.Cleanup(name):
            return {name}
        case ir.Evaluate(value):
            return names(value)
    return set()


def _same_size(unit: Unit, allocation: Allocation, size: ir.Expr, target: ir.Expr) -> bool:
    """Tell whether a size is all that was allocated: by its text, by its type, or as count times element."""
    alloc = allocation.alloc
    count, element = allocation.argument(alloc.count), allocation.argument(alloc.element)
    given = allocation.argument(alloc.size)
    if count is not None and element is not None:
        return bare(size) in (ir.Binary("*", count, element), ir.Binary("*", element, count)) or (
            _measured(unit, size) == _measured(unit, element) and count == ir.Number(1))
    if given is None and alloc.cache is not None:
        return isinstance(size, ir.SizeOf) and _measured(unit, size) == _measured(unit, ir.SizeOf("", ir.Deref(target)))
    if given is None:
        return alloc.order is None and bare(size) == ir.Name("PAGE_SIZE")
    return _measured(unit, given) == _measured(unit, size)


def _measured(unit: Unit, size: ir.Expr) -> ir.Expr | str:
    """Return the type that a size is of, else the size itself."""
    size = bare(size)
    if isinstance(size, ir.SizeOf):
        ctype = unit.typing.of(size.operand) if size.operand is not None else size.ctype
        return unit.program.types.expand(unit.file, ctype) if ctype else size
    return size
