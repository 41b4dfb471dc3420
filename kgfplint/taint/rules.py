"""The tables of rules/taint.toml: where values come in from outside, and what carries them on."""

from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import chain

import msgspec

from kgfplint.catalogue import CatalogueError, rules_directory
from kgfplint.program.link import Program


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a value comes from; `sure`: nobody has looked at it before the function that has it."""

    name: str
    title: str
    sure: bool = False


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Functions that bring values in: into memory, a variable, what they return, or the memory behind that."""

    kind: str
    names: tuple[str, ...]
    fills: int | None = None
    writes: int | None = None
    returns: bool = False
    memory: bool = False


class _Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    members: tuple[str, ...]
    places: tuple[int, ...]


class _Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: tuple[str, ...]


class _Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    names: tuple[str, ...]
    files: str


class _Shared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    folders: tuple[str, ...]


class _Tables(msgspec.Struct, frozen=True):
    kind: tuple[Kind, ...]
    source: tuple[Source, ...]
    argument: tuple[_Argument, ...]
    carry: tuple[_Names, ...]
    blind: tuple[_Names, ...]
    shared: tuple[_Shared, ...]
    quiet: tuple[_Names, ...]
    root: tuple[_Names, ...]
    closed: tuple[_Closed, ...]


class Rules:
    """The tables by name: kinds, sources by function, (kind, places) by "tag.member", and sets of names."""

    def __init__(self, tables: _Tables) -> None:
        """Index what was read; KeyError for a kind that is not there."""
        self.kinds = {kind.name: kind for kind in tables.kind}
        self.sources = {name: (self.kinds[source.kind], source) for source in tables.source for name in source.names}
        self.arguments = {member: (self.kinds[row.kind], row.places) for row in tables.argument for member in row.members}
        self.carriers = frozenset(name for row in tables.carry for name in row.names)
        self.blind = self.carriers | {name for row in tables.blind for name in row.names}
        self.shared = tuple(folder for row in tables.shared for folder in row.folders)
        self.quiet = frozenset(name for row in tables.quiet for name in row.names)
        self.root = frozenset(name for row in tables.root for name in row.names)
        self.callees = frozenset(self.sources)
        self.closed = {name: self.kinds[row.kind] for row in tables.closed for name in row.names}
        self.closing = {name: row.files for row in tables.closed for name in row.names}


@cache
def taint_rules() -> Rules:
    """Return the tables; CatalogueError when rules/taint.toml is wrong."""
    path = rules_directory() / "taint.toml"
    try:
        return Rules(msgspec.toml.decode(path.read_bytes(), type=_Tables))
    except (OSError, msgspec.DecodeError, KeyError) as error:
        raise CatalogueError(str(path), 1, f"is no table of sources: {error}") from None


@lru_cache(maxsize=1)
def stored_in(program: Program) -> dict[int, tuple[Kind, tuple[int, ...]]]:
    """Return the functions whose parameters are from outside because of where they are stored: the kind and the places."""
    rules = taint_rules()
    found: dict[int, tuple[Kind, tuple[int, ...]]] = {}
    for member, row in rules.arguments.items():
        tag, _, name = member.partition(".")
        key = program.keys.get((tag, name))
        for function in program.bound.get(key, ()) if key is not None else ():
            found[function] = row
    for function, kind in chain(_closed(program, rules), _in_closed_files(program, rules, found)):
        if function in found:
            found[function] = kind, found[function][1]
    return found


def _in_closed_files(program: Program, rules: Rules, stored: Iterable[int]) -> Iterator[tuple[int, Kind]]:
    """Yield the functions in files that are named after what is reached by root only, and register it, if by a table."""
    files = {(program.rows[function].file, name) for name in rules.closed for function in program.functions_calling(name)}
    named = {file: rules.closed[name] for file, name in files if rules.closing[name] in program.paths[file].rpartition("/")[2]}
    yield from ((function, named[file]) for function in list(stored) if (file := program.rows[function].file) in named)


def _closed(program: Program, rules: Rules) -> Iterator[tuple[int, Kind]]:
    """Yield the functions in objects that are handed to who opens them to root only."""
    for function, callee, _, given, _ in program.handed:
        kind = rules.closed.get(callee)
        for file, _, target in program.objects.get(given, ()) if kind is not None else ():
            if kind is not None and file == program.rows[function].file:
                yield target, kind
