"""The policy tables of rules/gfp.toml: what does not go together in a mask, and what an interface makes of it.

Everything here is data of the rules KGF2xx; see the comments in rules/gfp.toml for its sources.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

import msgspec

from kgfplint.catalogue import CatalogueError, Reclaim, Version, rules_directory
from kgfplint.catalogue.groups import Mistake, holds, parse_version

Word = Literal["error", "warning", "note"]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Kernel versions that an entry holds for: from `since` on, before `until`; "" is no limit."""

    since: str = ""
    until: str = ""

    def holds(self, version: Version | None) -> bool:
        """Tell whether the entry holds for a kernel version (None: the newest)."""
        return holds(version, parse_version(self.since, "since"), parse_version(self.until, "until"))


class Conflict(Table, frozen=True, kw_only=True):
    """Bits that must not all be set while those of `clear` are clear.

    `slab`: only in memory from slab; `families`: only in memory of these, as the catalogue calls them.
    """

    set: tuple[str, ...]
    severity: Word
    why: str
    clear: tuple[str, ...] = ()
    slab: bool = False
    families: tuple[str, ...] = ()


class Unsupported(Table, frozen=True, kw_only=True):
    """Bits (all of `set` set, all of `clear` clear) that the allocators of `families` do not support.

    `scopes`: not in code that holds one of these reclaim scopes, which does what the bits should have done.
    """

    families: tuple[str, ...]
    severity: Word
    why: str
    set: tuple[str, ...] = ()
    clear: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


class Zone(Table, frozen=True, kw_only=True):
    """Allocators that ask for a zone whatever mask they are given."""

    mask: str
    allocators: tuple[str, ...]


class Scope(Table, frozen=True, kw_only=True):
    """A pair of functions around code in which every mask loses the bits of `clears`.

    `begin` returns a cookie that `end` takes back; `end` accepts that of any `begin` of the same `kind`.
    """

    kind: str
    begin: str
    end: str
    clears: tuple[str, ...] = ()


class Asker(Table, frozen=True, kw_only=True):
    """Functions that look at a mask, keep it or compute one, but do not allocate by it."""

    functions: tuple[str, ...]


class Carrier(Table, frozen=True, kw_only=True):
    """Types of parameters that hold a mask to look at."""

    types: tuple[str, ...]


class Request(Table, frozen=True, kw_only=True):
    """Members ("tag.member") of operation tables that untrusted users reach by what `title` says."""

    title: str
    members: tuple[str, ...]


class Reentry(Table, frozen=True, kw_only=True):
    """Code that reclaim waits for, or that reclaim calls: members ("tag.member") of operation tables, or code that holds the
    kind `name`.

    `allows` is how far its own masks may let reclaim go, `title` completes "runs in ...", and `why` tells what would happen.
    With `holding`, that is only a note unless a function of the chain is given one of these types.
    """

    name: str
    title: str
    why: str
    severity: Word
    allows: Reclaim
    members: tuple[str, ...] = ()
    holding: tuple[str, ...] = ()


class Entered(Table, frozen=True, kw_only=True):
    """Members ("tag.member") of operation tables that reclaim calls: it may wait for every lock that they wait for."""

    members: tuple[str, ...]


class Asked(Table, frozen=True, kw_only=True):
    """Pieces of names that code looks at to tell how far reclaim may go: what it decides by them is left to it."""

    words: tuple[str, ...]


class _Tables(msgspec.Struct, frozen=True):
    conflict: tuple[Conflict, ...]
    unsupported: tuple[Unsupported, ...]
    zone: tuple[Zone, ...]
    scope: tuple[Scope, ...]
    asker: tuple[Asker, ...]
    carrier: tuple[Carrier, ...]
    request: tuple[Request, ...]
    reentry: tuple[Reentry, ...]
    entered: tuple[Entered, ...]
    asked: tuple[Asked, ...]


Entry = TypeVar("Entry", bound=Table)


class Policy:
    """The tables for one kernel version."""

    def __init__(self, tables: _Tables, version: Version | None) -> None:
        """Keep what holds for `version` (None: the newest)."""
        self.conflicts: Sequence[Conflict] = _holding(tables.conflict, version)
        self.unsupported: Sequence[Unsupported] = _holding(tables.unsupported, version)
        self.zones = {name: zone.mask for zone in _holding(tables.zone, version) for name in zone.allocators}
        scopes = _holding(tables.scope, version)
        self.scopes: Sequence[Scope] = scopes
        self.begins = {scope.begin: scope for scope in scopes}
        self.ends = {scope.end: scope for scope in scopes}
        self.scope_functions = frozenset(self.begins.keys() | self.ends.keys())
        self.askers = frozenset(name for asker in _holding(tables.asker, version) for name in asker.functions)
        self.carriers = frozenset(ctype for carrier in _holding(tables.carrier, version) for ctype in carrier.types)
        self.reentries = {entry.name: entry for entry in _holding(tables.reentry, version)}
        self.entered = frozenset(member for entry in _holding(tables.entered, version) for member in entry.members)
        self.asked = tuple(word for entry in _holding(tables.asked, version) for word in entry.words)
        self.requests = {member: entry.title for entry in _holding(tables.request, version) for member in entry.members}


@functools.lru_cache(maxsize=8)
def policy(version: Version | None) -> Policy:
    """Return the tables for a kernel version (None: the newest); CatalogueError when rules/gfp.toml is wrong."""
    path = rules_directory() / "gfp.toml"
    try:
        tables = msgspec.toml.decode(path.read_bytes(), type=_Tables)
        return Policy(tables, version)
    except (OSError, msgspec.DecodeError, Mistake) as error:
        raise CatalogueError(str(path), 1, f"is no table of masks: {error}") from None


def _holding(entries: Iterable[Entry], version: Version | None) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if entry.holds(version))

