"""What workers do with the functions they are given: summarise, check, and tell what others must know of them.

They are forked from the process that linked the program, so that they share it; each opens the store of facts for itself,
reads the bodies it needs, and hears of the summaries of callees through a journal.
"""

import itertools
import logging
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from kgfplint.catalogue import Catalogue
from kgfplint.checks import CheckModule
from kgfplint.checks.results import Answer, Result
from kgfplint.checks.tainted import Holding, Taking, holdings, takings
from kgfplint.checks.unit import Unit
from kgfplint.context.flow import Flow
from kgfplint.context.recursion import starting
from kgfplint.facts import ir
from kgfplint.facts.bodies import Bodies, FileChanged
from kgfplint.facts.store import Store
from kgfplint.findings import Finding
from kgfplint.gfp import Masks
from kgfplint.gfp.policy import policy
from kgfplint.ownership.fates import Fate, Fates
from kgfplint.ownership.provenance import Provenance, sources
from kgfplint.ownership.summaries import summarise
from kgfplint.program.link import Program
from kgfplint.program.meaning import Meaning, Summary
from kgfplint.source.tree import Files

log = logging.getLogger("kgfplint")

FAILURES = (RecursionError, LookupError, ValueError, TypeError, AttributeError)
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
                keep(summaries, number, summary)


def keep(summaries: dict[int, Summary], number: int, summary: Summary | None) -> None:
    """Note the summary of a function, or that it has none any more."""
    if summary is None:
        summaries.pop(number, None)
    else:
        summaries[number] = summary


@dataclass
class Job:
    """What workers share: the program, what is known, where the bodies are, and the numbers of the files to check.

    `folders` are those of all that is read but for headers elsewhere, None if it is a whole kernel.
    """

    files: Files
    program: Program
    catalogue: Catalogue
    masks: Masks
    store: Path
    keys: Mapping[str, bytes]
    checks: Sequence[CheckModule] = ()
    targets: Collection[int] = ()
    folders: Collection[str] | None = None
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


def begin(job: Job) -> None:
    """Take up a job, before workers are forked."""
    global _job, _meaning
    _job, _meaning = job, None


def before_fork() -> None:
    """Let go of what workers must not share."""
    global _reader
    _reader = None


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
        found = _reader.of(path, rows)
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


def analyse(end: int, functions: Sequence[int]) -> list[Result]:
    """Summarise functions whose callees are known, and check those of the files asked about."""
    assert _job is not None
    return [_checked(unit, _contexts(unit, Result(unit.number, summarise(unit), sources(unit))))
            for unit in _units(functions, end)]


def _contexts(unit: Unit, result: Result) -> Result:
    """Add what the function means for the contexts of others: see Result."""
    sleeps = {sleep.where for sleep in unit.sleeps.values()} if _telling(unit) else set()
    result = result._replace(reclaims=any(sleep.reclaims for sleep in unit.sleeps.values()) if sleeps else False)
    kinds = unit.locks.atomic_kinds if unit.touches_locks else ()
    holding = any(held.kind in kinds for _, state in unit.states for held in state.held)
    sections = [kind.name for kind in unit.meaning.catalogue.kinds.values() if kind.allows]
    if unit.restricts_masks or any(held.kind in sections for _, state in unit.states for held in state.held):
        result = result._replace(spared=starting(unit.flow.sites, sections))
    if not holding and not unit.gives_masks:
        return result._replace(sleeps=tuple(sorted(sleeps)))
    under = tuple(site for site in unit.flow.sites if site.held and site.sleep is None)
    told = tuple(site for site in unit.flow.sites if site.mask and site.sleep is None)
    return result._replace(sleeps=tuple(sorted(sleeps)), under=under, told=told)


def flows(end: int, functions: Sequence[int]) -> list[tuple[int, Flow]]:
    """Return the flows of functions by number."""
    return [(unit.number, unit.flow) for unit in _units(functions, end)]


def waits(end: int, functions: Sequence[int]) -> list[tuple[int, tuple[Taking, ...]]]:
    """Return the locks that functions wait for."""
    return [(unit.number, takings(unit)) for unit in _units(functions, end)]


def under_locks(end: int, locks: Mapping[str, bool], functions: Sequence[int]) -> list[tuple[int, tuple[Holding, ...]]]:
    """Return what functions call while they hold some locks."""
    return [(unit.number, holdings(unit, locks)) for unit in _units(functions, end)]


def recheck(end: int, asked: Sequence[tuple[int, tuple[str, ...]]]) -> list[tuple[int, Answer]]:
    """Check functions once more, each by the rules with some codes, now that the whole program is known."""
    assert _job is not None and _job.provenance is not None
    codes, provenance = dict(asked), _job.provenance
    found = []
    for unit in _units(list(codes), end):
        provenance.asked.clear()
        result = _checked(unit, Result(unit.number, None, ((), frozenset())), codes[unit.number])
        keys = tuple(provenance.asked)
        digest = provenance.digest(unit.meaning, unit.file, keys)
        found.append((unit.number, Answer(codes[unit.number], keys, digest, result.findings, result.failures)))
    return found


def fates(functions: Sequence[int]) -> list[tuple[int, dict[int, Fate]]]:
    """Read off the bodies of functions what they do with the pointers they are given."""
    assert _job is not None
    known = Fates(_job.program, _job.catalogue)
    rows = _job.program.rows
    return [(number, known.of(number, body))
            for file, group in itertools.groupby(functions, lambda number: rows[number].file)
            for number, body in _bodies(_job.program.paths[file], list(group)).items()]


def _checked(unit: Unit, result: Result, codes: Collection[str] = ()) -> Result:
    """Add what the checks (those with one of some codes, if any) find in a function of a file asked about; where a check
    fails, the place and the reason.
    """
    assert _job is not None
    if unit.file not in _job.targets:
        return result
    if not _telling(unit):
        return result._replace(checked=True)
    found: list[Finding] = []
    failures: list[tuple[str, str]] = []
    for check in _job.checks:
        if codes and check.RULE.code not in codes:
            continue
        asked = len(unit.questions)
        try:
            found.extend(check.check(unit))
            unit.questions[asked:] = [question._replace(code=check.RULE.code) for question in unit.questions[asked:]]
        except FAILURES as error:
            failures.append((check.RULE.code, f"{unit.path}:{unit.row.line}: in {unit.name}: {error!r}"))
    return result._replace(checked=True, findings=tuple(found), questions=tuple(unit.questions), failures=tuple(failures),
                           pending=tuple(unit.pending), doubted=tuple(unit.doubted))


def _telling(unit: Unit) -> bool:
    """Tell whether there is anything to check: a call allocates, frees, takes a mask or changes what masks mean, or a
    mask is handed over to be looked at.
    """
    carriers = policy(unit.meaning.catalogue.version).carriers
    return unit.allocates or unit.frees or unit.touches_scopes or unit.needs_memory or any(
        unit.meaning.gfp_argument(unit.file, name) is not None for name in unit.callees) or any(
        param.ctype in carriers for param in unit.row.params)
