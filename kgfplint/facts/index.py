"""From files to facts: reads what the store does not know yet, in parallel, and follows includes."""

import contextlib
import functools
import gc
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kgfplint.facts.executors import ExecutorError, identity, lend
from kgfplint.facts.includes import Includes
from kgfplint.facts.lower import lower, sketchable
from kgfplint.facts.store import Row, Stamp, Store, key_of, pack
from kgfplint.facts.workers import Workers
from kgfplint.source.tree import Files

Progress = Callable[[str, int, int], None]
"""Told of a stage: its name, how much of it is done, and how much there is."""

CHUNK_BYTES = 1 << 20
"""Source bytes that a worker takes at a time: some 0.3 CPU seconds."""
SMALL_BYTES = 1 << 17
"""Source bytes below which starting processes costs more than it saves."""
_ALONE = threading.Lock()
"""Held while lowering for an executor, whose tasks may be threads: the parsers are one per process."""
_RACY = 2_000_000_000
"""Nanoseconds: a file younger than this may change again without its time stamp telling."""


class Outcome(NamedTuple):
    """What became of one file: its key and, if lowered now, its row; or why it failed."""

    path: str
    stamp: Stamp | None = None
    key: bytes = b""
    row: Row | None = None
    failure: str = ""


class Source(NamedTuple):
    """One file as it was read: all that it takes to lower it, here or on another machine."""

    path: str
    stamp: Stamp | None
    key: bytes
    data: bytes


@dataclass
class Index:
    """The files of a run: the keys of their facts by tree-relative path, and those left out, with the reason."""

    root: Path
    keys: dict[str, bytes] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def build(files: Files, paths: Iterable[str], store: Store, jobs: int, follow: bool,
          progress: Progress = lambda *_: None, executor: Executor | None = None) -> Index:
    """Bring the facts of the files at the tree-relative paths into the store, and say which they are.

    With `follow`, the headers that they include are read, too, and so on. A file that cannot be read or
    lowered is listed as skipped. Files are lowered by `jobs` processes here or, given one, by an executor, to which
    they go by value; what it fails to do is done here. Raises StoreError when the store fails, ExecutorError when the
    executor's workers are of another version than this.
    """
    began = time.time_ns()
    index = Index(files.root)
    includes = Includes(files)
    stamps = store.stamps(files.root)
    with Workers(jobs, store.release) as workers:
        wave = sorted(set(paths))
        while wave:
            fresh = list(_unread(files, wave, stamps, store, index))
            settled = []
            for outcome in _outcomes(files, fresh, store, workers, jobs, progress, executor):
                _note(index, outcome)
                if outcome.stamp and not outcome.failure and outcome.stamp.mtime < began - _RACY:
                    settled.append((outcome.path, outcome.stamp, outcome.key))
            store.put_stamps(files.root, settled)
            wave = _included(wave, index, includes, store) if follow else []
    index.keys = dict(sorted(index.keys.items()))
    return index


def _note(index: Index, outcome: Outcome) -> None:
    if outcome.failure:
        index.skipped[outcome.path] = outcome.failure
    else:
        index.keys[outcome.path] = outcome.key


def _unread(files: Files, paths: Iterable[str], stamps: dict[str, tuple[Stamp, bytes]], store: Store,
            index: Index) -> Iterator[tuple[str, int]]:
    """Yield path and size of each file that must be read; note the key of the others, and the missing ones."""
    unchanged = {}
    for path in paths:
        try:
            stamp = Stamp.of(os.stat(files.place(path)))
        except OSError as error:
            index.skipped[path] = f"unreadable: {error.strerror}"
            continue
        former, key = stamps.get(path, (None, b""))
        if former == stamp and path not in files.covered:
            unchanged[path] = key
        else:
            yield path, stamp.size
    known = store.known(unchanged.values())
    for path, key in unchanged.items():
        if key in known:
            index.keys[path] = key
        else:
            yield path, stamps[path][0].size


def _outcomes(files: Files, fresh: Sequence[tuple[str, int]], store: Store, workers: Workers, jobs: int,
              progress: Progress, executor: Executor | None) -> Iterator[Outcome]:
    """Read and lower files, put their rows into the store, and yield what became of each."""
    total, done = sum(size for _, size in fresh), 0
    sizes = dict(fresh)
    results: Iterable[tuple[Sequence[str], list[Outcome] | None]]
    if executor is not None:
        results = _lent(files, store, workers, executor, _chunks(fresh))
    elif jobs == 1 or total < SMALL_BYTES:
        results = ((chunk, _read(files, store, chunk)) for chunk in _chunks(fresh))
    else:
        task = functools.partial(_read_chunk, files, store.path)
        results = workers.map(task, _chunks(fresh))
    for chunk, outcomes in results:
        outcomes = outcomes or [Outcome(path, failure="failed: its process died") for path in chunk]
        store.put_many([outcome.row for outcome in outcomes if outcome.row])
        done += sum(sizes[path] for path in chunk)
        progress("facts", done, total)
        yield from (outcome._replace(row=None) for outcome in outcomes)


def _chunks(files: Sequence[tuple[str, int]]) -> list[list[str]]:
    """Divide files into chunks of about CHUNK_BYTES, the largest files first so that no worker ends late."""
    chunks: list[list[str]] = []
    room = 0
    for path, size in sorted(files, key=lambda file: (-file[1], file[0])):
        if room <= 0:
            chunks.append([])
            room = CHUNK_BYTES
        chunks[-1].append(path)
        room -= size + 1024
    return chunks


@functools.cache
def _reader(path: Path) -> Store:
    """Return this worker's own connection to the store."""
    return Store.reader(path)


def _read_chunk(files: Files, store: Path, paths: Sequence[str]) -> list[Outcome]:
    """Read and lower some files in a worker process of this machine."""
    with _uncollected():
        return _read(files, _reader(store), paths)


def _lent(files: Files, store: Store, workers: Workers, executor: Executor,
          chunks: Iterable[Sequence[str]]) -> Iterator[tuple[Sequence[str], list[Outcome] | None]]:
    """Read files here and lower them on the executor; what it fails to do is done by the workers."""
    lost = []

    def offers() -> Iterator[tuple[list[Outcome | Source], list[tuple[bytes, bytes]]]]:
        for chunk in chunks:
            taken = _taken(files, store, chunk)
            yield taken, [(one.key, one.data) for one in taken if isinstance(one, Source)]

    for taken, results in lend(executor, lower_all, offers()):
        paths = [one.path for one in taken]
        if results is None:
            lost.append(paths)
            continue
        answers = iter(results)
        yield paths, [one if isinstance(one, Outcome) else _outcome(one, next(answers)) for one in taken]
    yield from workers.map(functools.partial(_read_chunk, files, store.path), lost)


def lower_all(sources: Sequence[tuple[bytes, bytes]]) -> list[Row | str]:
    """Lower files, given by key and content, wherever this runs: the row of each, or why there is none.

    Raises ExecutorError when keys made here differ: then this is another version than the one that asks.
    """
    with _ALONE, _uncollected():
        if any(key_of(data) != key for key, data in sources):
            raise ExecutorError(f"the worker on {platform.node()} runs another version, {identity()}")
        return [_lowered(key, data) for key, data in sources]


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Have the collector look for cycles, as flow graphs are, at the end: not every 700 objects saves a sixth."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


def _read(files: Files, store: Store, paths: Sequence[str]) -> list[Outcome]:
    """Read some files and lower those whose bytes the store does not know already."""
    taken = _taken(files, store, paths)
    return [one if isinstance(one, Outcome) else _outcome(one, _lowered(one.key, one.data)) for one in taken]


def _taken(files: Files, store: Store, paths: Sequence[str]) -> list[Outcome | Source]:
    """Read some files; one is settled if it cannot be read, or if the store knows its bytes already.

    The store is asked of all at once: after each write of another process its pages must be read anew.
    """
    taken = [_source(files, path) for path in paths]
    known = store.known([one.key for one in taken if isinstance(one, Source)])
    return [Outcome(one.path, one.stamp, one.key) if one.key in known else one for one in taken]


def _source(files: Files, path: str) -> Outcome | Source:
    """Read one file."""
    try:
        with open(files.place(path), "rb") as file:
            # What a time stamp says of a file elsewhere means nothing in a later run.
            stamp = None if path in files.covered else Stamp.of(os.fstat(file.fileno()))
            data = file.read()
    except OSError as error:
        return Outcome(path, failure=f"unreadable: {error.strerror}")
    return Source(path, stamp, key_of(data), data)


def _lowered(key: bytes, data: bytes) -> Row | str:
    """Return the row of a file with these bytes, or why there is none."""
    try:
        lowered = lower(data, sketchable)
        return pack(key, lowered.facts, lowered.bodies)
    except Exception as error:  # a file that we cannot lower must not end the run; it is counted and named
        return " ".join([type(error).__name__ + ":", *str(error).splitlines()[:1]])


def _outcome(source: Source, result: Row | str) -> Outcome:
    if isinstance(result, str):
        return Outcome(source.path, source.stamp, failure=f"failed: {result}")
    return Outcome(source.path, source.stamp, source.key, result)


def _included(wave: Iterable[str], index: Index, includes: Includes, store: Store) -> list[str]:
    """Return the files that those of the wave include and that were not met before."""
    found: set[str] = set()
    for path in wave:
        if key := index.keys.get(path):
            for line in store.includes(key):
                found.update(includes.resolve(path, line))
    return sorted(found - index.keys.keys() - index.skipped.keys())
