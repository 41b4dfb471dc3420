"""Which headers a file sees: resolving #include lines against the tree and closing over them."""

import posixpath
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence

from kgfplint.program.components import components

_ROWS = 64
"""So many files' closures are remembered (3 KB each in a kernel): analyses go from file to file."""


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
        headers = [number for number, path in enumerate(paths) if path.endswith(".h")]
        self._place = array("i", [-1]) * len(paths)
        for place, number in enumerate(headers):
            self._place[number] = place
            self._by_tail.setdefault(paths[number].rpartition("/")[2], []).append(number)
        self._width = (len(headers) + 7) // 8
        self._table = bytearray()
        self._rows: dict[int, bytes] = {}

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
        return place >= 0 and bool(self._row(file)[place >> 3] >> (place & 7) & 1)

    def closure(self, file: int) -> int:
        """Return the bit set of all headers that `file` includes."""
        return int.from_bytes(self._row(file), "little")

    def _row(self, file: int) -> bytes:
        """Return the bits of `closure`; those of the last files that were asked for are remembered."""
        row = self._rows.get(file)
        if row is None:
            table, place = self._table or self._close(), self._place[file]
            if place >= 0:
                row = bytes(table[place * self._width : (place + 1) * self._width])
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

    def _direct(self, file: int) -> list[int]:
        words = self._included.get(file, ())
        return [number for word in words for number in self.resolve(file, word) if self._place[number] >= 0]

    def _union(self, table: bytearray, headers: Iterable[int]) -> int:
        """Return the bits of some headers and of what they see."""
        bits = 0
        for header in headers:
            place = self._place[header]
            bits |= 1 << place | int.from_bytes(table[place * self._width : (place + 1) * self._width], "little")
        return bits

    def _close(self) -> bytearray:
        """Close over all headers: those of a component have one closure, which has them all."""
        table = self._table = bytearray(self._width * (max(self._place, default=-1) + 1))
        done: set[int] = set()
        for start in range(len(self._paths)):
            for members in components(start, self._direct, done) if self._place[start] >= 0 and start not in done else ():
                done.update(members)
                headers = [header for member in members for header in self._direct(member)]
                row = (self.bits(members) | self._union(table, headers)).to_bytes(self._width, "little")
                for member in members:
                    at = self._place[member] * self._width
                    table[at : at + self._width] = row
        return table


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
