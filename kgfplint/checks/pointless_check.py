"""KGF302: a test for the failure of an allocation that cannot fail."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, names, root, show, walk
from kgfplint.findings import Finding, Severity
from kgfplint.ownership.conditions import reading

RULE = Rule(
    code="KGF302",
    name="pointless-check",
    severity=Severity.WARNING,
    guide="GFP flags and reclaim behavior",
    summary="A request with __GFP_NOFAIL loops until it succeeds: the error path behind a test of it can never run.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report the first test of a pointer that always comes from an allocation that cannot fail.

    That a pool waits for one of its elements is less well known than __GFP_NOFAIL: a note.
    """
    sure = {id(choice.call): choice for choice in choices(unit) if _cannot_fail(unit, choice)}
    if not sure:
        return
    tracked = {bare(choice.call.target) for choice in sure.values() if choice.call.target is not None}
    origins = _Origins(unit, sure)
    told: set[int] = set()
    for number, place, line, condition in sorted(_tests(unit), key=lambda test: test[2]):
        subject = reading(condition, True)
        found = origins.of(subject.subject, number, place) if subject.op == "" and subject.subject in tracked else None
        if found and not told.issuperset(id(choice.call) for choice in found):
            told.update(id(choice.call) for choice in found)
            first = min(found, key=lambda choice: choice.call.line)
            message = (f"{show(subject.subject)} comes from {first.name}() at line {first.call.line}, "
                       f"which cannot fail with this mask: this test is pointless")
            trace = (unit.step(first.call.line, f"{first.name}() never returns NULL here"), unit.step(line, "tested in vain"))
            forced = all(choice.sets("__GFP_NOFAIL") for choice in found)
            severity = Severity.WARNING if forced else Severity.NOTE
            yield unit.finding_at(RULE, line, show(condition), message, trace, severity)


def _cannot_fail(unit: Unit, choice: Choice) -> bool:
    """Tell whether an allocation waits for memory as long as it takes; products that overflow still fail."""
    alloc = choice.alloc
    if alloc is None or choice.call.target is None or choice.clears("__GFP_DIRECT_RECLAIM"):
        return False
    count = choice.call.args[alloc.count] if alloc.count is not None and alloc.count < len(choice.call.args) else None
    if count is not None and not isinstance(bare(unit.value_of(count)), ir.Number):
        return False
    if alloc.fails == "null-if-atomic":
        # A wrapper around a pool may return NULL for reasons of its own.
        return choice.sets("__GFP_DIRECT_RECLAIM") and alloc.name in unit.meaning.catalogue.allocs
    return alloc.fails in ("null", "zero") and choice.sets("__GFP_NOFAIL")


def _tests(unit: Unit) -> Iterator[tuple[int, int, int, ir.Expr]]:
    """Yield each condition with its block, its place among the events there, and its line."""
    for number, block in enumerate(unit.body.blocks):
        for place, event in enumerate(block.events):
            value = event.value if isinstance(event, ir.Assign | ir.Return | ir.Evaluate) else None
            for term in walk(value) if value is not None else ():
                if isinstance(term, ir.Conditional):
                    yield number, place, event.line, term.condition
        condition = next((edge.condition for edge in block.edges if edge.condition is not None), None)
        if condition is not None:
            yield number, len(block.events), block.line, condition


class _Origins:
    """Where the value of an lvalue comes from, backward over the control flow graph."""

    def __init__(self, unit: Unit, sure: dict[int, Choice]) -> None:
        self._blocks = unit.body.blocks
        self._sure = sure
        self._into: list[list[tuple[int, ir.Edge]]] = [[] for _ in self._blocks]
        for number, block in enumerate(self._blocks):
            for edge in block.edges:
                self._into[edge.to].append((number, edge))

    def of(self, lvalue: ir.Expr, number: int, place: int) -> list[Choice] | None:
        """Return the sure allocations that `lvalue` comes from at a place, None when it may come from elsewhere."""
        found: list[Choice] = []
        waiting, seen = [(number, place)], set[int]()
        while waiting:
            number, place = waiting.pop()
            event = next((e for e in reversed(self._blocks[number].events[:place]) if _changes(e, lvalue)), None)
            if event is not None:
                if id(event) not in self._sure:
                    return None
                found.append(self._sure[id(event)])
                continue
            if number == 0:
                return None
            for before, edge in self._into[number]:
                if before not in seen and not _passed(edge, lvalue):
                    seen.add(before)
                    waiting.append((before, len(self._blocks[before].events)))
        return found


def _passed(edge: ir.Edge, lvalue: ir.Expr) -> bool:
    """Tell whether an edge is only taken when the pointer is not NULL."""
    test = reading(edge.condition, edge.truth) if edge.condition is not None else None
    return test is not None and test.subject == lvalue and test.op == "" and test.truth


def _changes(event: ir.Event, lvalue: ir.Expr) -> bool:
    """Tell whether an event may give an lvalue another value, itself or by what it is part of."""
    variable = root(lvalue)
    if isinstance(event, ir.Call):
        if event.target is not None and bare(event.target) in walk(lvalue):
            return True
        reached = names(ir.CallResult(event.callee, event.args)) if not isinstance(lvalue, ir.Name) or event.block_macro else {
            root(arg) for arg in event.args if isinstance(arg, ir.AddressOf)}
        return variable in reached
    if isinstance(event, ir.Assign):
        return bare(event.target) in walk(lvalue)
    return isinstance(event, ir.Declare) and event.name == variable
