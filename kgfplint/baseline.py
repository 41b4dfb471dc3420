"""The baseline: findings that are known, each by its fingerprint with the day it was added and the reason it stays."""

import contextlib
import datetime
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from kgfplint.findings import Finding, Severity

REASON = "was there when the baseline was made"


class BaselineError(Exception):
    """A baseline cannot be read or written; str is one line that names the option and the file."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One known finding: what it is known by, what it was when it was added, on which day, and why it stays."""

    fingerprint: str
    rule: str
    path: str
    function: str
    message: str
    added: datetime.date
    reason: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: int
    findings: list[Entry]


class Update(NamedTuple):
    """A baseline brought up to date, and how many entries were added, kept and dropped."""

    entries: Sequence[Entry]
    added: int
    kept: int
    dropped: int


def read(path: Path) -> dict[str, Entry]:
    """Return the entries of a baseline file by fingerprint; BaselineError when it is none, or not there."""
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise BaselineError(f"--baseline {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BaselineError(f"--baseline {path}: {error}") from error
    if file.schema != 1:
        raise BaselineError(f"--baseline {path}: schema {file.schema} is not one that this version knows")
    for entry in file.findings:
        if not entry.reason.strip():
            raise BaselineError(f"--baseline {path}: {entry.fingerprint}: the reason is missing")
    return {entry.fingerprint: entry for entry in file.findings}


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write a baseline file, whole or not at all; BaselineError when there is no place for it."""
    file = _File(1, sorted(entries, key=lambda entry: (entry.path, entry.function, entry.rule, entry.fingerprint)))
    text = msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        beside.write_bytes(text)
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise BaselineError(f"--baseline {path}: {error.strerror}") from error


def unknown(findings: Iterable[Finding], known: Mapping[str, Entry]) -> tuple[Finding, ...]:
    """Return the findings that are not in a baseline."""
    return tuple(finding for finding in findings if finding.fingerprint not in known)


class Scope(NamedTuple):
    """What a run looked at: `targets`, files or folders with all below ("." is the tree), and the names of the rules."""

    targets: Sequence[str]
    rules: Collection[str]

    def covers(self, entry: Entry) -> bool:
        """Tell whether the run would have found what an entry is about."""
        return entry.rule in self.rules and any(_is_below(entry.path, top) for top in self.targets)


def fixed(findings: Iterable[Finding], known: Mapping[str, Entry], scope: Scope) -> list[Entry]:
    """Return the entries that were not found again by a run that looked for them; `findings` are those of any severity."""
    found = {finding.fingerprint for finding in findings}
    return [entry for key, entry in known.items() if key not in found and scope.covers(entry)]


def _is_below(path: str, top: str) -> bool:
    return top == "." or path == top or path.startswith(f"{top}/")


def updated(findings: Sequence[Finding], least: Severity, known: Mapping[str, Entry], scope: Scope, reason: str) -> Update:
    """Return a baseline with what was found from a severity on, without what is fixed; the rest keeps its day and reason."""
    gone = {entry.fingerprint for entry in fixed(findings, known, scope)}
    kept = {key: entry for key, entry in known.items() if key not in gone}
    today = datetime.date.today()
    fresh = [Entry(finding.fingerprint, finding.rule, finding.path, finding.function, finding.message, today, reason)
             for finding in findings if finding.severity >= least and finding.fingerprint not in known]
    return Update([*kept.values(), *fresh], len(fresh), len(kept), len(gone))
