"""What an architecture's ABI makes of C's types: rules/abi.toml."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from kgfplint.source.words import rules

_BYTES = {"char": 1, "_Bool": 1, "short": 2, "int": 4, "long long": 8, "float": 4, "double": 8, "__int128": 16}
_SIGNS = re.compile(r"\b(?:unsigned|signed|const|volatile)\b")


@dataclass(frozen=True)
class Abi:
    """The C types of one architecture, in bytes; `folder` is where the tree keeps what is its own.

    `line` is the smallest and the largest cache line that configurations have, `pages` the sizes of pages, the usual one
    first; `largest` the alignment that a bare `aligned` asks for; `unnamed_fields`: unnamed bit-fields count for a
    struct's alignment. `defined` maps words of `#if` to whether they are defined, as far as the architecture decides it.
    """

    name: str
    folder: str
    pointer: int
    line: tuple[int, int]
    pages: tuple[int, ...]
    largest: int
    unnamed_fields: bool
    scalars: dict[str, tuple[int, int]]
    defined: dict[str, bool]
    big_endian: bool

    @property
    def bits_per_long(self) -> int:
        """BITS_PER_LONG."""
        return 8 * self.pointer

    def scalar(self, name: str) -> tuple[int, int] | None:
        """Return size and alignment of a basic type or of one of the kernel's own, None for any other name."""
        return self.scalars.get(name) or self.scalars.get(_basic(name))


class UnknownAbi(Exception):
    """There is no such architecture; str is one line."""


@cache
def abi_of(name: str) -> Abi:
    """Return the ABI of an architecture by its name in rules/abi.toml; UnknownAbi when it has none."""
    table: dict[str, Any] | None = next((table for table in rules("abi.toml")["abi"] if table["name"] == name), None)
    if table is None:
        raise UnknownAbi(f"unknown architecture {name!r}: there are {', '.join(abi_names())}")
    big = table.get("big_endian", False)
    first, last = table["line"]
    return Abi(
        name, f"arch/{table['folder']}/", table["pointer"], (first, last), tuple(table["pages"]),
        table.get("largest", 16),
        table.get("unnamed_fields", False), _scalars(table), _defined(table, big), big,
    )


def abi_names() -> tuple[str, ...]:
    """Return the names of all architectures."""
    return tuple(table["name"] for table in rules("abi.toml")["abi"])


def _scalars(table: dict[str, Any]) -> dict[str, tuple[int, int]]:
    special: dict[str, int] = table.get("align", {})
    basic = {name: (size, special.get(name, size)) for name, size in (_BYTES | {"long": table["pointer"]}).items()}
    known = dict(basic)
    for name, same in rules("abi.toml")["types"].items():
        known |= dict.fromkeys(same, basic[name])
    for name, (same, align) in rules("abi.toml")["aligned_types"].items():
        known[name] = known[same][0], align
    return known


def _defined(table: dict[str, Any], big: bool) -> dict[str, bool]:
    """Return which words of conditions are defined; what another architecture is told by is not."""
    conditions: dict[str, list[str]] = rules("abi.toml")["conditions"]
    others = {word for other in rules("abi.toml")["abi"] for word in other["defined"]}
    return {
        **dict.fromkeys([*others, *conditions["undefined"], *conditions["little" if big else "big"]], False),
        **dict.fromkeys([*table["defined"], *conditions["defined"], *conditions["big" if big else "little"]], True),
    }


def _basic(name: str) -> str:
    """Return the plain name of a basic type: `unsigned long int` is a `long`."""
    words = _SIGNS.sub(" ", name).split()
    kept = [word for word in words if word != "int"] or (["int"] if name else [])
    return " ".join(kept)
