"""The store of facts and of what was concluded from them, keyed by what it was made from.

A key covers the bytes of a file and the version of the code that lowers it, so facts are never
stale: a second run, another branch or a patch only lowers what it changed, and all trees and versions
share one file. Damage is noticed (see database) and answered by a new file.
"""

import array
import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import os
import sqlite3
import sys
import tempfile
import time
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from kgfplint.facts import ir, upkeep
from kgfplint.facts.database import (
    Database,
    StoreError,
    cache_folder,
    discard,
    group_of,
    note_group,
    remove,
    seal,
    store_path,
    unseal,
)

__all__ = ["BodyReader", "Row", "Stamp", "Store", "StoreError", "cache_folder", "facts_version", "key_of", "pack",
           "remove", "seal", "store_path", "unseal"]  # fmt: skip

log = logging.getLogger("kgfplint")

SIZE_LIMIT = 8 << 30
"""Bytes of a store file above which a run first drops what was longest not used."""
KEPT_DAYS = 30
"""Days that former versions' rows are kept when a new version of this program begins to use a store."""

_decode_outline = msgspec.msgpack.Decoder(ir.FileFacts).decode
_decode_body = msgspec.msgpack.Decoder(ir.Body).decode
_decode_includes = msgspec.msgpack.Decoder(tuple[str, ...]).decode
_encode = msgspec.msgpack.Encoder().encode


class Row(NamedTuple):
    """The packed facts of one file: its key, include lines, FileFacts and bodies, each blob sealed."""

    key: bytes
    includes: bytes
    outline: bytes
    bodies: bytes


class Stamp(NamedTuple):
    """What stat() said of a file when it was read; times in nanoseconds."""

    size: int
    mtime: int
    ctime: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> "Stamp":
        """Return the stamp of a stat result."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@functools.cache
def facts_version() -> bytes:
    """Return the digest of everything but the file that facts depend on: our code, its data, the parsers."""
    # Python belongs to it: the regular expressions of two versions need not agree on odd sources.
    digest = hashlib.blake2b(sys.version.encode(), digest_size=16)
    package = Path(__file__).parent.parent
    sources = [p for stage in ("source", "facts") for p in sorted((package / stage).rglob("*.py"))]
    sources = [p for p in sources if not p.name.startswith("layouts")]  # asked for later, of the program
    data = [home / "rules" / "syntax.toml" for home in (package, package.parent)]
    for path in [*sources, *(p for p in data if p.is_file())]:
        digest.update(path.read_bytes() + b"\0")
    for library in ("tree-sitter", "tree-sitter-c", "pycparser"):
        digest.update(importlib.metadata.version(library).encode() + b"\0")
    return digest.digest()


def key_of(data: bytes) -> bytes:
    """Return the key of the facts of a file with these bytes."""
    return hashlib.blake2b(data, key=facts_version(), digest_size=20).digest()


def pack(key: bytes, facts: ir.FileFacts, bodies: Iterable[ir.Body]) -> Row:
    """Return the row that holds the facts of one file; bodies are aligned with facts.functions."""
    packed = [_encode(body) for body in bodies]
    head = array.array("I", [len(packed), 0])
    for blob in packed:
        head.append(head[-1] + len(blob))
    # Outlines are read in every run, bodies only where an analysis looks: only these are compressed.
    compressed = zlib.compress(head.tobytes() + b"".join(packed), 1)
    return Row(key, seal(_encode(facts.includes), key), seal(_encode(facts), key), seal(compressed, key))


class BodyReader:
    """The bodies of one file, each decoded only when asked for."""

    def __init__(self, content: bytes | memoryview) -> None:
        """Take the unsealed bodies of a row: how many, where each one ends, then one after the other."""
        self._data = memoryview(zlib.decompress(content))
        self._count = int.from_bytes(self._data[:4], sys.byteorder)
        self._base = 4 * (self._count + 2)
        self._ends = self._data[4 : self._base].cast("I")

    def __len__(self) -> int:
        """Return the number of bodies."""
        return self._count

    def body(self, index: int) -> ir.Body:
        """Return the body of function `index` of the file; IndexError when there is none."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return _decode_body(self._data[self._base + self._ends[index] : self._base + self._ends[index + 1]])


class Store(Database):
    """Facts, the stamps of files that were read, and the results of analyses."""

    def __init__(self, path: Path, *, reading: bool = False, keep: tempfile.TemporaryDirectory[str] | None = None):
        """Use the file at `path`; `keep` is the temporary folder that lives as long as the store."""
        super().__init__(path, reading=reading)
        self._keep = keep
        self._noted: set[tuple[str, bytes]] = set()

    @classmethod
    def open(cls, path: Path | None = None) -> "Store":
        """Return the store in `path` (default: the user's), rebuilt if damaged, a temporary one if unusable."""
        path = path or store_path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls._opened(path)
        except (OSError, StoreError) as error:
            return cls.instead_of(path, error)

    @classmethod
    def instead_of(cls, path: Path, error: OSError | StoreError) -> "Store":
        """Return a new store for the one at `path` that failed, and say why in one line."""
        if isinstance(error, StoreError) and error.damaged:
            log.warning("the store %s is damaged (%s); building it anew", path, error)
            try:
                discard(path, error.inode)
                return cls._opened(path)
            except (OSError, StoreError) as again:
                error = again
        log.warning("cannot keep facts in %s (%s); using a temporary store", path.parent, error)
        return cls.temporary()

    @classmethod
    def temporary(cls) -> "Store":
        """Return an empty store that is gone when it is closed; OSError when there is no room for one."""
        folder = tempfile.TemporaryDirectory(prefix="kgfplint-", ignore_cleanup_errors=True)
        return cls(Path(folder.name) / "facts.sqlite", keep=folder)

    @classmethod
    def reader(cls, path: Path) -> "Store":
        """Return a store for a worker process, which only reads."""
        return cls(path, reading=True)

    @classmethod
    def _opened(cls, path: Path) -> "Store":
        store = cls(path)
        with store.transaction() as connection:  # also shows at once whether the store can be written
            new = not group_of(connection, "facts", facts_version(), facts_version())
            note_group(connection, "facts", facts_version(), facts_version())
        store.be_patient()
        if new:
            upkeep.remove_former(path.parent)
            upkeep.prune(store, days=KEPT_DAYS)
        if upkeep.size(store) > SIZE_LIMIT:
            log.warning("the store %s has grown too large; dropping what was longest not used", path)
            upkeep.prune(store, days=KEPT_DAYS, limit=SIZE_LIMIT // 4 * 3)
        return store

    @property
    def is_temporary(self) -> bool:
        """Whether the store is gone after the run."""
        return self._keep is not None

    def close(self) -> None:
        """Let go of the connection and, of a temporary store, the file."""
        self.release()
        if self._keep is not None:
            self._keep.cleanup()

    def known(self, keys: Iterable[bytes]) -> set[bytes]:
        """Return those of the keys that the store holds facts of the present version for: stamps may name former ones."""
        with self.connected() as connection:
            ask, group = connection.execute, group_of(connection, "facts", facts_version(), facts_version())
            return {key for key in keys if ask("SELECT 1 FROM facts WHERE key = ? AND grp = ?", (key, group)).fetchone()}

    def put_many(self, rows: Collection[Row]) -> None:
        """Add rows in one transaction; StoreError when the disk refuses."""
        with self.transaction() as connection:
            head = note_group(connection, "facts", facts_version(), facts_version()), int(time.time())
            connection.executemany("INSERT OR REPLACE INTO facts(grp, made, key, includes, outline, bodies)"
                                   " VALUES (?, ?, ?, ?, ?, ?)", ((*head, *row) for row in rows))

    def stamps(self, root: Path) -> dict[str, tuple[Stamp, bytes]]:
        """Return, for each file below root that was read before, its stamp and key by relative path.

        A stamp that another version set leads to the facts of that version, and is left out. Also notes that the tree is in
        use now, which keeps its rows from being pruned.
        """
        with self.transaction() as connection:
            own = group_of(connection, "facts", facts_version(), facts_version())
            found = connection.execute(
                "SELECT path, size, mtime, ctime, inode, stamps.key FROM stamps LEFT JOIN facts USING (key)"
                " WHERE tree = ? AND coalesce(grp, ?) = ?", (_tree(connection, root), own, own))
            return {os.fsdecode(path): (Stamp(*rest), key) for path, *rest, key in found}

    def put_stamps(self, root: Path, stamps: Iterable[tuple[str, Stamp, bytes]]) -> None:
        """Remember the stamps and keys of files by their paths relative to root."""
        with self.transaction() as connection:
            tree = _tree(connection, root)
            rows = [(*stamp, key, tree, os.fsencode(path)) for path, stamp, key in stamps]
            # Not an upsert: inside one, the trigger that retires keys could retire each only once.
            connection.executemany("UPDATE OR REPLACE stamps SET size = ?, mtime = ?, ctime = ?, inode = ?, key = ?"
                                   " WHERE tree = ? AND path = ?", rows)
            connection.executemany("INSERT OR IGNORE INTO stamps(size, mtime, ctime, inode, key, tree, path)"
                                   " VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def includes(self, key: bytes) -> tuple[str, ...]:
        """Return the include lines of a file; StoreError when the store does not hold it."""
        blob = self._blob("includes", key)
        with self._decoding():
            return _decode_includes(unseal(blob, key))

    def outline(self, key: bytes) -> ir.FileFacts:
        """Return the facts of a file; StoreError when the store does not hold them."""
        blob = self._blob("outline", key)
        with self._decoding():
            return _decode_outline(unseal(blob, key))

    def bodies(self, key: bytes) -> BodyReader:
        """Return the bodies of a file; StoreError when the store does not hold them."""
        blob = self._blob("bodies", key)
        with self._decoding():
            return BodyReader(unseal(blob, key))

    @contextlib.contextmanager
    def _decoding(self) -> Iterator[None]:
        """Tell contents that are not what was written as damage."""
        try:
            yield
        except (msgspec.MsgspecError, zlib.error, LookupError, TypeError, ValueError) as error:
            raise self.damage(str(error)) from error

    def _blob(self, column: str, key: bytes) -> bytes:
        with self.connected() as connection:
            found = connection.execute(f"SELECT {column} FROM facts WHERE key = ?", (key,)).fetchone()
        if found is None or not isinstance(found[0], bytes):
            raise self.damage(f"no {column} under {key.hex()}")
        return found[0]

    def put_results(self, kind: str, digest: bytes, rows: Iterable[tuple[bytes, bytes]], *, root: Path | None = None,
                    gone: Iterable[bytes] = (), unless: tuple[bytes, bytes] | None = None) -> bool:
        """Keep results of an analysis: (key, content) rows of the group (kind, digest), all in one transaction.

        The digest covers everything that the results depend on and that neither their keys nor facts_version() do,
        such as rules and options. Rows are used, pruned and exported as a group; `root` is the tree that they are
        about, if it is one. `gone` are keys of rows to drop. With `unless`, a key and what it was when these rows were
        made (b"": nothing), nothing is kept and False returned if that is something else by now.
        """
        with self.transaction() as connection:
            group = note_group(connection, kind, digest, facts_version(), root)
            if unless is not None:
                row = connection.execute("SELECT content FROM results WHERE grp = ? AND key = ?", (group, unless[0])).fetchone()
                if (bytes(unseal(row[0], unless[0])) if row else b"") != unless[1]:
                    return False
            connection.executemany("DELETE FROM results WHERE grp = ? AND key = ?", ((group, key) for key in gone))
            connection.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?)",
                                   ((group, key, seal(content, key)) for key, content in rows))
        return True

    def results(self, kind: str, digest: bytes, keys: Iterable[bytes] | None = None) -> dict[bytes, bytes]:
        """Return those results of a group that are kept, by key: all of them, or those of the keys.

        Also notes, once, that the group is in use now (not in a reader).
        """
        with self.connected() as connection:
            group = group_of(connection, kind, digest, facts_version())
            if not group:
                return {}
            if not self._reading and (kind, digest) not in self._noted:
                with self.transaction():
                    note_group(connection, kind, digest, facts_version())
                self._noted.add((kind, digest))
            ask = connection.execute
            if keys is None:
                found = ask("SELECT key, content FROM results WHERE grp = ?", (group,)).fetchall()
            else:
                found = [row for key in keys if (
                    row := ask("SELECT key, content FROM results WHERE grp = ? AND key = ?", (group, key)).fetchone())]
        with self._decoding():
            return {key: bytes(unseal(content, key)) for key, content in found}


def _tree(connection: sqlite3.Connection, root: Path) -> int:
    """Note that a tree is used now, and return its number."""
    row = connection.execute("INSERT INTO trees(root, used) VALUES (?, ?) ON CONFLICT DO UPDATE SET used = excluded.used"
                             " RETURNING id", (os.fsencode(root), int(time.time()))).fetchone()
    return int(row[0])
