"""Counted objects that are freed by hand: memory that holds a device or a kobject belongs to the last put."""

from collections.abc import Iterator
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.ownership.frame import Frame
from kgfplint.ownership.handing import holder_of
from kgfplint.ownership.ops import Release


class Uncounted(NamedTuple):
    """A free of what holds a counted object: the call that made it one, or gave it up (`put`), and the free after it."""

    subject: ir.Expr
    call: ir.Call
    put: str
    given_up: bool
    release: Release


def uncounted(frame: Frame) -> Iterator[Uncounted]:
    """Yield the frees of local pointers to what holds a counted object, each after a call that made it one or gave it up."""
    makers = frame.meaning.catalogue.counted
    puts = {put: put for counted in makers.values() for put in counted.by}
    known = {**puts, **{name: counted.by[0] for name, counted in makers.items()}}
    if known.keys().isdisjoint(frame.callees):
        return
    frees = {id(release.event): release for release in frame.paths.releases if release.free.flavour == "plain"}
    for number, block in enumerate(frame.body.blocks):
        for at, event in enumerate(block.events):
            name = event.callee.id if type(event) is ir.Call and type(event.callee) is ir.Name else ""
            if type(event) is not ir.Call or name not in known or not event.args:
                continue
            for owner in _owners(frame, bare(event.args[0])):
                for release in _freed_after(frame, owner, number, at + 1, frees, puts if name not in puts else {}):
                    yield Uncounted(owner, event, known[name], name in puts, release)


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
            release = frees.get(id(event))
            if release is not None and bare(release.argument) == owner:
                yield release
                break
            if _ends(frame, event, owner, ends):
                break
        else:
            fresh = [edge.to for edge in blocks[number].edges if edge.to not in seen]
            seen.update(fresh)
            stack.extend((to, 0) for to in fresh)


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
    name = event.callee.id if type(event.callee) is ir.Name else ""
    return name in ends and bool(event.args) and owner in _owners(frame, bare(event.args[0]))
