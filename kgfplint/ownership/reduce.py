"""A function body cut down to what matters for ownership: operations on tracked lvalues.

Tracked are the lvalues that take allocated memory or are freed, and those copied from or to them.
Each gets a small number; the path simulation works on numbers only.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kgfplint.catalogue import Alloc, Free
from kgfplint.facts import ir
from kgfplint.facts.terms import NULL, bare, names, root, show, walk
from kgfplint.ownership.addresses import ADDRESSES, ERROR_POINTERS, Addresses
from kgfplint.ownership.conditions import QUESTION, constant, reading, stable
from kgfplint.ownership.ops import (
    Allocate,
    Ask,
    Branch,
    Copy,
    Forget,
    Inside,
    Learn,
    Leave,
    Op,
    Pass,
    Reduced,
    Release,
    Set,
    Shift,
    Site,
    Stop,
    Use,
)
from kgfplint.program.meaning import Meaning
from kgfplint.program.types import Typing

_HOLDS = re.compile(r"(?:^|_)(?:get|hold|ref|grab|clone)(?:_|$)")
_UNEVALUATED = frozenset({"typeof", "__typeof__", "struct_size", "flex_array_size", "sizeof_field", "offsetof"})
"""Macros that look only at the types of their arguments (include/linux/{overflow,stddef}.h)."""
_LVALUES = (ir.Name, ir.Field, ir.Deref, ir.Index)


class Reducer:
    """Builds the operations of one body."""

    def __init__(self, body: ir.Body, file: int, meaning: Meaning, params: Iterable[str], types: Mapping[str, str]) -> None:
        """Pointers among `params` (a sequence) are tracked from the start; `types` tell locals and parameters from globals."""
        self.body = body
        self.file = file
        self.meaning = meaning
        self.types = types
        self.sites: list[Site] = []
        self.lvalues: dict[ir.Expr, int] = {}
        self.facts: dict[ir.Expr, int] = {}
        self.params = frozenset(params)
        self._addresses = Addresses(body, self.params, file, meaning.program.types, types)
        for name in params:
            # A number is worth remembering for what it is compared with; one that is freed is met below.
            if not types.get(name) or types[name].endswith(("*", "]")):
                self._track(ir.Name(name))
        self._frees: dict[int, list[tuple[Free, ir.Expr]]] = {}
        self._tested = {reading(edge.condition, True).subject for block in body.blocks for edge in block.edges
                        if edge.condition is not None}
        self._allocs: dict[int, Alloc] = {}
        self._collect()
        self._collect_facts()
        self._by_name: dict[str, list[int]] = {}
        self._facts_by_name: dict[str, list[int]] = {}
        for lvalue, number in self.lvalues.items():
            for name in names(lvalue):
                self._by_name.setdefault(name, []).append(number)
        for subject, number in self.facts.items():
            for name in names(subject):
                self._facts_by_name.setdefault(name, []).append(number)
        self._lvalue_list = list(self.lvalues)
        self._fact_list = list(self.facts)
        self._shared = [n for lv, n in self.lvalues.items() if root(lv) not in types]
        self._inside = {n for lv, n in self.lvalues.items() if not isinstance(lv, ir.Name)}

    def reduce(self) -> Reduced:
        """Return the operations."""
        blocks = tuple(tuple(op for event in block.events for op in self._ops(event)) for block in self.body.blocks)
        edges = tuple(tuple((edge.to, self._branch(edge)) for edge in block.edges) for block in self.body.blocks)
        return Reduced(blocks, edges, tuple(block.line for block in self.body.blocks), tuple(self.lvalues), tuple(self.sites))

    def _track(self, lvalue: ir.Expr) -> bool:
        if lvalue in self.lvalues or lvalue == NULL or not isinstance(lvalue, _LVALUES) or not root(lvalue):
            return False
        self.lvalues[lvalue] = len(self.lvalues)
        return True

    def _collect(self) -> None:
        """Find the tracked lvalues: allocation targets, freed expressions, and copies of them."""
        copies: list[tuple[ir.Expr, ir.Expr]] = []
        inside: list[tuple[ir.Expr, ir.Expr]] = []
        for event in self._events():
            if isinstance(event, ir.Call) and isinstance(event.callee, ir.Name):
                name = event.callee.id
                alloc = self.meaning.alloc(self.file, name)
                if alloc is not None and (event.target is not None or alloc.out is not None):
                    self._allocs[id(event)] = alloc
                    target = self._out(alloc, event)
                    if target is not None:
                        self._track(bare(target))
                frees = [f for f in self.meaning.freed(self.file, event) if f[0].flavour != "bulk"]
                if frees and event.target is None and ir.CallResult(event.callee, event.args) not in self._tested:
                    self._frees[id(event)] = frees
                    for _, subject in frees:
                        self._track(bare(subject))
            elif isinstance(event, ir.Cleanup):
                self._track(ir.Name(event.name))
            elif isinstance(event, ir.Assign) and not event.op:
                value = bare(event.value)
                copies.append((bare(event.target), value))
                pointer = self._addresses.pointer(value)
                if pointer is not None and isinstance(bare(event.target), ir.Name):
                    inside.append((bare(event.target), pointer))
        changed = True
        while changed:
            changed = False
            for target, value in copies:
                if value in self.lvalues:
                    changed = self._track(target) or changed
                elif target in self.lvalues and isinstance(target, ir.Name):
                    changed = self._track(value) or changed
            for target, pointer in inside:
                if pointer in self.lvalues:
                    changed = self._track(target) or changed

    @staticmethod
    def _out(alloc: Alloc, event: ir.Call) -> ir.Expr | None:
        if alloc.out is None:
            return event.target
        argument = event.args[alloc.out] if alloc.out < len(event.args) else None
        return argument.base if isinstance(argument, ir.AddressOf) else None

    def _collect_facts(self) -> None:
        """Find the subjects that are worth remembering: tested twice, or tested and set to a constant."""
        tested: dict[ir.Expr, int] = {}
        for block in self.body.blocks:
            for subject in {reading(e.condition, e.truth).subject for e in block.edges if e.condition is not None}:
                tested[subject] = tested.get(subject, 0) + 1
        fixed = {bare(e.target) for e in self._events() if isinstance(e, ir.Assign) and constant(e.value) is not None}
        for subject, count in tested.items():
            worth = count > 1 or subject in fixed or isinstance(subject, ir.CallResult)
            if worth and subject not in self.lvalues and stable(subject):
                self.facts[subject] = len(self.facts)

    def _events(self) -> Iterator[ir.Event]:
        for block in self.body.blocks:
            yield from block.events

    def _ops(self, event: ir.Event) -> Iterator[Op]:
        if isinstance(event, ir.Call):
            yield from self._call(event)
        elif isinstance(event, ir.Assign):
            source = event.value if not self._addresses.is_array(bare(event.value)) else ir.AddressOf(bare(event.value))
            yield from self._uses(event, (source, event.target), event.line)
            yield from self._assign(event)
        elif isinstance(event, ir.Return):
            if event.value is not None:
                yield from self._uses(event, (event.value,), event.line)
            value = bare(event.value) if event.value is not None else None
            site = None
            if isinstance(value, ir.CallResult) and isinstance(value.callee, ir.Name):
                alloc = self.meaning.alloc(self.file, value.callee.id)
                if alloc is not None:
                    call = ir.Call(value.callee, value.args, None, event.line, event.column, event.line)
                    site = Site(-1, alloc, call)
            yield Leave(self.lvalues.get(value, -1) if value is not None else -1, event, site)
        elif isinstance(event, ir.Evaluate):
            yield from self._uses(event, (event.value,), event.line)
        elif isinstance(event, ir.Declare):
            yield self._changed(ir.Name(event.name))
        elif isinstance(event, ir.Cleanup):
            yield from self._cleanup(event)

    def _cleanup(self, event: ir.Cleanup) -> Iterator[Op]:
        cleanup = self.meaning.catalogue.cleanups.get(event.cls)
        free = self.meaning.catalogue.frees.get(cleanup.free) if cleanup is not None else None
        if free is not None and cleanup is not None:
            free = msgspec.structs.replace(free, accepts_err_ptr=cleanup.accepts_err_ptr)
            yield Release(self.lvalues[ir.Name(event.name)], ir.Name(event.name), free, event, event.line * 1000 + 999)

    def _call(self, event: ir.Call) -> Iterator[Op]:
        name = event.callee.id if isinstance(event.callee, ir.Name) else ""
        frees = self._frees.get(id(event), [])
        alloc = self.meaning.alloc(self.file, name) if name else None
        seen = event.args if alloc is None or alloc.type is None else event.args[:alloc.type] + event.args[alloc.type + 1:]
        if name not in _UNEVALUATED:
            yield from self._uses(event, seen, event.line, name)
        if event.target is not None:
            yield from self._uses(event, (event.target,), event.line)
        passed = tuple(self.lvalues[b] for arg in event.args if (b := bare(arg)) in self.lvalues)
        if passed and not frees:
            asserts = name.isupper() and name not in self.meaning.catalogue.verdicts
            yield Pass(passed, event, asserts, len(event.args) == 1 and bool(_HOLDS.search(name)))
        for free, argument in frees:
            subject, soft = bare(argument), not isinstance(bare(argument), ir.Name) and self._unlinks(name)
            yield Release(self.lvalues.get(subject, -1), argument, free, event, event.line * 1000 + event.column, soft)
        for place in self.meaning.summary(self.file, name).assigns if name else ():
            if place < len(event.args):
                yield self._changed(bare(event.args[place]))
        yield from self._side_effects(event, name, {self.lvalues.get(bare(argument), -1) for _, argument in frees})
        if event.target is not None:
            yield self._changed(bare(event.target))
        yield from self._judged(event, name)
        alloc = self._allocs.get(id(event))
        if alloc is not None:
            target = self._out(alloc, event)
            if name not in self.meaning.catalogue.allocs and any(isinstance(bare(arg), ir.AddressOf) for arg in event.args):
                # How it fails may be told through that argument.
                alloc = msgspec.structs.replace(alloc, fails="never")
            site = Site(len(self.sites), alloc, event)
            self.sites.append(site)
            yield Allocate(self.lvalues.get(bare(target), -1) if target is not None else -1, site)
        if not self.meaning.returns(self.file, event):
            yield Stop()

    def _judged(self, event: ir.Call, name: str) -> Iterator[Op]:
        """What a function that judges or takes over its argument does to it."""
        target = self.lvalues.get(bare(event.target)) if event.target is not None else None
        if target is not None and name in ERROR_POINTERS:
            yield Set(target, "err_ptr")
        verdict = self.meaning.catalogue.verdicts.get(name)
        if verdict is None or verdict.ptr >= len(event.args):
            return
        number = self.lvalues.get(bare(event.args[verdict.ptr]))
        if number is not None and verdict.action == "error":
            yield Ask(number, event)
        if number is not None and verdict.action == "take":
            if target is not None:
                yield Copy(target, number)
            yield Set(number, "null")

    def _unlinks(self, name: str) -> bool:
        """A function of the tree that frees an element may unlink it: where it hung is something else by then."""
        rows = self.meaning.program.rows
        macro = any(rows[f].flags & ir.MACRO for f in self.meaning.program.resolve(self.file, name))
        return name not in self.meaning.catalogue.frees and not macro

    def _side_effects(self, event: ir.Call, name: str, freed: set[int]) -> Iterator[Op]:
        """What a callee may change but for what it frees: what it is given the address of or can reach, globals.

        What was tested stays as it was unless its own address is given away: flags and modes seldom change
        below a caller that asks twice, and where they do, a path is missed, not invented.
        """
        if self._harmless(name) and not event.block_macro:
            return
        targets: set[int] = set()
        facts: set[int] = set()
        own = self._reaches_out(name)
        for arg in event.args:
            arg = bare(arg)
            variable = root(arg)
            address = isinstance(arg, ir.AddressOf)
            changed = arg.base if isinstance(arg, ir.AddressOf) else arg
            whole = event.block_macro or (isinstance(changed, ir.Name) and address)
            lvalues, known = self._by_name.get(variable, ()), self._facts_by_name.get(variable, ())
            if whole or (address and own and self._known_to(name, changed)):
                keep = isinstance(arg, ir.AddressOf) and not isinstance(arg.base, ir.Name)
                targets.update(n for n in lvalues if not keep or n in self._inside)
                facts.update(known if not keep else ())
            else:
                targets.update(n for n in lvalues if self._below(self._lvalue_list[n], changed, address))
            if address:
                facts.update(n for n in known if changed in walk(self._fact_list[n]) and not self._question(n))
        if not event.block_macro:
            targets.update(self._shared)
        if targets - freed or facts:
            yield Forget(tuple(sorted(targets - freed)), tuple(sorted(facts)))

    def _question(self, fact: int) -> bool:
        return isinstance(self._fact_list[fact], ir.CallResult)

    @staticmethod
    def _below(expr: ir.Expr, changed: ir.Expr, itself: bool) -> bool:
        """Tell whether an expression depends on `changed` itself, or on what it points to."""
        if itself:
            return changed in walk(expr)
        pointing = (ir.Deref, ir.Index, ir.Field)
        return any(isinstance(term, pointing) and bare(term.base) == changed for term in walk(expr))

    def _harmless(self, name: str) -> bool:
        """A function that the catalogue knows, or whose name asks a question, changes nothing that is tracked."""
        known = self.meaning.catalogue
        return (name in known.allocs or name in known.frees or name in known.locks
                or (name in known.verdicts and known.verdicts[name].action != "use")
                or bool(QUESTION.search(name)))

    def _reaches_out(self, name: str) -> bool:
        """Given a member's address, a function of a .c file may find its way to the rest of the struct."""
        rows, paths = self.meaning.program.rows, self.meaning.program.paths
        return not name or any(paths[rows[f].file].endswith(".c") for f in self.meaning.program.resolve(self.file, name))

    def _known_to(self, name: str, member: ir.Expr) -> bool:
        """Tell whether the file of a function sees the struct of a member: else it finds no way to the rest of it."""
        if not name or not isinstance(member, ir.Field):
            return True
        types, rows = self.meaning.program.types, self.meaning.program.rows
        record = types.record(self.file, Typing(types, self.file, self.types).tag(member.base), member.member)
        targets = self.meaning.program.resolve(self.file, name)
        return record is None or any(types.sees(rows[target].file, record.file) for target in targets)

    def _assign(self, event: ir.Assign) -> Iterator[Op]:
        target, value = bare(event.target), bare(event.value)
        number = self.lvalues.get(target)
        source = self.lvalues.get(value) if not event.op and not self._addresses.is_array(value) else None
        if number is None or source is None:
            if number is None or event.op not in ("", "+", "-"):
                yield self._changed(target)
            fact = self.facts.get(target)
            known = constant(event.value) if not event.op else None
            if fact is not None and known is not None:
                yield Learn(fact, known)
            moved = target if event.op else bare(value.left) if isinstance(value, ir.Binary) and value.op == "+" else None
            if number is not None and moved in self.lvalues and event.op in ("", "+", "-"):
                yield self._changed(target, number)
                yield Shift(number, self.lvalues[moved])
            elif number is not None and not event.op:
                yield self._changed(target, number)
                pointer = self.lvalues.get(self._addresses.pointer(value) or NULL)
                kind = self._addresses.kind(value)
                # Only behind its start does an address within NULL differ from NULL.
                yield Inside(number, pointer, kind) if pointer is not None and kind == "interior" else Set(number, kind)
            return
        yield self._changed(target, number)
        yield Copy(number, source)

    def _changed(self, target: ir.Expr, but: int = -1) -> Forget:
        """Everything that mentions an assigned variable changes with it; a stored field changes what is below it."""
        if isinstance(target, ir.Name):
            lvalues = tuple(n for n in self._by_name.get(target.id, ()) if n != but)
            return Forget(lvalues, tuple(self._facts_by_name.get(target.id, ())))
        variable = root(target)
        facts = self._fact_list
        return Forget(
            tuple(n for n in self._by_name.get(variable, ()) if n != but and target in walk(self._lvalue_list[n])),
            tuple(n for n in self._facts_by_name.get(variable, ()) if target in walk(facts[n])),
        )

    def _uses(self, event: ir.Event, exprs: tuple[ir.Expr, ...], line: int, callee: str = "") -> Iterator[Op]:
        accessed = {n for expr in exprs for n in self._accessed(expr, callee)}
        verdict = self.meaning.catalogue.verdicts.get(callee) if callee else None
        if verdict is not None and verdict.action == "use" and verdict.ptr < len(exprs):
            given = bare(exprs[verdict.ptr])
            accessed.update(self._accessed(given.base) if isinstance(given, ir.AddressOf) else {self.lvalues.get(given, -1)})
        found = tuple(sorted(accessed - {-1}))
        if found:
            yield Use(found, event, line)

    def _accessed(self, expr: ir.Expr, callee: str = "") -> Iterator[int]:
        """Yield the tracked lvalues whose target memory evaluating `expr` reads or writes."""
        if isinstance(expr, ir.AddressOf):
            inner = expr.base
            if not callee or callee in ("offsetof", "container_of") or callee.isupper():
                while isinstance(inner, ir.Field) and not inner.arrow:
                    inner = inner.base
                inner = inner.base if isinstance(inner, ir.Field | ir.Index) else inner
            elif self._addresses.is_start(inner):
                return
            yield from self._accessed(inner)
            return
        base = expr.base if isinstance(expr, ir.Deref | ir.Index) or (isinstance(expr, ir.Field) and expr.arrow) else None
        if base is not None:
            number = self.lvalues.get(bare(base))
            if number is not None:
                yield number
        match expr:
            case ir.Field(inner, _, _) | ir.Deref(inner):
                yield from self._accessed(inner)
            case ir.Index(inner, index):
                yield from self._accessed(inner)
                yield from self._accessed(index)
            case ir.Cast(_, operand) | ir.Unary(_, operand):
                yield from self._accessed(operand)
            case ir.Binary(op, left, right) if op not in ("&&", "||"):
                yield from self._accessed(left)
                yield from self._accessed(right)
            case ir.Binary(_, left, _):
                yield from self._accessed(left)

    def _branch(self, edge: ir.Edge) -> Branch | None:
        if edge.condition is None:
            return None
        test = reading(edge.condition, edge.truth)
        uses = tuple(self._accessed(test.subject))
        number = self.lvalues.get(test.subject)
        if number is not None:
            if test.op == "":
                return Branch(number, "null", test.truth, -1, None, uses)
            return Branch(number, "mention", test.truth, -1, None, uses)
        if isinstance(test.subject, ir.CallResult) and isinstance(test.subject.callee, ir.Name):
            verdict = self.meaning.catalogue.verdicts.get(test.subject.callee.id)
            if verdict is not None and verdict.action == "test" and verdict.ptr < len(test.subject.args):
                number = self.lvalues.get(bare(test.subject.args[verdict.ptr]))
                if number is not None:
                    how = "either" if len(verdict.means) > 1 else verdict.means[0]
                    return Branch(number, how, not test.truth, -1, None, ())
        if isinstance(test.subject, ir.Binary) and test.subject.op == "==":
            for one, other in ((test.subject.left, test.subject.right), (test.subject.right, test.subject.left)):
                number, second = self.lvalues.get(bare(one)), self.lvalues.get(bare(other))
                if number is not None and self._addresses.kind(other) in ADDRESSES:
                    return Branch(number, "address", test.truth, -1, None, ())
                if number is not None and second is not None:
                    return Branch(number, "same", test.truth, -1, None, (), second)
        mentioned = [n for n in (self.lvalues.get(term) for term in walk(test.subject)) if n is not None]
        fact = self.facts.get(test.subject, -1)
        if mentioned and not uses:
            asked = isinstance(test.subject, ir.CallResult) and bool(QUESTION.search(show(test.subject.callee)))
            about = next((n for n in mentioned if root(self._lvalue_list[n]) not in self.params), mentioned[0])
            return Branch(about, "asked" if asked else "mention", test.truth, fact, test, uses)
        return Branch(-1, "", test.truth, fact, test, uses) if fact >= 0 or uses else None
