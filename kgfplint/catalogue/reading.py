"""Rule directories → the entries of one kernel version, each claim checked against the others."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from kgfplint.catalogue.entries import (
    Alloc,
    Apart,
    Callback,
    Context,
    Counted,
    Failing,
    Family,
    Flag,
    LockKind,
    Parent,
    Phrase,
    Setup,
    Trial,
    Undo,
    Version,
)
from kgfplint.catalogue.groups import (
    GROUPS,
    AllocGroup,
    CallbackGroup,
    CleanupGroup,
    Group,
    Mistake,
    Scope,
    holds,
    parse_version,
)
from kgfplint.catalogue.prototypes import Prototype, parse_all
from kgfplint.catalogue.tables import CatalogueError, Table, read_tables

_WORDS: dict[
    str, type[Family | LockKind | Context | Flag | Phrase | Undo | Counted | Setup | Failing | Parent | Apart | Trial],
] = {
    "family": Family,
    "kind": LockKind,
    "context": Context,
    "flag": Flag,
    "phrase": Phrase,
    "undo": Undo,
    "counted": Counted,
    "setup": Setup,
    "failing": Failing,
    "parent": Parent,
    "apart": Apart,
    "trial": Trial,
}
_OTHERS = {"abi.toml", "allocator.toml", "gfp.toml", "guide.toml", "patches.toml", "syntax.toml", "taint.toml"}
"""Files in the same directory that other stages read."""
_FIELD = re.compile(r"`\$\.(\w+)|unknown field `(\w+)`")

Entry = TypeVar("Entry")


class Content:
    """Everything that was read: words by name, entries by class and name, callbacks by place."""

    def __init__(self, digest: str) -> None:
        """Start empty; `digest` is the hash of the files."""
        self.digest = digest
        self.words: dict[str, dict[str, Any]] = {kind: {} for kind in _WORDS}
        self.entries: dict[type, dict[str, Any]] = {}
        self.callbacks: dict[str, tuple[Callback, ...]] = {}
        self.fields: dict[str, Callback] = {}

    @property
    def families(self) -> dict[str, Family]:
        """The families by name."""
        return self.words["family"]

    @property
    def kinds(self) -> dict[str, LockKind]:
        """The lock kinds by name."""
        return self.words["kind"]

    @property
    def contexts(self) -> dict[str, Context]:
        """The contexts by name."""
        return self.words["context"]

    @property
    def flags(self) -> dict[str, Flag]:
        """The pieces of names that tell whether code may sleep."""
        return self.words["flag"]

    @property
    def phrases(self) -> dict[str, Phrase]:
        """The words of comments that tell a context, in order."""
        return self.words["phrase"]

    @property
    def undos(self) -> dict[str, Undo]:
        """What functions do that others take back."""
        return self.words["undo"]

    @property
    def counted(self) -> dict[str, Counted]:
        """What makes counted objects."""
        return self.words["counted"]

    @property
    def setups(self) -> dict[str, Setup]:
        """What sets something up that must be taken down before its memory is freed."""
        return self.words["setup"]

    @property
    def failing(self) -> dict[str, Failing]:
        """What frees an argument where it fails."""
        return self.words["failing"]

    @property
    def parents(self) -> dict[str, Parent]:
        """Structs with devices that no driver is bound to."""
        return self.words["parent"]

    @property
    def apart(self) -> dict[str, Apart]:
        """Folders of programs of their own."""
        return self.words["apart"]

    @property
    def trials(self) -> dict[str, Trial]:
        """Where tests are."""
        return self.words["trial"]

    def of(self, kind: type[Entry]) -> dict[str, Entry]:
        """Return the entries of one class by name."""
        return cast(dict[str, Entry], self.entries.get(kind, {}))

    def add(self, entry: Any) -> None:
        """Keep an entry under its name; a function may have several callbacks, but one entry of each other class."""
        if not isinstance(entry, Callback):
            self.entries.setdefault(type(entry), {})[entry.name] = entry
        elif entry.argument is None:
            self.fields[entry.name] = entry
        else:
            self.callbacks[entry.name] = (*self.callbacks.get(entry.name, ()), entry)


Parsed = tuple[Table, Group, list[Prototype]]


def read(directories: Sequence[Path], version: Version | None) -> Content:
    """Return what the `*.toml` files of the directories say about `version` (None: newest); CatalogueError if wrong."""
    files = [path for directory in directories for path in _files(directory)]
    tables = [table for path in files for table in read_tables(path)]
    content = Content(_digest(directories))
    for table in tables:
        if table.kind in _WORDS:
            word = _convert(table, _WORDS[table.kind])
            if word.name in content.words[table.kind]:
                raise table.error(f"`{word.name}` is defined twice", "name")
            content.words[table.kind][word.name] = word
        elif table.kind not in GROUPS:
            raise table.error(f"no such table: [[{table.kind}]]")
    groups = [(table, _convert(table, GROUPS[table.kind])) for table in tables if table.kind in GROUPS]
    texts = [(table.file, table.line_of_value("prototypes"), group.prototypes) for table, group in groups]
    parsed = [(table, group, found) for (table, group), found in zip(groups, parse_all(texts), strict=True)]
    _check_claims(parsed)
    scope = Scope(content.families, content.kinds, content.contexts, version)
    for table, group, prototypes in parsed:
        for entry in _entries(table, group, prototypes, scope):
            content.add(entry)
    _settle_twins(content, parsed)
    return content


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise CatalogueError(str(directory), 1, "is not a directory of rules")
    return sorted(path for path in directory.glob("*.toml") if path.name not in _OTHERS)


def _digest(directories: Iterable[Path]) -> str:
    """Return the hash of every rule file, those of other stages too: results may hang on any of them."""
    digest = hashlib.sha256()
    for path in (path for directory in directories for path in sorted(directory.glob("*.toml"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _convert(table: Table, schema: type[Entry]) -> Entry:
    try:
        return msgspec.convert(table.values, schema)
    except msgspec.ValidationError as error:
        match = _FIELD.search(str(error))
        key = (match[1] or match[2]) if match else ""
        raise table.error(f"[[{table.kind}]]: {error}", key) from None


def _entries(table: Table, group: Group, prototypes: list[Prototype], scope: Scope) -> Iterator[Any]:
    """Yield the entries of one table, none if the version has none of them."""
    try:
        wanted = holds(scope.version, *_span(group))
        built = [(prototype, group.build(prototype, scope)) for prototype in prototypes]
        members: Iterator[Any] = iter(())
        if isinstance(group, CleanupGroup):
            members = group.members()
        elif isinstance(group, CallbackGroup):
            members = group.members(scope)
        for entry in members:
            if wanted:
                yield entry
        for prototype, made in built:
            try:
                yield from (entry for entry in made if wanted)
            except Mistake as error:
                line = prototype.line if error.key == "prototypes" else table.line_of(error.key)
                raise CatalogueError(table.file, line, str(error)) from None
    except Mistake as error:
        raise table.error(str(error), error.key) from None


def _span(group: Group) -> tuple[Version | None, Version | None]:
    return parse_version(group.since, "since"), parse_version(group.until, "until")


def _check_claims(parsed: Iterable[Parsed]) -> None:
    """Refuse two tables of one kind that name the same function for the same kernel version."""
    claims: dict[tuple[str, str], list[tuple[Version, Version, str]]] = {}
    for table, group, prototypes in parsed:
        try:
            since, until = _span(group)
        except Mistake as error:
            raise table.error(str(error), error.key) from None
        first, end = since or (0, 0), until or (9999, 0)
        names = [(prototype.name, prototype.line) for prototype in prototypes]
        names += [(name, table.line) for name in _member_names(group)]
        for name, line in names:
            for other_first, other_end, place in claims.setdefault((table.kind, name), []):
                if first < other_end and other_first < end:
                    raise CatalogueError(table.file, line, f"`{name}` is already in {place}")
            claims[table.kind, name].append((first, end, f"{table.file}:{line}"))


def _member_names(group: Group) -> tuple[str, ...]:
    if isinstance(group, CleanupGroup):
        return tuple(group.classes)
    return group.fields if isinstance(group, CallbackGroup) else ()


def _settle_twins(content: Content, parsed: Iterable[Parsed]) -> None:
    """Refuse twins that no rule knows, and forget those that this version does not have yet."""
    known = {prototype.name for table, _, prototypes in parsed if table.kind == "alloc" for prototype in prototypes}
    for table, group, _ in parsed:
        for key, name in group.twins() if isinstance(group, AllocGroup) else ():
            if name not in known:
                raise table.error(f"`{name}` in `{key}` is not an allocator of the rules", key)
    allocs = content.of(Alloc)
    for name, alloc in allocs.items():
        array = alloc.array if alloc.array in allocs else None
        zeroing = alloc.zeroing if alloc.zeroing in allocs else None
        masked = alloc.masked if alloc.masked in allocs else None
        allocs[name] = msgspec.structs.replace(alloc, array=array, zeroing=zeroing, masked=masked)
