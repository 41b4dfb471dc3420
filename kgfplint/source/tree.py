"""The kernel tree: its root, its version, its C files, and which of them hold code."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_VERSION = re.compile(rb"^(VERSION|PATCHLEVEL)[ \t]*:?=[ \t]*(\d+)[ \t]*\r?$", re.M)
_COMMENT = rb"/\*[^*]*(?:\*(?!/)[^*]*)*(?:\*/)?|//[^\n\\]*(?:\\[\s\S][^\n\\]*)*"
_STRING = rb'"[^"\\\n]*(?:\\[\s\S][^"\\\n]*)*"?'
_NO_CODE = re.compile(
    rb"(?:\s+|" + _COMMENT + rb"|\#(?![ \t]*define[ \t]+\w+\()"
    rb"(?:[^\n\\/\"]+|\\(?:\r\n|[\s\S]|\Z)|" + _COMMENT + rb"|" + _STRING + rb"|/)*){1,200}"
)
"""Up to 200 pieces that are no code: each run is short, for the engine remembers where it could turn back."""


class Files(NamedTuple):
    """The files of the tree at `root` as a run sees them: on disk, but for some that are as they are elsewhere.

    Those, named in `covered` by tree-relative path, are read from the folder `other`; one that is not there does not exist.
    """

    root: Path
    other: Path | None = None
    covered: frozenset[str] = frozenset()

    def place(self, path: str) -> Path:
        """Return where the file with this tree-relative path is to be read."""
        return self.other / path if self.other is not None and path in self.covered else self.root / path

    def below(self, paths: Sequence[Path]) -> list[str]:
        """Return the tree-relative paths of all .c and .h files at or below some paths, sorted; OSError as `discover`."""
        tops = [os.path.relpath(path.resolve(), self.root.resolve()).replace(os.sep, "/") for path in paths]
        found = set(discover(self.root, (path for path, top in zip(paths, tops, strict=True) if top not in self.covered)))
        found -= self.covered
        found.update(path for path in self.covered if path.endswith((".c", ".h")) and self.place(path).is_file()
                     and any(top == "." or path == top or path.startswith(f"{top}/") for top in tops))
        return sorted(found)


def _makefile_version(folder: Path) -> dict[bytes, int]:
    try:
        head = (folder / "Makefile").read_bytes()[:4096]
    except OSError:
        return {}
    return {word: int(number) for word, number in _VERSION.findall(head)}


def find_root(path: Path) -> Path:
    """Return the kernel tree that `path` lies in: the nearest folder upward with Kconfig and a versioned Makefile.

    Without one (an out-of-tree module): the folder itself, or the folder of the file.
    """
    here = path.resolve()
    start = here if here.is_dir() else here.parent
    for folder in (start, *start.parents):
        if is_kernel_tree(folder):
            return folder
    return start


def is_kernel_tree(folder: Path) -> bool:
    """Tell whether a folder is the root of a kernel tree."""
    return (folder / "Kconfig").is_file() and len(_makefile_version(folder)) == 2


def kernel_version(root: Path) -> tuple[int, int] | None:
    """Return (VERSION, PATCHLEVEL) of the tree's Makefile, or None when it names none."""
    found = _makefile_version(root)
    if len(found) < 2:
        return None
    return found[b"VERSION"], found[b"PATCHLEVEL"]


def discover(root: Path, paths: Iterable[Path]) -> Iterator[str]:
    """Yield the tree-relative posix paths of all .c and .h files at or below `paths`, sorted, each file once.

    Symbolic links to folders are not followed; a linked file that leads to another listed file
    counts once. OSError when a given path does not exist or a folder cannot be read.
    """
    top = os.path.join(root.resolve(), "")
    found: dict[str, str] = {}
    for path in paths:
        for shown, real in _files(path):
            relative = _below(shown, top)
            # The file's own path wins over links to it.
            if real == shown or real not in found or (found[real] != _below(real, top) and relative < found[real]):
                found[real] = relative
    yield from sorted(found.values())


def _below(path: str, top: str) -> str:
    inside = path.startswith(top)
    return (path[len(top) :] if inside else os.path.relpath(path, top)).replace(os.sep, "/")


def _files(path: Path) -> Iterator[tuple[str, str]]:
    """Yield where each file is listed, in a folder without links in its path, and the file that this leads to."""
    if not path.is_dir():
        os.stat(path)
        yield os.path.join(os.path.realpath(path.parent), path.name), os.path.realpath(path)
        return
    stack = [os.path.realpath(path)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                elif entry.name.endswith((".c", ".h")) and entry.is_file():
                    # To follow a path takes long, and most lead nowhere else.
                    yield entry.path, os.path.realpath(entry.path) if entry.is_symlink() else entry.path


def has_code(data: bytes) -> bool:
    """Tell whether `data` holds anything but comments, object-like macros and other directives."""
    position = 0
    while position < len(data):
        found = _NO_CODE.match(data, position)
        if found is None:
            return True
        position = found.end()
    return False
