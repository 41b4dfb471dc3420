"""The SQLite file that outlives a run: where it lies, how it is opened, what its failures mean.

Writes are single transactions of a write-ahead log, so that a killed run leaves a good file. SQLite notices
most damage itself; blobs carry a checksum for the rest. Times are seconds since 1970.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import platformdirs

NAME = "kgfplint.sqlite"
"""The one file of all trees, branches and versions of this program."""
FORMAT = 1
"""The number of the schema below, kept in the file."""
OPENING_SECONDS = 5.0
"""How long to wait at the start for a file that another process has locked."""
WAITING_SECONDS = 60.0
"""How long to wait later: by then a run has more to lose than time."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS groups(id INTEGER PRIMARY KEY, kind TEXT, digest BLOB, version BLOB, root BLOB, used INTEGER,
                                  UNIQUE(kind, digest, version));
CREATE TABLE IF NOT EXISTS facts(key BLOB PRIMARY KEY, grp INTEGER, made INTEGER, includes BLOB, outline BLOB, bodies BLOB);
CREATE TABLE IF NOT EXISTS results(grp INTEGER, key BLOB, content BLOB, PRIMARY KEY(grp, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trees(id INTEGER PRIMARY KEY, root BLOB UNIQUE, used INTEGER);
CREATE TABLE IF NOT EXISTS stamps(tree INTEGER, path BLOB, size INTEGER, mtime INTEGER, ctime INTEGER, inode INTEGER,
                                  key BLOB, PRIMARY KEY(tree, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retired(key BLOB PRIMARY KEY, used INTEGER) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS retire AFTER UPDATE OF key ON stamps WHEN old.key <> new.key BEGIN
    INSERT OR REPLACE INTO retired VALUES (old.key, CAST(strftime('%s', 'now') AS INTEGER));
END;
"""
"""Use is noted once per run, of a group and of a tree; the last use of one row of facts is that of the trees whose
stamps name it, or when it was made, or when a tree went on to other contents (retired)."""

_NOT_DAMAGE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_TOOBIG,
}  # fmt: skip
"""What SQLite says when the disk or another process is at fault, not the contents."""


class StoreError(Exception):
    """The store cannot be used any more; `damaged` when its contents, not its disk, are at fault.

    `inode` is that of the file that failed: another process may have put a good one in its place.
    """

    def __init__(self, message: str, *, damaged: bool = False, inode: int = -1) -> None:
        """Take the reason, one line."""
        super().__init__(message)
        self.damaged = damaged
        self.inode = inode


def cache_folder(root: Path | None = None) -> Path:
    """Return the folder of the store: $KGFPLINT_CACHE, else `.kgfplint` in the tree `root` if there, else the user's."""
    if chosen := os.environ.get("KGFPLINT_CACHE"):
        return Path(chosen)
    if root is not None and (own := root / ".kgfplint").is_dir():
        return own
    return Path(platformdirs.user_cache_dir("kgfplint"))


def store_path(root: Path | None = None) -> Path:
    """Return the path of the store that serves the tree `root` (None: any tree)."""
    return cache_folder(root) / NAME


def seal(content: bytes, key: bytes) -> bytes:
    """Return content behind a checksum of it and of the key of its row: it is good in that row only."""
    return zlib.crc32(content, zlib.crc32(key)).to_bytes(4) + content


def unseal(blob: bytes, key: bytes) -> memoryview:
    """Return the content of a sealed blob; ValueError when it, or its row, is not what was written."""
    content = memoryview(blob)[4:]
    if zlib.crc32(content, zlib.crc32(key)) != int.from_bytes(blob[:4]):
        raise ValueError("wrong checksum")
    return content


class Database:
    """One file. The connection opens on first use and may be released at any time."""

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        """Use the file at `path`, made on first use; a `reading` one is never made nor written."""
        self.path = path
        self._reading = reading
        self._connection: sqlite3.Connection | None = None
        self._inode = -1
        self._wait = WAITING_SECONDS if reading else OPENING_SECONDS

    @contextlib.contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """Give the connection; what SQLite or the disk refuse comes out as StoreError."""
        try:
            if self._connection is None:
                self._connect()
            assert self._connection is not None
            yield self._connection
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter for an error message made of damage
            # The low byte is the kind. Our statements are right: that one fails to compile is damage, too.
            kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            raise StoreError(str(error), damaged=kind not in _NOT_DAMAGE, inode=self._inode) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection within one transaction: all of it is kept, or after any exception nothing."""
        with self.connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def be_patient(self) -> None:
        """From now on wait long for other processes: the file was seen to work."""
        self._wait = WAITING_SECONDS
        with self.connected() as connection:
            connection.execute(f"PRAGMA busy_timeout = {1000 * WAITING_SECONDS:.0f}")

    def release(self) -> None:
        """Let go of the connection (before a fork: SQLite's locks do not survive one); it reopens on use."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def damage(self, what: str) -> StoreError:
        """Return the error to raise when a row is not what was written."""
        return StoreError(what, damaged=True, inode=self._inode)

    def discard(self) -> None:
        """Remove the file, unless another process has put a new one in its place already."""
        self.release()
        discard(self.path, self._inode)

    def _connect(self) -> None:
        try:
            with _turn(self.path.parent, exclusive=not self._reading and _stat(self.path) is None):
                found = _stat(self.path)
                if self._reading and not found:
                    raise self.damage("it was removed")
                self._inode = found.st_ino if found else -1
                self._connection = _opened(self.path, self._reading, self._wait)
                if not found and (made := _stat(self.path)):
                    self._inode = made.st_ino
        except OSError as error:
            raise StoreError(f"{error.strerror}: {error.filename}") from error


def _opened(path: Path, reading: bool, wait: float) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={'rw' if reading else 'rwc'}"
    connection = sqlite3.connect(address, uri=True, timeout=wait, isolation_level=None)
    try:
        format_ = connection.execute("PRAGMA user_version").fetchone()[0]
        if format_ not in (0, FORMAT):
            raise sqlite3.DatabaseError(f"it has format {format_}, not {FORMAT}")
        if reading:
            connection.execute("PRAGMA query_only = ON")
        elif not format_:
            _make(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _make(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file; killed halfway, the next one to open it goes on."""
    connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # pruning gives room back without a copy of the file
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")


@contextlib.contextmanager
def _turn(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock of a folder: its store is made or removed by one process while no other opens it.

    For a store is three files, and a log must never meet the file of another.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        until = time.monotonic() + OPENING_SECONDS
        while not _locked(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH):
            if time.monotonic() > until:
                raise StoreError(f"another process has locked {folder}")
            time.sleep(0.01)
        yield
    finally:
        os.close(handle)


def _locked(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: rather a small risk than no store
        return True
    return True


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def discard(path: Path, inode: int = -1) -> None:
    """Remove a store that nobody is just opening; if an inode is given, only the file that has it."""
    with _turn(path.parent, exclusive=True):
        found = _stat(path)
        if found is None or inode in (-1, found.st_ino):
            remove(path)


def remove(path: Path) -> None:
    """Remove a store file with its log; OSError when that cannot be done."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def group_of(connection: sqlite3.Connection, kind: str, digest: bytes, version: bytes) -> int:
    """Return the number of a group of rows, 0 when there is none."""
    found = connection.execute("SELECT id FROM groups WHERE kind = ? AND digest = ? AND version = ?",
                               (kind, digest, version)).fetchone()
    return int(found[0]) if found else 0


def note_group(connection: sqlite3.Connection, kind: str, digest: bytes, version: bytes, root: Path | None = None) -> int:
    """Note that a group of rows is used now, of a tree if it is about one, and return its number."""
    row = connection.execute(
        "INSERT INTO groups(kind, digest, version, root, used) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET used = excluded.used, root = coalesce(excluded.root, root) RETURNING id",
        (kind, digest, version, None if root is None else os.fsencode(root), int(time.time()))).fetchone()
    return int(row[0])
