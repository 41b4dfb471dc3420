"""What takes back what functions do to a struct before it frees it: a plain free of the struct would lose that."""

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from kgfplint.catalogue import Catalogue
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, walk
from kgfplint.ownership.frame import Frame
from kgfplint.ownership.undoing import undoing_of
from kgfplint.program.link import Program
from kgfplint.program.meaning import EMPTY, Ending

_DEPTH = 3
"""How many functions of a file are looked through, one called by the other."""
_TAG = re.compile(r"(?:const )?struct (\w+) ?\*")
_WHOLE = ("plain", "const", "deferred")


def endings(frame: Frame) -> tuple[Ending, ...]:
    """Return the parameters that a function frees on some path, itself or by a call, with what it calls for less than nothing."""
    row, meaning = frame.row, frame.meaning
    if row.flags & ir.MACRO or not row.params or not (frame.frees or any(called.summary.ends for called in frame.called)):
        return ()
    places = {ir.Name(param.name): place for place, param in enumerate(row.params)
              if param.ctype.startswith("struct ") and not frame.values[param.name]}
    found: dict[int, tuple[set[str], set[str]]] = {}
    for release in frame.paths.releases if frame.frees and places else ():
        subject = bare(release.argument)
        if type(subject) is ir.Name and subject in places and release.free.flavour in _WHOLE:
            found.setdefault(places[subject], (set(), set()))
    for call in frame.calls if places else ():
        for ending in meaning.summary(frame.file, call.callee.id).ends if type(call.callee) is ir.Name else ():
            passed = bare(call.args[ending.place]) if ending.place < len(call.args) else None
            if type(passed) is ir.Name and passed in places:
                given, returned = found.setdefault(places[passed], (set(), set()))
                given.update(ending.given)
                returned.update(ending.returned)
    for owner, place in places.items():
        for name, negated in _given(frame, owner) if place in found else ():
            found[place][negated].add(name)
    return tuple(Ending(place, tuple(sorted(given)), tuple(sorted(returned)))
                 for place, (given, returned) in sorted(found.items()))


def _given(frame: Frame, owner: ir.Expr) -> Iterator[tuple[str, bool]]:
    """Yield the names of functions that are given a struct or something of it, and whether it is an amount, negated."""
    known = frame.meaning.catalogue
    for call in frame.calls:
        if type(call.callee) is ir.Name and call.callee.id not in known.locks and call.callee.id not in known.frees:
            for arg in map(bare, call.args):
                if owner in walk(arg):
                    yield call.callee.id, False
                    if type(arg) is ir.Unary and arg.op == "-":
                        yield call.callee.id, True


class Pair(NamedTuple):
    """What is done to a struct by one function, its `destructor` takes back by another before it frees it."""

    destructor: str
    done: str
    undone: str


def _tag(ctype: str) -> str:
    """Return the tag of the struct that a type points to, "" for other types."""
    found = _TAG.fullmatch(ctype)
    return found[1] if found else ""


class Destructors:
    """What is done to the structs that one function frees by hand, and taken back by others that free them.

    `sure`: it is known of all functions what they free; else their names decide.
    """

    def __init__(self, frame: Frame, sure: bool) -> None:
        """Look for nothing yet."""
        self._frame = frame
        self._sure = sure
        self._found: dict[tuple[int, str], list[tuple[int, set[str]]]] = {}

    def pairs(self, maker: str, ctype: str, made: bool) -> list[Pair]:
        """Return what `maker` does to a struct and others take back, beside it where it makes it (`made`), or here."""
        frame, program = self._frame, self._frame.program
        found, tag = program.resolve(frame.file, maker), _tag(ctype)
        if not tag or len(found) > 1 or (made and not found):
            return []
        file = program.rows[found[0]].file if made else frame.file
        if file != frame.file and not self._sure:
            return [Pair("", "", "")]  # what functions of another file call may change without notice
        does = set() if made else {maker}
        if found and program.rows[found[0]].file == file:
            does |= _called(program, found[0], tag)
        return [Pair(program.rows[number].name, *pair) for number, undoes in self._of(file, tag) if maker not in undoes
                for pair in _matching(frame, number, maker, does, undoes)
                if not any(_ends(frame, other, tag) for other in program.resolve(file, pair[1]))]

    def _of(self, file: int, tag: str) -> list[tuple[int, set[str]]]:
        """Return the functions of a file that free a struct, and what they call; of another file: those that are called here."""
        if (file, tag) not in self._found:
            frame, program, found = self._frame, self._frame.program, []
            own = program.functions_of(frame.file)
            used = {name for number in own for name, _ in program.calls(number)} if file != frame.file else None
            for number in program.functions_of(file):
                row = program.rows[number]
                if row.returns != "void" or row.flags & ir.MACRO or (used is not None and row.name not in used):
                    continue
                if _takes(program, number, tag) and number != frame.number and (not self._sure or _ends(frame, number, tag)):
                    undoes = self._undoes(number, tag)
                    if frame.name not in undoes:
                        found.append((number, undoes))
            self._found[file, tag] = found
        return self._found[file, tag]

    def _undoes(self, destructor: int, tag: str) -> set[str]:
        """Return the names of what a destructor calls with the struct, itself or by others of its file."""
        program = self._frame.program
        if not self._sure:
            return _called(program, destructor, tag)
        given = {name for one in _ends(self._frame, destructor, tag) for name in one.given}
        inner = [number for name in given for number in program.resolve(program.rows[destructor].file, name)
                 if program.rows[number].file == program.rows[destructor].file and _takes(program, number, tag)]
        return given.union(*(_called(program, number, tag) for number in inner))


def _ends(frame: Frame, number: int, tag: str) -> list[Ending]:
    """Return what a function frees of the structs of a kind that it is given."""
    params = frame.program.rows[number].params
    return [one for one in frame.meaning.summaries.get(number, EMPTY).ends if _tag(params[one.place].ctype) == tag]


def _takes(program: Program, number: int, tag: str) -> bool:
    """Tell whether a function is given a struct of a kind."""
    return any(_tag(param.ctype) == tag for param in program.rows[number].params)


def _matching(frame: Frame, destructor: int, maker: str, does: Collection[str], undoes: Collection[str],
              ) -> Iterator[tuple[str, str]]:
    """Yield what is done and what takes it back: by their names, or by the same function and a negated amount."""
    known = frame.meaning.catalogue
    returned = {name for one in frame.meaning.summaries.get(destructor, EMPTY).ends for name in one.returned}
    for name in sorted(undoes):
        if name in does and name in returned:
            yield name, name
        for done in sorted(undoing_of(known).undone_by(name) & set(does)):
            if done not in known.allocs and done not in known.locks and (done == maker or not _is_whole(known, done)) and (
                    not _is_idle(frame, done)):
                yield done, name


def _is_whole(catalogue: Catalogue, name: str) -> bool:
    """Tell whether a function is one of those that are known by their whole names: what it was given may be anything."""
    return name in catalogue.undos and catalogue.undos[name].whole


def _is_idle(frame: Frame, name: str) -> bool:
    """Tell whether what a function does to a struct needs not be taken back unless it was used."""
    known, found = frame.meaning.catalogue, frame.program.resolve(frame.file, name)
    if name in known.setups:
        return known.setups[name].idle or not known.setups[name].holds
    return bool(found) and frame.program.rows[found[0]].returns == "void" and any(
        word in known.undos and known.undos[word].idle for word in name.split("_"))


def _called(program: Program, function: int, tag: str) -> set[str]:
    """Return the names that a function calls, itself or by others of its file that are given a struct."""
    file, names = program.rows[function].file, set[str]()
    front = [function]
    for _ in range(_DEPTH):
        fresh = {name for number in front for name, _ in program.calls(number)} - names
        names |= fresh
        front = [number for name in fresh for number in program.resolve(file, name) if program.rows[number].file == file
                 and _takes(program, number, tag)]
    return names
