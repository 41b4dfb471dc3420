"""Counted objects that are freed by hand: memory that holds a device or a kobject belongs to the last put."""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.facts.terms import NULL, atom, bare
from kgfplint.facts.words import ERROR_POINTERS
from kgfplint.ownership.conditions import ANY, after, reading
from kgfplint.ownership.frame import Frame
from kgfplint.ownership.handing import holder_of
from kgfplint.ownership.ops import Release
from kgfplint.ownership.structs import outcomes, owners, sets, straight, walk
from kgfplint.program.meaning import Counts

_FRESH, _MADE, _GIVEN, _GONE = range(4)
"""What a pointer leads to: something not counted, a counted object, one that was given up, or nothing."""


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


class Making(NamedTuple):
    """A call that makes what a pointer leads to a counted object, or gives it up; `inside`: one function further down.

    `named`: the object has a name of its own, or is given one.
    """

    owner: ir.Expr
    put: str
    given_up: bool
    inside: bool
    named: bool


def uncounted(frame: Frame) -> Iterator[Uncounted]:
    """Yield the frees of local pointers to what holds a counted object, each after a call that made it one or gave it up."""
    puts = _puts(frame)
    if not _concerns(frame, puts):
        return
    frees = {id(release.event): release for release in frame.paths.releases if release.free.flavour in ("plain", "const")}
    for number, block in enumerate(frame.body.blocks) if frees else ():
        for at, event in enumerate(block.events):
            if type(event) is not ir.Call:
                continue
            for making in _makings(frame, event, puts):
                starts = [((number, at + 1), making.given_up)]
                if making.inside and making.given_up:
                    starts = [((edge.to, 0), failed) for edge, failed in outcomes(block, event, at)]
                for start, given_up in starts:
                    for release in _freed_after(frame, making, start, frees, {} if given_up else puts):
                        yield Uncounted(making.owner, event, making.put, given_up, release, making.named)


def _is_named(frame: Frame, owner: ir.Expr, namers: Collection[str]) -> bool:
    """Tell whether a function calls one of those that name an object; without any, what makes it one has named it."""
    return not namers or any(type(call.callee) is ir.Name and call.callee.id in namers
                             and any(owner in owners(frame, bare(arg)) for arg in call.args) for call in frame.calls)


def freed_before(frame: Frame) -> Iterator[tuple[Release, ir.Field, ir.Call]]:
    """Yield the frees of members of what holds a counted object that is given up after them, with the member and the put."""
    puts = _puts(frame)
    if puts.keys().isdisjoint(frame.callees):
        return
    for release in frame.paths.releases:
        member, event = bare(release.argument), release.event
        plain = type(event) is ir.Call and release.free.flavour == "plain"
        if plain and type(member) is ir.Field and member.arrow and type(bare(member.base)) is ir.Name:
            put = _put_after(frame, event, member, puts)
            if put is not None:
                yield release, member, put


def _put_after(frame: Frame, event: ir.Event, member: ir.Field, puts: Mapping[str, str]) -> ir.Call | None:
    """Return the put of what a member lies in that is reached from an event before the member gets another value."""
    owner = bare(member.base)
    place = next((number, at + 1) for number, block in enumerate(frame.body.blocks) for at, one in enumerate(block.events)
                 if one is event)
    for later in walk(frame, place, lambda later: sets(later, member) or sets(later, owner)):
        if type(later) is ir.Call and any(making.owner == owner for making in _makings(frame, later, puts, puts)):
            return later
    return None


def counts(frame: Frame) -> tuple[Counts, ...]:
    """Return what a function makes a counted object wherever it returns: parameters, and what it returns."""
    puts = _puts(frame)
    if frame.row.flags & ir.MACRO or not _concerns(frame, {}):
        return ()
    makings = {id(event): made for event in frame.calls if (made := list(_makings(frame, event, puts)))}
    leading = {making.owner: making for made in makings.values() for making in made if not making.given_up}
    places = {ir.Name(param.name): place for place, param in enumerate(frame.row.params) if not frame.values[param.name]}
    found = []
    for owner, making in leading.items():
        left = _left(frame, owner, makings)
        if owner in places:
            states = {state for _, state in left}
            if _MADE in states and states <= {_MADE, _GIVEN}:
                found.append(Counts(places[owner], making.put, _GIVEN in states, making.named))
        else:
            states = {state for value, state in left if value == owner}
            if _MADE in states and states <= {_MADE, _GONE}:
                found.append(Counts(-1, making.put, given_up=False, named=making.named))
    return tuple(found)


def _puts(frame: Frame) -> dict[str, str]:
    return {put: put for counted in frame.meaning.catalogue.counted.values() for put in counted.by}


def _concerns(frame: Frame, puts: Mapping[str, str]) -> bool:
    """Tell whether a function calls what makes counted objects, or one of some puts."""
    known = frame.meaning.catalogue.counted
    if not (known.keys() | puts.keys()).isdisjoint(frame.callees):
        return True
    return any(called.summary.counts for called in frame.called)


def _makings(frame: Frame, event: ir.Call, puts: Mapping[str, str], only: Collection[str] = ()) -> Iterator[Making]:
    """Yield what a call makes a counted object or gives up; `only`: as far as it is one of these functions."""
    name = event.callee.id if type(event.callee) is ir.Name else ""
    known = frame.meaning.catalogue.counted
    maker = known.get(name)
    if only and name not in only:
        return
    if maker is not None or name in puts:
        for owner in owners(frame, bare(event.args[0])) if event.args else ():
            named = maker is None or _is_named(frame, owner, maker.named)
            yield Making(owner, puts[name] if maker is None else maker.by[0], maker is None, inside=False, named=named)
        return
    for one in frame.meaning.summary(frame.file, name).counts if name else ():
        if one.place < len(event.args):
            given = event.target if one.place < 0 else event.args[one.place]
            owner = bare(given) if given is not None else NULL
            if type(owner) is ir.Name and owner.id in frame.types:
                namers = {namer for counted in known.values() if one.put in counted.by for namer in counted.named}
                yield Making(owner, one.put, one.given_up, inside=True, named=one.named or _is_named(frame, owner, namers))


def _left(frame: Frame, owner: ir.Expr, makings: Mapping[int, list[Making]]) -> set[tuple[ir.Expr | None, int]]:
    """Return what a pointer leads to where a function returns, with what is returned."""
    found = set[tuple[ir.Expr | None, int]]()
    seen, stack = {(0, _FRESH)}, [(0, _FRESH)]
    while stack:
        number, state = stack.pop()
        block = frame.body.blocks[number]
        for event in block.events:
            if type(event) is ir.Return:
                found.add((bare(event.value) if event.value is not None else None, state))
                break
            if type(event) is ir.Call and not frame.meaning.returns(frame.file, event):
                break
            state = _after(event, owner, state, makings.get(id(event), ()))
        else:
            for edge in block.edges:
                then = edge.to, _GONE if _is_nothing(edge, owner) else state
                if then not in seen:
                    seen.add(then)
                    stack.append(then)
    return found


def _after(event: ir.Event, owner: ir.Expr, state: int, makings: Collection[Making]) -> int:
    """Return what a pointer leads to after an event."""
    if sets(event, owner):
        value = bare(event.value) if type(event) is ir.Assign else None
        name = event.callee if type(event) is ir.Call else value.callee if type(value) is ir.CallResult else None
        state = _GONE if value == NULL or (type(name) is ir.Name and name.id in ERROR_POINTERS) else _FRESH
    for making in makings:
        if making.owner == owner:
            state = _GIVEN if making.given_up else _MADE
    return state


def _is_nothing(edge: ir.Edge, owner: ir.Expr) -> bool:
    """Tell whether a pointer is NULL or an error where an edge leads."""
    condition, truth = atom(edge.condition, edge.truth) if edge.condition is not None else (None, True)
    if type(condition) is ir.CallResult and type(condition.callee) is ir.Name and condition.callee.id.startswith("IS_ERR"):
        return truth and len(condition.args) == 1 and bare(condition.args[0]) == owner
    test = reading(edge.condition, edge.truth) if edge.condition is not None else None
    known = after(ANY, test) if test is not None and test.subject == owner else None
    return known is not None and known.lo == known.hi == 0


def _freed_after(
    frame: Frame, making: Making, start: tuple[int, int], frees: Mapping[int, Release], ends: Mapping[str, str],
) -> Iterator[Release]:
    """Yield the frees of a pointer that are reached from an event before it gets another value, or a call in `ends` has it."""
    owner = making.owner

    def is_end(event: ir.Event) -> bool:
        return _frees(frame, event, owner, frees, ends) or _ends(frame, event, making, ends) or (
            bool(ends) and _frees_name(frame, frees.get(id(event)), owner))

    def stops(block: ir.Block) -> bool:
        # Who is handed a counted object without a word need not know what it is.
        return bool(ends) and not making.inside and _chooses(frame, block, owner, frees, ends)

    for event in walk(frame, start, is_end, stops):
        if _frees(frame, event, owner, frees, ends):
            yield frees[id(event)]


def _frees(frame: Frame, event: ir.Event, owner: ir.Expr, frees: Mapping[int, Release], ends: Mapping[str, str]) -> bool:
    """Tell whether an event frees a pointer, and is not itself what gives its object up."""
    release = frees.get(id(event))
    return release is not None and bare(release.argument) == owner and not _gives_up(frame, event, owner, ends)


def _frees_name(frame: Frame, release: Release | None, owner: ir.Expr) -> bool:
    """Tell whether a release is that of the name of an object, by hand."""
    name = bare(release.argument) if release is not None else None
    holder = holder_of(name) if type(name) is ir.Field and name.member == "name" else None
    return holder is not None and (holder == owner or owner in owners(frame, holder))


def _chooses(frame: Frame, block: ir.Block, owner: ir.Expr, frees: Mapping[int, Release], ends: Mapping[str, str]) -> bool:
    """Tell whether one way out of a block gives the object up and the other one frees it: the author knows which is due."""
    ways = [list(straight(frame, edge.to)) for edge in block.edges]
    given = [any(_gives_up(frame, event, owner, ends) for event in way) for way in ways]
    return any(given) and any(not gives and any(_frees(frame, event, owner, frees, ends) for event in way)
                              for gives, way in zip(given, ways, strict=True))


def _gives_up(frame: Frame, event: ir.Event, owner: ir.Expr, ends: Mapping[str, str]) -> bool:
    """Tell whether an event drops a reference to what an object is in, itself or as all that a function of the file does."""
    if type(event) is not ir.Call or type(event.callee) is not ir.Name or not event.args:
        return False
    if event.callee.id in ends:
        return owner in owners(frame, bare(event.args[0]))
    if not ends or not any(bare(arg) == owner for arg in event.args):
        return False
    program = frame.program
    return any(program.rows[number].file == frame.file and any(name in ends for name, _ in program.calls(number))
               for number in program.resolve(frame.file, event.callee.id))


def _ends(frame: Frame, event: ir.Event, making: Making, ends: Mapping[str, str]) -> bool:
    """Tell whether an event sets a pointer, gives its object up or does not come back."""
    owner = making.owner
    if sets(event, owner):
        return True
    if type(event) is not ir.Call:
        return False
    if event.block_macro or not frame.meaning.returns(frame.file, event):
        return any(bare(arg) == owner for arg in event.args) or not event.block_macro
    if _gives_up(frame, event, owner, ends):
        return True
    # What one function made, another may undo: what it does is not known as well as what a put does.
    known, name = frame.meaning.catalogue, event.callee.id if type(event.callee) is ir.Name else ""
    return making.inside and name not in ends and name not in known.frees and name not in known.verdicts and any(
        bare(arg) == owner or owner in owners(frame, bare(arg)) for arg in event.args)
