"""The GFP masks that a function chooses: for each call that is given one, all values it may have there.

Forward over the control flow graph, so that `gfp |= __GFP_NOFAIL` counts after it and not before. What a
caller chose stays unknown: rules judge a mask by the bits that the function itself sets.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from kgfplint.catalogue import Alloc
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import children, show
from kgfplint.gfp import ALL, Mask
from kgfplint.gfp.headers import parse_expression
from kgfplint.program.meaning import Meaning

Options = frozenset[Mask]
"""The values that an expression may have."""

_MOST = 8
"""More values of one expression than this are joined to one."""
_ROUNDS = 12
_OPERATORS = {"&": Mask.__and__, "|": Mask.__or__, "^": Mask.__xor__}
_FULL = frozenset({"GFP_KERNEL", "GFP_KERNEL_ACCOUNT", "GFP_USER", "GFP_HIGHUSER", "GFP_HIGHUSER_MOVABLE"})
_KINDS = {
    "said atomic": frozenset({"GFP_ATOMIC", "GFP_NOWAIT"}), "said sleeping": _FULL | {"GFP_NOFS", "GFP_NOIO"},
    "said fs": _FULL, "said nofs": frozenset({"GFP_NOFS"}), "said noio": frozenset({"GFP_NOIO"}),
}
SAID = {kind: 1 << (32 + place) for place, kind in enumerate(_KINDS)}
"""Bits above those of a gfp_t: a mask of that kind was named. By its bits alone `GFP_KERNEL | GFP_ATOMIC` is
`GFP_KERNEL | __GFP_HIGH`, which is sound."""
_SAYS = {name: sum(SAID[kind] for kind, names in _KINDS.items() if name in names)
         for name in frozenset[str]().union(*_KINDS.values())}


class Choice(NamedTuple):
    """A call and the mask it is given: the expression, its possible values, and what they have in common.

    `written` are the values of the arms of a `?:` in the expression, each with what is sure of the locals in
    it: unlike one of `options`, none of them is put together from steps that exclude each other.
    `alloc` is how the call allocates (catalogue or inferred), None for any other call that takes a mask; `taker` what such
    a one hands the mask on to, if that is known; `slab`: the memory comes from slab.
    """

    call: ir.Call
    expr: ir.Expr
    options: Options
    written: Options
    mask: Mask
    alloc: Alloc | None
    slab: bool
    named: Mapping[str, int]
    taker: Alloc | None = None

    @property
    def name(self) -> str:
        """The name of what is called, for messages."""
        return show(self.call.callee)

    @property
    def value(self) -> int | None:
        """The constant that the mask is, None while any bit is unknown or differs."""
        return self.mask.set & ALL if not ALL & ~self.mask.known else None

    def arms(self) -> Iterator["Choice"]:
        """Yield the choice as it is for each arm of a `?:` in the expression."""
        for mask in sorted(self.written, key=lambda mask: (mask.set, mask.clear)):
            yield self._replace(mask=mask)

    def possible(self) -> Iterator["Choice"]:
        """Yield the choice as it is for each value that the mask may have."""
        for mask in sorted(self.options, key=lambda mask: (mask.set, mask.clear)):
            yield self._replace(mask=mask)

    def sets(self, *names: str) -> bool:
        """Tell whether all values set all bits of the named masks."""
        bits = [self.named.get(name) or SAID.get(name, 0) for name in names]
        return all(bit and not bit & ~self.mask.set for bit in bits)

    def clears(self, *names: str) -> bool:
        """Tell whether no value can have a bit of the named masks."""
        return not any(self.named.get(name, 0) & ~self.mask.clear for name in names)

    def may_set(self, *names: str) -> tuple[str, ...]:
        """Return those of the named bits that some value is known to set."""
        bits = functools.reduce(int.__or__, (mask.set for mask in self.options), 0)
        return tuple(name for name in names if self.named.get(name, 0) & bits)


@functools.lru_cache(maxsize=2)
def choices(unit: Unit) -> tuple[Choice, ...]:
    """Return the calls of a function that choose or pass on a mask, in block order."""
    return tuple(_Flow(unit).choices())


def from_slab(meaning: Meaning, alloc: Alloc) -> bool:
    """Tell whether an allocator, of the catalogue or inferred, takes its memory from slab."""
    family = meaning.catalogue.families.get(alloc.family)
    return alloc.slab_backed or (family is not None and family.slab_backed)


def every_taker(unit: Unit, name: str, fits: Callable[[Alloc], bool]) -> bool:
    """Tell whether all that a wrapper may hand its mask to are allocators that fit, so that a bit is for them."""
    meaning, program = unit.meaning, unit.program
    for target in program.resolve(unit.file, name):
        file = program.rows[target].file
        for callee, _ in program.calls(target):
            alloc = meaning.alloc(file, callee)
            takes = alloc is not None or meaning.gfp_argument(file, callee) is not None
            if takes and (alloc is None or not fits(alloc)):
                return False
    return True


def mask_text(unit: Unit, choice: Choice) -> str:
    """Return a chosen mask as it is written, if only of the kernel's names, else the bits that all its values set."""
    if all(name in choice.named for name in operands(choice.expr)):
        return " | ".join(map(show, _summands(choice.expr)))
    return unit.meaning.masks.describe(Mask(choice.mask.set & ALL, choice.mask.clear, choice.mask.params))


def _summands(expr: ir.Expr) -> Iterator[ir.Expr]:
    """Yield what a mask is or-ed together from."""
    if isinstance(expr, ir.Binary) and expr.op == "|":
        yield from _summands(expr.left)
        yield from _summands(expr.right)
    else:
        yield expr


def spells_mask(expr: ir.Expr) -> bool:
    """Tell whether an expression is put together from named masks, whatever it is given to."""
    if type(expr) is ir.Name:
        return expr.id.startswith(("GFP_", "__GFP_"))
    if type(expr) is ir.Binary:
        return expr.op in ("|", "&") and (spells_mask(expr.left) or spells_mask(expr.right))
    if type(expr) is ir.Cast:
        return spells_mask(expr.operand)
    return type(expr) is ir.Conditional and (spells_mask(expr.then) or spells_mask(expr.other))


def spelled(unit: Unit, expr: ir.Expr) -> set[str]:
    """Return the names that a mask expression is made of, with macros of the program opened up."""
    waiting, found = list(operands(expr)), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            text = None if name in unit.meaning.masks.named else _macro(unit.meaning, unit.file, name)
            waiting.extend(operands(text) if text is not None else ())
    return found


class _Flow:
    """The values of the locals that masks are made of, forward through one function."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._meaning = unit.meaning
        self._calls = {id(call): found for call in unit.calls if (found := self._argument(call)) is not None}
        self._wanted = self._locals()

    def _argument(self, call: ir.Call) -> tuple[ir.Expr, Alloc | None] | None:
        """Return the mask argument of a call: where its function takes one, else what is plainly a mask."""
        alloc = place = None
        if isinstance(call.callee, ir.Name):
            alloc = self._meaning.alloc(self._unit.file, call.callee.id)
            place = alloc.gfp if alloc is not None else self._meaning.gfp_argument(self._unit.file, call.callee.id)
        if place is not None and place < len(call.args):
            return call.args[place], alloc
        return next(((arg, None) for arg in call.args if alloc is None and spells_mask(arg)), None)

    def _locals(self) -> frozenset[str]:
        """Return the locals and parameters that masks depend on."""
        types = self._unit.types
        wanted = {name for expr, _ in self._calls.values() for name in operands(expr) if name in types}
        size = 0
        while size != len(wanted):
            size = len(wanted)
            for event in self._unit.events():
                if isinstance(event, ir.Assign) and isinstance(event.target, ir.Name) and event.target.id in wanted:
                    wanted.update(name for name in operands(event.value) if name in types)
        return frozenset(wanted)

    def choices(self) -> Iterator[Choice]:
        """Yield the choices of reachable calls."""
        if not self._calls:
            return
        bits = _all_bits(self._meaning)
        for block, values in zip(self._unit.body.blocks, self._entries(), strict=True):
            if values is None:
                continue
            for event in block.events:
                found = self._calls.get(id(event))
                if found is not None and isinstance(event, ir.Call):
                    options = self._options(found[0], values)
                    # `~__GFP_FS` has bits that no mask has: it is for clearing, not for allocating.
                    if not any(mask.set & ~bits for mask in options):
                        sure = {name: frozenset({_joined(several)}) for name, several in values.items()}
                        yield self._choice(event, found, options, self._options(found[0], sure))
                if self._wanted:
                    self._apply(event, values)

    def _choice(self, call: ir.Call, found: tuple[ir.Expr, Alloc | None], options: Options, written: Options) -> Choice:
        expr, alloc = found
        taker = None
        if alloc is None and isinstance(call.callee, ir.Name):
            taker = self._meaning.summary(self._unit.file, call.callee.id).hands
        user = alloc or taker
        slab = user is not None and from_slab(self._meaning, user)
        return Choice(call, expr, options, written, _joined(options), alloc, slab, self._meaning.masks.named, taker)

    def _entries(self) -> list[dict[str, Options] | None]:
        """Return the values at the entry of each block, None for one that is not reached."""
        blocks = self._unit.body.blocks
        if not self._wanted:
            return [{} for _ in blocks]
        start = {name: frozenset({Mask.unknown(name)}) for name in self._wanted}
        entries: list[dict[str, Options] | None] = [None] * len(blocks)
        entries[0] = start
        waiting = {0}
        for _ in range(max(_ROUNDS, len(blocks))):
            for number, block in enumerate(blocks):
                entry = entries[number]
                if number not in waiting or entry is None:
                    continue
                waiting.discard(number)
                values = dict(entry)
                for event in block.events:
                    self._apply(event, values)
                for edge in block.edges:
                    merged = _merged(entries[edge.to], values)
                    if merged != entries[edge.to]:
                        entries[edge.to] = merged
                        waiting.add(edge.to)
            if not waiting:
                return entries
        return [dict(start) for _ in blocks]

    def _apply(self, event: ir.Event, values: dict[str, Options]) -> None:
        """Change the values as an event does; what a callee may write is unknown after it."""
        changed: tuple[ir.Expr | None, ...] = ()
        if isinstance(event, ir.Assign):
            if isinstance(event.target, ir.Name) and event.target.id in values:
                value = ir.Binary(event.op, event.target, event.value) if event.op else event.value
                values[event.target.id] = self._options(value, values)
        elif isinstance(event, ir.Call):
            changed = (event.target, *(arg.base for arg in event.args if isinstance(arg, ir.AddressOf)))
        elif isinstance(event, ir.Declare):
            changed = (ir.Name(event.name),)
        for place in changed:
            if isinstance(place, ir.Name) and place.id in values:
                values[place.id] = frozenset({Mask.unknown(place.id)})

    def _options(self, expr: ir.Expr, values: Mapping[str, Options], depth: int = 8) -> Options:
        match expr:
            case ir.Name(name):
                return values[name] if name in values else self._named(name, depth)
            case ir.Cast(_, operand):
                return self._options(operand, values, depth)
            case ir.Unary("~", operand):
                return frozenset(~mask for mask in self._options(operand, values, depth))
            case ir.Conditional(_, then, other):
                return _few(self._options(then, values, depth) | self._options(other, values, depth))
            case ir.Binary(op, left, right) if op in _OPERATORS:
                ones, others = self._options(left, values, depth), self._options(right, values, depth)
                return _few(frozenset(_OPERATORS[op](one, other) for one in ones for other in others))
            case ir.Number(0):
                return frozenset({Mask.of(0)})
            case ir.CallResult():
                known = {name: _joined(options) for name, options in values.items()}
                return frozenset({self._meaning.masks.evaluate(expr, known.get)})
        # A number is no mask: XA_FLAGS_ALLOC is a gfp_t by its type only.
        return frozenset({Mask.unknown()})

    def _named(self, name: str, depth: int) -> Options:
        """Return the value of a mask of the kernel, or of an object-like macro of the program."""
        value = self._meaning.masks.named.get(name)
        if value is not None:
            return frozenset({Mask(value | _SAYS.get(name, 0), ~value & ALL)})
        expr = _macro(self._meaning, self._unit.file, name) if depth else None
        return frozenset({Mask.unknown(name)}) if expr is None else self._options(expr, {}, depth - 1)


@functools.lru_cache(maxsize=2)
def _all_bits(meaning: Meaning) -> int:
    """Return the bits that any named mask has, and those that tell how it was named."""
    return functools.reduce(int.__or__, meaning.masks.named.values(), 0) | sum(SAID.values())


@functools.lru_cache(maxsize=4096)
def _macro(meaning: Meaning, file: int, name: str) -> ir.Expr | None:
    """Return what an object-like macro of the file, or the only one of the program, stands for."""
    found = meaning.program.macros.get(name)
    own = [text for where, text in found if where == file] or [text for _, text in found]
    return parse_expression(own[0]) if own and len(set(own)) == 1 and len(own[0]) < 400 else None


def operands(expr: ir.Expr) -> Iterator[str]:
    """Yield the names that the bits of a mask expression come from."""
    if type(expr) is ir.Name:
        yield expr.id
    elif isinstance(expr, ir.Binary | ir.Unary | ir.Cast | ir.Conditional | ir.CallResult):
        for part in children(expr):
            yield from operands(part)


def _joined(options: Options) -> Mask:
    """Return what all values have in common."""
    return functools.reduce(Mask.join, options)


def _few(options: Options) -> Options:
    return options if len(options) <= _MOST else frozenset({_joined(options)})


def _merged(known: dict[str, Options] | None, arriving: dict[str, Options]) -> dict[str, Options]:
    if known is None:
        return dict(arriving)
    return {name: _few(options | arriving[name]) for name, options in known.items()}
