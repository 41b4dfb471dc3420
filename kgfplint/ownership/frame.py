"""One function with its analyses: types, assigned values, held locks, paths of ownership, each made when first asked for."""

import itertools
from collections.abc import Iterator
from functools import cached_property

from msgspec.structs import replace

from kgfplint.catalogue import Alloc
from kgfplint.context.held import Held, HeldLocks
from kgfplint.context.stated import held_at_entry
from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.gfp.policy import policy
from kgfplint.ownership.paths import Paths
from kgfplint.ownership.reduce import Reducer
from kgfplint.ownership.scopes import Scopes
from kgfplint.program.leaving import ended
from kgfplint.program.link import Row
from kgfplint.program.meaning import Called, Meaning
from kgfplint.program.types import Typing, names_of


class Frame:
    """A function under what is known of its callees."""

    def __init__(self, number: int, body: ir.Body, meaning: Meaning) -> None:
        """`number` is the function's number in the program; `body` as it is written."""
        self.number = number
        self.meaning = meaning
        self.program = meaning.program
        self.row: Row = self.program.rows[number]
        self.file = self.row.file
        self.written = body
        self.body = ended(body, self.file, meaning)
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
        """Return all events, block by block."""
        return itertools.chain.from_iterable([block.events for block in self.body.blocks])

    @cached_property
    def calls(self) -> tuple[ir.Call, ...]:
        """All calls, in block order."""
        return tuple(event for block in self.body.blocks for event in block.events if type(event) is ir.Call)

    @cached_property
    def callees(self) -> frozenset[str]:
        """The names that are called directly."""
        return frozenset(call.callee.id for call in self.calls if type(call.callee) is ir.Name)

    @cached_property
    def values(self) -> dict[str, list[ir.Expr | None]]:
        """All values assigned to locals and parameters; None stands for an unknown one."""
        values: dict[str, list[ir.Expr | None]] = {param.name: [] for param in self.row.params}
        for name in self.locals:
            values.setdefault(name, [])
        for event in self.events():
            if type(event) is ir.Assign:
                if type(event.target) is ir.Name and event.target.id in values:
                    values[event.target.id].append(ir.Binary(event.op, event.target, event.value) if event.op else event.value)
            elif type(event) is ir.Call:
                if type(event.target) is ir.Name and event.target.id in values:
                    values[event.target.id].append(ir.CallResult(event.callee, event.args))
                for arg in event.args:
                    if type(arg) is ir.AddressOf and type(arg.base) is ir.Name and arg.base.id in values:
                        values[arg.base.id].append(None)
        for param in self.row.params:
            if values[param.name]:
                values[param.name].append(None)
        return values

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

    def viewed(self, expr: ir.Expr) -> tuple[Alloc, ir.Call] | None:
        """Return the allocation behind other words for it (page_address(alloc_pages(...))), as one of their family."""
        value = self.value_of(bare(expr))
        view = self.meaning.catalogue.views.get(value.callee.id) if (
            type(value) is ir.CallResult and type(value.callee) is ir.Name) else None
        if view is None or type(value) is not ir.CallResult or view.ptr >= len(value.args):
            return None
        page = self.value_of(bare(value.args[view.ptr]))
        if type(page) is not ir.CallResult or type(page.callee) is not ir.Name:
            return None
        call = next((one for one in self.calls if one.callee == page.callee and one.args == page.args), None)
        alloc = self.meaning.alloc(self.file, page.callee.id)
        fits = alloc is not None and (alloc.order is not None or alloc.fixed_order is not None)
        return (replace(alloc, family=view.family), call) if alloc is not None and call is not None and fits else None

    @cached_property
    def called(self) -> tuple[Called, ...]:
        """What the names do that are called directly."""
        meaning, file = self.meaning, self.file
        return tuple(meaning.called(file, name) for name in self.callees)

    @cached_property
    def allocates(self) -> bool:
        """Whether any call allocates."""
        return any(called.alloc is not None for called in self.called)

    @cached_property
    def frees(self) -> bool:
        """Whether any call frees."""
        return any(called.frees for called in self.called)

    @cached_property
    def needs_memory(self) -> bool:
        """Whether any call needs memory of a kind, or tells which one it is given."""
        needs = self.meaning.catalogue.needs.keys()
        return not needs.isdisjoint(self.callees) or any(called.summary.needs for called in self.called)

    @cached_property
    def touches_locks(self) -> bool:
        """Whether any event may change the held state."""
        return (any(called.locks for called in self.called) or any(type(event) is ir.Guard for event in self.events())
                or bool(self.stated))

    @cached_property
    def stated(self) -> tuple[Held, ...]:
        """What annotations say that the callers hold, but for what the function takes itself before it drops it."""
        if not self.row.annotations:
            return ()
        stated = tuple(held_at_entry(self.row, self.typing.of, self.meaning.catalogue))
        return tuple(held for held in stated if not self._takes(held)) if stated else ()

    def _takes(self, held: Held) -> bool:
        """Tell whether the first thing that a function does to a lock is to take it."""
        for call in self.calls if held.lock is not None else ():
            effect = self.meaning.catalogue.locks.get(call.callee.id) if type(call.callee) is ir.Name else None
            if effect is not None and effect.lock is not None and held.lock in call.args:
                return effect.action == "acquire" and effect.when == "always"
        return False

    @cached_property
    def locks(self) -> HeldLocks:
        """The held states."""
        return HeldLocks(self.body, self.file, self.meaning, self._type_of, self.stated, "__init" in self.row.annotations)

    def _type_of(self, expr: ir.Expr) -> str:
        return self.typing.of(expr.base if type(expr) is ir.AddressOf else expr)

    @cached_property
    def touches_scopes(self) -> bool:
        """Whether any call begins or ends a reclaim scope."""
        if not policy(self.meaning.catalogue.version).scope_functions.isdisjoint(self.callees):
            return True
        return any(called.summary.scopes for called in self.called)

    @cached_property
    def scopes(self) -> Scopes:
        """The simulation of reclaim scopes."""
        return Scopes(self.body, self.file, self.meaning, self.row.params)

    @cached_property
    def paths(self) -> Paths:
        """The simulation of ownership, with the parameters tracked."""
        params = [param.name for param in self.row.params]
        reduced = Reducer(self.body, self.file, self.meaning, params, self.types, self.typing).reduce()
        return Paths(reduced, params)
