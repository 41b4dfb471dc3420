"""Runs made of runs: what a change newly breaks, C code on standard input, and mending what is found."""

import contextlib
import functools
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from kgfplint import fixes
from kgfplint.config import Settings
from kgfplint.engine import RunError, common_root, run
from kgfplint.facts.index import Progress
from kgfplint.facts.lower import lower, sketchable
from kgfplint.findings import Edit
from kgfplint.patches import newly
from kgfplint.report import Report
from kgfplint.revisions import ChangeError, Request, between
from kgfplint.source.tree import Files, find_root

log = logging.getLogger("kgfplint")

ROUNDS = 20
"""How often to look again after mending: what overlaps another edit, or hid behind it, is done the next time."""
STANDARD_INPUT = "stdin.c"
"""The name that C code on standard input goes by."""


class Mended(NamedTuple):
    """A file that was mended: its path, and its text before and after."""

    path: str
    before: bytes
    after: bytes


def run_change(paths: Sequence[Path], settings: Settings, request: Request, progress: Progress = lambda *_: None) -> Report:
    """Lint the files below the paths before and after a change, and return the report of what it newly breaks.

    Raises RunError as well where there is no such change.
    """
    try:
        with between(common_root(paths), request) as change, _each_warning_once():
            before = run(paths, settings, progress, files=change.base)
            after = run(paths, settings, progress, files=change.head)
            found = newly(before.findings, after.findings, change, functools.cache(_functions))
    except ChangeError as error:
        raise RunError(str(error)) from error
    for stage, seconds in before.stats.seconds.items():
        after.stats.seconds[stage] = after.stats.seconds.get(stage, 0.0) + seconds
    return replace(after, findings=tuple(found))


def run_text(data: bytes, settings: Settings, progress: Progress = lambda *_: None) -> Report:
    """Lint C code as if it were a file of the tree that the current folder lies in, and return the report."""
    root, here = find_root(Path.cwd()), Path.cwd().resolve()
    path = (here / STANDARD_INPUT).relative_to(root).as_posix()
    with tempfile.TemporaryDirectory(prefix="kgfplint-") as folder:
        files = Files(root, Path(folder), frozenset([path]))
        files.place(path).parent.mkdir(parents=True, exist_ok=True)
        files.place(path).write_bytes(data)
        return run([here / STANDARD_INPUT], settings, progress, files=files)


def _functions(files: Files, path: str) -> dict[str, range]:
    """Return the functions of a file with their lines, none for a file that is not there."""
    try:
        data = files.place(path).read_bytes()
    except FileNotFoundError:
        return {}
    return {row.name: range(row.line, row.end_line + 1) for row in lower(data, sketchable).facts.functions}


@contextlib.contextmanager
def _each_warning_once() -> Iterator[None]:
    """Tell what is the same before and after a change only once."""
    told: set[str] = set()

    def fresh(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return message not in told and not told.add(message)  # type: ignore[func-returns-value]

    log.addFilter(fresh)
    try:
        yield
    finally:
        log.removeFilter(fresh)


def run_fixes(paths: Sequence[Path], settings: Settings, progress: Progress = lambda *_: None) -> tuple[Report, list[Mended]]:
    """Mend what is found below the paths until nothing is left to mend; return what is still found, and the files as they
    would be: nothing is written."""
    files = Files(common_root(paths))
    with tempfile.TemporaryDirectory(prefix="kgfplint-") as folder:
        other = Path(folder)
        for _ in range(ROUNDS):
            report = run(paths, settings, progress, files=files)
            by_path: dict[str, list[Edit]] = {}
            for finding in report.findings:
                by_path.setdefault(finding.path, []).extend(finding.edits)
            texts = {path: fixes.applied(files.place(path).read_bytes(), edits) for path, edits in by_path.items() if edits}
            if not texts:
                break
            for path, text in texts.items():
                (other / path).parent.mkdir(parents=True, exist_ok=True)
                (other / path).write_bytes(text)
            files = Files(files.root, other, files.covered | texts.keys())
        mended = [Mended(path, (files.root / path).read_bytes(), files.place(path).read_bytes())
                  for path in sorted(files.covered)]
    return report, mended


def write(root: Path, mended: Iterable[Mended]) -> None:
    """Write mended files; RunError for one that cannot be written or is another by now, and no later one is written then."""
    for path, before, after in mended:
        try:
            if (root / path).read_bytes() != before:
                raise RunError(f"--fix: {path}: it has changed meanwhile")
            (root / path).write_bytes(after)
        except OSError as error:
            raise RunError(f"--fix: {path}: {error.strerror}") from error
