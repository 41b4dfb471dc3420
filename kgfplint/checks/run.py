"""Running the analyses over the functions of a program in worker processes, bottom-up: each body is opened once."""

import functools
import gc
import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence

from kgfplint.checks.chains import across, recursions
from kgfplint.checks.job import FAILURES, Job, analyse, before_fork, begin, fates, flows, keep, recheck, under_locks, waits
from kgfplint.checks.pending import Settling
from kgfplint.checks.results import ANSWERS, FATES, FLOWS, Answer, Result, State
from kgfplint.checks.tainted import Taint, entered
from kgfplint.checks.tempered import tempered
from kgfplint.checks.unit import Question
from kgfplint.context.distances import Distances
from kgfplint.context.flow import Flow, Site
from kgfplint.context.reach import Reach
from kgfplint.context.recursion import Recursion
from kgfplint.context.sleepable import Sleepable
from kgfplint.context.sleeping import RAW
from kgfplint.context.steps import Reached
from kgfplint.facts.workers import Item, Workers
from kgfplint.findings import Finding
from kgfplint.ownership.fates import Fate
from kgfplint.ownership.provenance import Provenance
from kgfplint.ownership.summaries import ROUNDS, telling
from kgfplint.program.meaning import Summary
from kgfplint.program.order import BottomUp, Calls, Outcome, Wave

log = logging.getLogger("kgfplint")

Progress = Callable[[str, int, int], None]
_MOST, _LEAST = 200, 8
"""Functions that a worker takes at a time."""
_LIFETIME = 8_000
"""Functions that a worker takes in all: after so many in a kernel it has some 250 MB of its own."""
_ASKED = 2_000
"""Functions that a worker asks again in all: each looks further than in a sweep, and the parent has grown since."""


class Analysis:
    """The whole-program analyses of one run."""

    def __init__(self, job: Job, state: State, jobs: int, release: Callable[[], None], progress: Progress) -> None:
        """Use what `state` keeps of a former run, and `jobs` processes; `release` lets go of what forked ones must not share."""
        begin(job)
        self._job = job
        self._state = state
        self._jobs = jobs
        self._release = release
        self._progress = progress
        self._results: dict[int, Result] = {}
        self._before: dict[int, Summary] = {}
        self._opened: dict[int, Flow] = {}
        self._fates: dict[int, dict[int, Fate]] = {}
        self._answers: dict[int, Answer] = {}
        self.failed = False

    def _before_fork(self) -> None:
        meaning = self._job.meaning()
        for check in self._job.checks:
            if hasattr(check, "prepare"):
                check.prepare(meaning)
        before_fork()
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
        findings = [*following, *(finding for _, result in found for finding in result.findings), *self._settled(found),
                    *self._undoubted(found)]
        findings = list(tempered(findings, job.program, job.catalogue))
        self._state.save_beside(FLOWS, job.program, self._opened)
        self._state.save_beside(FATES, job.program, self._fates)
        self._state.save_beside(ANSWERS, job.program, self._answers)
        return findings

    def _settled(self, found: Sequence[tuple[int, Result]]) -> list[Finding]:
        """Return those pending findings that stand."""
        with Workers(self._jobs, self._before_fork, _LIFETIME) as workers:

            def look(functions: Sequence[int]) -> Iterator[tuple[int, dict[int, Fate]]]:
                for _, found in workers.map(fates, self._chunks([one for one in functions if one not in self._fates])):
                    self._fates.update(found or ())
                workers.close()  # what this process goes through next would be copied for them
                yield from ((one, self._fates[one]) for one in functions if one in self._fates)

            settling = Settling(self._job.program, look)
            return [finding for _, finding in settling.findings((n, one) for n, result in found for one in result.pending)]

    def _undoubted(self, found: Sequence[tuple[int, Result]]) -> Iterator[Finding]:
        """Yield the doubted findings of functions that surely run where sleeping is allowed."""
        doubted = {number: result.doubted for number, result in found if result.doubted}
        if not doubted:
            return
        program, settle = self._job.program, {c.RULE.code: c.settled for c in self._job.checks if hasattr(c, "settled")}
        with Workers(self._jobs, self._before_fork, _LIFETIME) as workers:
            sleepable = Sleepable(program, self._job.catalogue, functools.partial(self._flows, workers), self._text)
            proofs = sleepable.proofs(doubted)
        for number, findings in doubted.items():
            chain = proofs[number].chain() if number in proofs else []
            settled = (settle[finding.code](finding, chain, program) for finding in findings if not sleepable.is_denied(number))
            yield from (finding for finding in settled if finding is not None)

    def sweep(self) -> None:
        """Analyse all functions, callees first, but for what a former run has left."""
        job = self._job
        kept = self._state.results(job.program, job.targets)
        self._before = kept.summaries
        self._results = {result.number: result for result in kept.results}
        job.summaries.update((number, summary) for number, summary in kept.summaries.items() if kept.former.kept[number])
        order = BottomUp(self._calls)
        with Workers(self._jobs, self._before_fork, _LIFETIME) as workers:
            analyse_wave, first = functools.partial(self._run, workers), telling(job.program, job.catalogue)
            standing = order.sweep(analyse_wave, first, ROUNDS, kept.former).tolist()
        self._opened = self._state.beside(FLOWS, job.program, standing)
        # These look further than to what a function mentions.
        holding = standing if self._state.same_names else [False] * len(standing)
        self._fates = self._state.beside(FATES, job.program, holding)
        self._answers = self._state.beside(ANSWERS, job.program, holding)
        self._state.save(job.program, self._results)

    def flow(self, function: int) -> Flow | None:
        """Return the flow of one function, None if it cannot be read."""
        with Workers(1, self._before_fork) as workers:
            return self._flows(workers, [function]).get(function)

    def contexts(self, functions: Collection[int]) -> Iterator[Reached]:
        """Yield the states in which functions are reached, the shortest chains first, after a sweep."""
        job = self._job
        with Workers(self._jobs, self._before_fork, _LIFETIME) as workers:
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
        for chunk, results in workers.map(functools.partial(analyse, job.journal.end), self._chunks(wave.functions)):
            for result in self._lost(chunk) if results is None else results:
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
                keep(self._job.summaries, number, summary)

    def _chunks(self, functions: Sequence[Item]) -> list[Sequence[Item]]:
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
        sources = {number: result.sources for number, result in self._results.items()}
        job.provenance = Provenance(job.program, sources, job.folders)
        asked = {number: tuple(sorted(codes)) for number, result in sorted(self._results.items())
                 if (codes := {question.code for question in result.questions if self._answered(number, question)})}
        meaning = job.meaning()
        self._answers = {number: answer for number, answer in self._answers.items() if asked.get(number) == answer.codes
                         and job.provenance.digest(meaning, job.program.rows[number].file, answer.asked) == answer.digest}
        job.provenance.asked.clear()
        task = functools.partial(recheck, job.journal.end)
        fresh = {number: codes for number, codes in asked.items() if number not in self._answers}
        with Workers(self._jobs, self._before_fork, _ASKED) as workers:
            for done, (chunk, answers) in enumerate(workers.map(task, self._chunks(tuple(fresh.items()))), 1):
                self._progress("answers", done, len(fresh))
                if answers is None:
                    self._lost([number for number, _ in chunk])
                self._answers.update(answers or ())
        for number, answer in self._answers.items():
            before = self._results[number]
            kept = tuple(finding for finding in before.findings if finding.code not in answer.codes)
            self._results[number] = before._replace(
                findings=kept + answer.findings, failures=tuple(dict.fromkeys(before.failures + answer.failures)))
        self._answers = {number: answer for number, answer in self._answers.items() if not answer.failures}

    def _following(self) -> list[Finding]:
        """Return what is found across functions; where that fails it is told, and the rest of the findings stands."""
        if not any(hasattr(check, "reached") or hasattr(check, "recursed") for check in self._job.checks):
            return []
        try:
            return self._across()
        except FAILURES as error:
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
        with Workers(self._jobs, self._before_fork, _LIFETIME) as workers:
            flows = functools.partial(self._flows, workers)
            for raw in (False, True):
                ends = [number for number, result in results.items() if any((where == RAW) is raw for where in result.sleeps)]
                reach = Reach(job.program, job.catalogue, self._distances, ends, flows, opened, raw, mentions=self._mentions)
                found.extend(across(reach, starts, job.checks, job.targets, told))
            workers.close()
            found.extend(self._recursions(workers, opened, told))
        return found

    def _recursions(self, workers: Workers, opened: dict[int, Flow], told: set[tuple[str, str, int]]) -> Iterator[Finding]:
        """Follow how far reclaim may go through the program; yield what the rules say of what lets it go further."""
        job = self._job
        if any(hasattr(check, "recursed") for check in job.checks):
            ends = [number for number, result in self._results.items() if result.reclaims]
            reach = Recursion(job.program, job.catalogue, self._distances, ends, functools.partial(self._flows, workers), opened)
            starts = [(number, result.spared) for number, result in sorted(self._results.items()) if result.spared]
            yield from recursions(reach, starts, self._tainted(workers), job.checks, job.targets, told)

    def _tainted(self, workers: Workers) -> Iterator[tuple[Site, Reached]]:
        """Yield what is called under locks that reclaim waits for, with the state that this is."""
        program, catalogue = self._job.program, self._job.catalogue
        run = entered(program, catalogue.version)
        taint = Taint(program, run)
        for _, found in workers.map(functools.partial(waits, self._job.journal.end), self._chunks(sorted(run))):
            taint.take(found or ())
        workers.close()  # who the candidates are is looked for in the whole program
        candidates = taint.candidates(name for name, effect in catalogue.locks.items() if effect.sleeps)
        task = functools.partial(under_locks, self._job.journal.end, taint.shared)
        for _, held in workers.map(task, self._chunks(candidates)):
            for function, holdings in sorted(held or ()):
                yield from taint.states(function, holdings)
        workers.close()

    def _mentions(self, file: int, word: str) -> bool:
        """Tell whether a word stands in a file, or in another of its folder: a driver says it in one of them."""
        path = self._job.program.paths[file]
        return self._said(path.rpartition("/")[0], word)

    @functools.cache  # noqa: B019 (one analysis lives as long as the run)
    def _said(self, folder: str, word: str) -> bool:
        return any(word.encode() in self._text(file) for file in self._folders[folder])

    @functools.cached_property
    def _folders(self) -> dict[str, list[int]]:
        """The files of each folder."""
        found: dict[str, list[int]] = {}
        for file, path in enumerate(self._job.program.paths):
            found.setdefault(path.rpartition("/")[0], []).append(file)
        return found

    def _text(self, file: int) -> bytes:
        """Return the text of a file; one that cannot be read any more has none."""
        try:
            return self._job.files.place(self._job.program.paths[file]).read_bytes()
        except OSError:
            return b""

    def _flows(self, workers: Workers, functions: Sequence[int]) -> dict[int, Flow]:
        """Return the flows of functions; one that cannot be read has none."""
        task = functools.partial(flows, self._job.journal.end)
        missing = [number for number in functions if number not in self._opened]
        for _, found in workers.map(task, self._chunks(missing)):
            self._opened.update(found or ())
        if len(missing) > _ASKED:
            workers.close()  # what this process goes through next would be copied for them
        return {number: self._opened[number] for number in functions if number in self._opened}

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
