"""What a run reports: findings, the steps of their traces, severities and fingerprints."""

import enum
import hashlib
import re
from collections.abc import Iterable
from typing import Literal

import msgspec


class Severity(enum.IntEnum):
    """How sure a finding is: proven (error), one assumption (warning), advice (note)."""

    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def label(self) -> str:
        """The lower-case word that reports and options use."""
        return self.name.lower()

    @classmethod
    def parse(cls, word: str) -> "Severity":
        """Return the severity that `word` names; KeyError for any other word."""
        return cls[word.upper()]


Mark = Literal["", "root", "lock", "call", "alloc", "free"]
"""What a step is, for formats that draw it: what makes code atomic (a handler that is registered, or a lock), a call, what
allocates, what frees; "" is anything else."""


class Step(msgspec.Struct, frozen=True):
    """One hop of a trace: where (tree-relative path, 1-based line, function) and why it matters."""

    path: str
    line: int
    function: str
    note: str
    mark: Mark = ""


class Rewrite(msgspec.Struct, frozen=True):
    """How to mend what a finding is about: the call of `callee` at its place is to be one of `name` with `args`.

    `args` are C text in which $0, $1 … stand for the present arguments as they are written; `drop` is the place (line,
    column) of another call, whose statement goes.
    """

    callee: str
    name: str
    args: tuple[str, ...]
    drop: tuple[int, int] | None = None


class Edit(msgspec.Struct, frozen=True):
    """A piece of a file to replace: from (line, column) up to (end_line, end_column), 1-based and in bytes, by `text`."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    text: str


class Finding(msgspec.Struct, frozen=True):
    """One thing to report, anchored on one line of one file.

    `line` and `column` are 1-based; `key` is the normalised text of the statement that the
    fingerprint is made of, so that unrelated edits do not change it. `fix` is what the rule knows to do about it, `edits`
    what that is in the text.
    """

    code: str
    rule: str
    severity: Severity
    path: str
    line: int
    column: int
    end_line: int
    function: str
    message: str
    trace: tuple[Step, ...] = ()
    fix: Rewrite | None = None
    edits: tuple[Edit, ...] = ()
    key: str = ""
    fingerprint: str = ""

    @property
    def place(self) -> tuple[str, int, int, str, str]:
        """The stable order of reports: path, line, column, code."""
        return self.path, self.line, self.column, self.code, self.message


def site(finding: Finding) -> str:
    """Return what a finding is about, however it is proven: rule, path, function and statement text."""
    return "\0".join((finding.code, finding.path, finding.function, re.sub(r"\s+", "", finding.key)))


def with_fingerprints(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings in report order, each once, with a fingerprint that holds no line number.

    The fingerprint covers the site and the functions of the trace; equal ones in one function are told apart by their order.
    """
    seen: dict[str, int] = {}
    done: list[Finding] = []
    last: Finding | None = None
    for finding in sorted(findings, key=lambda f: f.place):
        if last is not None and last.place == finding.place:
            continue
        last = finding
        text = "\0".join((site(finding), ">".join(dict.fromkeys(step.function for step in finding.trace))))
        count = seen[text] = seen.get(text, 0) + 1
        digest = hashlib.sha256(f"{text}\0{count}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
        done.append(msgspec.structs.replace(finding, fingerprint=digest))
    return done
