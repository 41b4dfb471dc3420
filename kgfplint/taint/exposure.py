"""The tables of rules/taint.toml on what gives memory away and what fills it."""

from functools import cache

import msgspec

from kgfplint.catalogue import CatalogueError, rules_directory


class Exposes(msgspec.Struct, frozen=True):
    """Functions that give memory away: to whom, and the places of the memory and of its bytes."""

    to: str
    memory: int
    bytes: int
    names: tuple[str, ...]


class Fills(msgspec.Struct, frozen=True):
    """Functions that fill memory; `short`: they may stop before they have, and only what they return tells."""

    memory: int
    bytes: int
    names: tuple[str, ...]
    short: bool = False


class _Registers(msgspec.Struct, frozen=True):
    endings: tuple[str, ...]


class _Names(msgspec.Struct, frozen=True):
    names: tuple[str, ...]


class _Tables(msgspec.Struct, frozen=True):
    exposes: tuple[Exposes, ...]
    fills: tuple[Fills, ...]
    registers: tuple[_Registers, ...]
    contiguous: tuple[_Names, ...]
    careless: tuple[_Names, ...]


class Exposure:
    """The tables by function; `endings` are those of the names of functions that read a struct they are given.

    `contiguous` need memory that is so physically; `careless` surely do not.
    """

    def __init__(self, tables: _Tables) -> None:
        """Index what was read."""
        self.exposes = {name: row for row in tables.exposes for name in row.names}
        self.fills = {name: row for row in tables.fills for name in row.names}
        self.endings = tuple(ending for row in tables.registers for ending in row.endings)
        self.contiguous = frozenset(name for row in tables.contiguous for name in row.names)
        self.careless = frozenset(name for row in tables.careless for name in row.names)

    def registers(self, name: str) -> bool:
        """Tell whether a function takes over a struct and reads it."""
        return name.endswith(self.endings) and "unregister" not in name


@cache
def exposure() -> Exposure:
    """Return the tables; CatalogueError when rules/taint.toml is wrong."""
    path = rules_directory() / "taint.toml"
    try:
        return Exposure(msgspec.toml.decode(path.read_bytes(), type=_Tables))
    except (OSError, msgspec.DecodeError) as error:
        raise CatalogueError(str(path), 1, f"is no table of exposures: {error}") from None
