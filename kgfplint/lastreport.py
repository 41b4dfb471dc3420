"""The reports of the last runs on a tree: all that there is to say where nothing has changed since."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from kgfplint.facts.store import Store
from kgfplint.findings import Finding
from kgfplint.report import Stats

_KIND = "report"
KEPT = 4
"""Reports that are kept for a tree."""
_encode = msgspec.msgpack.Encoder().encode


class LastReport:
    """What a former run on the very same files of a tree reported, if it is one of the last KEPT.

    Several are kept because a patch is linted with the files before and after it.
    """

    def __init__(self, store: Store, digest: bytes, root: Path, keys: Mapping[str, bytes], targets: Iterable[str]) -> None:
        """`digest` covers rules, options and code; `keys` are those of this run's facts, `targets` the files asked about."""
        self._store = store
        self._digest = digest
        self._root = root
        said = hashlib.blake2b(digest_size=16)
        for path, key in sorted(keys.items()):
            said.update(os.fsencode(path) + b"\0" + key)
        said.update(os.fsencode("\0".join(sorted(targets))))
        self._said = said.digest()
        self._list = bytes(root)
        self._key = self._list + b"\0" + self._said

    def findings(self, stats: Stats) -> list[Finding] | None:
        """Return the findings of a run on the very same files, and count those files in the stats; None if there was none."""
        kept = self._store.results(_KIND, self._digest, [self._key]).get(self._key)
        if kept is None:
            return None
        report = _decode_report(kept)
        self._put([])
        stats.files, stats.functions, stats.functions_with_errors, stats.lines = report.counts
        stats.skipped.update(report.skipped)
        return report.findings

    def keep(self, findings: list[Finding], stats: Stats) -> None:
        """Keep the findings of this run, and what it counted."""
        counts = stats.files, stats.functions, stats.functions_with_errors, stats.lines
        with contextlib.suppress(UnicodeEncodeError):  # a path with odd bytes costs the next run its time
            self._put([(self._key, _encode(_Report(findings, counts, stats.skipped)))])

    def _put(self, rows: list[tuple[bytes, bytes]]) -> None:
        """Note that this report was used last, with rows to keep; drop the one that was longest not used."""
        listed = self._store.results(_KIND, self._digest, [self._list]).get(self._list)
        former = _decode_list(listed) if listed else []
        order = [self._said, *(said for said in former if said != self._said)]
        if order != former:
            rows.append((self._list, _encode(order[:KEPT])))
        if rows:
            gone = (self._list + b"\0" + said for said in order[KEPT:])
            self._store.put_results(_KIND, self._digest, rows, root=self._root, gone=gone)


class _Report(NamedTuple):
    findings: list[Finding]
    counts: tuple[int, int, int, int]
    skipped: dict[str, int]


_decode_list = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_report = msgspec.msgpack.Decoder(_Report).decode
