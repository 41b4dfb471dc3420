"""A function body cut down to what matters for ownership: operations on tracked lvalues.

Tracked, by a small number, are the lvalues that take allocated memory or are freed, and those copied from or to them.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kgfplint.catalogue import Alloc, Free
from kgfplint.facts import ir
from kgfplint.facts.terms import NULL, bare, root
from kgfplint.facts.words import ERROR_NUMBERS, ERROR_POINTERS, UNEVALUATED
from kgfplint.ownership.accesses import Accesses, pools_of
from kgfplint.ownership.addresses import Addresses, allocated, is_stacked, pointees, taken
from kgfplint.ownership.branches import LVALUES, Branches, facts_of, relations_of, tests_of
from kgfplint.ownership.conditions import NEGATIVE, NONZERO, ZERO, constant
from kgfplint.ownership.effects import Effects
from kgfplint.ownership.failing import Failing
from kgfplint.ownership.handing import AWAY, NEARBY, Handing
from kgfplint.ownership.ops import (
    Adopt,
    Allocate,
    Ask,
    Copy,
    Give,
    Inside,
    Learn,
    Leave,
    Op,
    Reduced,
    Release,
    Set,
    Shift,
    Site,
    Stop,
    Use,
    shortened,
)
from kgfplint.ownership.passing import Passing
from kgfplint.ownership.walks import rounds
from kgfplint.program.meaning import Called, Meaning
from kgfplint.program.settled import settled
from kgfplint.program.types import Typing

_LEAVES = frozenset({ir.Name, ir.Number, ir.Text, ir.CallResult, ir.SizeOf, ir.TypeName})
"""Arguments that access no memory themselves: most of all."""


class Reducer:
    """Builds the operations of one body."""

    def __init__(self, body: ir.Body, file: int, meaning: Meaning, params: Iterable[str], types: Mapping[str, str],
                 typing: Typing) -> None:
        """Pointers among `params` (a sequence) are tracked from the start; `types` tell locals and parameters from globals."""
        self.body = body
        self.file = file
        self.meaning = meaning
        self.sites: list[Site] = []
        self.lvalues: dict[ir.Expr, int] = {}
        self._names: dict[str, int] = {}
        self.params = frozenset(params)
        self._typing = typing
        self._addresses = Addresses(body, self.params, file, meaning.program.types, types, typing)
        for name in params:
            # A number is worth remembering for what it is compared with; one that is freed is met below.
            if not types.get(name) or types[name].endswith(("*", "]")):
                self._track(ir.Name(name))
        self._frees: dict[int, list[tuple[Free, ir.Expr]]] = {}
        self._failing: dict[int, list[tuple[Free, ir.Expr]]] = {}
        self._allocs: dict[int, Alloc] = {}
        self._made: list[ir.Expr] = []
        self._out: list[Op] = []
        self._tests = tests_of(body)
        live, made = self._collect()
        self._live_lvalues = live
        self.facts = facts_of(body, self._tests, self.lvalues)
        self._relations = relations_of(self.facts)
        self._handing = Handing(body, self.lvalues, made, self._addresses, meaning)
        self._own = {name for name in types if not self._addresses.is_static(name)}
        self._effects = Effects(self.lvalues, self.facts, file, meaning, types, typing)
        self._accesses = Accesses(((lvalue, n) for lvalue, n in self.lvalues.items() if n in live), self._addresses)
        self._passing = Passing(self.lvalues, live, self._addresses, meaning.catalogue)
        self._branches = Branches(self.lvalues, self.facts, live, self.params, self._addresses, meaning)

    def reduce(self) -> Reduced:
        """Return the operations."""
        blocks = [self._ops(block.events) for block in self.body.blocks]
        for number, head, cursor in rounds(self.body) if self._accesses else ():
            lvalue = self._names.get(cursor.id, -1)
            if lvalue in self._live_lvalues:
                blocks[number] += (Use((lvalue,), head, head.line),)
        failing = Failing(self._handing.of_event, self._handing.handed, self.file, self.meaning, self._typing)
        edges = [list(failing.of_block(block, tests, self._branches.of_block(tests)))
                 for block, tests in zip(self.body.blocks, self._tests, strict=True)]
        lines = [block.line for block in self.body.blocks]
        # Where a call failed that frees then, a block is passed that does.
        for number, at, event, frees in failing.freeing(self.body, self._tests, self._failing) if self._failing else ():
            edges.append([(edges[number][at][0], None)])
            edges[number][at] = len(blocks), edges[number][at][1]
            blocks.append(tuple(self._releases(event, frees)))
            lines.append(event.line)
        return Reduced(tuple(blocks), shortened(blocks, edges), tuple(lines), tuple(self.lvalues), tuple(self.sites),
                       self._handing.lvalues, frozenset(n for name, n in self._names.items() if name in self._own),
                       frozenset(n for lvalue, n in self.lvalues.items() if is_stacked(lvalue, self._own)),
                       tuple(self._handing.handed), tuple(self.facts))

    def _track(self, lvalue: ir.Expr) -> bool:
        if type(lvalue) not in LVALUES or lvalue in self.lvalues or lvalue == NULL or not root(lvalue):
            return False
        number = self.lvalues[lvalue] = len(self.lvalues)
        if type(lvalue) is ir.Name:
            self._names[lvalue.id] = number
        return True

    def _collect(self) -> tuple[set[int], set[int]]:
        """Find the tracked lvalues: allocation targets, freed expressions, and copies of them.

        Return the live ones, which may point to memory that is allocated or freed here: for all others it makes no
        difference whether what they point to is used. And those that may point to memory allocated here.
        """
        copies: list[tuple[ir.Expr, ir.Expr]] = []
        inside: list[tuple[ir.Expr, ir.Expr]] = []
        origins: list[ir.Expr] = []
        for block in self.body.blocks:
            for event in block.events:
                if type(event) is ir.Call:
                    if type(event.callee) is ir.Name:
                        origins += self._origins(event, self.meaning.called(self.file, event.callee.id))
                elif type(event) is ir.Cleanup:
                    origins.append(ir.Name(event.name))
                elif type(event) is ir.Assign and not event.op:
                    target, value = bare(event.target), bare(event.value)
                    if type(value) in LVALUES:
                        copies.append((target, value))
                    elif type(value) is ir.AddressOf and (pointer := self._addresses.pointer(value)) is not None:
                        inside.append((target, pointer))
                    elif type(value) is ir.Binary and (value.op == "+" or value.op == "-"):
                        inside.append((target, bare(value.left)))
        for lvalue in origins:
            self._track(lvalue)
        self._pointees = pointees(self.body, origins)
        copies += [(member, place) for place, member in self._pointees.items()]
        self._follow(copies, inside)
        inside += self._addresses.arrays([*copies, *inside], self.lvalues)
        self._follow(copies, inside)
        pairs = [*copies, *inside, *taken(self.body, self.meaning.catalogue.verdicts)]
        return self._live(origins, pairs), self._live(self._made, pairs) if self._made else set()

    def _origins(self, event: ir.Call, called: Called) -> list[ir.Expr]:
        """Note how a call allocates or frees; return what it does that to."""
        found, alloc = list[ir.Expr](), settled(called.alloc, event, self.meaning.program)
        if alloc is not None and (event.target is not None or alloc.out is not None):
            self._allocs[id(event)] = alloc
            target = allocated(alloc, event)
            if target is not None:
                found.append(bare(target))
                if not alloc.managed and alloc.out is None:
                    self._made.append(bare(target))
        if called.frees and event.target is None:
            frees = [f for f in self.meaning.freed(self.file, event) if f[0].flavour not in ("bulk", "inside")]
            if frees and not self._is_tested(ir.CallResult(event.callee, event.args)):
                self._frees[id(event)] = frees
                found.extend(bare(subject) for _, subject in frees)
        failing = [freed for freed in self.meaning.freed_by_failing(self.file, event) if bare(freed[1]) != event.target]
        if failing:
            self._failing[id(event)] = failing
            found.extend(bare(subject) for _, subject in failing)
        return found

    def _is_tested(self, call: ir.CallResult) -> bool:
        return any(test is not None and test.subject == call for tests in self._tests for test in tests)

    def _follow(self, copies: list[tuple[ir.Expr, ir.Expr]], inside: list[tuple[ir.Expr, ir.Expr]]) -> None:
        """Track what is copied from or to tracked lvalues, until there is no more of it."""
        changed = True
        while changed:
            changed = False
            for target, value in copies:
                if value in self.lvalues:
                    changed = self._track(target) or changed
                elif type(target) is ir.Name and target in self.lvalues:
                    changed = self._track(value) or changed
            for target, pointer in inside:
                if type(target) is ir.Name and pointer in self.lvalues:
                    changed = self._track(target) or changed

    def _live(self, origins: Iterable[ir.Expr], copies: Iterable[tuple[ir.Expr, ir.Expr]]) -> set[int]:
        """Return the numbers of origins and of all that copies connect with them."""
        live = {self.lvalues[lvalue] for lvalue in origins if lvalue in self.lvalues}
        pairs = [(self.lvalues[a], self.lvalues[b]) for a, b in copies if a in self.lvalues and b in self.lvalues]
        size = -1
        while size != len(live):
            size = len(live)
            for left, right in pairs:
                if left in live or right in live:
                    live.update((left, right))
        return live

    def _ops(self, events: Iterable[ir.Event]) -> tuple[Op, ...]:
        self._out = []
        for event in events:
            if type(event) is ir.Call:
                self._call(event)
            elif type(event) is ir.Assign:
                self._assign(event)
            elif type(event) is ir.Return:
                self._return(event)
            elif type(event) is ir.Evaluate:
                self._uses(event, (event.value,))
                if self._handing and type(event.value) is ir.Unknown:
                    self._out += self._handing.of_value(event.value)
            elif type(event) is ir.Declare:
                self._changed(ir.Name(event.name))
            elif type(event) is ir.Cleanup:
                self._cleanup(event)
        return tuple(self._out)

    def _number(self, expr: ir.Expr) -> int:
        """Return the number of a tracked lvalue, casts stripped, -1 for any other expression."""
        expr = bare(expr)
        if type(expr) is ir.Name:
            return self._names.get(expr.id, -1)
        return self.lvalues.get(expr, -1) if type(expr) in LVALUES else -1

    def _changed(self, target: ir.Expr, but: int = -1) -> None:
        forget = self._effects.of_assignment(target, but, self._number(target))
        if forget is not None:
            self._out.append(forget)

    def _return(self, event: ir.Return) -> None:
        site = None
        if event.value is not None:
            self._uses(event, (event.value,))
            value = bare(event.value)
            if self._handing:
                self._out += self._handing.of_return(value)
            if type(value) is ir.CallResult and type(value.callee) is ir.Name:
                call = ir.Call(value.callee, value.args, None, event.line, event.column, event.line)
                alloc = settled(self.meaning.alloc(self.file, value.callee.id), call, self.meaning.program)
                site = Site(-1, alloc, call) if alloc is not None else None
        self._out.append(Leave(self._number(event.value) if event.value is not None else -1, event, site))

    def _cleanup(self, event: ir.Cleanup) -> None:
        cleanup = self.meaning.catalogue.cleanups.get(event.cls)
        free = self.meaning.catalogue.frees.get(cleanup.free) if cleanup is not None else None
        if free is not None and cleanup is not None:
            free, name = msgspec.structs.replace(free, accepts_err_ptr=cleanup.accepts_err_ptr), ir.Name(event.name)
            self._out.append(Release(self.lvalues[name], name, free, event, event.line * 1000 + 999, wrapped=True))
        elif self._handing:
            self._out += self._handing.of_value(ir.Name(event.name))

    def _call(self, event: ir.Call) -> None:
        name = event.callee.id if type(event.callee) is ir.Name else ""
        frees = self._frees.get(id(event), [])
        called = self.meaning.called(self.file, name) if name else None
        self._arguments(event, name, called)
        if not frees:
            self._out += self._passing.of_call(event, name)
        if self._handing:
            self._out += self._handing.of_call(event, [self._number(argument) for _, argument in frees])
        self._out += self._releases(event, frees)
        for place in called.summary.assigns if called is not None else ():
            if place < len(event.args):
                self._changed(bare(event.args[place]))
        forget = self._effects.of_call(event, name, [self._number(argument) for _, argument in frees])
        if forget is not None:
            self._out.append(forget)
        if event.target is not None:
            self._changed(bare(event.target))
        self._judged(event, name)
        if id(event) in self._allocs:
            self._allocate(event, name, self._allocs[id(event)])
        if called is not None and not called.returns:
            self._out.append(Stop())

    def _releases(self, event: ir.Call, frees: Iterable[tuple[Free, ir.Expr]]) -> Iterator[Release]:
        """Yield what a call frees."""
        name = event.callee.id if type(event.callee) is ir.Name else ""
        number, wrapped = event.line * 1000 + event.column, name not in self.meaning.catalogue.frees
        for free, argument in frees:
            subject = bare(argument)
            soft = type(subject) is not ir.Name and self._unlinks(name)
            yield Release(self.lvalues.get(subject, -1), argument, free, event, number, soft, wrapped)

    def _arguments(self, event: ir.Call, name: str, called: Called | None) -> None:
        """What evaluating the arguments, and the place of the result, uses."""
        if not self._accesses:
            return
        alloc = called.alloc if called is not None else None
        if name not in UNEVALUATED:
            skipped = alloc.type if alloc is not None else None
            seen = event.args if skipped is None else event.args[:skipped] + event.args[skipped + 1 :]
            self._uses(event, seen, name)
        if event.target is not None:
            self._uses(event, (event.target,))

    def _allocate(self, event: ir.Call, name: str, alloc: Alloc) -> None:
        target = allocated(alloc, event)
        if name not in self.meaning.catalogue.allocs and any(type(bare(arg)) is ir.AddressOf and root(arg) in self._own
                                                             for place, arg in enumerate(event.args) if place != alloc.out):
            # How it fails may be told through that argument.
            alloc = msgspec.structs.replace(alloc, fails="never")
        site = Site(len(self.sites), alloc, event)
        self.sites.append(site)
        self._out.append(Allocate(self._number(target) if target is not None else -1, site))
        if target is not None and bare(target) in self._pointees:
            self._out.append(Copy(self._number(self._pointees[bare(target)]), self._number(target)))

    def _judged(self, event: ir.Call, name: str) -> None:
        """What a function that judges or takes over its argument does."""
        target = self._number(event.target) if event.target is not None else -1
        if target >= 0 and name in ERROR_POINTERS:
            self._out.append(Set(target, "err_ptr"))
        verdict = self.meaning.catalogue.verdicts.get(name)
        if verdict is None or verdict.ptr >= len(event.args):
            return
        number = self._number(event.args[verdict.ptr])
        if name in ERROR_NUMBERS and event.target is not None and bare(event.target) in self.facts:
            self._out.append(Learn(self.facts[bare(event.target)], NEGATIVE))
        if number >= 0 and verdict.action == "error":
            self._out.append(Ask(number, event))
        if number >= 0 and verdict.action == "take":
            self._out.append(Copy(target, number) if target >= 0 else Give((number,), AWAY))
            self._out.append(Set(number, "null"))

    def _unlinks(self, name: str) -> bool:
        """A function of the tree that frees an element may unlink it: where it hung is something else by then."""
        return name not in self.meaning.catalogue.frees and not self.meaning.definition(self.file, name).macro

    def _assign(self, event: ir.Assign) -> None:
        target, value = bare(event.target), bare(event.value)
        array = type(value) is ir.Field and self._accesses and self._accesses.of(value) and self._addresses.is_array(value)
        self._uses(event, (ir.AddressOf(value) if array else event.value, event.target))
        number = self.lvalues.get(target, -1)
        source = self._number(value) if not event.op else -1
        if source >= 0 and self._addresses.is_array(value):
            source = -1
        if number >= 0 and source >= 0:
            if value in self._handing.aliases:
                self._out += self._handing.of_value(value, target=target)
            self._changed(target, number)
            self._out.append(Copy(number, source))
            return
        if number < 0 or event.op not in ("", "+", "-"):
            self._changed(target)
        fact = self.facts.get(target)
        known = constant(event.value) if fact is not None and not event.op else None
        if fact is not None and known is not None:
            self._out.append(Learn(fact, known))
        elif fact is not None and not event.op and value in self.facts:
            self._out.append(Adopt(fact, self.facts[value]))
        elif fact is not None and event.op == "|" and constant(event.value) not in (None, ZERO):
            self._out.append(Learn(fact, NONZERO))
        if not event.op and self._relations:
            self._out += [Learn(n, known) for n, known in self._relations.get(frozenset({target, value}), ())]
        if number >= 0:
            self._moved(event, target, value, number)
        elif self._handing:
            stacked = type(value) is ir.Initialiser and type(target) is ir.Name and target.id in self._own
            self._out += self._handing.of_value(event.value, NEARBY if stacked or is_stacked(target, self._own) else AWAY, target)

    def _moved(self, event: ir.Assign, target: ir.Expr, value: ir.Expr, number: int) -> None:
        """What a tracked lvalue points to that is set to something else than another one."""
        moved = target if event.op else bare(value.left) if type(value) is ir.Binary and value.op == "+" else None
        base = self._number(moved) if moved is not None else -1
        pointer = self.lvalues.get(self._addresses.pointer(value) or NULL)
        kind = self._addresses.kind(value) if not event.op else ""
        inside = pointer is not None and kind in ("interior", "")
        if self._handing and not inside and base < 0:
            self._out += self._handing.of_value(target if event.op else value, target=target)
        if base >= 0 and event.op in ("", "+", "-"):
            self._changed(target, number)
            self._out.append(Shift(number, base))
        elif not event.op:
            self._changed(target, number)
            # Only behind its start does an address within NULL differ from NULL.
            self._out.append(Inside(number, pointer, kind) if inside and pointer is not None else Set(number, kind))

    def _uses(self, event: ir.Call | ir.Assign | ir.Return | ir.Evaluate, exprs: tuple[ir.Expr, ...], callee: str = "") -> None:
        """Tell which live lvalues' memory is accessed."""
        if not self._accesses:
            return
        found = [n for expr in exprs if type(expr) not in _LEAVES for n in self._accesses.of(expr, callee)]
        verdict = self.meaning.catalogue.verdicts.get(callee) if callee else None
        if verdict is not None and verdict.action == "use" and verdict.ptr < len(exprs):
            given = bare(exprs[verdict.ptr])
            found += self._accesses.of(given.base) if type(given) is ir.AddressOf else self._accesses.of(ir.Deref(given))
        if callee in self.meaning.catalogue.primitives:
            pools = map(self._number, pools_of(self.meaning.catalogue, callee, exprs))
            found += (number for number in pools if number in self._live_lvalues)
        if found:
            self._out.append(Use(tuple(sorted(set(found))), event, event.line))
