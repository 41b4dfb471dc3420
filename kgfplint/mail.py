"""A finding that can be mended as a mail with a patch, as the kernel's lists take them: what `git format-patch` would write.

The words for each rule, and how subjects begin, are in rules/patches.toml.
"""

import datetime
import difflib
import email.utils
import hashlib
import io
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from email.header import Header
from pathlib import PurePosixPath
from typing import NamedTuple

import msgspec

from kgfplint import __version__
from kgfplint.catalogue import CatalogueError, rules_directory
from kgfplint.checks import Rule, find
from kgfplint.findings import Finding
from kgfplint.guide import sentences

COLUMNS, SUBJECT = 72, 75
"""How wide a message is, and the longest subject that names the function as well."""
_FORMER = re.compile(r"((?:[\w][\w .,/+&-]*: )+)")
_HEADING = re.compile(r"[A-Za-z_$](?!\w*:\s*$)")
_NAMES = re.compile(r"\b(?:[a-z]\w*(?=\(\))|GFP_\w+)")
_MEMORY = re.compile(r"\b\w+\(\) memory\b")
_GRAPH = 50


class Author(NamedTuple):
    """Who sends a patch: the name and address, and when."""

    name: str
    address: str
    when: datetime.datetime


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the patches of a rule are worded; with `bug` what was there before was wrong."""

    rule: str
    subject: str
    change: str
    bug: bool = False


class _Prefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    prefix: str


class _Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    change: tuple[Change, ...]
    prefix: tuple[_Prefix, ...]


def _words() -> _Words:
    path = rules_directory() / "patches.toml"
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_Words)
    except (OSError, msgspec.DecodeError) as error:
        raise CatalogueError(str(path), 1, f"does not tell how to word patches: {error}") from None


def wording(rule: str) -> Change:
    """Return how the patches of a rule are worded."""
    general = Change(rule, "mend what breaks the rule " + rule, "Do so.")
    return next((change for change in _words().change if change.rule == rule), general)


def subsystem(path: str, former: Iterable[str]) -> str:
    """Return how the subject of a patch for a file begins: as most `former` ones did, else by where it lies."""
    used = Counter(found[1].removesuffix(": ") for subject in former if (found := _FORMER.match(subject)))
    if used and used.most_common(1)[0][1] > 1:
        return used.most_common(1)[0][0]
    file = PurePosixPath(path)
    best = max((one for one in _words().prefix if file.is_relative_to(one.path)), key=lambda one: len(one.path))
    rest = file.relative_to(best.path).with_suffix("").parts
    return best.prefix.format(next=rest[0], leaf=rest[-2] if len(rest) > 1 else rest[-1], stem=rest[-1])


def mail(finding: Finding, path: str, before: bytes, after: bytes, author: Author, former: Iterable[str] = (),
         fixes: str = "", mode: str = "100644") -> str:
    """Return the mail that mends a finding: `path` is where git has the file, with its text `before` and `after`.

    `former` are the subjects of commits to the file, `fixes` is the commit to blame as kernel messages name it.
    """
    patch = list(_diff(path, before, after))
    pieces = [*_message(finding, author, fixes), "---\n", *_stat(path, patch), "\n", *_git_head(path, before, after, mode),
              *patch, f"-- \nkgfplint {__version__}\n\n"]
    plain = all(piece.isascii() for piece in (author.name, *pieces))
    head = ["From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\n",
            f"From: {email.utils.formataddr((author.name, author.address))}\n",
            f"Date: {email.utils.format_datetime(author.when)}\n",
            f"Subject: {_header(f'[PATCH] {_subject(finding, subsystem(finding.path, former))}')}\n",
            *([] if plain else ["MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n"]),
            "\n"]
    return "".join(head + pieces)


def _header(text: str) -> str:
    return text if text.isascii() else Header(text.encode("utf-8", "replace"), "utf-8").encode()


def _subject(finding: Finding, subsystem: str) -> str:
    """Return what a patch does, with the function if there is room."""
    said = f"{subsystem}: {_worded(finding, wording(finding.rule).subject)}"
    full = f"{said} in {finding.function}()"
    return full if len(full) <= SUBJECT else said


def _worded(finding: Finding, text: str) -> str:
    fix = finding.fix
    return text.format(old=fix.callee, new=fix.name) if fix is not None else text


def _filled(text: str, first: str = "", other: str = "") -> str:
    return textwrap.fill(text.replace("→", "->"), COLUMNS, initial_indent=first, subsequent_indent=other, break_long_words=False,
                         break_on_hyphens=False) + "\n"


def _message(finding: Finding, author: Author, fixes: str) -> Iterator[str]:
    """Yield what is wrong, the steps that show it, what the guide says, and who signs for the change."""
    rule = find(finding.code).RULE
    yield _filled(f"In {finding.function}(), {finding.message.rstrip('.')}." if finding.function else f"{finding.message}.")
    yield "\n"
    if finding.trace:
        yield _filled(f"{finding.code} ({finding.rule}) of kgfplint tells how that comes about:")
        yield "\n"
        for step in finding.trace:
            yield _filled(f"{step.path}:{step.line}: {step.function}(): {step.note}", "  ", "    ")
        yield "\n"
    section, says = _guide(finding, rule)
    yield _filled(f"The Memory Allocation Guide, section \"{section}\": {says}")
    yield "\n" + _filled(_worded(finding, wording(finding.rule).change)) + "\n"
    yield f"Fixes: {fixes}\n" if fixes else ""
    yield f"Signed-off-by: {author.name} <{author.address}>\n"


def _guide(finding: Finding, rule: Rule) -> tuple[str, str]:
    """Return the section and the sentence of the guide that a finding breaks: of several, the one that names what it names."""
    named = {*_NAMES.findall(finding.message), *([finding.fix.name] if finding.fix else [])}
    memory = _MEMORY.findall(finding.message)
    says = [sentence for sentence in sentences() if finding.code in sentence.rules]
    best = max(says, key=lambda one: (any(kind in _MEMORY.findall(one.says) for kind in memory),
                                      len(named.intersection(_NAMES.findall(one.says))), one.section == rule.guide), default=None)
    return (best.section, best.says) if best else (rule.guide, rule.summary)


def _diff(path: str, before: bytes, after: bytes) -> Iterator[str]:
    """Yield a unified diff whose hunks name the function they are in, as that of `diff -u -p` or git."""
    # Only line feeds end a line for those who read diffs.
    old, new = (io.StringIO(text.decode("utf-8", "surrogateescape"), newline="\n").readlines() for text in (before, after))
    for line in difflib.unified_diff(old, new, f"a/{path}", f"b/{path}"):
        if place := re.match(r"@@ -(\d+)", line):
            above = (text for text in reversed(old[: int(place[1]) - 1]) if _HEADING.match(text))
            name = next(above, "").rstrip()[:80]
            line = f"{line.rstrip()} {name}".rstrip() + "\n"
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _git_head(path: str, before: bytes, after: bytes, mode: str) -> Iterator[str]:
    """Yield what git writes above a diff, so that it can fall back to a merge."""
    names = [hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()[:12] for text in (before, after)]
    yield f"diff --git a/{path} b/{path}\nindex {'..'.join(names)} {mode}\n"


def _stat(path: str, patch: Sequence[str]) -> Iterator[str]:
    """Yield how many lines come and go, as `git diff --stat` does."""
    come, gone = (sum(line.startswith(sign) for line in patch[2:]) for sign in "+-")
    scale = min(1.0, _GRAPH / max(come + gone, 1))
    yield f" {path} | {come + gone} {'+' * round(come * scale)}{'-' * round(gone * scale)}\n 1 file changed"
    yield f", {come} insertion{'s'[: come != 1]}(+)" if come else ""
    yield f", {gone} deletion{'s'[: gone != 1]}(-)\n" if gone else "\n"
