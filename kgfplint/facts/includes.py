"""Where the headers of a kernel tree are: from an include line to the files that it may mean.

No build has chosen an architecture, so `<asm/x.h>` means that header of every architecture, and the
-I options of Kbuild files are met half-way by looking in the folders above the including file.
"""

import os
import posixpath
from collections.abc import Iterable, Iterator

from kgfplint.source.tree import Files

_GENERAL = ("include", "include/uapi")
_BELOW_ARCH = ("include", "include/uapi", "include/generated")


class Includes:
    """Resolves include lines inside one tree; the listing of each folder is read at most once."""

    def __init__(self, files: Files) -> None:
        """Take the files of the tree."""
        self._files = files
        self._listings: dict[str, frozenset[str]] = {}
        self._resolved: dict[str, tuple[str, ...]] = {}
        arches = sorted(self._names("arch"))
        self._arches = [f"arch/{arch}/{below}" for arch in arches for below in _BELOW_ARCH]

    def resolve(self, path: str, line: str) -> tuple[str, ...]:
        """Return the tree-relative paths that an include line, `<x>` or `"x"`, of the file at `path` may mean."""
        name = line.strip('<>" ')
        if not name.endswith((".h", ".c")):
            return ()
        if line.startswith("<"):
            return self._system(name) or self._above(path, name)
        near = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
        return (near,) if self._exists(near) else self._above(path, name) or self._system(name)

    def _system(self, name: str) -> tuple[str, ...]:
        found = self._resolved.get(name)
        if found is None:
            found = next(((path,) for path in self._candidates(_GENERAL, name)), ())
            if not found or name.startswith("asm/"):
                found += tuple(self._candidates(self._arches, name))
            if name.startswith("asm/"):
                # An architecture without one of its own gets the generic header.
                found += tuple(self._candidates(_GENERAL, f"asm-generic/{name[4:]}"))
            self._resolved[name] = found
        return found

    def _above(self, path: str, name: str) -> tuple[str, ...]:
        folder = posixpath.dirname(path)
        while folder:
            for candidate in self._candidates([folder, f"{folder}/include"], name):
                return (candidate,)
            folder = posixpath.dirname(folder)
        return tuple(self._candidates([""], name))

    def _candidates(self, folders: Iterable[str], name: str) -> Iterator[str]:
        for folder in folders:
            path = posixpath.normpath(posixpath.join(folder, name))
            if self._exists(path):
                yield path

    def _exists(self, path: str) -> bool:
        if path.startswith(("../", "/")):
            return False
        if path in self._files.covered:
            return self._files.place(path).is_file()
        folder, name = posixpath.split(path)
        return name in self._names(folder)

    def _names(self, folder: str) -> frozenset[str]:
        names = self._listings.get(folder)
        if names is None:
            parent, name = posixpath.split(folder)
            try:
                # A folder that its parent does not list needs no system call.
                known = not folder or name in self._names(parent)
                names = frozenset(os.listdir(self._files.root / folder)) if known else frozenset()
            except OSError:
                names = frozenset()
            self._listings[folder] = names
        return names
