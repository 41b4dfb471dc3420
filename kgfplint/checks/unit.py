"""One function as the rules see it: its outline, body, types, held locks, allocations and paths of ownership."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from kgfplint.catalogue import Alloc
from kgfplint.checks import Rule
from kgfplint.context.held import HeldLocks, State
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.findings import Finding, Severity, Step
from kgfplint.gfp import Mask
from kgfplint.ownership.paths import Paths
from kgfplint.ownership.provenance import Source
from kgfplint.ownership.reduce import Reducer
from kgfplint.program.link import Row
from kgfplint.program.meaning import Meaning
from kgfplint.program.types import Typing, names_of


class Allocation(NamedTuple):
    """A call that allocates: how (catalogue or inferred), its mask as far as known, and whether by a wrapper."""

    call: ir.Call
    alloc: Alloc
    mask: Mask
    inferred: bool

    @property
    def name(self) -> str:
        """The name of the allocating function."""
        return self.alloc.name

    def argument(self, place: int | None) -> ir.Expr | None:
        """Return an argument by the place that the catalogue gives, None if there is none."""
        return self.call.args[place] if place is not None and place < len(self.call.args) else None


class Unit:
    """A function with its analyses, each made when first asked for."""

    def __init__(
        self, number: int, body: ir.Body, meaning: Meaning, provenance: Mapping[str, tuple[Source, ...]] = MappingProxyType({}),
    ) -> None:
        """`number` is the function's number in the program; `provenance` tells where memory of a type comes from."""
        self.provenance = provenance
        self.number = number
        self.body = body
        self.meaning = meaning
        self.program = meaning.program
        self.row: Row = self.program.rows[number]
        self.file = self.row.file
        self.path = self.program.paths[self.file]
        self.name = self.row.name

    @cached_property
    def types(self) -> dict[str, str]:
        """The types of parameters and locals by name, also of locals that a macro declares."""
        return names_of(self.program.types, self.file, self.row.params, self.body)

    @cached_property
    def typing(self) -> Typing:
        """The types of expressions."""
        return Typing(self.program.types, self.file, self.types)

    @cached_property
    def locals(self) -> dict[str, ir.Local]:
        """The locals by name."""
        return {local.name: local for local in self.body.locals}

    def events(self) -> Iterator[ir.Event]:
        """Yield all events, block by block."""
        for block in self.body.blocks:
            yield from block.events

    @cached_property
    def calls(self) -> tuple[ir.Call, ...]:
        """All calls, in block order."""
        return tuple(event for event in self.events() if isinstance(event, ir.Call))

    @cached_property
    def values(self) -> dict[str, list[ir.Expr | None]]:
        """All values assigned to locals and parameters; None stands for an unknown one."""
        values: dict[str, list[ir.Expr | None]] = {param.name: [] for param in self.row.params}
        for name in self.locals:
            values.setdefault(name, [])
        for event in self.events():
            if isinstance(event, ir.Assign) and isinstance(event.target, ir.Name) and event.target.id in values:
                values[event.target.id].append(ir.Binary(event.op, event.target, event.value) if event.op else event.value)
            elif isinstance(event, ir.Call):
                if isinstance(event.target, ir.Name) and event.target.id in values:
                    values[event.target.id].append(ir.CallResult(event.callee, event.args))
                for arg in event.args:
                    if isinstance(arg, ir.AddressOf) and isinstance(arg.base, ir.Name) and arg.base.id in values:
                        values[arg.base.id].append(None)
        for param in self.row.params:
            if values[param.name]:
                values[param.name].append(None)
        return values

    def mask(self, expr: ir.Expr) -> Mask:
        """Return what is known of a mask expression in this function."""
        return self.meaning.evaluate(self.file, expr, self.values)

    @cached_property
    def allocations(self) -> tuple[Allocation, ...]:
        """The calls that allocate memory."""
        found = []
        for call in self.calls:
            if isinstance(call.callee, ir.Name):
                known = self.meaning.catalogue.allocs.get(call.callee.id)
                alloc = known or self.meaning.alloc(self.file, call.callee.id)
                if alloc is not None:
                    mask = self.meaning.mask_of(self.file, alloc, call, self.values)
                    found.append(Allocation(call, alloc, mask, known is None))
        return tuple(found)

    @cached_property
    def locks(self) -> HeldLocks:
        """The held states."""
        return HeldLocks(self.body, self.file, self.meaning)

    @cached_property
    def states(self) -> list[tuple[ir.Event, State]]:
        """Every reachable event with what is held before it; empty when the function takes no lock."""
        return list(self.locks.states()) if self.touches_locks else []

    @cached_property
    def touches_locks(self) -> bool:
        """Whether any event may change the held state."""
        locks = self.meaning.catalogue.locks
        for event in self.events():
            if isinstance(event, ir.Guard):
                return True
            if isinstance(event, ir.Call) and isinstance(event.callee, ir.Name):
                name = event.callee.id
                if name in locks or self.meaning.summary(self.file, name).acquires:
                    return True
        return False

    @cached_property
    def touches_memory(self) -> bool:
        """Whether any event allocates or frees; a macro that is no expression is a piece of code, not a whole."""
        if self.row.flags & ir.MACRO:
            return False
        return any(isinstance(event, ir.Cleanup) for event in self.events()) or any(
            isinstance(call.callee, ir.Name)
            and (self.meaning.alloc(self.file, call.callee.id) or self.meaning.frees(self.file, call.callee.id))
            for call in self.calls
        )

    @cached_property
    def paths(self) -> Paths:
        """The simulation of ownership, with the parameters tracked."""
        params = [param.name for param in self.row.params]
        reduced = Reducer(self.body, self.file, self.meaning, params, self.types).reduce()
        return Paths(reduced, params)

    def value_of(self, expr: ir.Expr) -> ir.Expr:
        """Look through a local that is assigned exactly once; anything else is returned as it is."""
        seen: set[str] = set()
        while isinstance(expr, ir.Name) and expr.id not in seen and expr.id in self.values:
            seen.add(expr.id)
            assigned = self.values[expr.id]
            if len(assigned) != 1 or assigned[0] is None:
                return expr
            expr = bare(assigned[0])
        return expr

    def step(self, line: int, note: str) -> Step:
        """Return a trace step in this function."""
        return Step(self.path, line, self.name, note)

    def finding(
        self, rule: Rule, event: ir.Call | ir.Assign | ir.Return | ir.Evaluate, message: str,
        trace: Sequence[Step] = (), severity: Severity | None = None,
    ) -> Finding:
        """Return a finding of `rule` anchored at an event; the key is the event's own text."""
        end = event.end_line if isinstance(event, ir.Call) else event.line
        return Finding(
            rule.code, rule.name, rule.severity if severity is None else severity, self.path, event.line, event.column,
            end, self.name, message, tuple(trace), key=text_of(event),
        )

    def finding_at(
        self, rule: Rule, line: int, key: str, message: str, trace: Sequence[Step] = (), severity: Severity | None = None,
    ) -> Finding:
        """Return a finding anchored at a line that has no event of its own (a condition, a scope exit)."""
        return Finding(
            rule.code, rule.name, rule.severity if severity is None else severity, self.path, line, 1, line, self.name,
            message, tuple(trace), key=key,
        )


def text_of(event: ir.Event) -> str:
    """Return the normalised text of an event, for fingerprints and messages."""
    match event:
        case ir.Call():
            call = show(ir.CallResult(event.callee, event.args))
            return f"{show(event.target)} = {call}" if event.target is not None else call
        case ir.Assign():
            return f"{show(event.target)} {event.op}= {show(event.value)}"
        case ir.Return():
            return f"return {show(event.value)}" if event.value is not None else "return"
        case ir.Evaluate():
            return show(event.value)
    return ""
