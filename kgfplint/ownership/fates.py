"""What functions do with the pointers they are given: keep them, hand them on, or only use them for the call.

A fate is read off one body alone, without regard to the order of things. Whether a call really keeps a pointer follows
from the fates of all that it is handed on to; settled where the whole program is known.
"""

import functools
import re
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from kgfplint.catalogue import Catalogue
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root, walk
from kgfplint.ownership.carrying import carried
from kgfplint.ownership.touching import asks, names_of, touches, uses
from kgfplint.program.link import Program, Row
from kgfplint.program.types import names_of as types_of

MADE = -1
"""The place of what a function allocates and returns, among those of its parameters."""
_TELLS = re.compile(
    r"^(?:pr|trace|WARN|BUG)_|^(?:WARN|BUG)$|printf$"
    r"|(?:^|_)(?:dev|netdev|netif|wiphy|drm|hid|sdev|vdev|v4l2|ibdev)_(?:info|notice|warning|error|log|debug)(?:_once|_ratelimited)?$"
    r"|(?:^|_)(?:err|warn|dbg|crit|alert|emerg|printk)(?:_once|_ratelimited|_rl)?$", re.IGNORECASE)
"""Names of functions that print what they are given (include/linux/printk.h, dev_printk.h, net/net_debug.h, drm_print.h)."""


class Fate(Struct, frozen=True, array_like=True):
    """What one function does with one pointer: keep it beyond the call (or free it), or hand it to others.

    `passes` are (callee, place of the argument); UNCLEAR stands for who cannot be told by name. `uses`: on every way
    through the function it is dereferenced before anything is compared with it. `returned`: it may be (part of) what the
    function returns. `freed`: it is given to a deallocator somewhere. `touches`: it is dereferenced somewhere; `asks`: it may be
    compared with something.
    """

    kept: bool = False
    passes: tuple[tuple[str, int], ...] = ()
    uses: bool = False
    returned: bool = False
    freed: bool = False
    touches: bool = False
    asks: bool = False


_NUMBERS = frozenset({
    "", "void", "bool", "char", "u8", "s8", "u16", "s16", "u32", "s32", "short", "unsigned short", "int", "unsigned int",
    "unsigned", "long", "size_t", "ssize_t", "loff_t", "gfp_t", "blk_status_t", "irqreturn_t", "netdev_tx_t", "vm_fault_t",
    "__be16", "__be32",
})
"""Types that no pointer hides in; others of the kernel may hold one (unsigned long, netmem_ref)."""
KEPT, LENT = Fate(True), Fate()
UNCLEAR = "", 0
_FREED = "", 1
"""A call through a pointer, or a struct on the stack that holds the pointer while it is handed on."""


@functools.lru_cache(1 << 14)
def tells(name: str) -> bool:
    """Tell whether a function of this name only prints what it is given."""
    return bool(_TELLS.search(name))


def known_fate(catalogue: Catalogue, name: str, place: int) -> Fate | None:
    """Return what the catalogue says of a callee that is given a pointer, None if it says nothing."""
    free = catalogue.frees.get(name)
    if free is not None:
        return KEPT if place == free.ptr and free.flavour != "inside" else LENT
    alloc = catalogue.allocs.get(name)
    if alloc is not None:
        if place in (alloc.cache, alloc.pool, alloc.dev, alloc.source, alloc.handle, alloc.out, alloc.size):
            return LENT
        return KEPT if place == alloc.ptr else None
    verdict = catalogue.verdicts.get(name)
    if verdict is not None and verdict.action == "attach":
        return None
    if verdict is not None and verdict.action in ("lend", "unlink", "clear", "wipe"):
        return LENT if place == verdict.ptr else KEPT if verdict.action == "clear" else None
    if verdict is not None:
        return KEPT if verdict.action in ("take", "grace") else Fate(uses=verdict.action == "use" and place == verdict.ptr)
    lock = catalogue.locks.get(name)
    return LENT if (lock is not None and place in (lock.lock, lock.flags)) or tells(name) else None


class Fates:
    """Reads the fates of the pointers of one function after another."""

    def __init__(self, program: Program, catalogue: Catalogue) -> None:
        """Bind to a program and what is known of its interfaces."""
        self._program = program
        self._catalogue = catalogue

    def returns(self, callee: ir.Expr) -> bool:
        """Tell whether what a callee returns may be a pointer that it was given."""
        if type(callee) is not ir.Name:
            return True
        name = callee.id
        if name in self._catalogue.primitives or tells(name):
            return False
        verdict = self._catalogue.verdicts.get(name)
        if verdict is not None:
            return verdict.action in ("pass", "take") or verdict.pointer
        rows = [self._program.rows[number] for number in self._program.defined.get(name, ())]
        return not rows or any(row.flags & ir.EXPRESSION or row.returns not in _NUMBERS for row in rows)

    def of(self, number: int, body: ir.Body) -> dict[int, Fate]:
        """Return the fate of each parameter of a function by its place, and of what it allocates and returns (MADE).

        Nothing is returned for a stub of a header, which stands in for a function that is configured out.
        """
        row = self._program.rows[number]
        if not row.flags & ir.MACRO and len(body.blocks) == 1 and self._program.paths[row.file].endswith(".h") and all(
                type(event) is ir.Return and not (event.value and _names(event.value, row)) for event in body.blocks[0].events):
            return {}
        names = types_of(self._program.types, row.file, row.params, body)
        statics = {local.name for local in body.locals if local.storage}
        events = [event for block in body.blocks for event in block.events]
        fates = {place: self._fate({param.name}, names, statics, events)
                 for place, param in enumerate(row.params) if not param.ctype or not param.ctype[-1].isalnum()}
        made = {name for name in _returned(events) if name in names}
        fates[MADE] = self._made(made, names, statics, events) if made else KEPT
        return {place: self._touched(fate, body, row.params[place].name) if place >= 0 else fate for place, fate in fates.items()}

    def _touched(self, fate: Fate, body: ir.Body, param: str) -> Fate:
        """Return the fate of a parameter with what the function does to find out whether it leads anywhere."""
        names, known = names_of(body, param), self._catalogue
        return msgspec.structs.replace(
            fate, uses=uses(body, param, known), touches=touches(body, names, known), asks=asks(body, names, known))

    def _made(self, made: set[str], names: dict[str, str], statics: set[str], events: list[ir.Event]) -> Fate:
        """Return the fate of what is returned under some names: those who made it must not keep it, either."""
        fate = self._fate(made, names, statics, events)
        makers = {event.callee for event in events
                  if type(event) is ir.Call and type(event.target) is ir.Name and event.target.id in made}
        if not all(type(maker) is ir.Name for maker in makers):
            return KEPT
        inferred = sorted(m.id for m in makers if type(m) is ir.Name and m.id not in self._catalogue.allocs)
        return Fate(fate.kept, () if fate.kept else (*fate.passes, *((name, MADE) for name in inferred)))

    def _fate(self, seeds: set[str], names: dict[str, str], statics: set[str], events: list[ir.Event]) -> Fate:
        """Follow the names that the pointers in `seeds` come to have."""
        aliases = set(seeds)
        passes: dict[tuple[str, int], None] = {}
        size = 0
        kept = False
        while size != len(aliases):
            size = len(aliases)
            for event in events:
                kept = self._keeps(event, aliases, names, statics, passes) or kept
        freed = _FREED in passes
        passes.pop(_FREED, None)
        returned = any(type(event) is ir.Return and event.value is not None and self._carries(event.value, aliases)
                       for event in events)
        return Fate(kept, tuple(passes), returned=returned, freed=freed)

    def _keeps(self, event: ir.Event, aliases: set[str], names: dict[str, str], statics: set[str],
               passes: dict[tuple[str, int], None]) -> bool:
        """Tell whether an event keeps a pointer; note what it hands over, and under which further names it goes."""
        if type(event) is ir.Call:
            given = [place for place, arg in enumerate(event.args) if self._carries(arg, aliases)]
            if event.block_macro:
                return any(place > 0 and type(event.args[place]) is not ir.AddressOf for place in given)
            return bool(given) and self._hands(event, given, aliases, names, statics, passes)
        if type(event) is ir.Assign:
            return self._carries(event.value, aliases) and self._stores(bare(event.target), aliases, names, statics, passes)
        if type(event) is ir.Cleanup:
            return event.name in aliases
        return type(event) is ir.Evaluate and type(event.value) is ir.Unknown and self._carries(event.value, aliases)

    def _hands(self, event: ir.Call, given: Iterable[int], aliases: set[str], names: dict[str, str], statics: set[str],
               passes: dict[tuple[str, int], None]) -> bool:
        if type(event.callee) is not ir.Name:
            passes[UNCLEAR] = None
            return False
        kept = False
        for place in given:
            arg = event.args[place]
            if type(arg) is ir.AddressOf and type(variable := bare(arg.base)) is ir.Name:
                if names.get(variable.id, "*").endswith("*"):
                    kept = True  # the pointer itself may be changed
                else:
                    passes[UNCLEAR] = None
                continue
            fate = known_fate(self._catalogue, event.callee.id, place)
            if fate is None:
                passes[event.callee.id, place] = None
            elif fate.kept:
                kept = True
                if event.callee.id in self._catalogue.frees:
                    passes[_FREED] = None
        if kept:
            return True
        if event.target is not None and self.returns(event.callee):
            return self._stores(bare(event.target), aliases, names, statics, passes)
        return False

    @staticmethod
    def _stores(target: ir.Expr, aliases: set[str], names: dict[str, str], statics: set[str],
                passes: dict[tuple[str, int], None]) -> bool:
        """Tell whether what is stored to a target outlives the call; a local, or the thing itself, does not."""
        if type(target) is ir.Name and target.id in names and target.id not in statics:
            aliases.add(target.id)
            return False
        while type(target) is ir.Field and not target.arrow:
            target = bare(target.base)
            if type(target) is ir.Name and target.id in names and target.id not in statics:
                passes[UNCLEAR] = None
                return False
        return not (type(target) is ir.Field and type(bare(target.base)) is ir.Name and root(target) in aliases)

    def _carries(self, expr: ir.Expr, aliases: set[str]) -> bool:
        kind = type(expr)
        if kind is ir.Number or kind is ir.Text or kind is ir.SizeOf or kind is ir.TypeName:
            return False
        return any(type(term) is ir.Name and term.id in aliases for term in carried(expr, self.returns))


def _names(expr: ir.Expr, row: Row) -> bool:
    return any(type(term) is ir.Name and any(term.id == param.name for param in row.params) for term in walk(expr))


def _returned(events: Iterable[ir.Event]) -> Iterator[str]:
    for event in events:
        if type(event) is ir.Return and event.value is not None and type(value := bare(event.value)) is ir.Name:
            yield value.id
