"""The two states of a tree that a change lies between: from a commit, from what is staged, from a patch.

Only the files that differ are laid out, in a temporary folder with `base` and `head`; all others are those on disk.
Everything that git knows how to do, git does.
"""

import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from unidiff.patch import PatchSet

from kgfplint.git import GitError, ask, line, prefix
from kgfplint.patches import Change, touched_lines
from kgfplint.source.tree import Files

_NAMES = re.compile(r'^(?:(?:---|\+\+\+) "?[^/\s]+/|(?:rename|copy) from "?|diff --git "?a/)'
                    r'([^\t\n"]+?)(?:"? "?b/[^\n]*)?"?(?:\t[^\n]*)?\r?$', re.M)
"""Lines of a patch that name a file, without its first folder; what only looks like one names no file that is there."""
_MAIL = re.compile(rb"From |(?:[\w-]+:[^\n]*\n(?:[ \t][^\n]*\n)*)*?(?:From|Subject): ", re.I)
_PLACE = re.compile(r"(\d+)/\d+\]")
_DIFF = ("diff", "--no-index", "--no-color", "--no-ext-diff", "--no-textconv", "-U0", "-M", "base", "head")


class ChangeError(Exception):
    """There is no such change; str is one line that names the option and the file."""


class Request(NamedTuple):
    """What change is asked about: a commit to compare the tree with, what is staged, or a patch (name and bytes) to apply."""

    commit: str = ""
    staged: bool = False
    patch: tuple[str, bytes] | None = None

    def __str__(self) -> str:
        """Return the option as it was given."""
        if self.patch is not None:
            return f"--patch {self.patch[0]}"
        return "--staged" if self.staged else f"--diff {self.commit}"


@contextlib.contextmanager
def between(root: Path, request: Request) -> Iterator[Change]:
    """Lay out the files of the tree at `root` that a change is about, before and after it, while the context lasts.

    Raises ChangeError.
    """
    with tempfile.TemporaryDirectory(prefix="kgfplint-") as folder:
        place = Path(folder)
        for name in ("base", "head"):
            (place / name).mkdir()
        try:
            if request.patch is not None:
                below, covered = _patched(root, place, request.patch[1])
            else:
                below, covered = prefix(root), _committed(root, place, request)
            yield _change(root, place, below, covered)
        except GitError as error:
            raise ChangeError(f"{request}: {error}") from None


def _words(output: bytes) -> list[str]:
    return os.fsdecode(output).split("\0")[:-1]


def _committed(root: Path, place: Path, request: Request) -> list[str]:
    """Lay out what differs from a commit; return the paths, relative to the tree."""
    commit = _commit(root, request)
    index = {"GIT_INDEX_FILE": str(place / "index")}
    ask(root, "read-tree", commit, variables=index)
    for path in _words(ask(root, "diff", "--name-only", "-z", "--diff-filter=U", "--relative")):
        raise GitError(f"{path}: there is an unsolved conflict")
    status = _statuses(root, *(["--cached"] if request.staged else []), commit)
    _check_out(root, place / "base", (path for path, letter in status.items() if letter != "A"), index)
    present = [path for path, letter in status.items() if letter != "D"]
    if request.staged:
        _check_out(root, place / "head", present)
        unstaged = _statuses(root).keys() - status.keys()
        for name in ("base", "head"):
            _check_out(root, place / name, unstaged)
        return [*status, *unstaged]
    _copy(root, present, place / "head" / prefix(root))
    return list(status)


def _commit(root: Path, request: Request) -> str:
    if not request.staged:
        try:
            return line(root, "rev-parse", "--verify", "--end-of-options", f"{request.commit}^{{commit}}")
        except GitError as error:
            raise GitError("no such commit" if "single revision" in str(error) else str(error)) from None
    try:
        return line(root, "rev-parse", "--verify", "HEAD")
    except GitError as error:
        if "single revision" not in str(error):
            raise
        # Before the first commit everything is new.
        return line(root, "hash-object", "-t", "tree", os.devnull)


def _statuses(root: Path, *args: str) -> dict[str, str]:
    """Return the C files that `git diff` tells of, relative to the tree, with the letter of what became of each."""
    words = _words(ask(root, "diff", "--name-status", "-z", "--no-renames", "--no-ext-diff", "--relative", *args))
    return {path: letter for letter, path in zip(words[::2], words[1::2], strict=True) if path.endswith((".c", ".h"))}


def _check_out(root: Path, folder: Path, paths: Iterable[str], index: Mapping[str, str] = MappingProxyType({})) -> None:
    ask(root, "checkout-index", "-f", "-q", "-z", "--stdin", f"--prefix={folder}/",
         data=b"".join(os.fsencode(path) + b"\0" for path in paths), variables=index)


def _copy(root: Path, paths: Iterable[str], folder: Path) -> None:
    """Copy those of some files below root that are there."""
    for path in paths:
        if (root / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, folder / path)


def _patched(root: Path, place: Path, data: bytes) -> tuple[str, list[str]]:
    """Lay out the files that a patch or a series changes; return where the tree lies below, and the paths relative to it."""
    patches = list(_mails(place, data)) if _MAIL.match(data) else [data]
    names = {name for patch in patches for name in _NAMES.findall(os.fsdecode(patch)) if _is_inside(name)}
    top, below = root, ""
    if not any((root / name).is_file() for name in names):
        with contextlib.suppress(GitError):  # a module below the top of its repository
            top, below = Path(line(root, "rev-parse", "--show-toplevel")), prefix(root)
    for name in ("base", "head"):
        _copy(top, names, place / name)
    # Above the temporary folder there may be a repository, which is none of ours.
    for patch in filter(is_patch, patches):
        ask(place / "head", "apply", "--whitespace=nowarn", "-", data=patch, variables={"GIT_CEILING_DIRECTORIES": str(place)})
    if not any(map(is_patch, patches)):
        raise GitError("there is no patch in it")
    covered = {file.relative_to(place / name).as_posix() for name in ("base", "head")
               for file in (place / name).rglob("*") if file.is_file()}
    return below, [name.removeprefix(below) for name in covered if name.startswith(below)]


def _is_inside(name: str) -> bool:
    """Tell whether a name from a patch stays below the folder that it is relative to."""
    return not name.startswith("/") and ".." not in name.split("/")


def is_patch(data: bytes) -> bool:
    """Tell whether some text holds a patch."""
    return re.search(rb"^(?:--- .*\n\+\+\+ |diff --git )", data, re.M) is not None


def _mails(place: Path, data: bytes) -> list[bytes]:
    """Return the patches of a mailbox, decoded, in the order that their subjects give, if they do."""
    (place / "mails").mkdir()
    ask(place, "mailsplit", "-b", "-omails", data=data)
    found = []
    for number, mail in enumerate(sorted((place / "mails").iterdir())):
        said = os.fsdecode(ask(place, "mailinfo", "-k", "message", "patch", data=mail.read_bytes()))
        numbered = _PLACE.search(said.partition("Subject:")[2])
        found.append((int(numbered[1]) if numbered else 0, number, (place / "patch").read_bytes()))
    return [patch for _, _, patch in sorted(found)]


def _change(root: Path, place: Path, below: str, covered: Iterable[str]) -> Change:
    """Return the change between what is laid out in `base` and in `head`; the tree is `below` in both."""
    said = ask(place, *_DIFF).decode("utf-8", "surrogateescape")
    renamed: dict[str, str] = {}
    touched: dict[str, list[range]] = {}
    for patch in PatchSet(io.StringIO(said, newline="\n")):
        before, after = (name.partition("/")[2] for name in (patch.source_file, patch.target_file))
        before, after = before.removeprefix(f"base/{below}"), after.removeprefix(f"head/{below}")
        if patch.target_file == "/dev/null":
            continue
        if patch.source_file != "/dev/null" and before != after:
            renamed[before] = after
        touched[after] = [touched_lines(hunk.target_start, hunk.target_length) for hunk in patch]
    paths = frozenset(covered)
    base, head = (Files(root, place / name / below, paths) for name in ("base", "head"))
    return Change(base, head, renamed, touched)


def read_patch(name: str, stream: BinaryIO | None = None) -> tuple[str, bytes]:
    """Return a patch by the name of its file, or from the stream given; ChangeError when it cannot be read."""
    try:
        return name, stream.read() if stream is not None else Path(name).read_bytes()
    except OSError as error:
        raise ChangeError(f"--patch {name}: {error.strerror}") from error


