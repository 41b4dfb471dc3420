"""What came of functions, and their flows, kept from one run to the next: an edit costs only what it can reach.

A state holds the results of all functions of the last run with the same rules, options and kernel version, by the
path of the file and the place of the function in it, and which facts each file had. Results hold no number of a
function. What depends on the whole program (see Question) is not among them, but beside them, with what it depends on.
"""

import contextlib
import itertools
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from kgfplint.checks.pending import Pending
from kgfplint.checks.unit import Question
from kgfplint.context.flow import Flow, Site
from kgfplint.facts import ir
from kgfplint.facts.store import Store
from kgfplint.findings import Finding
from kgfplint.ownership.fates import Fate
from kgfplint.ownership.provenance import Sources
from kgfplint.program.changes import changed_names, mentioning, moved, seeing, with_dependents
from kgfplint.program.link import Program
from kgfplint.program.meaning import Summary
from kgfplint.program.order import Former
from kgfplint.source.tree import Files

KIND = "functions"
_HEAD, _MARK = b"\0files", b"\0mark"
"""Keys that no path has: which files there were, and a random word that tells states apart."""
Thing = TypeVar("Thing")


class Result(NamedTuple):
    """What came of one function: its summary, what it allocates and stores, and, if it was checked, findings, open
    questions, rules that failed and findings that are `pending`; where what it allocates or frees itself must not stand (see
    context.sleeping); what it calls `under` locks of its own; what it calls with a mask that was `told` not to sleep;
    findings that are `doubted`; whether it `reclaims` by an allocation of its own, and what it calls with a mask, or in a
    section, in which something is to be `spared` that (see context.recursion)."""

    number: int
    summary: Summary | None
    sources: tuple[Sources, frozenset[str]]
    checked: bool = False
    findings: tuple[Finding, ...] = ()
    questions: tuple[Question, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    sleeps: tuple[str, ...] = ()
    under: tuple[Site, ...] = ()
    told: tuple[Site, ...] = ()
    pending: tuple[Pending, ...] = ()
    doubted: tuple[Finding, ...] = ()
    reclaims: bool = False
    spared: tuple[Site, ...] = ()


class Answer(Struct, frozen=True, array_like=True):
    """What the rules with some codes found in a function once the whole program was known, and which of them failed;
    `asked` is what they asked of the provenance, `digest` that of the answers."""

    codes: tuple[str, ...]
    asked: tuple[tuple[str, ...], ...]
    digest: bytes
    findings: tuple[Finding, ...]
    failures: tuple[tuple[str, str], ...] = ()


class Kind(Generic[Thing]):
    """A kind of what is kept of functions beside their results, under keys that no path has."""

    def __init__(self, name: str, decoder: "msgspec.msgpack.Decoder[dict[int, Thing]]") -> None:
        """Name the kind, and say how a file's things are read."""
        self.prefix = b"\0" + name.encode() + b"/"
        self.decode = decoder.decode


FLOWS = Kind("flows", msgspec.msgpack.Decoder(dict[int, Flow]))
FATES = Kind("fates", msgspec.msgpack.Decoder(dict[int, dict[int, Fate]]))
ANSWERS = Kind("answers", msgspec.msgpack.Decoder(dict[int, Answer]))
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Result]).decode
_decode_head = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class Kept(NamedTuple):
    """What is left of a former run: results that hold, the summaries of all functions that are still there, and both as bits."""

    results: list[Result]
    summaries: dict[int, Summary]
    former: Former


def _functions(facts: ir.FileFacts) -> list[str]:
    return [function.name for function in facts.functions]


def _count(places: dict[tuple[str, int], int], name: str, place: int) -> None:
    """Note the place of a function under its name; several may have one, under different `#if`s."""
    places[name, next(n for n in itertools.count() if (name, n) not in places)] = place


class State:
    """The results of a former run, as far as they hold for the files of this one.

    `same_names`: the files, what they include and the names that they define, and how, are those of the former run.
    """

    def __init__(self, store: Store, digest: bytes, files: Files, keys: Mapping[str, bytes]) -> None:
        """Read what is kept under `digest`, which covers rules, options and code; `keys` are those of this run's facts."""
        self._store = store
        self._digest = digest
        self._files = files
        self._keys = keys
        rows = store.results(KIND, digest)
        prefixes = tuple(kind.prefix for kind in (FLOWS, FATES, ANSWERS))
        self._beside = {key: row for key, row in rows.items() if key.startswith(prefixes)}
        self._rows = {key: row for key, row in rows.items() if key not in self._beside}
        self._stale: set[bytes] = set()
        self._mark: bytes | None = self._rows.pop(_MARK, b"")
        head = self._rows.pop(_HEAD, b"")
        self._before: dict[str, bytes] = _decode_head(head) if head else {}
        self.same_names = False

    def results(self, program: Program, targets: Collection[int]) -> Kept:
        """Return the results of functions that no change of a file can reach but through summaries.

        One that was not checked does not do for a function in a target file.
        """
        kept = Kept([], {}, Former(len(program.rows)))
        lost = self._unsafe(program) if self._before else None
        if lost is None:
            return kept
        former = kept.former
        former.kept[:] = True
        for file, path in enumerate(program.paths):
            row = self._rows.get(os.fsencode(path))
            results = [result._replace(number=number) for result, number in self._placed(program, file, row)] if row else []
            for result in results:
                former.made[result.number] = True
                former.kept[result.number] = result.checked or file not in targets
                if result.summary is not None:
                    former.summed[result.number] = True
                    kept.summaries[result.number] = result.summary
            if file in lost:
                former.kept[program.first[file] : program.first[file + 1]] = False
            else:
                kept.results.extend(results)
        return kept

    def _placed(self, program: Program, file: int, row: bytes) -> Iterator[tuple[Result, int]]:
        """Yield the former results of a file, each with the number that its function has now, if it still has one."""
        path, first = program.paths[file], program.first[file]
        before = self._before[path]
        if before == self._keys[path]:
            yield from ((result, first + result.number) for result in _decode(row))
            return
        numbers: dict[tuple[str, int], int] = {}
        for number in program.functions_of(file):
            _count(numbers, program.rows[number].name, number)
        former: dict[tuple[str, int], int] = {}
        for index, function in enumerate(self._store.outline(before).functions):
            _count(former, function.name, index)
        names = {index: name for name, index in former.items()}
        for result in _decode(row):
            number = numbers.get(names[result.number], -1)
            if number >= 0:
                yield result, number

    def _unsafe(self, program: Program) -> set[int] | None:
        """Return the files all of whose functions must be analysed anew, None when that cannot be told."""
        changed = moved(self._before, self._keys)
        known = self._store.known(self._before[path] for path in changed if path in self._before)
        if any(path in self._before and self._before[path] not in known for path in changed):
            return None
        before = {path: self._store.outline(self._before[path]) for path in changed if path in self._before}
        after = {path: self._store.outline(self._keys[path]) for path in changed if path in self._keys}
        numbers = {path: number for number, path in enumerate(program.paths)}
        headers = {path for path in before.keys() ^ after.keys() if path.endswith(".h")}
        lines = [numbers[path] for path in after if path not in before or before[path].includes != after[path].includes]
        lost = seeing(program, lines, headers) | {numbers[path] for path in after}
        changes = changed_names(before.values(), after.values())
        self.same_names = not changes and before.keys() == after.keys() and all(
            facts.includes == after[path].includes and _functions(facts) == _functions(after[path])
            for path, facts in before.items())
        names = with_dependents(program, changes)
        if names is None:
            return None
        kept = ((numbers[path], path) for path in self._paths() if path in numbers and numbers[path] not in lost)
        return lost | mentioning(self._files, kept, names)

    def _paths(self) -> Iterable[str]:
        return (os.fsdecode(key) for key in self._rows)

    def save(self, program: Program, results: Mapping[int, Result]) -> None:
        """Keep the results of this run for the next; nothing is kept if another run has kept its own meanwhile.

        Nor is anything of a tree with a path that is no UTF-8, which the packed form cannot hold.
        """
        with contextlib.suppress(UnicodeEncodeError):
            self._save(program, results)

    def _save(self, program: Program, results: Mapping[int, Result]) -> None:
        by_file: dict[int, list[Result]] = {}
        for number in sorted(results):
            file = program.rows[number].file
            by_file.setdefault(file, []).append(results[number]._replace(number=number - program.first[file]))
        rows = {os.fsencode(program.paths[file]): _encode(found) for file, found in by_file.items()}
        fresh = [(key, row) for key, row in rows.items() if self._rows.get(key) != row]
        gone = self._rows.keys() - rows.keys()
        if fresh or gone or self._stale or self._before != self._keys:
            mark = secrets.token_bytes(16)
            fresh += [(_HEAD, _encode(dict(self._keys))), (_MARK, mark)]
            if self._put(fresh, gone | self._stale):
                self._mark = mark
            else:
                self._mark = None

    def _put(self, rows: Collection[tuple[bytes, bytes]], gone: Iterable[bytes]) -> bool:
        """Write and drop rows, unless another run has kept its own state since this one was read."""
        if self._mark is None:
            return False
        return self._store.put_results(KIND, self._digest, rows, root=self._files.root, gone=gone, unless=(_MARK, self._mark))

    def beside(self, kind: Kind[Thing], program: Program, standing: Sequence[bool]) -> dict[int, Thing]:
        """Return what is kept of a kind for functions for which what the former run concluded still holds: see BottomUp.sweep.

        The others are dropped when the results of this run are saved.
        """
        found: dict[int, Thing] = {}
        for file, path in enumerate(program.paths):
            key = kind.prefix + os.fsencode(path)
            row = self._beside.get(key)
            if row is None:
                continue
            things = kind.decode(row) if self._before.get(path) == self._keys[path] else {}
            numbers = {program.first[file] + index: thing for index, thing in things.items()}
            found.update((number, thing) for number, thing in numbers.items() if standing[number])
            if not things or not all(standing[number] for number in numbers):
                self._stale.add(key)
        known = {kind.prefix + os.fsencode(path) for path in program.paths}
        self._stale |= {key for key in self._beside if key.startswith(kind.prefix)} - known
        return found

    def save_beside(self, kind: Kind[Thing], program: Program, things: Mapping[int, Thing]) -> None:
        """Keep what this run has of a kind, once its results are saved."""
        by_file: dict[bytes, dict[int, Thing]] = {}
        for number in sorted(things):
            file = program.rows[number].file
            by_file.setdefault(kind.prefix + os.fsencode(program.paths[file]), {})[number - program.first[file]] = things[number]
        with contextlib.suppress(UnicodeEncodeError):
            rows = {key: _encode(found) for key, found in by_file.items()}
            fresh = [(key, row) for key, row in rows.items() if self._beside.get(key) != row or key in self._stale]
            if fresh:
                self._put(fresh, ())
