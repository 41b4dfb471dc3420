"""Counted objects that are freed by hand: memory that holds a device or a kobject belongs to the last put."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.ownership.frame import Frame
from kgfplint.ownership.handing import holder_of
from kgfplint.ownership.ops import Release


class Uncounted(NamedTuple):
    """A free of what holds a counted object: the call that made it one, or gave it up (`put`), and the free after it.

    `named` tells that the object has got a name of its own, which is lost unless a put frees it.
    """

    subject: ir.Expr
    call: ir.Call
    put: str
    given_up: bool
    release: Release
    named: bool


def uncounted(frame: Frame) -> Iterator[Uncounted]:
    """Yield the frees of local pointers to what holds a counted object, each after a call that made it one or gave it up."""
    makers = frame.meaning.catalogue.counted
    puts = {put: put for counted in makers.values() for put in counted.by}
    known = {**puts, **{name: counted.by[0] for name, counted in makers.items()}}
    if known.keys().isdisjoint(frame.callees):
        return
    frees = {id(release.event): release for release in frame.paths.releases if release.free.flavour in ("plain", "const")}
    for number, block in enumerate(frame.body.blocks):
        for at, event in enumerate(block.events):
            name = event.callee.id if type(event) is ir.Call and type(event.callee) is ir.Name else ""
            if type(event) is not ir.Call or name not in known or not event.args:
                continue
            for owner in _owners(frame, bare(event.args[0])):
                for release in _freed_after(frame, owner, number, at + 1, frees, puts if name not in puts else {}):
                    named = name not in makers or _is_named(frame, owner, makers[name].named)
                    yield Uncounted(owner, event, known[name], name in puts, release, named)


def _is_named(frame: Frame, owner: ir.Expr, namers: Collection[str]) -> bool:
    """Tell whether a function calls one of those that name an object; without any, what makes it one has named it."""
    return not namers or any(type(call.callee) is ir.Name and call.callee.id in namers
                             and any(owner in _owners(frame, bare(arg)) for arg in call.args) for call in frame.calls)


def _owners(frame: Frame, arg: ir.Expr, deep: bool = True) -> set[ir.Expr]:
    """Return the local pointers to what holds an object, given its address or a variable that is set to it."""
    if type(arg) is ir.AddressOf:
        holder = holder_of(arg.base)
        return {holder} if type(holder) is ir.Name and holder.id in frame.types else set()
    if type(arg) is ir.CallResult and type(arg.callee) is ir.Name and len(arg.args) == 1:
        holder = bare(arg.args[0])
        macro = frame.meaning.definition(frame.file, arg.callee.id).macro
        return {holder} if macro and type(holder) is ir.Name and holder.id in frame.types else set()
    if type(arg) is not ir.Name or not deep:
        return set()
    values = [bare(value) for value in frame.values.get(arg.id, ()) if value is not None]
    return {owner for value in values for owner in _owners(frame, value, False)}


def _freed_after(
    frame: Frame, owner: ir.Expr, block: int, at: int, frees: dict[int, Release], ends: dict[str, str],
) -> Iterator[Release]:
    """Yield the frees of a pointer that are reached from an event before it gets another value, or a call in `ends` has it."""
    blocks = frame.body.blocks
    seen: set[int] = set()
    stack = [(block, at)]
    while stack:
        number, first = stack.pop()
        for event in blocks[number].events[first:]:
            if _frees(frame, event, owner, frees, ends):
                yield frees[id(event)]
                break
            if _ends(frame, event, owner, ends) or (ends and _frees_name(frame, frees.get(id(event)), owner)):
                break
        else:
            if ends and _chooses(frame, blocks[number], owner, frees, ends):
                continue
            fresh = [edge.to for edge in blocks[number].edges if edge.to not in seen]
            seen.update(fresh)
            stack.extend((to, 0) for to in fresh)


def _frees(frame: Frame, event: ir.Event, owner: ir.Expr, frees: dict[int, Release], ends: dict[str, str]) -> bool:
    """Tell whether an event frees a pointer, and is not itself what gives its object up."""
    release = frees.get(id(event))
    return release is not None and bare(release.argument) == owner and not _gives_up(frame, event, owner, ends)


def _frees_name(frame: Frame, release: Release | None, owner: ir.Expr) -> bool:
    """Tell whether a release is that of the name of an object, by hand."""
    name = bare(release.argument) if release is not None else None
    holder = holder_of(name) if type(name) is ir.Field and name.member == "name" else None
    return holder is not None and (holder == owner or owner in _owners(frame, holder))


def _chooses(frame: Frame, block: ir.Block, owner: ir.Expr, frees: dict[int, Release], ends: dict[str, str]) -> bool:
    """Tell whether one way out of a block gives the object up and the other one frees it: the author knows which is due."""
    ways = [list(_straight(frame, edge.to)) for edge in block.edges]
    given = [any(_gives_up(frame, event, owner, ends) for event in way) for way in ways]
    return any(given) and any(not gives and any(_frees(frame, event, owner, frees, ends) for event in way)
                              for gives, way in zip(given, ways, strict=True))


def _straight(frame: Frame, number: int) -> Iterator[ir.Event]:
    """Yield the events of a block, and of those behind it, as long as there is one way only."""
    seen: set[int] = set()
    while number not in seen:
        seen.add(number)
        block = frame.body.blocks[number]
        yield from block.events
        if len(block.edges) == 1:
            number = block.edges[0].to


def _gives_up(frame: Frame, event: ir.Event, owner: ir.Expr, ends: dict[str, str]) -> bool:
    """Tell whether an event drops a reference to what an object is in, itself or as all that a function of the file does."""
    if type(event) is not ir.Call or type(event.callee) is not ir.Name or not event.args:
        return False
    if event.callee.id in ends:
        return owner in _owners(frame, bare(event.args[0]))
    if not ends or not any(bare(arg) == owner for arg in event.args):
        return False
    program = frame.program
    return any(program.rows[number].file == frame.file and any(name in ends for name, _ in program.calls(number))
               for number in program.resolve(frame.file, event.callee.id))


def _ends(frame: Frame, event: ir.Event, owner: ir.Expr, ends: dict[str, str]) -> bool:
    """Tell whether an event sets a pointer, gives its object up or does not come back."""
    if type(event) is ir.Declare:
        return ir.Name(event.name) == owner
    if type(event) is ir.Assign:
        return bare(event.target) == owner
    if type(event) is not ir.Call:
        return False
    if event.target is not None and bare(event.target) == owner:
        return True
    if event.block_macro or not frame.meaning.returns(frame.file, event):
        return any(bare(arg) == owner for arg in event.args) or not event.block_macro
    return _gives_up(frame, event, owner, ends)
