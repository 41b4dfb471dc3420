"""Which headers a file sees: resolving #include lines against the tree and closing over them."""

import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence

from kgfplint.program.components import components


class Includes:
    """The include graph of a tree; closures are bit sets over header numbers, one per header and shared by all."""

    def __init__(self, paths: Sequence[str], included: Mapping[int, Sequence[str]]) -> None:
        """Take tree-relative paths by file number and the `<x>`/`"x"` words of each file."""
        self._paths = paths
        self._number = {path: number for number, path in enumerate(paths)}
        self._included = included
        self._by_tail: dict[str, list[int]] = {}
        self._public: dict[str, list[int]] = {}
        self._closures: dict[int, int] = {}
        headers = [number for number, path in enumerate(paths) if path.endswith(".h")]
        self._bit = {number: 1 << place for place, number in enumerate(headers)}
        for number in headers:
            self._by_tail.setdefault(paths[number].rpartition("/")[2], []).append(number)

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
        return file == header or bool(self.closure(file) & self._bit.get(header, 0))

    def closure(self, file: int) -> int:
        """Return the bit set of all headers that `file` includes."""
        if file not in self._closures:
            self._close(file)
        return self._closures[file]

    def naming(self, tails: Collection[str]) -> list[int]:
        """Return the files with an include line for a header whose file name is one of `tails`."""
        return [file for file, words in self._included.items() if any(word[1:-1].rpartition("/")[2] in tails for word in words)]

    def bits(self, files: Iterable[int]) -> int:
        """Return the bit set of those of some files that are headers."""
        return sum(self._bit.get(file, 0) for file in set(files))

    def _direct(self, file: int) -> list[int]:
        return [number for word in self._included.get(file, ()) for number in self.resolve(file, word) if number in self._bit]

    def _close(self, start: int) -> None:
        """Close over what is not closed yet: the files of a component have one closure."""
        for members in components(start, self._direct, self._closures):
            self._share(members)

    def _share(self, members: list[int]) -> None:
        bits = 0
        for member in members:
            bits |= self._bit.get(member, 0)
            for header in self._direct(member):
                bits |= self._bit[header] | self._closures.get(header, 0)
        for member in members:
            self._closures[member] = bits


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
