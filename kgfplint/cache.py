"""The commands `kgfplint cache …`: what the store holds, what to drop from it, and its way to another machine."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from kgfplint.engine import RunError
from kgfplint.facts import archive, upkeep
from kgfplint.facts.store import KEPT_DAYS, Store, StoreError, facts_version, store_path
from kgfplint.source.tree import find_root


@click.group()
def cache() -> None:
    """Look after the store, which keeps what was read for the next run.

    It lies in $KGFPLINT_CACHE, else in the folder .kgfplint of the current tree if there is one, else in the user's
    cache folder.
    """


@cache.command()
def info() -> None:
    """Print what the store holds, and where it lies."""
    path = _store_path()
    with _store(path) as store:
        _print(_described(path, upkeep.summary(store) if store else None))


@cache.command()
@click.option("--days", type=click.IntRange(0, 36500), default=KEPT_DAYS, show_default=True, metavar="N",
              help="Drop what no tree used for N days.")
@click.option("--size", type=click.IntRange(0), metavar="MB", help="Drop what was longest not used, down to this size.")
def prune(days: int, size: int | None) -> None:
    """Drop what former versions left, and what was not used for long.

    What was used in the last hour stays: a run may be at it.
    """
    path = _store_path()
    upkeep.remove_former(path.parent, days)
    with _store(path) as store:
        limit = None if size is None else size * 1_000_000
        dropped = upkeep.prune(store, days=days, limit=limit, version=facts_version()) if store else 0
        left = upkeep.size(store) if store else 0
    _print([f"{path}: {dropped} rows dropped, {_megabytes(left)} left"])


@cache.command()
def clear() -> None:
    """Remove the store and all that is kept beside it."""
    folder = _store_path().parent
    _print([f"{path} removed" for path in upkeep.clear(folder)] or [f"{folder}: nothing to remove"])


@cache.command()
@click.argument("file")
@click.argument("path", required=False, metavar="[PATH]")
def export(file: str, path: str | None) -> None:
    """Pack the rows of this version into FILE: all, or those of the files of the tree that PATH lies in."""
    root = None if path is None else _root(Path(path))
    place = store_path(root) if root else _store_path()
    with _store(place) as store:
        count = archive.export(store, Path(file), root) if store else 0
    if not count:
        raise RunError(f"{place}: nothing{f' of {path}' if path else ''} to export")
    _print([f"{file}: {count} rows"])


@cache.command("import")
@click.argument("file")
def import_(file: str) -> None:
    """Add the rows of FILE, packed by the same version of kgfplint, to the store."""
    path = _store_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _store(path, make=True) as store:
        _print([f"{path}: {archive.load(store, Path(file)) if store else 0} rows of {file}"])


def _store_path() -> Path:
    return store_path(find_root(Path.cwd()))


def _root(path: Path) -> Path:
    if not path.exists():
        raise RunError(f"{path}: no such file or directory")
    return find_root(path).resolve()


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(os.fsencode(line))  # paths keep the bytes that they have on disk


@contextlib.contextmanager
def _store(path: Path, make: bool = False) -> Iterator[Store | None]:
    """Give the store at path, None if there is none to be made; its failures name it."""
    store = Store(path) if make or path.exists() else None
    try:
        yield store
    except StoreError as error:
        hint = "is damaged; remove it with 'kgfplint cache clear'" if error.damaged else "cannot be used"
        raise RunError(f"the store {path} {hint} ({error})") from error
    except archive.ArchiveError as error:
        raise RunError(str(error)) from error
    finally:
        if store:
            store.close()


def _described(path: Path, found: upkeep.Summary | None) -> Iterator[str]:
    """Describe a store, one line for each group of rows and each tree."""
    yield f"store     {path}"
    if found is None:
        yield "          not there yet"
        return
    yield f"size      {_megabytes(found.bytes)}, {_megabytes(found.free)} of it free"
    versions = {group.version: None for group in found.groups}
    yield f"versions  {len(versions)}"
    for group in found.groups:
        version = group.version.hex()[:12] + (" (present)" if group.version == facts_version() else "")
        yield f"  {version:22}  {group.kind:12} {group.rows:>9} rows {_megabytes(group.bytes):>12}  used {_day(group.used)}"
    yield f"trees     {len(found.trees)}"
    for tree in found.trees:
        yield f"  {tree.root}  {tree.files} files  used {_day(tree.used)}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
