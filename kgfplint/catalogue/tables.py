"""Rule files: TOML tables, each with the lines that its keys stand on.

tomllib tells no positions; a scan of the lines for headers and keys is enough to say where a rule is wrong.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER = re.compile(r"\s*\[\[?\s*([\w.-]+)\s*\]\]?")
_KEY = re.compile(r"\s*([\w-]+)\s*=")
_FENCE = re.compile(r"'''|\"\"\"")
_OPENED = re.compile(r"(?:'''|\"\"\")\s*$")
_AT_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)")

_Keys = dict[str, tuple[int, int]]


class CatalogueError(Exception):
    """A rule file is wrong; the text is one line `file:line: what is wrong`."""

    def __init__(self, file: str, line: int, what: str) -> None:
        """Point at the 1-based `line` of `file`."""
        super().__init__(f"{file}:{line}: {' '.join(what.split())}")


class Table:
    """One `[[kind]]` table of a rule file: its values, its file and its 1-based lines."""

    def __init__(self, kind: str, file: str, line: int, values: dict[str, Any], keys: "_Keys") -> None:
        """Take the values of the table whose header stands on `line`, and the lines of each key and its value."""
        self.kind = kind
        self.file = file
        self.line = line
        self.values = values
        self._keys = keys

    def error(self, what: str, key: str = "") -> CatalogueError:
        """Return the error to raise about the table, or about one key of it."""
        return CatalogueError(self.file, self.line_of(key), what)

    def line_of(self, key: str) -> int:
        """Return the 1-based line of `key`, or of the header when the key is absent."""
        return self._keys.get(key, (self.line, 0))[0]

    def line_of_value(self, key: str) -> int:
        """Return the 1-based line where the value of `key` starts: below it for a text in triple quotes."""
        return self._keys.get(key, (0, self.line))[1]


def read_tables(path: Path) -> Iterator[Table]:
    """Yield the `[[kind]]` tables of a rule file in their order; CatalogueError when it is no such file."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = _AT_LINE.search(str(error))
        line = int(where[1]) if where else text.count("\n") + 1
        raise CatalogueError(str(path), line, _AT_LINE.sub("", str(error))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(str(path), 1, f"cannot be read: {error}") from None
    places = _places(text)
    for kind, tables in data.items():
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            line = places.get((kind, 0), (_line_of_key(text, kind), {}))[0]
            raise CatalogueError(str(path), line, f"`{kind}` is not a [[{kind}]] table")
        for index, values in enumerate(tables):
            line, keys = places.get((kind, index), (1, {}))
            yield Table(kind, str(path), line, values, keys)


def _places(text: str) -> dict[tuple[str, int], tuple[int, _Keys]]:
    """Map (kind, index) of each table to the line of its header and the lines of its keys."""
    places: dict[tuple[str, int], tuple[int, _Keys]] = {}
    counts: dict[str, int] = {}
    keys: _Keys = {}
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if not inside:
            if header := _HEADER.match(line):
                index = counts[header[1]] = counts.get(header[1], -1) + 1
                keys = {}
                places[header[1], index] = number, keys
            elif key := _KEY.match(line):
                keys[key[1]] = number, number + bool(_OPENED.search(line))
        inside ^= len(_FENCE.findall(line)) % 2 == 1
    return places


def _line_of_key(text: str, key: str) -> int:
    match = re.search(rf"^\s*{re.escape(key)}\b", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else 1
