"""KGF209: an allocation that is likely to fail, and what happens when it does."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, mask_text
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import NULL, bare
from kgfplint.findings import Finding, Severity
from kgfplint.ownership.conditions import constant, reading

RULE = Rule(
    code="KGF209",
    name="nowait-without-fallback",
    severity=Severity.NOTE,
    guide="Get Free Page flags",
    summary="GFP_NOWAIT is likely to fail: it needs a fallback, and with a fallback it needs no warning (__GFP_NOWARN).",
)

_MOST_BLOCKS = 200


class Failing(NamedTuple):
    """What a function does when an allocation failed, on the first line (1-based) that tells."""

    how: Literal["fatal", "retry", "error"]
    line: int


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation that cannot reclaim nor use the reserves: without a fallback, or warning in spite of one."""
    for choice in choices(unit):
        alloc = choice.alloc
        if alloc is None or alloc.fails not in ("null", "zero") or choice.call.target is None or "__init" in unit.row.annotations:
            continue  # at boot there is memory
        if choice.sets("__GFP_KSWAPD_RECLAIM") and choice.clears("__GFP_DIRECT_RECLAIM", "__GFP_HIGH"):
            failing = _when_failing(unit, choice)
            if failing is not None:
                yield from _finding(unit, choice, failing)


def _finding(unit: Unit, choice: Choice, failing: Failing) -> Iterator[Finding]:
    asked = f"{choice.name}() is given {mask_text(unit, choice)}, which is likely to fail under memory pressure"
    trace = (unit.step(choice.call.line, f"{choice.name}() may not reclaim", "alloc"),
             unit.step(failing.line, _STEPS[failing.how]))
    if failing.how == "fatal":
        message = f"{asked}, and the kernel stops at line {failing.line} when it does: allocate where it may sleep, or beforehand"
        yield unit.finding(RULE, choice.call, message, trace, Severity.WARNING)
    elif failing.how == "error":
        message = f"{asked}, and line {failing.line} gives up then: have a fallback, GFP_KERNEL where it may sleep, or GFP_ATOMIC"
        yield unit.finding(RULE, choice.call, message, trace)
    elif choice.clears("__GFP_NOWARN"):
        message = f"{asked}; line {failing.line} has an answer to that, so the warning is noise: add __GFP_NOWARN"
        yield unit.finding(RULE, choice.call, message, trace)


_STEPS = {"fatal": "the failure stops the kernel", "error": "the failure is returned", "retry": "the failure has a fallback"}


def _when_failing(unit: Unit, choice: Choice) -> Failing | None:
    """Return what comes of a failure by the first test of the result, None if it is not tested or that is not clear."""
    target = bare(choice.call.target) if choice.call.target is not None else None
    blocks = unit.body.blocks
    start = next((n for n, block in enumerate(blocks) if any(event is choice.call for event in block.events)), None)
    seen: set[int] = set()
    while start is not None and start not in seen:
        seen.add(start)
        block = blocks[start]
        failed = [edge.to for edge in block.edges if edge.condition is not None and _fails(edge, target)]
        if failed:
            passed = [edge.to for edge in block.edges if edge.to != failed[0]]
            return _outcome(unit, failed[0], _reached(blocks, passed), choice, block.line)
        start = block.edges[0].to if len(block.edges) == 1 else None
    return None


def _fails(edge: ir.Edge, target: ir.Expr | None) -> bool:
    """Tell whether an edge is the way of a failed allocation: `target` is NULL."""
    if edge.condition is None:
        return False
    test = reading(edge.condition, edge.truth)
    return test.subject == target and test.op == "" and not test.truth


def _reached(blocks: tuple[ir.Block, ...], start: list[int]) -> set[int]:
    """Return the blocks that are reached from those of `start`."""
    seen, stack = set(start), list(start)
    while stack:
        fresh = [edge.to for edge in blocks[stack.pop()].edges if edge.to not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return seen


def _outcome(unit: Unit, start: int, passed: set[int], choice: Choice, line: int) -> Failing | None:
    """Return what the way of failure does before it meets that of success, if all its branches agree."""
    found: set[Failing] = set()
    stack: list[tuple[int, bool]] = [(start, False)]
    seen: set[tuple[int, bool]] = set()
    while stack:
        number, wrong = stack.pop()
        if (number, wrong) in seen:
            continue
        seen.add((number, wrong))
        if len(seen) > _MOST_BLOCKS:
            return None
        block = unit.body.blocks[number]
        outcome, wrong = _of_block(unit, block, choice, wrong, line)
        if outcome is None and number in passed and not wrong:
            outcome = Failing("retry", line)
        if outcome is not None:
            found.add(outcome)
        else:
            stack.extend((edge.to, wrong) for edge in block.edges)
    hows = {failing.how for failing in found}
    if "retry" in hows:
        hows.discard("error")  # the fallback may fail, too
    return min((f for f in found if f.how in hows), key=lambda f: f.line) if len(hows) == 1 else None


def _of_block(unit: Unit, block: ir.Block, choice: Choice, wrong: bool, line: int) -> tuple[Failing | None, bool]:
    """Return what a block on the way of failure comes to, None if it goes on; and whether an error is in a variable by then."""
    for event in block.events:
        if isinstance(event, ir.Return):
            value = constant(event.value) if event.value is not None else None
            failed = event.value is not None and (wrong or bare(event.value) == NULL or (value is not None and value.hi < 0))
            return (Failing("error", event.line), True) if failed else (Failing("retry", line), wrong)
        if isinstance(event, ir.Call):
            if not unit.meaning.returns(unit.file, event):
                return Failing("fatal", event.line), wrong
            if event is choice.call or _allocates(unit, event):
                return Failing("retry", event.line), wrong
        elif isinstance(event, ir.Assign):
            value = constant(event.value)
            wrong = wrong or (value is not None and value.hi < 0)
    return (Failing("fatal", line), wrong) if not block.edges else (None, wrong)


def _allocates(unit: Unit, call: ir.Call) -> bool:
    return isinstance(call.callee, ir.Name) and unit.meaning.alloc(unit.file, call.callee.id) is not None
