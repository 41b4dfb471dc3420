"""Which calls take back what others did: what a call was handed is nobody's again after the call that undoes it."""

import functools

from kgfplint.catalogue import Catalogue


class Undoing:
    """Tells from the names of functions which of them undo which others."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Read the catalogue's words once; see rules/undoing.toml."""
        self._done: dict[str, list[str]] = {}
        self._whole: dict[str, list[str]] = {}
        for undo in catalogue.undos.values():
            for word in undo.by:
                (self._whole if undo.whole else self._done).setdefault(word, []).append(undo.name)

    def undone_by(self, name: str) -> frozenset[str]:
        """Return the names of the functions whose doing a function of this name takes back, if there are such."""
        found = set(self._whole.get(name, ()))
        words = name.split("_")
        for at, word in enumerate(words):
            found.update("_".join((*words[:at], done, *words[at + 1 :])) for done in self._done.get(word, ()))
        return frozenset(found)


@functools.lru_cache(2)
def undoing_of(catalogue: Catalogue) -> Undoing:
    """Return what a catalogue says of undoing."""
    return Undoing(catalogue)
