"""What an editor asks about texts that need not be on disk: the findings in one, the contexts of a function, a mask.

All of this runs in a worker process, one question at a time, and may take seconds.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from kgfplint import queries
from kgfplint.config import Settings, load
from kgfplint.engine import run
from kgfplint.facts.store import Store, store_path
from kgfplint.findings import Finding
from kgfplint.gfp import Masks
from kgfplint.source.tree import Files, find_root, is_kernel_tree, kernel_version

KNOWN_SHARE = 0.99
"""A whole tree is taken for read when the store knows so much of its files: a run then reads only what changed."""
MOST_BESIDE = 200
"""Files of a folder that are judged together: those of a driver tell of each other."""


class Document(NamedTuple):
    """A file as an editor has it: its absolute path, the texts of all open files by path, and the options that were given."""

    path: str
    texts: Mapping[str, bytes]
    options: Mapping[str, Any]


class Found(NamedTuple):
    """The findings in a file, and the root of its tree, which their paths start at."""

    root: str
    findings: tuple[Finding, ...]


def quick(document: Document) -> Found:
    """Return the findings in a document, as far as it and the headers that it includes tell."""
    settings = load(Path(document.path), {**document.options, "scope": "paths"})
    return _lint(document, settings, [Path(document.path)])


def thorough(document: Document) -> Found:
    """Return the findings in a document by its whole tree if that is read already, else by all files of its folder."""
    settings = _settings(document)
    whole = settings.scope == "tree" and is_kernel_tree(find_root(Path(document.path)))
    return _lint(document, settings, [Path(document.path)] if whole else _folder(document))


def contexts(document: Document, function: str) -> list[str]:
    """Return lines on the contexts that reach the functions of a name; RunError where there is none."""
    settings = load(Path(document.path), {**document.options, "scope": "paths"})
    with _laid_out(document) as files:
        return list(queries.contexts(function, _folder(document), settings, lambda *_: None, files))


def mask(document: Document, words: list[str]) -> list[str]:
    """Return lines on the masks among some C expressions: their value, their bits, whether they may sleep."""
    root = find_root(Path(document.path))
    masks = Masks.of_tree(root, load(Path(document.path), document.options).version or kernel_version(root))
    return [line for text in words if (line := queries.told_mask(masks, text))]


def _settings(document: Document) -> Settings:
    """Return the settings for a document; unless somebody asks for a scope, it is the tree if that costs seconds."""
    settings = load(Path(document.path), document.options)
    if "scope" in document.options or os.environ.get("KGFPLINT_SCOPE") or settings.scope == "paths":
        return settings
    root = find_root(Path(document.path))
    known = is_kernel_tree(root) and _is_known(root, settings)
    return msgspec.structs.replace(settings, scope="tree" if known else "paths")


def _folder(document: Document) -> list[Path]:
    """Return a document with the C files beside it, unless there are many."""
    own = Path(document.path)
    beside = [path for path in own.parent.iterdir() if path.suffix in (".c", ".h") and path.is_file()]
    return sorted({own, *beside}) if len(beside) <= MOST_BESIDE else [own]


def _lint(document: Document, settings: Settings, paths: list[Path]) -> Found:
    with _laid_out(document) as files:
        report = run(paths, settings, files=files)
    path = os.path.relpath(document.path, report.root).replace(os.sep, "/")
    return Found(report.root, tuple(finding for finding in report.findings if finding.path == path))


@contextlib.contextmanager
def _laid_out(document: Document) -> Iterator[Files]:
    """Lay out the texts of the document's tree that are not as on disk, and yield how the tree looks with them."""
    root = find_root(Path(document.path))
    covered = {os.path.relpath(path, root).replace(os.sep, "/"): text for path, text in document.texts.items()
               if Path(path).is_relative_to(root) and _differs(path, text)}
    with tempfile.TemporaryDirectory(prefix="kgfplint-") as folder:
        files = Files(root, Path(folder), frozenset(covered))
        for path, text in covered.items():
            files.place(path).parent.mkdir(parents=True, exist_ok=True)
            files.place(path).write_bytes(text)
        yield files


def _differs(path: str, text: bytes) -> bool:
    try:
        return Path(path).read_bytes() != text
    except OSError:
        return True


def _is_known(root: Path, settings: Settings) -> bool:
    """Tell whether the store has the facts of a whole tree."""
    if not settings.cache or not store_path(root).exists():
        return False
    with contextlib.closing(Store.open(store_path(root))) as store:
        known = len(store.stamps(root))
    return known > 0 and known >= KNOWN_SHARE * _size(root)


@functools.cache
def _size(root: Path) -> int:
    """Return how many C files a tree has; a listing takes a second, and once is enough."""
    return len(Files(root).below([root]))
