"""Findings that the code itself explains: `/* kgfplint: allow(rule) reason */` on or above a statement, or with `//`.

The reason is for the next reader, so there must be one; and a comment that suppresses nothing any more is told.
"""

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kgfplint.checks import UnknownRule, find
from kgfplint.checks.bad_suppression import RULE
from kgfplint.facts.store import Store
from kgfplint.findings import Finding
from kgfplint.source.tree import Files

MARK = b"kgfplint:"
_KIND, _DIGEST = "unmarked", b"unmarked"
_KEY_BYTES = 20
_TOKEN = re.compile(rb'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?(?:\*/|\Z)|//(?:\\\r?\n|[^\n])*', re.S)
_ALLOW = re.compile(r"\s*allow\s*\(([^)]*)\)(.*)", re.S)
_ENDS = (b";", b"{", b"}", b":")


class Allow(NamedTuple):
    """A comment that allows some rules (by code) between two lines; `problem` says what is wrong with it, "" if nothing is."""

    line: int
    text: str
    codes: tuple[str, ...]
    first: int
    last: int
    problem: str


class Sources(NamedTuple):
    """The files of a run: those asked about, the keys of their facts, where they are, and the store."""

    targets: Sequence[str]
    keys: Mapping[str, bytes]
    files: Files
    store: Store

    def read(self, path: str) -> bytes:
        """Return the text of a file; OSError when it cannot be read."""
        return self.files.place(path).read_bytes()


def apply(findings: Iterable[Finding], sources: Sources, checked: Collection[str], whole: bool) -> list[Finding]:
    """Return the findings that no comment in a target file allows, with one for each comment that is wrong.

    `checked` are the codes of the rules that ran; only if `whole` (the run knew the whole tree) unused comments are told.
    """
    by_file = {path: allows(sources.read(path)) for path in _marked(sources)}
    used: set[tuple[str, int, str]] = set()
    left = []
    for finding in findings:
        matching = [allow for allow in by_file.get(finding.path, ()) if _covers(allow, finding)]
        used.update((finding.path, allow.line, finding.code) for allow in matching)
        if not matching:
            left.append(finding)
    if RULE.code not in checked:
        return left
    for path, comments in by_file.items():
        for allow in comments:
            unused = [code for code in allow.codes if code in checked and (path, allow.line, code) not in used] if whole else []
            left += [_finding(path, allow, message) for message in _complaints(allow, unused)]
    return left


def _covers(allow: Allow, finding: Finding) -> bool:
    return not allow.problem and finding.code in allow.codes and allow.first <= finding.line <= allow.last


def _complaints(allow: Allow, unused: Iterable[str]) -> Iterator[str]:
    if allow.problem:
        yield allow.problem
        return
    for code in unused:
        yield f"nothing here breaks {find(code).RULE.name} any more; remove it from this comment"


def _finding(path: str, allow: Allow, message: str) -> Finding:
    key = f"{allow.text} {message}"
    return Finding(RULE.code, RULE.name, RULE.severity, path, allow.line, 1, allow.line, "", message, key=key)


def _marked(sources: Sources) -> list[str]:
    """Return the target files that hold the mark, as far as they can be read; what holds none is remembered by its key."""
    row = bytes(sources.files.root)
    kept = sources.store.results(_KIND, _DIGEST, [row]).get(row, b"")
    clean = {kept[at : at + _KEY_BYTES] for at in range(0, len(kept), _KEY_BYTES)}
    marked, fresh = [], set()
    for path in sources.targets:
        key = sources.keys.get(path)
        if key is None or key in clean:
            continue
        try:
            if MARK in sources.read(path):
                marked.append(path)
            else:
                fresh.add(key)
        except OSError:
            continue  # it was there a moment ago; the next run will tell
    if fresh:
        there = set(sources.keys.values())
        content = b"".join(sorted(fresh | (clean & there)))
        sources.store.put_results(_KIND, _DIGEST, [(row, content)], root=sources.files.root)
    return marked


def allows(data: bytes) -> list[Allow]:
    """Return the comments of a file that hold the mark, in order."""
    comments = [token for token in _TOKEN.finditer(data) if token[0][:1] == b"/"]
    code = _TOKEN.sub(_blanked, data).split(b"\n")
    found = []
    for comment in comments:
        text = comment[0].removeprefix(b"//").removeprefix(b"/*").removesuffix(b"*/").strip(b" \t\r\n*")
        if text.startswith(MARK):
            line = data.count(b"\n", 0, comment.start()) + 1
            codes, problem = _parsed(text.removeprefix(MARK).decode("utf-8", "replace"))
            found.append(Allow(line, " ".join(text.decode("utf-8", "replace").split()), codes, *_statement(code, line), problem))
    return found


def statement(data: bytes, line: int) -> tuple[int, int]:
    """Return the first and last line of the statement at a line of a file."""
    return _statement(_TOKEN.sub(_blanked, data).split(b"\n"), line)


def _blanked(token: re.Match[bytes]) -> bytes:
    """Return as many lines as a comment or string has, with nothing in them that ends a statement."""
    return (b"" if token[0][:1] == b"/" else b'""') + b"\n" * token[0].count(b"\n")


def _statement(code: Sequence[bytes], line: int) -> tuple[int, int]:
    """Return the first and last line of the statement at a line, or of the first one below where there is none."""
    at = line - 1
    if not code[at].strip():
        while at + 1 < len(code) and not code[at].strip():
            at += 1
    first = at
    while first and (above := code[first - 1].strip()) and not above.endswith(_ENDS) and not above.startswith(b"#"):
        first -= 1
    while at + 1 < len(code) and not code[at].strip().endswith(_ENDS):
        at += 1
    return first + 1, at + 1


def _parsed(text: str) -> tuple[tuple[str, ...], str]:
    """Return the codes that a comment allows, and what is wrong with it."""
    parts = _ALLOW.fullmatch(text)
    if parts is None:
        return (), "this comment is not understood; write: kgfplint: allow(rule) reason"
    codes = []
    for word in parts[1].split(","):
        try:
            codes.append(_code(word.strip()))
        except UnknownRule as error:
            return (), f"{error}; nothing is allowed by this comment"
    reason = parts[2].strip(" \t\r\n*:-.")
    return tuple(codes), "" if reason else "a reason is missing behind allow(...); nothing is allowed without one"


@functools.cache
def _code(word: str) -> str:
    return find(word).RULE.code
