"""From a fingerprint to a mail: the finding, the text it is mended in, what git knows of the file, and whom to blame."""

import contextlib
import datetime
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from kgfplint import fixes, git
from kgfplint.config import Settings
from kgfplint.engine import RunError, run
from kgfplint.facts.index import Progress
from kgfplint.findings import Finding
from kgfplint.mail import Author, mail, wording
from kgfplint.source.tree import Files

SHORTEST = 6
"""Characters of a fingerprint that must be given."""
_FORMER = 40
_IDENTITY = re.compile(r"(.+) <([^<>]+)> (\d+) ([+-])(\d\d)(\d\d)")
_BLAMED = re.compile(r"([0-9a-f]{40,64}) \d+ (\d+)")


def run_patch(fingerprint: str, paths: Sequence[Path], settings: Settings, progress: Progress = lambda *_: None) -> str:
    """Return the mail that mends the finding with a fingerprint (or that begins so) below the paths; RunError if it cannot be."""
    settings = msgspec.structs.replace(settings, severity="note", baseline="")
    report = run(paths, settings, progress)
    finding = _chosen(fingerprint, report.findings)
    root = Path(report.root)
    before = (root / finding.path).read_bytes()
    after = fixes.applied(before, finding.edits)
    mode = "100755" if os.access(root / finding.path, os.X_OK) else "100644"
    blamed = ""
    if wording(finding.rule).bug:
        with contextlib.suppress(git.GitError):
            blamed = _culprit(finding, root, settings, progress)
    return mail(finding, _prefix(root) + finding.path, before, after, _author(root), _former(root, finding.path), blamed, mode)


def _chosen(fingerprint: str, findings: Sequence[Finding]) -> Finding:
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST},32}}", fingerprint):
        raise RunError(f"{fingerprint}: not a fingerprint; --format json and html tell those of findings")
    found = [finding for finding in findings if finding.fingerprint.startswith(fingerprint)]
    if len(found) != 1:
        raise RunError(f"{fingerprint}: " + ("several findings begin so" if found else "no finding has this fingerprint"))
    [one] = found
    if not one.edits:
        raise RunError(f"{fingerprint}: {one.path}:{one.line}: {one.rule} is not mended by rote; see kgfplint explain {one.code}")
    return one


def _prefix(root: Path) -> str:
    try:
        return git.prefix(root)
    except git.GitError:
        return ""


def _author(root: Path) -> Author:
    """Return who git would name as the author, and when."""
    try:
        said = git.line(root, "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT")
    except git.GitError:
        said = ""
    found = _IDENTITY.fullmatch(said)
    if found is None:
        raise RunError("git does not know who you are: set user.name and user.email with git config")
    offset = datetime.timedelta(hours=int(found[5]), minutes=int(found[6])) * (-1 if found[4] == "-" else 1)
    return Author(found[1], found[2], datetime.datetime.fromtimestamp(int(found[3]), datetime.timezone(offset)))


def _former(root: Path, path: str) -> list[str]:
    """Return the subjects of the last commits to a file, none where git has none."""
    try:
        return git.line(root, "log", f"-{_FORMER}", "--no-merges", "--format=%s", "--", path).splitlines()
    except git.GitError:
        return []


class _Commit(NamedTuple):
    """A commit that wrote a line: its subject, and whether nothing is known of what was before."""

    name: str
    subject: str
    first: bool


def _culprit(finding: Finding, root: Path, settings: Settings, progress: Progress) -> str:
    """Return the commit that a finding came with, as `Fixes:` names it; "" when that is not certain.

    It is the one of those that wrote the lines which show the finding which all others came before, if the finding was not
    there before it.
    """
    places = {(finding.path, line) for line in range(finding.line, finding.end_line + 1)}
    places |= {(step.path, step.line) for step in finding.trace}
    paths = {path for path, _ in places}
    commits = {commit.name: commit for path in paths
               for commit in _blamed(root, path, sorted(line for file, line in places if file == path))}
    if any(set(name) == {"0"} for name in commits):  # not committed yet
        return ""
    last, *others = git.line(root, "merge-base", "--independent", *sorted(commits)).split()
    if others or commits[last].first:
        return ""
    with tempfile.TemporaryDirectory(prefix="kgfplint-") as folder:
        for path in paths:
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(git.GitError):  # a file that came with the commit was not there before
                (Path(folder) / path).write_bytes(git.ask(root, "show", f"{last}^:./{path}"))
        before = run([root / finding.path], settings, progress, files=Files(root, Path(folder), frozenset(paths)))
    there = any(one.fingerprint == finding.fingerprint for one in before.findings)
    return "" if there else f"{last[:12]} (\"{commits[last].subject}\")"


def _blamed(root: Path, path: str, lines: Sequence[int]) -> Iterator[_Commit]:
    """Yield the commits that wrote some lines of a file; GitError when git does not know it."""
    ranges = [word for line in lines for word in ("-L", f"{line},{line}")]
    said = os.fsdecode(git.ask(root, "blame", "-w", "--line-porcelain", *ranges, "--", path))
    for entry in re.split(r"^\t.*\n", said, flags=re.M):
        if found := _BLAMED.match(entry):
            fields = dict(line.partition(" ")[::2] for line in entry.splitlines()[1:])
            yield _Commit(found[1], fields["summary"], "boundary" in fields)
