"""Which headers a file sees: resolving #include lines against the tree and closing over them."""

import posixpath
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence

from kgfplint.program.components import components

_ROWS = 64
"""So many files' closures are remembered (3 KB each in a kernel): analyses go from file to file."""

_ASKED = 16
"""So many questions in a row are worth putting a closure together."""


class Includes:
    """The include graph of a tree.

    What each header sees is a row of bits in one table, closed over all at once: processes that are forked share its bytes,
    which objects would not allow. What other files see is put together when it is asked for.
    """

    def __init__(self, paths: Sequence[str], included: Mapping[int, Sequence[str]]) -> None:
        """Take tree-relative paths by file number and the `<x>`/`"x"` words of each file."""
        self._paths = paths
        self._number = {path: number for number, path in enumerate(paths)}
        self._included = included
        self._by_tail: dict[str, list[int]] = {}
        self._public: dict[str, list[int]] = {}
        self._headers = array("i", (number for number, path in enumerate(paths) if path.endswith(".h")))
        self._place = array("i", [-1]) * len(paths)
        for place, number in enumerate(self._headers):
            self._place[number] = place
            self._by_tail.setdefault(paths[number].rpartition("/")[2], []).append(number)
        self._included_places: dict[int, Sequence[int]] = {}
        self._width = (len(self._headers) + 7) // 8
        self._table = bytearray()
        self._rows: dict[int, bytes] = {}
        self._last, self._asked = -1, 0

    def resolve(self, file: int, word: str) -> list[int]:
        """Return the files that an include word of `file` may mean (one per architecture if need be)."""
        name = word[1:-1]
        if word[0] == '"':
            local = posixpath.normpath(posixpath.join(posixpath.dirname(self._paths[file]), name))
            if local in self._number:
                return [self._number[local]]
        public = self._public.get(name)
        if public is None:
            public = self._public[name] = [n for n in self._named(name) if _is_public(self._paths[n], name)]
        if public:
            return public
        found = self._named(name)
        return found if len(found) <= 1 else [max(found, key=lambda n: _shared(self._paths[n], self._paths[file]))]

    def _named(self, name: str) -> list[int]:
        tail = "/" + name
        return [n for n in self._by_tail.get(name.rpartition("/")[2], ()) if ("/" + self._paths[n]).endswith(tail)]

    def sees(self, file: int, header: int) -> bool:
        """Tell whether `file` includes `header`, directly or not."""
        if file == header:
            return True
        place = self._place[header]
        if place < 0:
            return False
        row = self._rows.get(file)
        if row is None:
            # Who goes through many files asks each of them a few times.
            self._last, self._asked = file, self._asked + 1 if file == self._last else 0
            if self._asked < _ASKED:
                return self._leads(file, place)
            row = self._row(file)
        return bool(row[place >> 3] >> (place & 7) & 1)

    def _leads(self, file: int, place: int) -> bool:
        """Tell whether a file sees the header at a place of the table."""
        table, width, own = self._table or self._close(), self._width, self._place[file]
        at, bit = place >> 3, place & 7
        if own >= 0:
            return bool(table[own * width + at] >> bit & 1)
        for there in self._direct(file):  # noqa: SIM110 (a generator takes twice as long)
            if there == place or table[there * width + at] >> bit & 1:
                return True
        return False

    def closure(self, file: int) -> int:
        """Return the bit set of all headers that `file` includes."""
        return int.from_bytes(self._row(file), "little")

    def _row(self, file: int) -> bytes:
        """Return the bits of `closure`; those of the last files that were asked for are remembered."""
        row = self._rows.get(file)
        if row is None:
            table, own = self._table or self._close(), self._place[file]
            if own >= 0:
                row = bytes(table[own * self._width : (own + 1) * self._width])
            else:
                row = self._union(table, self._direct(file)).to_bytes(self._width, "little")
            if len(self._rows) >= _ROWS:
                self._rows.clear()
            self._rows[file] = row
        return row

    def naming(self, tails: Collection[str]) -> list[int]:
        """Return the files with an include line for a header whose file name is one of `tails`."""
        return [file for file, words in self._included.items() if any(word[1:-1].rpartition("/")[2] in tails for word in words)]

    def bits(self, files: Iterable[int]) -> int:
        """Return the bit set of those of some files that are headers."""
        return sum(1 << self._place[file] for file in set(files) if self._place[file] >= 0)

    def _direct(self, file: int) -> Sequence[int]:
        """Return the places in the table of the headers that a file includes itself."""
        known = self._included_places.get(file)
        if known is None:
            words = self._included.get(file, ())
            places = (self._place[number] for word in words for number in self.resolve(file, word))
            known = self._included_places[file] = array("i", (place for place in places if place >= 0))
        return known

    def _union(self, table: bytearray, places: Iterable[int]) -> int:
        """Return the bits of the headers at some places and of what they see."""
        bits = 0
        for place in places:
            bits |= 1 << place | int.from_bytes(table[place * self._width : (place + 1) * self._width], "little")
        return bits

    def _close(self) -> bytearray:
        """Close over all headers: those of a component have one closure, which has them all."""
        table = self._table = bytearray(self._width * len(self._headers))
        done: set[int] = set()
        for start in range(len(self._headers)):
            for members in components(start, self._below, done) if start not in done else ():
                done.update(members)
                places = {place for member in members for place in (member, *self._below(member))}
                row = self._union(table, places).to_bytes(self._width, "little")
                for member in members:
                    table[member * self._width : (member + 1) * self._width] = row
        return table

    def _below(self, place: int) -> Sequence[int]:
        return self._direct(self._headers[place])


def _is_public(path: str, name: str) -> bool:
    folder = path[: -len(name)].rstrip("/")
    return folder in ("include", "include/uapi") or (
        folder.startswith("arch/") and folder.endswith(("/include", "/include/uapi", "/include/generated")))


def _shared(left: str, right: str) -> int:
    """The number of leading path components two paths share."""
    count = 0
    for a, b in zip(left.split("/"), right.split("/"), strict=False):
        if a != b:
            break
        count += 1
    return count
