"""What of freshly allocated memory has been written, on every path, when something is about to read all of it."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, walk
from kgfplint.ownership.frame import Frame
from kgfplint.taint.exposure import exposure

WHOLE = "*"
"""Among the written parts: all of it, or what nobody can tell any more."""
SOME = "?"
"""Among the written parts: something that has no name."""
Parts = frozenset[str]
"""What is written: members by their dotted paths, SOME or WHOLE."""
_ROUNDS = 24


class Given(NamedTuple):
    """A call that memory is given to before all of it is written: the argument, and what is written on every path."""

    call: ir.Call
    argument: ir.Expr
    parts: Parts


class Filling:
    """The writes to one allocation, forward through a function.

    `origin` is the call that allocates into a local; `sizes` are expressions of all its bytes. `handle` is the variable of
    the address that hardware knows it by.
    """

    def __init__(self, frame: Frame, origin: ir.Call, sizes: frozenset[ir.Expr], handle: ir.Expr | None = None) -> None:
        """Nothing is calculated before it is asked for."""
        self._frame = frame
        self._origin = origin
        self._sizes = sizes
        self._handle = handle
        self._names = self._aliases()
        self._loops: dict[int, frozenset[int]] = {}

    def _aliases(self) -> frozenset[str]:
        """Return the local that takes the memory, and those that are set to it."""
        names = {self._origin.target.id} if isinstance(self._origin.target, ir.Name) else set[str]()
        for event in self._frame.events():
            if isinstance(event, ir.Assign) and isinstance(event.target, ir.Name) and not event.op:
                source = bare(event.value)
                if isinstance(source, ir.Name) and source.id in names:
                    names.add(event.target.id)
        return frozenset(names)

    def given(self) -> Iterator[Given]:
        """Yield each call that the memory, or its handle, is given to as long as something may not be written.

        Of an array whose elements are written by a variable index nothing is told: the loop may well reach all of them.
        """
        if self._is_indexed():
            return
        for block, entry in zip(self._frame.body.blocks, self._entries(), strict=True):
            state = entry
            for event in block.events:
                if isinstance(event, ir.Call) and state is not None and WHOLE not in state:
                    yield from (Given(event, arg, state) for arg in event.args if self._concerns(arg))
                state = self._after(event, state)

    def _is_indexed(self) -> bool:
        """Tell whether elements are written, or handed over, by an index that is no constant."""
        for event in self._frame.events():
            written = (event.target,) if isinstance(event, ir.Assign) else event.args if isinstance(event, ir.Call) else ()
            for term in (term for expr in written for term in walk(expr)):
                if isinstance(term, ir.Index) and not isinstance(term.index, ir.Number) and self._mentions_whole(term.base):
                    return True
        return False

    def _concerns(self, arg: ir.Expr) -> bool:
        return bare(arg) == self._handle or self._path(arg) is not None

    def _entries(self) -> list[Parts | None]:
        """Return what is written at the entry of each block; None: not allocated, or not any more.

        A loop is taken to run at least once: there are no bytes where there are no elements.
        """
        blocks = self._frame.body.blocks
        entries: list[Parts | None] = [None] * len(blocks)
        again: dict[int, Parts] = {}
        waiting = set(range(len(blocks)))
        for _ in range(_ROUNDS):
            for number, block in enumerate(blocks):
                if number not in waiting:
                    continue
                waiting.discard(number)
                state = self._through(block, entries[number])
                late = self._through(block, again[number]) if number in again else state
                for edge in block.edges:
                    here = late if late is not state and edge.to not in self._loop(number) else state
                    if here is None or self._is_missing(edge):
                        continue
                    if edge.to <= number:
                        again[edge.to] = _met(again.get(edge.to, here), here)
                        waiting.add(edge.to)
                    known = entries[edge.to]
                    merged = here if known is None else _met(known, here)
                    if merged != known:
                        entries[edge.to] = merged
                        waiting.add(edge.to)
            if not waiting:
                break
        return entries

    def _through(self, block: ir.Block, state: Parts | None) -> Parts | None:
        for event in block.events:
            state = self._after(event, state)
        return state

    def _loop(self, head: int) -> frozenset[int]:
        """Return the blocks that lead back to the head of a loop."""
        known = self._loops.get(head)
        if known is None:
            blocks = self._frame.body.blocks
            found = {head}
            size = 0
            while size != len(found):
                size = len(found)
                found |= {at for at, block in enumerate(blocks) if at >= head and any(edge.to in found for edge in block.edges)}
            known = self._loops[head] = frozenset(found)
        return known

    def _is_missing(self, edge: ir.Edge) -> bool:
        """Tell whether an edge is only taken if the allocation has failed."""
        match edge.condition:
            case ir.Unary("!", ir.Name(name)):
                return edge.truth and name in self._names
            case ir.Name(name):
                return not edge.truth and name in self._names
            case ir.Binary("==", ir.Name(name), ir.Name("NULL") | ir.Number(0)):
                return edge.truth and name in self._names
            case ir.CallResult(ir.Name("IS_ERR" | "IS_ERR_OR_NULL"), (ir.Name(name),)):
                return edge.truth and name in self._names
        return False

    def _after(self, event: ir.Event, state: Parts | None) -> Parts | None:
        if event is self._origin:
            return frozenset()
        if state is None:
            return None
        if isinstance(event, ir.Assign):
            return self._assigned(event, state)
        if isinstance(event, ir.Call):
            return self._called(event, state)
        return state

    def _assigned(self, event: ir.Assign, state: Parts) -> Parts | None:
        path = self._path(ir.AddressOf(event.target))
        if path is not None:
            return state | {path or (WHOLE if self._is_struct(event.target) else SOME)}
        if isinstance(event.target, ir.Name) and event.target.id in self._names:
            return state if event.op or self._mentions(event.value) else None
        if self._mentions_whole(event.value) and not isinstance(event.target, ir.Name):
            return frozenset({WHOLE})  # others can reach it now
        return state

    def _called(self, call: ir.Call, state: Parts) -> Parts | None:
        name = call.callee.id if isinstance(call.callee, ir.Name) else ""
        if self._frame.meaning.frees(self._frame.file, name) and any(self._mentions_whole(arg) for arg in call.args):
            return None
        row = exposure().fills.get(name)
        for place, arg in enumerate(call.args):
            path = self._path(arg)
            if path is None:
                continue
            if row is not None:
                if place == row.memory:
                    state |= self._filled(call, row.bytes, row.short, path)
            elif name not in exposure().exposes:
                state |= {path or WHOLE}
        return state

    def _filled(self, call: ir.Call, place: int, short: bool, path: str) -> Parts:
        if path:
            return frozenset({path})
        if short:
            return frozenset() if call.target is None else frozenset({WHOLE})
        length = bare(call.args[place]) if place < len(call.args) else None
        return frozenset({WHOLE if length is not None and self.covers(length) else SOME})

    def covers(self, length: ir.Expr) -> bool:
        """Tell whether a number of bytes is that of the whole memory; a variable must be the same at both places."""
        length = bare(length)
        steady = not isinstance(length, ir.Name) or len(self._frame.values.get(length.id, ())) <= 1
        return steady and (length in self._sizes or self._frame.value_of(length) in self._sizes)

    def _is_struct(self, target: ir.Expr) -> bool:
        return self._handle is None and isinstance(target, ir.Deref | ir.Index)

    def _mentions(self, expr: ir.Expr) -> bool:
        return any(isinstance(term, ir.Name) and term.id in self._names for term in walk(expr))

    def _mentions_whole(self, expr: ir.Expr) -> bool:
        inner = bare(expr)
        return isinstance(inner, ir.Name) and inner.id in self._names

    def _path(self, pointer: ir.Expr) -> str | None:
        """Return which part of the memory a pointer points to: a dotted path, "" for its beginning, None for other memory."""
        inner = bare(pointer)
        if isinstance(inner, ir.Name):
            return "" if inner.id in self._names else None
        if isinstance(inner, ir.AddressOf):
            return self._member(inner.base)
        if isinstance(inner, ir.Field) and self._frame.typing.of(inner).endswith("]"):
            return self._member(inner)
        if isinstance(inner, ir.Binary) and inner.op == "+":
            return SOME if self._path(inner.left) is not None else None
        return None

    def _member(self, place: ir.Expr) -> str | None:
        """Return the dotted path of a place in the memory, "" for the memory itself."""
        match bare(place):
            case ir.Deref(base) | ir.Index(base, _):
                inner = bare(base)
                if isinstance(inner, ir.Name):
                    return "" if inner.id in self._names else None
                return self._member(inner) if isinstance(inner, ir.Field) and self._frame.typing.of(inner).endswith("]") else None
            case ir.Field(base, member, True):
                inner = bare(base)
                return member if isinstance(inner, ir.Name) and inner.id in self._names else None
            case ir.Field(base, member, False):
                above = self._member(base)
                return None if above is None else f"{above}.{member}" if above else member
        return None


def _met(left: Parts, right: Parts) -> Parts:
    """Return what is written on both of two paths."""
    if WHOLE in left:
        return right
    if WHOLE in right:
        return left
    return left & right


def missing(members: Mapping[str, str], parts: Parts, prefix: str = "") -> list[str]:
    """Return the members that are not written, neither as a whole nor, as far as it goes, in part."""
    written = {part.removeprefix(prefix).partition(".")[0] for part in parts if part.startswith(prefix)}
    return [name for name in members if name not in written]
