"""The store of facts: one SQLite file, keyed by what the facts were made from.

A key covers the bytes of a file and the version of the code that lowers it, so facts are never
stale: a second run, another branch or a patch only lowers what it changed. Writes are single
transactions of a write-ahead log, so a killed run leaves a good store. Damage is noticed (SQLite's
own checks, and a checksum in every blob) and answered by a new file.
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
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import platformdirs

from kgfplint.facts import ir

log = logging.getLogger("kgfplint")

SIZE_LIMIT = 8 << 30
"""Bytes of a store file above which the next run begins a new one."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts(key BLOB PRIMARY KEY, includes BLOB, outline BLOB, bodies BLOB);
CREATE TABLE IF NOT EXISTS stamps(path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER,
                                  inode INTEGER, key BLOB) WITHOUT ROWID;
"""
_decode_outline = msgspec.msgpack.Decoder(ir.FileFacts).decode
_decode_body = msgspec.msgpack.Decoder(ir.Body).decode
_decode_includes = msgspec.msgpack.Decoder(tuple[str, ...]).decode
_encode = msgspec.msgpack.Encoder().encode


class StoreError(Exception):
    """The store cannot be used any more; `damaged` when its contents, not its disk, are at fault."""

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        """Take the reason, one line."""
        super().__init__(message)
        self.damaged = damaged


class Row(NamedTuple):
    """The packed facts of one file: its key, include lines, FileFacts and bodies, each blob with a checksum."""

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
    return Row(key, _sealed(facts.includes), _sealed(facts), zlib.compress(head.tobytes() + b"".join(packed), 1))


def _sealed(value: object) -> bytes:
    blob = _encode(value)
    return zlib.crc32(blob).to_bytes(4) + blob


def _unsealed(blob: bytes) -> memoryview:
    content = memoryview(blob)[4:]
    if zlib.crc32(content) != int.from_bytes(blob[:4]):
        raise ValueError("wrong checksum")
    return content


class BodyReader:
    """The bodies of one file, each decoded only when asked for."""

    def __init__(self, blob: bytes) -> None:
        """Take the bodies blob of a row: how many, where each one ends, then one after the other."""
        self._data = memoryview(zlib.decompress(blob))
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


def cache_folder() -> Path:
    """Return the folder of the store: $KGFPLINT_CACHE, else the user's cache folder."""
    chosen = os.environ.get("KGFPLINT_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("kgfplint"))


class Store:
    """One store file. The connection opens on first use and may be released at any time."""

    def __init__(self, path: Path, *, reading: bool = False, keep: tempfile.TemporaryDirectory[str] | None = None):
        """Use the file at `path`; `keep` is the temporary folder that lives as long as the store."""
        self.path = path
        self._reading = reading
        self._keep = keep
        self._connection: sqlite3.Connection | None = None

    @classmethod
    def open(cls, path: Path | None = None) -> "Store":
        """Return the store in `path` (default: the user's), rebuilt if damaged, a temporary one if unusable."""
        path = path or cache_folder() / f"facts-{facts_version().hex()[:12]}.sqlite"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                _remove_former(path)
            elif path.stat().st_size > SIZE_LIMIT:
                log.warning("the store %s has grown too large; beginning a new one", path)
                remove(path)
            return cls._opened(path)
        except (OSError, StoreError) as error:
            return cls.instead_of(path, error)

    @classmethod
    def instead_of(cls, path: Path, error: OSError | StoreError) -> "Store":
        """Return a new store for the one at `path` that failed, and say why in one line."""
        if isinstance(error, StoreError) and error.damaged:
            log.warning("the store %s is damaged (%s); building it anew", path, error)
            try:
                remove(path)
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
        with store._guarded():
            store._connect().execute("INSERT OR REPLACE INTO stamps VALUES (x'', 0, 0, 0, 0, x'')")
        return store

    @property
    def is_temporary(self) -> bool:
        """Whether the store is gone after the run."""
        return self._keep is not None

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._connection = connection
            if self._reading:
                connection.execute("PRAGMA query_only = ON")
            else:
                connection.execute("PRAGMA page_size = 8192")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(_SCHEMA)
        return self._connection

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreError(str(error), damaged=False) from error
        except (sqlite3.DatabaseError, msgspec.MsgspecError, zlib.error, LookupError, ValueError) as error:
            raise StoreError(str(error), damaged=True) from error

    def release(self) -> None:
        """Let go of the connection (before a fork: SQLite's locks do not survive one); it reopens on use."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Let go of the connection and, of a temporary store, the file."""
        self.release()
        if self._keep is not None:
            self._keep.cleanup()

    def known(self, keys: Iterable[bytes]) -> set[bytes]:
        """Return those of the keys that the store holds facts for."""
        with self._guarded():
            ask = self._connect().execute
            return {key for key in keys if ask("SELECT 1 FROM facts WHERE key = ?", (key,)).fetchone()}

    def put_many(self, rows: Collection[Row]) -> None:
        """Add rows in one transaction; StoreError when the disk refuses."""
        with self._guarded():
            self._transaction("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)", rows)

    def _transaction(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        connection = self._connect()
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(statement, rows)
            connection.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def stamps(self, root: Path) -> dict[str, tuple[Stamp, bytes]]:
        """Return, for each file below root that was read before, its stamp and key by relative path."""
        prefix = os.fsencode(root) + b"/"
        with self._guarded():
            found = self._connect().execute(
                "SELECT path, size, mtime, ctime, inode, key FROM stamps WHERE path > ? AND path < ?",
                (prefix, prefix[:-1] + b"0"))
            return {os.fsdecode(path[len(prefix):]): (Stamp(*rest), key) for path, *rest, key in found}

    def put_stamps(self, root: Path, stamps: Iterable[tuple[str, Stamp, bytes]]) -> None:
        """Remember the stamps and keys of files by their paths relative to root."""
        prefix = os.fsencode(root) + b"/"
        with self._guarded():
            self._transaction("INSERT OR REPLACE INTO stamps VALUES (?, ?, ?, ?, ?, ?)", (
                (prefix + os.fsencode(path), *stamp, key) for path, stamp, key in stamps))

    def includes(self, key: bytes) -> tuple[str, ...]:
        """Return the include lines of a file; StoreError when the store does not hold it."""
        with self._guarded():
            return _decode_includes(_unsealed(self._blob("includes", key)))

    def outline(self, key: bytes) -> ir.FileFacts:
        """Return the facts of a file; StoreError when the store does not hold them."""
        with self._guarded():
            return _decode_outline(_unsealed(self._blob("outline", key)))

    def bodies(self, key: bytes) -> BodyReader:
        """Return the bodies of a file; StoreError when the store does not hold them."""
        with self._guarded():
            return BodyReader(self._blob("bodies", key))

    def _blob(self, column: str, key: bytes) -> bytes:
        found = self._connect().execute(f"SELECT {column} FROM facts WHERE key = ?", (key,)).fetchone()
        if found is None or not isinstance(found[0], bytes):
            raise LookupError(f"no {column} under {key.hex()}")
        return found[0]


def remove(path: Path) -> None:
    """Remove a store file with its log."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _remove_former(path: Path) -> None:
    """Remove the stores of former versions but the newest, which another checkout may be using."""
    former = sorted(path.parent.glob("facts-*.sqlite"), key=lambda p: p.stat().st_mtime)
    for old in former[:-1]:
        remove(old)
