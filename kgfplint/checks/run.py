"""Running analyses over the functions of a program in worker processes.

The workers are forked from the process that linked the program, so that they share it; each opens
the store of facts for itself and reads the bodies it needs.
"""

import gc
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kgfplint.catalogue import Catalogue
from kgfplint.checks import CheckModule
from kgfplint.checks.unit import Unit
from kgfplint.facts.store import BodyReader, Store
from kgfplint.facts.workers import Workers
from kgfplint.findings import Finding
from kgfplint.gfp import Masks
from kgfplint.ownership.provenance import Source, Sources, gathered, sources
from kgfplint.ownership.summaries import ROUNDS, callers, candidates, infer
from kgfplint.program.link import Program
from kgfplint.program.meaning import GFP_TYPES, Meaning, Summary

log = logging.getLogger("kgfplint")

Progress = Callable[[str, int, int], None]
CHUNK = 400
"""Functions that a worker takes at a time."""


@dataclass
class Job:
    """What workers share: the program, what is known, where the bodies are."""

    program: Program
    catalogue: Catalogue
    masks: Masks
    store: Path
    keys: Mapping[str, bytes]
    summaries: dict[int, Summary]
    sources: dict[int, Sources] = field(default_factory=dict)
    provenance: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    checks: Sequence[CheckModule] = ()

    def meaning(self) -> Meaning:
        """Return what calls mean under the present summaries."""
        return Meaning(self.program, self.catalogue, self.masks, self.summaries)


_job: Job | None = None
"""The job of this process and of the workers forked from it."""
_reader: Store | None = None


def _bodies(path: str) -> BodyReader:
    global _reader
    assert _job is not None
    if _reader is None:
        _reader = Store.reader(_job.store)
    return _reader.bodies(_job.keys[path])


def _units(functions: Sequence[int], meaning: Meaning) -> Iterable[Unit]:
    """Yield the units of functions, given in order of files."""
    program = meaning.program
    file, bodies = -1, None
    for number in functions:
        row = program.rows[number]
        if row.file != file or bodies is None:
            file, bodies = row.file, _bodies(program.paths[row.file])
        yield Unit(number, bodies.body(number - program.first[file]), meaning, _job.provenance if _job else {})


def _infer(functions: Sequence[int]) -> list[tuple[int, Summary | None, Sources]]:
    assert _job is not None
    meaning = _job.meaning()
    return [(unit.number, infer(unit.number, unit.body, meaning), sources(unit.body, unit.row, meaning))
            for unit in _units(functions, meaning)]


def _check(functions: Sequence[int]) -> tuple[list[Finding], list[tuple[str, str]]]:
    """Run the checks over functions; where one fails, return its code and the place and reason: it is not fatal."""
    assert _job is not None
    found: list[Finding] = []
    failures: list[tuple[str, str]] = []
    meaning = _job.meaning()
    for unit in _units(functions, meaning):
        for check in _job.checks:
            try:
                found.extend(check.check(unit))
            except (RecursionError, LookupError, ValueError, TypeError, AttributeError) as error:
                failures.append((check.RULE.code, f"{unit.path}:{unit.row.line}: in {unit.name}: {error!r}"))
    return found, failures


def _chunks(functions: Iterable[int]) -> list[list[int]]:
    ordered = sorted(functions)
    return [ordered[at : at + CHUNK] for at in range(0, len(ordered), CHUNK)]


class Analysis:
    """The whole-program analyses of one run."""

    def __init__(self, job: Job, jobs: int, release: Callable[[], None], progress: Progress) -> None:
        """Use `jobs` processes; `release` lets go of what must not be shared with forked ones."""
        global _job
        _job = job
        self._job = job
        self._jobs = jobs
        self._release = release
        self._progress = progress

    def _before_fork(self) -> None:
        global _reader
        _reader = None
        self._release()
        gc.collect()
        gc.freeze()

    def infer(self) -> None:
        """Fill the job's summaries, round by round."""
        job = self._job
        primitives = [*job.catalogue.allocs, *job.catalogue.frees, *job.catalogue.locks]
        waiting = candidates(job.program, primitives)
        for turn in range(ROUNDS):
            if not waiting:
                break
            changed: set[int] = set()
            chunks = _chunks(waiting)
            with Workers(self._jobs, self._before_fork) as workers:
                for done, (chunk, result) in enumerate(workers.map(_infer, chunks), 1):
                    self._progress(f"summaries {turn + 1}", done, len(chunks))
                    for number, summary, made in result or self._lost(chunk):
                        job.sources[number] = made
                        if summary != job.summaries.get(number):
                            changed.add(number)
                            self._keep(number, summary)
            waiting = callers(job.program, changed)
        job.provenance = gathered(job.sources)

    def _keep(self, number: int, summary: Summary | None) -> None:
        if summary is None:
            self._job.summaries.pop(number, None)
        else:
            self._job.summaries[number] = summary

    def _lost(self, chunk: Sequence[int]) -> list[tuple[int, Summary | None, Sources]]:
        for number in chunk:
            log.warning("%s: the analysis of %s died", self._job.program.file_of(number), self._job.program.rows[number].name)
        return []

    def _telling(self) -> bytearray:
        """Mark the names whose calls rules are about: what allocates, frees or takes a mask. Other functions stay closed."""
        program, catalogue = self._job.program, self._job.catalogue
        names = {*catalogue.allocs, *catalogue.frees}
        names.update(program.rows[number].name for number, s in self._job.summaries.items() if s.allocates or s.frees)
        names.update(row.name for row in program.rows if any(param.ctype in GFP_TYPES for param in row.params))
        marks = bytearray(len(program.name_list))
        for name in names & program.names.keys():
            marks[program.names[name]] = 1
        return marks

    def check(self, targets: Iterable[str]) -> list[Finding]:
        """Return the findings of the job's checks in the functions of the target files."""
        program = self._job.program
        wanted = set(targets)
        telling = self._telling()
        functions = [f for file, path in enumerate(program.paths) if path in wanted for f in program.functions_of(file)
                     if any(telling[program.call_names[at]] for at in range(program.call_start[f], program.call_start[f + 1]))]
        found: list[Finding] = []
        failures: dict[str, list[str]] = {}
        chunks = _chunks(functions)
        with Workers(self._jobs, self._before_fork) as workers:
            for done, (chunk, result) in enumerate(workers.map(_check, chunks), 1):
                self._progress("checks", done, len(chunks))
                if result is None:
                    self._lost(chunk)
                    continue
                found.extend(result[0])
                for code, failure in result[1]:
                    failures.setdefault(code, []).append(failure)
        for code, places in sorted(failures.items()):
            log.warning("%s failed in %d functions, first at %s", code, len(places), min(places))
        return found
