"""The run: files to facts (parallel, kept in a store), facts to a program, the program to findings."""

import contextlib
import functools
import gc
import hashlib
import logging
import os
import posixpath
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from kgfplint import fixes, suppressions
from kgfplint.catalogue import Catalogue, load, rules_directory
from kgfplint.checks import CheckModule, select
from kgfplint.checks.job import Job
from kgfplint.checks.results import State
from kgfplint.checks.run import Analysis
from kgfplint.config import Settings
from kgfplint.facts import ir
from kgfplint.facts.executors import ExecutorError, connected
from kgfplint.facts.index import Index, Progress, build
from kgfplint.facts.store import BodyReader, Store, StoreError, store_path
from kgfplint.facts.workers import available_cpus
from kgfplint.findings import Finding, with_fingerprints
from kgfplint.gfp import Masks
from kgfplint.lastreport import LastReport
from kgfplint.program import Program, fields, link
from kgfplint.report import Report, Stats, lines_around, shows_source
from kgfplint.source.tree import Files, find_root, is_kernel_tree, kernel_version
from kgfplint.taint.exposure import exposure
from kgfplint.taint.rules import taint_rules

log = logging.getLogger("kgfplint")


class RunError(Exception):
    """The run cannot go on; str is one line that names the path or resource."""


class StoreLost(RunError):
    """The store was damaged and has been removed: the same run will succeed."""


@dataclass
class Survey:
    """What was read: the tree, the files asked about (`targets`), all files indexed, and the store of facts.

    `files` tells where those files are. `failed`: a check failed somewhere, which is to be told in each run.
    """

    files: Files
    version: tuple[int, int] | None
    targets: tuple[str, ...]
    index: Index
    store: Store
    stats: Stats = field(default_factory=Stats)
    failed: bool = False

    @property
    def root(self) -> Path:
        """The root of the tree."""
        return self.files.root

    def bodies(self, path: str) -> BodyReader:
        """Return the bodies of the functions of an indexed file, by its tree-relative path."""
        return self.store.bodies(self.index.keys[path])

    def facts(self) -> Iterator[tuple[str, ir.FileFacts]]:
        """Yield the facts of each indexed file in path order, and count them in the stats."""
        stats = self.stats
        for path, key in self.index.keys.items():
            facts = self.store.outline(key)
            stats.files += 1
            stats.lines += facts.lines
            if not facts.code:
                stats.skipped["no code"] = stats.skipped.get("no code", 0) + 1
            for function in facts.functions:
                if not function.flags & ir.MACRO:
                    stats.functions += 1
                    stats.functions_with_errors += bool(function.flags & ir.DAMAGED)
            yield path, facts


def run(paths: Sequence[Path], settings: Settings, progress: Progress = lambda *_: None, measure: bool = False,
        files: Files | None = None) -> Report:
    """Lint the files below the paths and return the report; `measure` has its stats tell how well types are known.

    `files` tells where the files of their tree are (default: on disk). Raises RunError, CatalogueError or UnknownRule,
    each with a one-line str, when the run cannot be made.
    """
    checks = select(settings.select, settings.ignore)
    files = files or Files(common_root(paths))
    try:
        return _run(paths, settings, checks, progress, measure, files)
    except StoreLost as error:
        log.warning("%s; building it anew", error)
        return _run(paths, settings, checks, progress, measure, files)


def _run(paths: Sequence[Path], settings: Settings, checks: Sequence[CheckModule], progress: Progress,
         measure: bool, files: Files) -> Report:
    # First, so that a mistake in a rules file is told at once.
    catalogue = _catalogue(files.root, settings)
    with survey(paths, settings, progress, files) as found:
        masks = Masks.of_tree(found.root, found.version)
        digest = _digest(catalogue, masks, checks)
        last = LastReport(found.store, digest, found.root, found.index.keys, found.targets)
        findings = None if measure else last.findings(found.stats)
        if findings is None:
            program = linked(found, progress)
            with _timed(found.stats, "analysis"):
                findings = analyse(program, found, catalogue, masks, checks, settings, digest, progress)
            if not found.failed:
                last.keep(findings, found.stats)
            if measure:
                _count_fields(program, found, settings, progress)
        findings = _unsuppressed(findings, found, checks, settings)
    version = ".".join(map(str, found.version)) if found.version else ""
    # Workers answer in any order; of findings that differ only in their trace the same one must stay.
    ordered = with_fingerprints(sorted(findings, key=repr))
    read = functools.lru_cache(8)(lambda path: files.place(path).read_bytes())
    reported = tuple(_with_edits((finding for finding in ordered if finding.severity >= settings.reported), read))
    sources = lines_around(reported, read) if shows_source(settings.format) else {}
    return Report(str(found.root), version, reported, found.stats, sources)


def _with_edits(findings: Iterable[Finding], read: Callable[[str], bytes]) -> Iterator[Finding]:
    """Yield findings, those that can be mended with how to do it in the text of their file, which `read` returns."""
    for finding in findings:
        if finding.fix is None:
            yield finding
            continue
        try:
            yield msgspec.structs.replace(finding, edits=fixes.edits(finding, read(finding.path)))
        except OSError:
            yield finding


def _unsuppressed(findings: list[Finding], found: Survey, checks: Sequence[CheckModule], settings: Settings) -> list[Finding]:
    """Return the findings that no comment allows, and what is wrong with such comments."""
    sources = suppressions.Sources(found.targets, found.index.keys, found.files, found.store)
    whole = settings.scope == "tree" or not is_kernel_tree(found.root)
    with _timed(found.stats, "suppressions"):
        return suppressions.apply(findings, sources, {check.RULE.code for check in checks}, whole)


def _digest(catalogue: Catalogue, masks: Masks, checks: Sequence[CheckModule]) -> bytes:
    """Return the digest of all that findings depend on besides the facts: this program, rules, kernel version, masks."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes() + b"\0")
    said = catalogue.digest, catalogue.version, sorted(masks.named.items()), [check.RULE.code for check in checks]
    digest.update(repr(said).encode())
    return digest.digest()


def analyse(program: Program, found: Survey, catalogue: Catalogue, masks: Masks, checks: Sequence[CheckModule],
            settings: Settings, digest: bytes, progress: Progress) -> list[Finding]:
    """Return the findings of the checks in the survey's target files, in any order."""
    analysis = _analysis(program, found, catalogue, masks, checks, settings, digest, progress)
    findings = analysis.findings()
    found.failed = analysis.failed
    return findings


def _analysis(program: Program, found: Survey, catalogue: Catalogue, masks: Masks, checks: Sequence[CheckModule],
              settings: Settings, digest: bytes, progress: Progress) -> Analysis:
    wanted = set(found.targets)
    targets = frozenset(number for number, path in enumerate(program.paths) if path in wanted)
    whole = is_kernel_tree(found.root) and (settings.scope == "tree" or len(wanted) == len(program.paths))
    folders = None if whole else frozenset(map(posixpath.dirname, wanted))
    job = Job(found.files, program, catalogue, masks, found.store.path, found.index.keys, checks, targets, folders)
    state = State(found.store, digest, found.files, found.index.keys)
    return Analysis(job, state, settings.jobs or available_cpus(), found.store.release, progress)


@contextlib.contextmanager
def analysed(paths: Sequence[Path], settings: Settings, progress: Progress = lambda *_: None,
             files: Files | None = None) -> Iterator[tuple[Program, Analysis]]:
    """Read and link what lies below the paths, and yield the program with its analysis, for questions about contexts.

    Takes and raises what `run` does.
    """
    checks = select(settings.select, settings.ignore)
    files = files or Files(common_root(paths))
    catalogue = _catalogue(files.root, settings)
    with survey(paths, settings, progress, files) as found:
        masks = Masks.of_tree(found.root, found.version)
        program = linked(found, progress)
        analysis = _analysis(program, found, catalogue, masks, checks, settings, _digest(catalogue, masks, checks), progress)
        analysis.sweep()
        yield program, analysis


def _count_fields(program: Program, found: Survey, settings: Settings, progress: Progress) -> None:
    with _timed(found.stats, "fields"):
        jobs = settings.jobs or available_cpus()
        tally = fields.measure(found.root, program, found.targets, jobs, found.store.release, progress)
    found.stats.fields, found.stats.fields_resolved, found.stats.functions_with_errors = tally


def linked(found: Survey, progress: Progress = lambda *_: None) -> Program:
    """Return the program that the surveyed files make."""
    progress("program", 0, 1)
    gc.disable()  # what grows here stays, and looking for garbage in it takes half as long again
    try:
        with _timed(found.stats, "program"):
            program = link(found.facts())
            program.files = found.files
            return program
    finally:
        gc.enable()


@contextlib.contextmanager
def survey(paths: Sequence[Path], settings: Settings, progress: Progress = lambda *_: None,
           files: Files | None = None) -> Iterator[Survey]:
    """Read the whole kernel tree that the paths lie in; elsewhere, or if the settings say so, only the files below the
    paths and the headers they include.

    `files` tells where the tree's files are (default: on disk). Raises RunError. The survey's store is closed at the end.
    """
    files = files or Files(common_root(paths))
    root = files.root
    stats = Stats()
    with _timed(stats, "discover"):
        targets = tuple(files.below(paths))
        whole = any(path.resolve() == root for path in paths)
        in_tree = settings.scope == "tree" and is_kernel_tree(root)
        wanted = tuple(files.below([root])) if in_tree and targets and not whole else targets
    if not targets and not files.covered:
        log.warning("no C files below %s", ", ".join(map(str, paths)))
    with _timed(stats, "facts"):
        index, store = _indexed(files, wanted, settings, not (whole or in_tree), progress)
    try:
        _tell_skipped(index, stats)
        yield Survey(files, _version(root, settings), targets, index, store, stats)
    except StoreError as error:
        if error.damaged and not store.is_temporary:
            store.discard()
            raise StoreLost(f"the store {store.path} was damaged ({error}) and is removed") from error
        raise RunError(f"the store of facts failed: {error}") from error
    finally:
        store.close()


def _catalogue(root: Path, settings: Settings) -> Catalogue:
    """Return what the rules say, the built-in ones and the user's, of the kernel version of a tree.

    Tables that only some checks ask for are read here as well: a mistake in them is told before anything is analysed.
    """
    taint_rules()
    exposure()
    return load([rules_directory(), *map(Path, settings.rules)], _version(root, settings))


def _version(root: Path, settings: Settings) -> tuple[int, int] | None:
    return settings.version or kernel_version(root)


def common_root(paths: Sequence[Path]) -> Path:
    """Return the root of the one tree that the paths are in."""
    for path in paths:
        if not path.exists():
            raise RunError(f"{path}: no such file or directory")
        if not os.access(path, os.R_OK):
            raise RunError(f"{path}: permission denied")
    roots = {find_root(path).resolve() for path in paths}
    return Path(os.path.commonpath(roots))


def _indexed(files: Files, targets: Sequence[str], settings: Settings, follow: bool,
             progress: Progress) -> tuple[Index, Store]:
    """Bring the facts into a store: the user's, the same built anew if damaged, else a temporary one."""
    jobs = settings.jobs or available_cpus()
    try:
        with connected(settings.executor) as executor:
            store = Store.open(store_path(files.root)) if settings.cache else Store.temporary()
            while True:
                try:
                    return build(files, targets, store, jobs, follow, progress, executor), store
                except StoreError as error:
                    store.close()
                    if store.is_temporary:
                        raise
                    store = Store.instead_of(store.path, error)
    except ExecutorError as error:
        raise RunError(str(error)) from error
    except (OSError, StoreError) as error:
        raise RunError(f"no place to keep facts during the run: {error}") from error


def _tell_skipped(index: Index, stats: Stats) -> None:
    """Count the files left out by reason, and name each one: nothing is dropped silently."""
    for path, reason in sorted(index.skipped.items()):
        log.warning("%s: %s", path, reason)
    counts = Counter(reason.partition(":")[0] for reason in index.skipped.values())
    stats.skipped.update(sorted(counts.items()))


@contextlib.contextmanager
def _timed(stats: Stats, stage: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        stats.seconds[stage] = stats.seconds.get(stage, 0.0) + time.perf_counter() - began
