"""Running the analyses over the functions of a program in worker processes, bottom-up: each body is opened once.

The workers are forked from the process that linked the program, so that they share it; each opens the store of facts
for itself, reads the bodies it needs, and hears of the summaries of callees through a journal.
"""

import functools
import gc
import itertools
import logging
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from kgfplint.catalogue import Catalogue
from kgfplint.checks import CheckModule
from kgfplint.checks.chains import across
from kgfplint.checks.pending import Settling
from kgfplint.checks.results import Result, State
from kgfplint.checks.unit import Question, Unit
from kgfplint.context.distances import Distances
from kgfplint.context.flow import Flow
from kgfplint.context.reach import Reach, Reached
from kgfplint.context.sleeping import RAW
from kgfplint.facts import ir
from kgfplint.facts.bodies import Bodies, FileChanged
from kgfplint.facts.store import Store
from kgfplint.facts.workers import Workers
from kgfplint.findings import Finding
from kgfplint.gfp import Masks
from kgfplint.gfp.policy import policy
from kgfplint.ownership.fates import Fate, Fates
from kgfplint.ownership.provenance import Provenance, sources
from kgfplint.ownership.summaries import ROUNDS, summarise, telling
from kgfplint.program.link import Program
from kgfplint.program.meaning import Meaning, Summary
from kgfplint.program.order import BottomUp, Calls, Outcome, Wave
from kgfplint.source.tree import Files

log = logging.getLogger("kgfplint")

Progress = Callable[[str, int, int], None]
_MOST, _LEAST = 200, 8
"""Functions that a worker takes at a time."""
_FAILURES = (RecursionError, LookupError, ValueError, TypeError, AttributeError)
"""What a mistake in a rule may raise: it is told, and the run goes on."""


class Journal:
    """Summaries on their way from one process to the others: a file that only grows."""

    def __init__(self) -> None:
        """Begin an empty one; it is gone when its last process ends."""
        self._file = tempfile.TemporaryFile(prefix="kgfplint-", buffering=0)  # noqa: SIM115 (workers inherit it)
        self.end = 0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[tuple[int, Summary | None]]).decode

    def write(self, summaries: Sequence[tuple[int, Summary | None]]) -> None:
        """Append summaries by function number; OSError when there is no room."""
        blob = self._encode(summaries)
        self._file.write(len(blob).to_bytes(8) + blob)
        self.end += 8 + len(blob)

    def read(self, summaries: dict[int, Summary], end: int) -> None:
        """Bring what was written up to `end`, and not been read by this process, into `summaries`."""
        while self.end < end:
            size = int.from_bytes(os.pread(self._file.fileno(), 8, self.end))
            blob = os.pread(self._file.fileno(), size, self.end + 8)
            self.end += 8 + size
            for number, summary in self._decode(blob):
                _keep(summaries, number, summary)


def _keep(summaries: dict[int, Summary], number: int, summary: Summary | None) -> None:
    if summary is None:
        summaries.pop(number, None)
    else:
        summaries[number] = summary


@dataclass
class Job:
    """What workers share: the program, what is known, where the bodies are, and the numbers of the files to check."""

    files: Files
    program: Program
    catalogue: Catalogue
    masks: Masks
    store: Path
    keys: Mapping[str, bytes]
    checks: Sequence[CheckModule] = ()
    targets: Collection[int] = ()
    summaries: dict[int, Summary] = field(default_factory=dict)
    journal: Journal = field(default_factory=Journal)
    provenance: Provenance | None = None

    def meaning(self) -> Meaning:
        """Return what calls mean under the present summaries."""
        return Meaning(self.program, self.catalogue, self.masks, self.summaries)


_job: Job | None = None
"""The job of this process and of the workers forked from it."""
_reader: Bodies | None = None
_meaning: tuple[int, Meaning] | None = None
"""What calls mean since the journal had this length."""


def _bodies(path: str, functions: Sequence[int]) -> dict[int, ir.Body]:
    """Return the bodies of functions of one file by their number; none of a file that is gone or not the same any more."""
    global _reader
    assert _job is not None
    program = _job.program
    if _reader is None:
        _reader = Bodies(_job.files, _job.keys, Store.reader(_job.store))
    first = program.first[program.rows[functions[0]].file]
    rows = {number - first: program.rows[number] for number in functions}
    try:
        found = _reader.of(path, {index: (row.flags, row.end_line) for index, row in rows.items()})
    except (OSError, FileChanged) as error:
        log.warning("%s: left out, it changed while it was read (%s)", path, error)
        return {}
    return {first + index: body for index, body in found.items()}


def _units(functions: Sequence[int], end: int) -> Iterator[Unit]:
    """Yield the units of functions, given in order of files, with what the journal knows up to `end`."""
    global _meaning
    assert _job is not None
    _job.journal.read(_job.summaries, end)
    if _meaning is None or _meaning[0] != end:
        _meaning = end, _job.meaning()
    rows = _job.program.rows
    for file, group in itertools.groupby(functions, lambda number: rows[number].file):
        for number, body in _bodies(_job.program.paths[file], list(group)).items():
            yield Unit(number, body, _meaning[1], _job.provenance)


def _analyse(end: int, functions: Sequence[int]) -> list[Result]:
    """Summarise functions whose callees are known, and check those of the files asked about."""
    assert _job is not None
    return [_checked(unit, _contexts(unit, Result(unit.number, summarise(unit), sources(unit))))
            for unit in _units(functions, end)]


def _contexts(unit: Unit, result: Result) -> Result:
    """Add what the function means for the contexts of others: see Result."""
    sleeps = {sleep.where for sleep in unit.sleeps.values()} if _telling(unit) else set()
    kinds = unit.locks.atomic_kinds if unit.touches_locks else ()
    holding = any(held.kind in kinds for _, state in unit.states for held in state.held)
    if not holding and not unit.gives_masks:
        return result._replace(sleeps=tuple(sorted(sleeps)))
    under = tuple(site for site in unit.flow.sites if site.held and site.sleep is None)
    told = tuple(site for site in unit.flow.sites if site.mask and site.sleep is None)
    return result._replace(sleeps=tuple(sorted(sleeps)), under=under, told=told)


def _flows(end: int, functions: Sequence[int]) -> list[tuple[int, Flow]]:
    """Return the flows of functions by number."""
    return [(unit.number, unit.flow) for unit in _units(functions, end)]


def _check(end: int, functions: Sequence[int]) -> list[Result]:
    """Check functions once more, now that the whole program is known."""
    return [_checked(unit, Result(unit.number, None, ((), frozenset()))) for unit in _units(functions, end)]


def _fates(functions: Sequence[int]) -> list[tuple[int, dict[int, Fate]]]:
    """Read off the bodies of functions what they do with the pointers they are given."""
    assert _job is not None
    fates = Fates(_job.program, _job.catalogue)
    rows = _job.program.rows
    return [(number, fates.of(number, body))
            for file, group in itertools.groupby(functions, lambda number: rows[number].file)
            for number, body in _bodies(_job.program.paths[file], list(group)).items()]


def _checked(unit: Unit, result: Result) -> Result:
    """Add what the checks find in a function of a file asked about; where a check fails, the place and the reason."""
    assert _job is not None
    if unit.file not in _job.targets:
        return result
    if not _telling(unit):
        return result._replace(checked=True)
    found: list[Finding] = []
    failures: list[tuple[str, str]] = []
    for check in _job.checks:
        try:
            found.extend(check.check(unit))
        except _FAILURES as error:
            failures.append((check.RULE.code, f"{unit.path}:{unit.row.line}: in {unit.name}: {error!r}"))
    return result._replace(checked=True, findings=tuple(found), questions=tuple(unit.questions), failures=tuple(failures),
                           pending=tuple(unit.pending))


def _telling(unit: Unit) -> bool:
    """Tell whether there is anything to check: a call allocates, frees, takes a mask or changes what masks mean, or a
    mask is handed over to be looked at.
    """
    carriers = policy(unit.meaning.catalogue.version).carriers
    return unit.allocates or unit.frees or unit.touches_scopes or any(
        unit.meaning.gfp_argument(unit.file, name) is not None for name in unit.callees) or any(
        param.ctype in carriers for param in unit.row.params)


class Analysis:
    """The whole-program analyses of one run."""

    def __init__(self, job: Job, state: State, jobs: int, release: Callable[[], None], progress: Progress) -> None:
        """Use what `state` keeps of a former run, and `jobs` processes; `release` lets go of what forked ones must not share."""
        global _job, _meaning
        _job, _meaning = job, None
        self._job = job
        self._state = state
        self._jobs = jobs
        self._release = release
        self._progress = progress
        self._results: dict[int, Result] = {}
        self._before: dict[int, Summary] = {}
        self.failed = False

    def _before_fork(self) -> None:
        global _reader
        _reader = None
        self._release()
        gc.collect()
        gc.freeze()

    def findings(self) -> list[Finding]:
        """Analyse the program and return the findings in the target files, in any order."""
        job = self._job
        self.sweep()
        self._ask_again()
        self._tell_failures()
        following = self._following()
        found = [(number, result) for number, result in self._results.items() if job.program.rows[number].file in job.targets]
        return following + [finding for _, result in found for finding in result.findings] + self._settled(found)

    def _settled(self, found: Sequence[tuple[int, Result]]) -> list[Finding]:
        """Return those pending findings that stand."""
        with Workers(self._jobs, self._before_fork) as workers:

            def look(functions: Sequence[int]) -> Iterator[tuple[int, dict[int, Fate]]]:
                for _, fates in workers.map(_fates, self._chunks(functions)):
                    yield from fates or ()

            settling = Settling(self._job.program, look)
            return [finding for _, finding in settling.findings((n, one) for n, result in found for one in result.pending)]

    def sweep(self) -> None:
        """Analyse all functions, callees first, but for what a former run has left."""
        job = self._job
        kept = self._state.results(job.program, job.targets)
        self._before = kept.summaries
        self._results = {result.number: result for result in kept.results}
        job.summaries.update((number, summary) for number, summary in kept.summaries.items() if kept.former.kept[number])
        order = BottomUp(self._calls)
        with Workers(self._jobs, self._before_fork) as workers:
            order.sweep(functools.partial(self._run, workers), telling(job.program, job.catalogue), ROUNDS, kept.former)
        self._state.save(job.program, self._results)

    def flow(self, function: int) -> Flow | None:
        """Return the flow of one function, None if it cannot be read."""
        with Workers(1, self._before_fork) as workers:
            return self._flows(workers, [function]).get(function)

    def contexts(self, functions: Collection[int]) -> Iterator[Reached]:
        """Yield the states in which functions are reached, the shortest chains first, after a sweep."""
        job = self._job
        with Workers(self._jobs, self._before_fork) as workers:
            reach = Reach(job.program, job.catalogue, self._distances, functions, functools.partial(self._flows, workers),
                          every=True, mentions=self._mentions)
            held = (state for number, result in sorted(self._results.items()) for state in reach.under(number, result.under))
            for state, _ in reach.walk(itertools.chain(held, reach.roots())):
                if state.function in functions:
                    yield state

    def _run(self, workers: Workers, wave: Wave) -> list[Outcome]:
        """Analyse the functions of a wave and return what came of them; drop what is void."""
        job = self._job
        for number in wave.void:
            self._results.pop(number, None)
        self._tell([(number, None) for number in {*wave.forget, *wave.void} if number in job.summaries])
        outcomes: list[Outcome] = []
        told: list[tuple[int, Summary | None]] = []
        for chunk, results in workers.map(functools.partial(_analyse, job.journal.end), self._chunks(wave.functions)):
            for result in results or self._lost(chunk):
                self._results[result.number] = result
                fresh = result.summary != job.summaries.get(result.number)
                if fresh:
                    told.append((result.number, result.summary))
                outcomes.append(Outcome(result.number, fresh, result.summary is not None,
                                        result.summary != self._before.get(result.number)))
        self._progress("analysis", len(self._results), len(job.program.rows))
        self._tell(told)
        return outcomes

    def _tell(self, summaries: list[tuple[int, Summary | None]]) -> None:
        """Bring summaries to all processes."""
        if summaries:
            summaries.sort(key=lambda pair: pair[0])
            self._job.journal.write(summaries)
            for number, summary in summaries:
                _keep(self._job.summaries, number, summary)

    def _chunks(self, functions: Sequence[int]) -> list[Sequence[int]]:
        size = min(_MOST, max(_LEAST, len(functions) // (4 * self._jobs)))
        return [functions[at : at + size] for at in range(0, len(functions), size)]

    def _lost(self, chunk: Sequence[int]) -> list[Result]:
        for number in chunk:
            log.warning("%s: the analysis of %s died", self._job.program.file_of(number), self._job.program.rows[number].name)
        return []

    def _ask_again(self) -> None:
        """Check the functions once more that asked what only the whole program answers."""
        job = self._job
        # What was kept for the next run is what came before these answers: they are asked for in each.
        job.provenance = Provenance(job.program, {number: result.sources for number, result in self._results.items()})
        again = sorted(number for number, result in self._results.items()
                       if any(self._answered(number, question) for question in result.questions))
        with Workers(self._jobs, self._before_fork) as workers:
            for done, (chunk, results) in enumerate(
                    workers.map(functools.partial(_check, job.journal.end), self._chunks(again)), 1):
                self._progress("answers", done, len(again))
                for result in results or self._lost(chunk):
                    self._results[result.number] = self._results[result.number]._replace(
                        findings=result.findings, failures=result.failures, pending=result.pending)

    def _following(self) -> list[Finding]:
        """Return what is found across functions; where that fails it is told, and the rest of the findings stands."""
        if not any(hasattr(check, "reached") for check in self._job.checks):
            return []
        try:
            return self._across()
        except _FAILURES as error:
            log.warning("contexts could not be followed through the program: %r", error)
            self.failed = True
            return []

    @functools.cached_property
    def _calls(self) -> Calls:
        return Calls(self._job.program, self._job.catalogue.described)

    @functools.cached_property
    def _distances(self) -> Distances:
        return Distances(self._job.program, self._job.catalogue, self._calls)

    def _across(self) -> list[Finding]:
        """Follow contexts through the program and return what the rules say of what sleeps in them."""
        job, results = self._job, self._results
        told = {(f.code, f.path, f.line) for result in results.values() for f in result.findings}
        ordered = sorted(results.items())
        starts = [(number, result.under, result.told) for number, result in ordered if result.under or result.told]
        opened: dict[int, Flow] = {}
        found: list[Finding] = []
        with Workers(self._jobs, self._before_fork) as workers:
            flows = functools.partial(self._flows, workers)
            for raw in (False, True):
                ends = [number for number, result in results.items() if any((where == RAW) is raw for where in result.sleeps)]
                reach = Reach(job.program, job.catalogue, self._distances, ends, flows, opened, raw, mentions=self._mentions)
                found.extend(across(reach, starts, job.checks, job.targets, told))
        return found

    def _mentions(self, file: int, word: str) -> bool:
        """Tell whether a word stands in a file; one that cannot be read any more has none."""
        try:
            return word.encode() in self._job.files.place(self._job.program.paths[file]).read_bytes()
        except OSError:
            return False

    def _flows(self, workers: Workers, functions: Sequence[int]) -> dict[int, Flow]:
        task = functools.partial(_flows, self._job.journal.end)
        return {number: flow for _, flows in workers.map(task, self._chunks(functions)) for number, flow in flows or ()}

    def _answered(self, number: int, question: Question) -> bool:
        """Tell whether the answer to a question may make a finding."""
        if not question.keys:
            return True
        assert self._job.provenance is not None
        _, made = self._job.provenance.of(self._job.program.rows[number].file, question.keys)
        return bool(made) and not any(source.family in question.accepts for source in made)

    def _tell_failures(self) -> None:
        failures: dict[str, list[str]] = {}
        for result in self._results.values():
            for code, failure in result.failures:
                failures.setdefault(code, []).append(failure)
        self.failed = bool(failures)
        for code, places in sorted(failures.items()):
            log.warning("%s failed in %d functions, first at %s", code, len(places), min(places))
