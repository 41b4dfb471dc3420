"""What goes to the terminal and to files: reports, progress, statistics."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from kgfplint.engine import RunError
from kgfplint.facts.index import Progress
from kgfplint.report import Stats


def is_terminal(stream: Any) -> bool:
    """Tell whether a stream is read by a person at a terminal."""
    return bool(stream is not None and stream.isatty())


@contextlib.contextmanager
def showing() -> Iterator[Progress]:
    """Show progress on standard error if it is a terminal."""
    if not is_terminal(sys.stderr):
        yield lambda *_: None
        return
    # rich takes some 50 ms to load, and a report in a pipe has no use for it.
    from rich.console import Console
    from rich.progress import Progress as Bar

    # Without refresh thread: worker processes are forked from here.
    with Bar(console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=total, refresh=True)

        yield show


def write(pieces: Iterable[str], output: str | None = None) -> None:
    """Write text to a file or to standard output; paths keep the bytes that they have on disk."""
    if output is None:
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
        sys.stdout.writelines(pieces)
        sys.stdout.flush()
        return
    try:
        with open(output, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(pieces)
    except OSError as error:
        raise RunError(f"{output}: {error.strerror}") from error


def print_stats(stats: Stats) -> None:
    """Print what was read, and how long it took, to standard error."""
    rows: list[tuple[str, object]] = [
        ("files", stats.files), ("functions", stats.functions),
        ("functions with errors", stats.functions_with_errors), ("lines", stats.lines),
        *((f"skipped: {reason}", count) for reason, count in stats.skipped.items()),
        *((f"seconds: {stage}", f"{seconds:.2f}") for stage, seconds in stats.seconds.items()),
    ]
    for name, value in rows:
        print(f"{name:24} {value:>12}", file=sys.stderr)
    if stats.fields is not None and stats.fields_resolved is not None:
        share = 100 * stats.fields_resolved / stats.fields if stats.fields else 100
        print(f"fields: {stats.fields}, resolved: {stats.fields_resolved} ({share:.1f} %)", file=sys.stderr)


def abandon_output() -> None:
    """Point standard output nowhere, so that the interpreter does not fail again when it flushes it at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
