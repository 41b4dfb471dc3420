"""A function body cut down to what matters for ownership: operations on tracked lvalues.

Tracked are the lvalues that take allocated memory or are freed, and those copied from or to them.
Each gets a small number; the path simulation works on numbers only.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from kgfplint.catalogue import Alloc, Free
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, is_zero, names, root, walk
from kgfplint.ownership.conditions import Known, Test, constant, reading
from kgfplint.program.meaning import Meaning

_LVALUES = (ir.Name, ir.Field, ir.Deref, ir.Index)


class Site(NamedTuple):
    """Where memory comes from: the allocating call and what the catalogue says of it."""

    number: int
    alloc: Alloc
    call: ir.Call


class Allocate(NamedTuple):
    """Fresh memory goes to lvalue `target` (-1: to none that is tracked)."""

    target: int
    site: Site


class Release(NamedTuple):
    """Lvalue `subject` (-1: the argument is no lvalue) is freed by a call."""

    subject: int
    argument: ir.Expr
    free: Free
    event: ir.Call | ir.Cleanup
    number: int


class Copy(NamedTuple):
    """`target = source`, both tracked."""

    target: int
    source: int


class Set(NamedTuple):
    """`target` gets a constant (NULL, an error pointer), an address, or something unknown ("")."""

    target: int
    what: str


class Forget(NamedTuple):
    """What these lvalues and facts say may have changed."""

    targets: tuple[int, ...]
    facts: tuple[int, ...]


class Learn(NamedTuple):
    """A tested variable gets a known value."""

    fact: int
    known: Known


class Use(NamedTuple):
    """Lvalues whose pointed-to memory an event accesses."""

    targets: tuple[int, ...]
    event: ir.Event | None
    line: int


class Pass(NamedTuple):
    """Lvalues whose value an event hands to a call (`macro`: to what looks like a macro)."""

    targets: tuple[int, ...]
    event: ir.Event
    macro: bool


class Leave(NamedTuple):
    """A return; `value` is the tracked lvalue returned, or -1."""

    value: int
    event: ir.Return
    site: Site | None


Op = Allocate | Release | Copy | Set | Forget | Learn | Use | Pass | Leave


class Branch(NamedTuple):
    """The condition of an edge: about a tracked lvalue (`verdict` how it is tested), or a fact, or neither.

    verdict: "null" (truth of the pointer), "err_ptr", "either" (IS_ERR_OR_NULL), "mention" or "".
    """

    lvalue: int
    verdict: str
    truth: bool
    fact: int
    test: Test | None
    uses: tuple[int, ...]


class Reduced(NamedTuple):
    """The operations of a body: per block, with per-edge branches; `lvalues` by number."""

    blocks: tuple[tuple[Op, ...], ...]
    edges: tuple[tuple[tuple[int, Branch | None], ...], ...]
    lines: tuple[int, ...]
    lvalues: tuple[ir.Expr, ...]
    sites: tuple[Site, ...]


class Reducer:
    """Builds the operations of one body."""

    def __init__(self, body: ir.Body, file: int, meaning: Meaning, params: Iterable[str], types: Mapping[str, str]) -> None:
        """`params` are tracked from the start; `types` of locals and parameters tell locals from globals."""
        self.body = body
        self.file = file
        self.meaning = meaning
        self.types = types
        self.sites: list[Site] = []
        self.lvalues: dict[ir.Expr, int] = {}
        self.facts: dict[ir.Expr, int] = {}
        for name in params:
            self._track(ir.Name(name))
        self._frees: dict[int, tuple[Free, ...]] = {}
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
        if lvalue in self.lvalues or not isinstance(lvalue, _LVALUES) or not root(lvalue):
            return False
        self.lvalues[lvalue] = len(self.lvalues)
        return True

    def _collect(self) -> None:
        """Find the tracked lvalues: allocation targets, freed expressions, and copies of them."""
        copies: list[tuple[ir.Expr, ir.Expr]] = []
        for event in self._events():
            if isinstance(event, ir.Call) and isinstance(event.callee, ir.Name):
                name = event.callee.id
                alloc = self.meaning.alloc(self.file, name)
                if alloc is not None and (event.target is not None or alloc.out is not None):
                    self._allocs[id(event)] = alloc
                    target = self._out(alloc, event)
                    if target is not None:
                        self._track(bare(target))
                frees = self.meaning.frees(self.file, name)
                if frees:
                    self._frees[id(event)] = frees
                    for free in frees:
                        if free.ptr < len(event.args):
                            self._track(bare(event.args[free.ptr]))
            elif isinstance(event, ir.Cleanup):
                self._track(ir.Name(event.name))
            elif isinstance(event, ir.Assign) and not event.op:
                copies.append((bare(event.target), bare(event.value)))
        changed = True
        while changed:
            changed = False
            for target, value in copies:
                if value in self.lvalues:
                    changed = self._track(target) or changed
                elif target in self.lvalues and isinstance(target, ir.Name):
                    changed = self._track(value) or changed

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
            if subject not in self.lvalues and (count > 1 or subject in fixed) and _stable(subject):
                self.facts[subject] = len(self.facts)

    def _events(self) -> Iterator[ir.Event]:
        for block in self.body.blocks:
            yield from block.events

    def _ops(self, event: ir.Event) -> Iterator[Op]:
        if isinstance(event, ir.Call):
            yield from self._call(event)
        elif isinstance(event, ir.Assign):
            yield from self._uses(event, (event.value, event.target), event.line)
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
        if free is not None:
            yield Release(self.lvalues[ir.Name(event.name)], ir.Name(event.name), free, event, event.line * 1000 + 999)

    def _call(self, event: ir.Call) -> Iterator[Op]:
        name = event.callee.id if isinstance(event.callee, ir.Name) else ""
        frees = self._frees.get(id(event), ())
        yield from self._uses(event, event.args, event.line, name)
        passed = tuple(self.lvalues[b] for arg in event.args if (b := bare(arg)) in self.lvalues)
        if passed and not frees:
            yield Pass(passed, event, name.isupper() or (name.startswith("_") and name.strip("_").isupper()))
        for free in frees:
            if free.ptr < len(event.args):
                subject = bare(event.args[free.ptr])
                yield Release(self.lvalues.get(subject, -1), event.args[free.ptr], free, event, event.line * 1000 + event.column)
        yield from self._side_effects(event, name)
        if event.target is not None:
            yield self._changed(bare(event.target))
        alloc = self._allocs.get(id(event))
        if alloc is not None:
            target = self._out(alloc, event)
            site = Site(len(self.sites), alloc, event)
            self.sites.append(site)
            yield Allocate(self.lvalues.get(bare(target), -1) if target is not None else -1, site)

    def _side_effects(self, event: ir.Call, name: str) -> Iterator[Op]:
        """What a callee may change: what it is given the address of, the fields of what it is given, globals."""
        known = name in self.meaning.catalogue.allocs or name in self.meaning.catalogue.frees
        targets: set[int] = set()
        facts: set[int] = set()
        for arg in event.args:
            arg = bare(arg)
            variable = root(arg)
            if event.block_macro and isinstance(arg, ir.Name):
                targets.update(self._by_name.get(arg.id, ()))
                facts.update(self._facts_by_name.get(arg.id, ()))
            elif isinstance(arg, ir.AddressOf) and isinstance(arg.base, ir.Name):
                targets.update(self._by_name.get(variable, ()))
                facts.update(self._facts_by_name.get(variable, ()))
            elif variable and not known:
                targets.update(n for n in self._by_name.get(variable, ()) if n in self._inside)
                facts.update(n for n in self._facts_by_name.get(variable, ()) if not isinstance(self._fact_list[n], ir.Name))
        if not known and not event.block_macro:
            targets.update(self._shared)
        if targets or facts:
            yield Forget(tuple(sorted(targets)), tuple(sorted(facts)))

    def _assign(self, event: ir.Assign) -> Iterator[Op]:
        target, value = bare(event.target), bare(event.value)
        number = self.lvalues.get(target)
        source = self.lvalues.get(value) if not event.op else None
        if number is None or source is None:
            if number is None or event.op:
                yield self._changed(target)
            fact = self.facts.get(target)
            known = constant(event.value) if not event.op else None
            if fact is not None and known is not None:
                yield Learn(fact, known)
            if number is not None and not event.op:
                yield self._changed(target, number)
                yield Set(number, _kind_of(value, self.types))
            return
        yield self._changed(target, number)
        yield Copy(number, source)

    def _changed(self, target: ir.Expr, but: int = -1) -> Forget:
        """Everything that mentions an assigned variable changes with it; a stored field changes what is below it."""
        if isinstance(target, ir.Name):
            return Forget(tuple(n for n in self._by_name.get(target.id, ()) if n != but), tuple(self._facts_by_name.get(target.id, ())))
        variable = root(target)
        lvalues, facts = self._lvalue_list, self._fact_list
        return Forget(
            tuple(n for n in self._by_name.get(variable, ()) if n != but and target in walk(lvalues[n])),
            tuple(n for n in self._facts_by_name.get(variable, ()) if target in walk(facts[n])),
        )

    def _uses(self, event: ir.Event, exprs: tuple[ir.Expr, ...], line: int, callee: str = "") -> Iterator[Op]:
        found = tuple(sorted({n for expr in exprs for n in self._accessed(expr, callee)}))
        if found:
            yield Use(found, event, line)

    def _accessed(self, expr: ir.Expr, callee: str = "") -> Iterator[int]:
        """Yield the tracked lvalues whose target memory evaluating `expr` reads or writes."""
        if isinstance(expr, ir.AddressOf):
            inner = expr.base
            if not callee or callee in ("offsetof", "container_of") or callee.isupper():
                inner = inner.base if isinstance(inner, ir.Field | ir.Index) else inner
                while isinstance(inner, ir.Field) and not inner.arrow:
                    inner = inner.base
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
        mentioned = [n for n in (self.lvalues.get(term) for term in walk(test.subject)) if n is not None]
        fact = self.facts.get(test.subject, -1)
        if mentioned and not uses:
            return Branch(mentioned[0], "mention", test.truth, fact, test, uses)
        return Branch(-1, "", test.truth, fact, test, uses) if fact >= 0 or uses else None


def _stable(subject: ir.Expr) -> bool:
    """A subject that stays what it is until something it names is assigned."""
    if isinstance(subject, ir.CallResult):
        return isinstance(subject.callee, ir.Name) and subject.callee.id in ("defined", "IS_ENABLED")
    return not any(isinstance(term, ir.CallResult | ir.Unknown) for term in walk(subject)) or (
        isinstance(subject, ir.Unknown) and subject.text.startswith("#if"))


def _kind_of(value: ir.Expr, types: Mapping[str, str]) -> str:
    """What an assigned value is: "null", "err_ptr", "local" or "static" address, "interior", or ""."""
    if is_zero(value):
        return "null"
    if isinstance(value, ir.CallResult) and isinstance(value.callee, ir.Name) and value.callee.id in ("ERR_PTR", "ERR_CAST"):
        return "err_ptr"
    if isinstance(value, ir.Number) and value.value == 0:
        return "null"
    if isinstance(value, ir.AddressOf) and isinstance(value.base, ir.Name) and value.base.id in types:
        return "local"
    if isinstance(value, ir.Name) and "[" in types.get(value.id, ""):
        return "local"
    return "string" if isinstance(value, ir.Text) else ""
