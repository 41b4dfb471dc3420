"""Looking after a store: what is in it, dropping what is of no more use, starting over.

Nothing that was used in the last hour is pruned: another run may be about to read it.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kgfplint.facts.database import NAME, Database, discard, remove

RECENT_SECONDS = 3600
BATCH = 500
"""Rows or pages changed at a time, so that no run waits long."""

_ROWS = """
WITH seen AS (SELECT key, max(used) AS used FROM (
        SELECT stamps.key, trees.used FROM stamps JOIN trees ON trees.id = stamps.tree
        UNION ALL SELECT key, used FROM retired) GROUP BY key)
SELECT facts.rowid, grp, max(made, coalesce(seen.used, 0)), length(includes) + length(outline) + length(bodies)
FROM facts LEFT JOIN seen ON seen.key = facts.key
"""


class Group(NamedTuple):
    """A group of rows: its kind ("facts" or that of a result), its facts version, its size and when it was used."""

    id: int
    kind: str
    version: bytes
    used: int
    rows: int
    bytes: int


class Tree(NamedTuple):
    """A tree that was read: how many files of it are known, and when it was used."""

    root: str
    files: int
    used: int


class Summary(NamedTuple):
    """What a store holds; bytes are those on disk, `free` those of them that hold nothing."""

    bytes: int
    free: int
    groups: Sequence[Group]
    trees: Sequence[Tree]


class _Row(NamedTuple):
    """Something to drop: the statement and its argument, the last use, the size."""

    statement: str
    id: int
    used: int
    rows: int
    bytes: int


def summary(database: Database) -> Summary:
    """Return what the store holds; StoreError when it cannot be read."""
    with database.connected() as connection:
        size, free = _sizes(connection)
        trees = connection.execute("SELECT root, (SELECT count(*) FROM stamps WHERE tree = trees.id), used FROM trees"
                                   " ORDER BY root").fetchall()
        return Summary(size, free, _groups(connection), [Tree(os.fsdecode(root), *rest) for root, *rest in trees])


def size(database: Database) -> int:
    """Return the bytes of the file; StoreError when it cannot be read."""
    with database.connected() as connection:
        return _sizes(connection)[0]


def _groups(connection: sqlite3.Connection) -> list[Group]:
    rows: dict[int, tuple[int, int]] = {}
    for table, length in (("facts", "length(includes) + length(outline) + length(bodies)"), ("results", "length(content)")):
        for group, count, size in connection.execute(f"SELECT grp, count(*), sum({length}) FROM {table} GROUP BY grp"):
            rows[group] = (count, size)
    found = connection.execute("SELECT id, kind, version, used FROM groups ORDER BY used DESC, id")
    return [Group(id_, kind, version, used, *rows.get(id_, (0, 0))) for id_, kind, version, used in found.fetchall()]


def _sizes(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the bytes of the file and those of them that are free."""
    page, pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0]
                         for name in ("page_size", "page_count", "freelist_count"))
    return page * pages, page * free


def prune(database: Database, *, days: float, limit: int | None = None, version: bytes | None = None) -> int:
    """Drop what was not used for `days`, then what was longest not used until `limit` bytes are left at most.

    With `version`, the rows of other facts versions go whenever they were used. Returns the number of rows dropped;
    other runs may go on meanwhile. Raises StoreError.
    """
    now = int(time.time())
    recent = now - RECENT_SECONDS
    before = min(int(now - days * 86400), recent)
    with database.connected() as connection:
        groups = _groups(connection)
        old = {group.id for group in groups if group.used < (before if version in (None, group.version) else recent)}
        kept = {group.id for group in groups} - old
        dropped = [row for row, group in _rows(connection) if group not in kept or row.used < before]
        trees = _uses(connection, recent)
    count = _drop(database, dropped, recent, trees)
    _forget(database, before, old)
    _give_back(database)
    while limit is not None and (excess := _excess(database, recent, limit)):
        gone = _drop(database, excess, recent, trees)
        _give_back(database)
        count += gone
        if not gone:
            break
    return count


def _excess(database: Database, recent: int, limit: int) -> list[_Row]:
    """Return about as many rows, longest not used first, as must go for the file to shrink to `limit` bytes."""
    with database.connected() as connection:
        rows = sorted((row for row, _ in _rows(connection)), key=lambda row: row.used)
    total = size(database)
    share = total / max(sum(row.bytes for row in rows), 1)  # the bytes on disk for one of content
    excess = float(total - limit)
    chosen = []
    for row in rows:
        if excess <= 0 or row.used >= recent:
            break
        chosen.append(row)
        excess -= share * row.bytes
    return chosen


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[_Row, int]]:
    """Yield all rows, each with its group; the results of a group are one."""
    for group in _groups(connection):
        if group.kind != "facts" and group.rows:
            yield _Row("DELETE FROM results WHERE grp = ?", group.id, group.used, group.rows, group.bytes), group.id
    for rowid, number, used, size in connection.execute(_ROWS):
        yield _Row("DELETE FROM facts WHERE rowid = ?", rowid, used, 1, size), number


def _uses(connection: sqlite3.Connection, since: int) -> list[tuple[int, int]]:
    return connection.execute("SELECT id, used FROM trees WHERE used >= ?", (since,)).fetchall()


def _drop(database: Database, rows: Sequence[_Row], recent: int, trees: Sequence[tuple[int, int]]) -> int:
    """Drop rows until another tree comes into use, which may need them; return how many."""
    count = 0
    for at in range(0, len(rows), BATCH):
        with database.transaction() as connection:
            if _uses(connection, recent) != trees:
                break
            for row in rows[at : at + BATCH]:
                connection.execute(row.statement, (row.id,))
                count += row.rows
    return count


def _forget(database: Database, before: int, groups: Iterable[int]) -> None:
    """Drop what refers to rows that are gone, and what was not used since `before`."""
    with database.transaction() as connection:
        connection.executemany("DELETE FROM groups WHERE id = ?", ((group,) for group in groups))
        connection.execute("DELETE FROM results WHERE grp NOT IN (SELECT id FROM groups)")
        connection.execute("DELETE FROM stamps WHERE key NOT IN (SELECT key FROM facts) OR tree NOT IN"
                           " (SELECT id FROM trees WHERE used >= ?)", (before,))
        connection.execute("DELETE FROM trees WHERE used < ?", (before,))
        connection.execute("DELETE FROM retired WHERE used < ? OR key NOT IN (SELECT key FROM facts)", (before,))


def _give_back(database: Database) -> None:
    """Cut the free pages off the file, in steps."""
    with database.connected() as connection:
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        for _ in range(0, free, BATCH):
            # As a script, for as a statement it stops at its first row, which is one page.
            connection.executescript(f"PRAGMA incremental_vacuum({BATCH})")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def clear(folder: Path) -> list[Path]:
    """Remove the store in a folder and all that was kept beside it; return the paths. Raises OSError."""
    found = [path for pattern in (NAME, "facts-*.sqlite*", "prototypes-*") for path in sorted(folder.glob(pattern))]
    for path in found:
        if path.name == NAME:
            discard(path)
        else:
            remove(path)
    return found


def remove_former(folder: Path, days: float = 0) -> None:
    """Remove the stores of former releases, one file each, and prototypes that were read more than `days` ago."""
    before = time.time() - max(days * 86400, RECENT_SECONDS)
    for path in folder.glob("facts-*.sqlite*"):
        remove(path)
    for path in folder.glob("prototypes-*"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
