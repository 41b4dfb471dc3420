"""The rows of a store in one file, to be put into another store elsewhere: so that CI starts warm.

A file is a header of 74 bytes, numbers big-endian, and a zlib stream:

    8   magic, "kgfplint"
    2   number of this format, 1
    16  facts version: rows are of use to the same version only
    8   how many records
    8   bytes of the stream
    32  BLAKE2b of the stream, with the 42 bytes above as its key

The stream holds records: 4 bytes of length, then a MessagePack array of byte strings, a word and the fields of the
row as they are in the store, sealed blobs included: facts, key, includes, outline, bodies; or group, kind, digest;
or, for the group before it, result, key, content. Nothing in it depends on the machine or the place of a tree.
"""

import hashlib
import os
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from kgfplint.facts.database import note_group, unseal
from kgfplint.facts.store import Stamp, Store, facts_version, key_of
from kgfplint.source.tree import discover

FORMAT = 1
_MAGIC = b"kgfplint"
_HEAD = struct.Struct(">8sH16sQQ")
_DIGEST_BYTES = 32
_CHUNK = 1 << 20
_RACY_SECONDS = 3
_LONGEST = 1 << 30
"""Bytes of a record that can still be believed."""
_BLOBS = {b"facts": slice(2, 5), b"group": slice(0), b"result": slice(2, 3)}
"""The fields of each kind of record that are sealed."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bytes, ...]).decode


class ArchiveError(Exception):
    """A file cannot be imported; str is one line that names it."""


class _Damage(Exception):
    pass


def keys_of(store: Store, root: Path) -> set[bytes]:
    """Return the keys of the C files of a tree as they are now, but of files that were never read.

    Raises OSError and StoreError.
    """
    with store.connected() as connection:
        noted = connection.execute("SELECT used FROM trees WHERE root = ?", (os.fsencode(root),)).fetchone()
    stamps = store.stamps(root)
    keys = set()
    for path in discover(root, [root]):
        stamp, key = stamps.get(path, (None, b""))
        now = Stamp.of(os.stat(root / path))
        # A file that was just written when it was read got no stamp.
        if stamp is None and noted and now.mtime < (noted[0] - _RACY_SECONDS) * 10**9:
            continue
        keys.add(key if stamp == now else key_of((root / path).read_bytes()))
    return keys


def export(store: Store, file: Path, root: Path | None = None) -> int:
    """Write the rows of the present version to a file, of all trees or of the one at `root`; return how many.

    The file is whole or not there at all, as when there are no rows. Raises OSError, and StoreError when the store
    cannot be read.
    """
    if file.exists() and not file.is_file():
        raise OSError(0, "not a regular file", str(file))
    keys = None if root is None else keys_of(store, root)
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(scratch, "w+b") as stream, store.connected() as connection:
            count = _write(stream, (_checked(store, record) for record in _records(connection, keys, root)))
        if count:
            scratch.replace(file)
        else:
            scratch.unlink()
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(file)) from error
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    return count


def _records(connection: sqlite3.Connection, keys: set[bytes] | None, root: Path | None) -> Iterator[tuple[bytes, ...]]:
    version = facts_version()
    rows = connection.execute("SELECT key, includes, outline, bodies FROM facts WHERE grp IN"
                              " (SELECT id FROM groups WHERE version = ?) ORDER BY key", (version,))
    yield from ((b"facts", *row) for row in rows if keys is None or row[0] in keys)
    groups = connection.execute("SELECT id, kind, digest FROM groups WHERE version = ? AND kind <> 'facts'"
                                " AND (? OR root = ?) ORDER BY id", (version, root is None, os.fsencode(root or "")))
    for group, kind, digest in groups.fetchall():
        yield b"group", kind.encode(), digest
        for row in connection.execute("SELECT key, content FROM results WHERE grp = ?", (group,)):
            yield b"result", *row


def _checked(store: Store, record: tuple[bytes, ...]) -> tuple[bytes, ...]:
    try:
        _check(record)
    except _Damage as error:
        raise store.damage(str(error)) from error
    return record


def _check(record: tuple[bytes, ...]) -> None:
    """Raise _Damage unless the record is of a known kind and its blobs are what was sealed once."""
    try:
        for blob in record[_BLOBS[record[0]]]:
            unseal(blob, record[1])
    except (LookupError, TypeError, ValueError) as error:
        raise _Damage("a row has a wrong checksum") from error


def _write(file: BinaryIO, records: Iterable[tuple[bytes, ...]]) -> int:
    """Write header and stream; return the number of rows, groups not counted."""
    packer = zlib.compressobj()
    file.write(bytes(_HEAD.size + _DIGEST_BYTES))
    count = rows = size = 0
    for record in records:
        data = _encode(record)
        size += file.write(packer.compress(len(data).to_bytes(4) + data))
        count += 1
        rows += record[0] != b"group"
    size += file.write(packer.flush())
    # The digest begins with the header, which says how long the stream is: hence a second reading.
    head = _HEAD.pack(_MAGIC, FORMAT, facts_version(), count, size)
    digest = _digest(file, head)
    file.seek(0)
    file.write(head + digest)
    return rows


def _digest(file: BinaryIO, head: bytes) -> bytes:
    digest = hashlib.blake2b(key=head, digest_size=_DIGEST_BYTES)
    file.seek(_HEAD.size + _DIGEST_BYTES)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.digest()


def load(store: Store, path: Path) -> int:
    """Put the rows of a file into the store, all or none; return how many there are.

    Raises ArchiveError when the file is damaged or of another version, OSError and StoreError.
    """
    try:
        with open(path, "rb") as file:
            count = _header(file)
            with store.transaction() as connection:
                return _load(connection, _unpacked(file), count)
    except _Damage as error:
        raise ArchiveError(f"{path}: {error}") from error


def _header(file: BinaryIO) -> int:
    """Check header and checksum, stop at the stream, and return the number of records."""
    head, digest = file.read(_HEAD.size), file.read(_DIGEST_BYTES)
    if not head.startswith(_MAGIC):
        raise _Damage("not a file of 'kgfplint cache export'")
    if len(head) < _HEAD.size:
        raise _Damage("damaged: it is cut off")
    _, format_, version, count, size = _HEAD.unpack(head)
    if format_ != FORMAT:
        raise _Damage(f"it has format {format_}, this kgfplint reads {FORMAT}")
    if _digest(file, head) != digest:
        end = file.tell() - _HEAD.size - _DIGEST_BYTES
        raise _Damage("damaged: it is cut off" if end < size else "damaged: wrong checksum")
    if version != facts_version():
        raise _Damage(f"it is of facts version {version.hex()[:12]}, this kgfplint has {facts_version().hex()[:12]}")
    file.seek(_HEAD.size + _DIGEST_BYTES)
    return int(count)


def _unpacked(file: BinaryIO) -> Iterator[tuple[bytes, ...]]:
    """Yield the records of the stream; _Damage when it is not one."""
    unpacker = zlib.decompressobj()
    waiting = bytearray()
    try:
        while chunk := file.read(_CHUNK):
            waiting += unpacker.decompress(chunk)
            at = 0
            while len(waiting) >= at + 4:
                end = at + 4 + int.from_bytes(waiting[at : at + 4])
                if end - at > _LONGEST:
                    raise _Damage("damaged: a record is too long")
                if end > len(waiting):
                    break
                yield _decode(waiting[at + 4 : end])
                at = end
            del waiting[:at]
    except (zlib.error, msgspec.MsgspecError) as error:
        raise _Damage(f"damaged: {error}") from error
    if waiting or not unpacker.eof:
        raise _Damage("damaged: its stream is cut off")


def _load(connection: sqlite3.Connection, records: Iterable[tuple[bytes, ...]], expected: int) -> int:
    now = int(time.time())
    facts = note_group(connection, "facts", facts_version(), facts_version())
    group = count = rows = 0
    for record in records:
        _check(record)
        match record:
            case b"facts", key, includes, outline, bodies:
                connection.execute("INSERT OR IGNORE INTO facts(key, grp, made, includes, outline, bodies)"
                                   " VALUES (?, ?, ?, ?, ?, ?)", (key, facts, now, includes, outline, bodies))
            case b"group", kind, digest:
                group = note_group(connection, kind.decode(errors="replace"), digest, facts_version())
            case b"result", key, content if group:
                connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", (group, key, content))
            case _:
                raise _Damage("damaged: a record of no known kind")
        count += 1
        rows += record[0] != b"group"
    if count != expected:
        raise _Damage(f"damaged: {count} records, not {expected}")
    return rows
