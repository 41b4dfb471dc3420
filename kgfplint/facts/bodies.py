"""The bodies of functions, read from the store, and parsed where they had only been sketched."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from kgfplint.facts import ir
from kgfplint.facts.lower import Head, lower, lower_alone
from kgfplint.facts.sketch import Plain
from kgfplint.facts.store import Store, key_of
from kgfplint.source.tree import Files


class FileChanged(Exception):
    """A file is not what it was when the run began; str is its path."""


class Bodies:
    """The bodies of the functions in a tree's files."""

    def __init__(self, files: Files, keys: Mapping[str, bytes], store: Store) -> None:
        """`keys` are those of the facts by tree-relative path, as `store` holds them."""
        self._files = files
        self._keys = keys
        self._store = store

    def of(self, path: str, functions: Mapping[int, Head]) -> dict[int, ir.Body]:
        """Return the bodies of some functions of a file by their index in it; one that cannot be had is left out.

        Raises StoreError, OSError, and FileChanged when a body must be parsed and the file is another one by now.
        """
        stored = self._store.bodies(self._keys[path])
        sketched = {index: head for index, head in functions.items() if head.flags & ir.SKETCHED}
        found = {index: stored.body(index) for index in functions if index not in sketched}
        if sketched:
            data = self._files.place(path).read_bytes()
            if key_of(data) != self._keys[path]:
                raise FileChanged(path)
            alone = dict(lower_alone(data, sketched))
            found.update(alone)
            if rest := {index: head for index, head in sketched.items() if index not in alone}:
                found.update(_lowered(data, rest))
        return found


def _lowered(data: bytes, wanted: Mapping[int, Head]) -> Iterator[tuple[int, ir.Body]]:
    """Yield the bodies of functions of a text.

    The parser may stumble over a body that it was not shown before: then the function, or the one after it, has none.
    """
    lowered = lower(data, _all_but(data, {head.end_line for head in wanted.values()}))
    bodies = {(function.name, function.line, function.end_line): body
              for function, body in zip(lowered.facts.functions, lowered.bodies, strict=True)}
    for index, head in wanted.items():
        body = bodies.get((head.name, head.line, head.end_line))
        if body is not None:
            yield index, body


def _all_but(data: bytes, wanted: Iterable[int]) -> Callable[[bytes, int], Plain | None]:
    """Let every function be left empty that does not end in one of some lines."""
    at, line = 0, 1

    def spare(body: bytes, end: int) -> Plain | None:
        nonlocal at, line
        line += data.count(b"\n", at, end)
        at = end
        return None if line in wanted else Plain(b"", ())

    return spare
