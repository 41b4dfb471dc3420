"""Which headers a file sees: resolving #include lines against the tree and closing over them."""

import posixpath
from collections.abc import Iterable, Mapping, Sequence


class Includes:
    """The include graph of a tree; closures are bit sets over file numbers, made when first asked for."""

    def __init__(self, paths: Sequence[str], included: Mapping[int, Sequence[str]]) -> None:
        """Take tree-relative paths by file number and the `<x>`/`"x"` words of each file."""
        self._paths = paths
        self._number = {path: number for number, path in enumerate(paths)}
        self._included = included
        self._by_tail: dict[str, list[int]] = {}
        self._closures: dict[int, int] = {}
        for number, path in enumerate(paths):
            if path.endswith(".h"):
                self._by_tail.setdefault(path.rpartition("/")[2], []).append(number)

    def resolve(self, file: int, word: str) -> list[int]:
        """Return the files that an include word of `file` may mean (one per architecture if need be)."""
        name = word[1:-1]
        if word[0] == '"':
            local = posixpath.normpath(posixpath.join(posixpath.dirname(self._paths[file]), name))
            if local in self._number:
                return [self._number[local]]
        tail = "/" + name
        found = [n for n in self._by_tail.get(name.rpartition("/")[2], ()) if ("/" + self._paths[n]).endswith(tail)]
        public = [n for n in found if self._is_public(self._paths[n], name)]
        if public or len(found) <= 1:
            return public or found
        return [max(found, key=lambda n: _shared(self._paths[n], self._paths[file]))]

    @staticmethod
    def _is_public(path: str, name: str) -> bool:
        folder = path[: -len(name)].rstrip("/")
        return folder in ("include", "include/uapi") or (
            folder.startswith("arch/") and folder.endswith(("/include", "/include/uapi", "/include/generated")))

    def sees(self, file: int, header: int) -> bool:
        """Tell whether `file` includes `header`, directly or not."""
        return bool(self.closure(file) >> header & 1)

    def closure(self, file: int) -> int:
        """Return the bit set of all files that `file` includes, itself too."""
        done = self._closures.get(file)
        if done is None:
            done = self._walk(file)
            self._closures[file] = done
        return done

    def _walk(self, file: int) -> int:
        """Walk the graph; headers met on the way lend their closure when it is known."""
        bits = 1 << file
        stack = [file]
        while stack:
            for number in self._direct(stack.pop()):
                if bits >> number & 1:
                    continue
                known = self._closures.get(number)
                if known is not None:
                    bits |= known
                else:
                    bits |= 1 << number
                    stack.append(number)
        return bits

    def _direct(self, file: int) -> Iterable[int]:
        for word in self._included.get(file, ()):
            yield from self.resolve(file, word)


def _shared(left: str, right: str) -> int:
    """The number of leading path components two paths share."""
    count = 0
    for a, b in zip(left.split("/"), right.split("/"), strict=False):
        if a != b:
            break
        count += 1
    return count
