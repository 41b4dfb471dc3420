"""What must be taken down before memory is freed by hand: a struct in it was set up, and holds more than its own bytes."""

import functools
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from kgfplint.catalogue import Catalogue, Setup
from kgfplint.facts import ir
from kgfplint.facts.terms import NULL, bare, walk
from kgfplint.ownership.conditions import ANY, Known, after, constant, is_error_name, reading
from kgfplint.ownership.destructors import Destructors, Pair
from kgfplint.ownership.frame import Frame
from kgfplint.ownership.ops import Release
from kgfplint.ownership.structs import outcomes, owners, sets, straight

_DEPTH, _MOST_STATES = 3, 400
"""How many functions of the file are looked through for one that takes something back; and how much of a function."""
Values = frozenset[tuple[ir.Expr, Known]]
"""What variables are known to be: those for errors that were set, and those that decided on what was done."""


class Done(NamedTuple):
    """What a call did to the struct that `owner` leads to: set up what is `given`, or what only `by` can take back.

    `setup` is what the catalogue says, `pair` how another function of the tree takes it back; `made`: the call returned
    the struct.
    """

    owner: ir.Expr
    given: ir.Expr
    call: ir.Call
    by: tuple[str, ...]
    setup: Setup | None = None
    pair: Pair | None = None
    made: bool = False


class Lost(NamedTuple):
    """A plain free of what something was done to, and nothing taken back."""

    done: Done
    release: Release


def lost(frame: Frame, sure: bool) -> Iterator[Lost]:
    """Yield the frees of pointers to what something was done to that was not taken back since; `sure`: all is known."""
    known = frame.meaning.catalogue
    frees = {id(release.event): release for release in frame.paths.releases if release.free.flavour in ("plain", "const")
             and type(release.event) is ir.Call and not release.wrapped and known.are_general(release.free.accepts)}
    freed = {bare(release.argument) for release in frees.values()}
    destructors = Destructors(frame, sure)
    for number, block in enumerate(frame.body.blocks) if freed else ():
        for at, event in enumerate(block.events):
            if type(event) is ir.Call and type(event.callee) is ir.Name:
                for done in _deeds(frame, event, event.callee.id, freed, destructors):
                    starts = [(number, at + 1)] if done.made else _starts(frame, block, event, number, at)
                    for release in (release for start in starts for release in _freed(frame, done, start, frees)):
                        if not done.made or _brings(frame, event, release):
                            yield Lost(done, release)


def _brings(frame: Frame, event: ir.Call, release: Release) -> bool:
    """Tell whether a path brings the memory that a call returns to a free."""
    return any(incident.kind == "free" and incident.free == release and incident.origin.site is not None
               and incident.origin.site.call is event for incident in frame.paths.incidents.values())


def _deeds(frame: Frame, event: ir.Call, name: str, freed: Collection[ir.Expr], destructors: Destructors,
           ) -> Iterator[Done]:
    """Yield what a call does to structs that are freed."""
    setup = frame.meaning.catalogue.setups.get(name)
    if setup is not None and setup.holds:
        given = bare(event.args[setup.ptr]) if setup.ptr < len(event.args) else NULL
        for owner in owners(frame, given) & set(freed):
            yield Done(owner, given, event, setup.by, setup)
    if setup is not None or name in frame.meaning.catalogue.described:
        return
    target = bare(event.target) if event.target is not None else NULL
    if target in freed and frame.meaning.summary(frame.file, name).allocates is not None:
        yield from _inferred(frame, name, Done(target, target, event, (), made=True), destructors)
        return
    for arg in map(bare, event.args):
        for owner in ({arg} if type(arg) is ir.Name else owners(frame, arg)) & set(freed):
            yield from _inferred(frame, name, Done(owner, arg, event, ()), destructors)


def _inferred(frame: Frame, name: str, done: Done, destructors: Destructors) -> Iterator[Done]:
    """Yield what a call did, with what takes it back, if other functions of the tree do so."""
    pairs = destructors.pairs(name, frame.typing.of(done.owner), done.made)
    if pairs:
        by = tuple(dict.fromkeys(name for pair in pairs for name in (pair.undone, pair.destructor)))
        yield done._replace(by=by, pair=pairs[0])


def _starts(frame: Frame, block: ir.Block, event: ir.Call, number: int, at: int) -> Iterator[tuple[int, int]]:
    """Yield the places where it is known that a call has done something: behind one that cannot fail, or that did not."""
    result = ir.CallResult(event.callee, event.args)
    found = frame.program.resolve(frame.file, event.callee.id) if type(event.callee) is ir.Name else ()
    row = frame.program.rows[found[0]] if found else None
    returns = row.returns if row is not None and not row.flags & ir.MACRO else frame.typing.of(event.target or result)
    if event.target is None and not any(term == result for edge in block.edges if edge.condition is not None
                                        for term in walk(edge.condition)):
        yield number, at + 1
    for edge, failed in outcomes(block, event, at) if not returns.endswith("*") else ():
        # Which of its own constants a function returns where it fails, nobody knows here.
        named = edge.condition is not None and type(reading(edge.condition, edge.truth).value) is str
        if failed == (returns == "bool") and not named:
            yield edge.to, 0


def _freed(frame: Frame, done: Done, start: tuple[int, int], frees: Mapping[int, Release]) -> Iterator[Release]:
    """Yield the frees of a struct that are reached from a place before what was done is taken back.

    An error that was had before would have led elsewhere: what one is set to behind the place is known as long as it is constant.
    """
    blocks = frame.body.blocks
    stack: list[tuple[int, int, Values]] = [(*start, _decided(frame, start[0]))]
    seen = set[tuple[int, Values]]()
    while stack and len(seen) < _MOST_STATES:
        number, first, values = stack.pop()
        for event in blocks[number].events[first:]:
            release = frees.get(id(event))
            if release is not None and bare(release.argument) == done.owner:
                yield release
                break
            if sets(event, done.owner) or (type(event) is ir.Call and (
                    not frame.meaning.returns(frame.file, event) or _takes_back(frame, event, done))):
                break
            values = _with(values, event)
        else:
            following = [(edge.to, known) for edge in blocks[number].edges
                         if (known := _behind(values, edge)) is not None and not _tells(edge, done)]
            # Where one way takes it back and another does not, the author knows which is due.
            if len(following) == 1 or not any(type(event) is ir.Call and _takes_back(frame, event, done)
                                              for to, _ in following for event in straight(frame, to)):
                fresh = [state for state in following if state not in seen]
                seen.update(fresh)
                stack.extend((to, 0, known) for to, known in fresh)


def _tells(edge: ir.Edge, done: Done) -> bool:
    """Tell whether a test looks into a struct: what was to be done to it may not have been."""
    return done.setup is None and edge.condition is not None and any(
        type(term) is ir.Field and bare(term.base) == done.owner for term in walk(edge.condition))


def _decided(frame: Frame, number: int) -> Values:
    """Return what the variables are known to be that decided on the way to a block, and are not set since."""
    blocks, found = frame.body.blocks, dict[ir.Expr, Known]()
    events = list(blocks[number].events)
    for _ in range(_DEPTH):
        above = [(at, edge) for at, block in enumerate(blocks) for edge in block.edges if edge.to == number]
        if len(above) != 1:
            break
        number, edge = above[0]
        test = reading(edge.condition, edge.truth) if edge.condition is not None else None
        if test is not None and type(test.subject) is ir.Name and not any(sets(event, test.subject) for event in events):
            known = after(found.get(test.subject, ANY), test)
            found.update({test.subject: known} if known is not None else {})
        events += blocks[number].events
    return frozenset(found.items())


def _with(values: Values, event: ir.Event) -> Values:
    """Return what is known of variables after an event."""
    target = bare(event.target) if (type(event) is ir.Assign or type(event) is ir.Call) and event.target is not None else None
    others = frozenset(one for one in values if one[0] != target)
    if target is None or not is_error_name(target):
        return others
    known = constant(event.value) if type(event) is ir.Assign and not event.op else None
    return others | {(target, known or ANY)}


def _behind(values: Values, edge: ir.Edge) -> Values | None:
    """Return what is known of variables where an edge leads, None if it leads there never, or on an error of unknown origin."""
    test = reading(edge.condition, edge.truth) if edge.condition is not None else None
    before = next((known for subject, known in values if test is not None and subject == test.subject), None)
    if test is None or (before is None and not is_error_name(test.subject)):
        return values
    known = after(before, test) if before is not None else None
    return None if known is None else frozenset({*(one for one in values if one[0] != test.subject), (test.subject, known)})


def _takes_back(frame: Frame, event: ir.Call, done: Done) -> bool:
    """Tell whether a call takes back what another one has done to the same struct, or may."""
    name, known = event.callee.id if type(event.callee) is ir.Name else "", frame.meaning.catalogue
    if done.setup is None and (name in done.by or _reaches(frame, name, done.by)):
        return True  # what is taken back may be given by its number
    if not any(bare(arg) in (done.given, done.owner) or done.owner in owners(frame, bare(arg)) for arg in event.args):
        return False
    if name in done.by:
        return type(done.given) is not ir.AddressOf or not any(_is_other(bare(arg), done.given) for arg in event.args)
    if name in known.described or name in known.setups:
        return False
    return not name or _undoes(known, name) or _reaches(frame, name, done.by)


def _is_other(arg: ir.Expr, given: ir.Expr) -> bool:
    """Tell whether two addresses are of different members."""
    indexed = any(type(term) is ir.Index for expr in (arg, given) for term in walk(expr))
    return type(arg) is ir.AddressOf and arg != given and not indexed


def _reaches(frame: Frame, name: str, by: Collection[str], depth: int = _DEPTH) -> bool:
    """Tell whether a function of the file calls, itself or through others of the file, what takes down."""
    program = frame.program
    callees = {callee for number in program.resolve(frame.file, name) if program.rows[number].file == frame.file
               for callee, _ in program.calls(number)}
    return not callees.isdisjoint(by) or (
        depth > 0 and any(_reaches(frame, callee, by, depth - 1) for callee in callees))


@functools.lru_cache(4096)
def _undoes(catalogue: Catalogue, name: str) -> bool:
    """Tell whether the name of a function says that it takes something back."""
    words = {word for undo in catalogue.undos.values() if not undo.whole for word in undo.by}
    return not words.isdisjoint(name.split("_")) or "put" in name.split("_")
