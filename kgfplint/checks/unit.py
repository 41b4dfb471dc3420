"""One function as the rules see it: its outline, body, types, held locks, allocations and paths of ownership."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from kgfplint.catalogue import Alloc
from kgfplint.checks import Rule
from kgfplint.checks.pending import Pending
from kgfplint.context.flow import Flow, flow_of
from kgfplint.context.held import State
from kgfplint.context.sleeping import Sleep, restricted, sleep_of
from kgfplint.facts import ir
from kgfplint.facts.terms import show
from kgfplint.findings import Finding, Mark, Rewrite, Severity, Step
from kgfplint.gfp import Mask
from kgfplint.ownership.frame import Frame
from kgfplint.ownership.provenance import Provenance
from kgfplint.program.meaning import Meaning


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


class Question(NamedTuple):
    """What only the whole program can answer: whether all memory of a kind is of a family that a free does not accept.

    `keys` are those of the provenance, most exact first; none: a finding that depends on what some function turns out to do.
    `code` is that of the rule which asks.
    """

    keys: tuple[str, ...]
    accepts: tuple[str, ...]
    code: str = ""


class Unit(Frame):
    """A function as the rules see it.

    Functions are checked once their callees are known. What depends on more than that is asked for in `questions`,
    and where an answer may make a finding, the function is checked once more with the `provenance` of all memory. Findings
    that only hang on what callees do with a pointer are left in `pending`; in `doubted` those that stand if all who reach the
    function may sleep.
    """

    def __init__(
        self, number: int, body: ir.Body, meaning: Meaning, provenance: Provenance | None = None,
    ) -> None:
        """`number` is the function's number in the program; `provenance` tells where memory of a type comes from."""
        super().__init__(number, body, meaning)
        self.provenance = provenance
        self.questions: list[Question] = []
        self.pending: list[Pending] = []
        self.doubted: list[Finding] = []

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
    def states(self) -> list[tuple[ir.Event, State]]:
        """Every reachable event with what is held before it; empty when the function takes no lock."""
        return list(self.locks.states()) if self.touches_locks else []

    @cached_property
    def flow(self) -> Flow:
        """What the function calls, holding what, on which conditions."""
        locks = self.locks if self.touches_locks else None
        return flow_of(self.body, self.row, self.meaning, self.values, locks)

    @cached_property
    def sleeps(self) -> dict[int, Sleep]:
        """The calls that must not stand everywhere, by identity: how each may sleep."""
        found = ((id(call), sleep_of(self.meaning, self.file, call, self.values)) for call in self.calls)
        return {call: sleep for call, sleep in found if sleep is not None}

    @cached_property
    def given_masks(self) -> tuple[tuple[str, Mask], ...]:
        """The masks that functions of the tree are given, with their names."""
        found = []
        for call in self.calls:
            name = call.callee.id if type(call.callee) is ir.Name else ""
            place = self.meaning.gfp_argument(self.file, name) if name else None
            if place is not None and place < len(call.args):
                found.append((name, self.mask(call.args[place])))
        return tuple(found)

    @cached_property
    def gives_masks(self) -> bool:
        """Whether a mask that forbids to sleep is given to a function of the tree, one that is no primitive."""
        described, masks = self.meaning.catalogue.described, self.meaning.masks
        return any(name not in described and masks.may_sleep(mask) is False for name, mask in self.given_masks)

    @cached_property
    def restricts_masks(self) -> bool:
        """Whether a mask that may sleep, but keeps reclaim out of something, is given to a function of the tree."""
        return any(restricted(self.meaning.masks, mask) < 3 for _, mask in self.given_masks)

    @cached_property
    def touches_memory(self) -> bool:
        """Whether any event allocates or frees; a macro that is no expression is a piece of code, not a whole."""
        if self.row.flags & ir.MACRO:
            return False
        return self.allocates or self.frees or any(isinstance(event, ir.Cleanup) for event in self.events())

    def step(self, line: int, note: str, mark: Mark = "") -> Step:
        """Return a trace step in this function."""
        return Step(self.path, line, self.name, note, mark)

    def finding(
        self, rule: Rule, event: ir.Call | ir.Assign | ir.Return | ir.Evaluate, message: str,
        trace: Sequence[Step] = (), severity: Severity | None = None, fix: Rewrite | None = None,
    ) -> Finding:
        """Return a finding of `rule` anchored at an event; the key is the event's own text, `fix` how to mend a call."""
        end = event.end_line if isinstance(event, ir.Call) else event.line
        return Finding(
            rule.code, rule.name, rule.severity if severity is None else severity, self.path, event.line, event.column,
            end, self.name, message, tuple(trace), fix=fix, key=text_of(event),
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
