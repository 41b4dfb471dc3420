"""The report of the last run on a tree: all that there is to say when nothing has changed since."""

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
_encode = msgspec.msgpack.Encoder().encode


class LastReport:
    """What the last run on a tree reported: all that there is to do when nothing has changed since."""

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

    def findings(self, stats: Stats) -> list[Finding] | None:
        """Return the findings of a run on the very same files, and count those files in the stats; None if there was none."""
        kept = self._store.results(_KIND, self._digest, [bytes(self._root)]).get(bytes(self._root))
        report = _decode_report(kept) if kept else None
        if report is None or report.said != self._said:
            return None
        stats.files, stats.functions, stats.functions_with_errors, stats.lines = report.counts
        stats.skipped.update(report.skipped)
        return report.findings

    def keep(self, findings: list[Finding], stats: Stats) -> None:
        """Keep the findings of this run, and what it counted."""
        counts = stats.files, stats.functions, stats.functions_with_errors, stats.lines
        report = _Report(self._said, findings, counts, stats.skipped)
        self._store.put_results(_KIND, self._digest, [(bytes(self._root), _encode(report))], root=self._root)


class _Report(NamedTuple):
    said: bytes
    findings: list[Finding]
    counts: tuple[int, int, int, int]
    skipped: dict[str, int]


_decode_report = msgspec.msgpack.Decoder(_Report).decode
