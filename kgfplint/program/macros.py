"""The object-like macros of a program, packed: a kernel has 1.2 million, and a run asks for a few of them; its enumerators."""

from array import array
from collections.abc import Iterator
from zlib import crc32

_FIRST = 1 << 10
_KNOWN = 1 << 15
"""So many answers are remembered."""
_BETWEEN = "\0"


class Macros:
    """What each name stands for, and in which files: bytes in a hash table with open addresses.

    As objects they would take four times the room, in each process that is forked: to look at one copies its page.
    """

    def __init__(self) -> None:
        """Know none."""
        self._slots = array("i", [-1]) * _FIRST
        self._blob = bytearray()
        self._names, self._ends = array("I"), array("I")
        self._texts, self._stops = array("I"), array("I")
        self._files, self._former = array("i"), array("i")
        self._count = 0
        self._known: dict[str, list[tuple[int, str]]] = {}

    def add(self, file: int, name: str, text: str) -> None:
        """Note that `file` defines a name as some text."""
        self._known.clear()
        key, value = name.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass")
        slot = self._slot(key)
        former = self._slots[slot]
        if former < 0:
            self._count += 1
            self._names.append(len(self._blob))
            self._blob += key
            self._ends.append(len(self._blob))
        else:
            self._names.append(self._names[former])
            self._ends.append(self._ends[former])
        self._texts.append(len(self._blob))
        self._blob += value
        self._stops.append(len(self._blob))
        self._files.append(file)
        self._former.append(former)
        self._slots[slot] = len(self._files) - 1
        if 2 * self._count > len(self._slots):
            self._grow()

    def get(self, name: str) -> list[tuple[int, str]]:
        """Return the (file, text) pairs of a name in the order in which they were added, none for an unknown one."""
        found = self._known.get(name)
        if found is None:
            found = self._chain(self._slots[self._slot(name.encode("utf-8", "surrogatepass"))])
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[name] = found
        return found

    def __contains__(self, name: str) -> bool:
        """Tell whether some file defines a name."""
        return bool(self.get(name))

    def items(self) -> Iterator[tuple[str, list[tuple[int, str]]]]:
        """Yield all names with their (file, text) pairs, in no order."""
        for last in self._slots:
            if last >= 0:
                yield self._blob[self._names[last] : self._ends[last]].decode("utf-8", "surrogatepass"), self._chain(last)

    def _chain(self, last: int) -> list[tuple[int, str]]:
        found = []
        while last >= 0:
            text = self._blob[self._texts[last] : self._stops[last]].decode("utf-8", "surrogatepass")
            found.append((self._files[last], text))
            last = self._former[last]
        found.reverse()
        return found

    def _slot(self, key: bytes) -> int:
        """Return where a name is, or where it would be."""
        slots, names, ends, blob = self._slots, self._names, self._ends, self._blob
        mask, size = len(slots) - 1, len(key)
        slot = crc32(key) & mask
        while (last := slots[slot]) >= 0:
            at = names[last]
            if ends[last] - at == size and blob.startswith(key, at):
                break
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        lasts = [last for last in self._slots if last >= 0]
        self._slots = array("i", [-1]) * (4 * len(self._slots))
        for last in lasts:
            self._slots[self._slot(bytes(self._blob[self._names[last] : self._ends[last]]))] = last


class Enumerators:
    """What each enumerator stands for, and in which files: names such as LED_MODE are those of several enums.

    One text a name, "file text" for each that defines it: with lists of pairs a kernel's would take twice the room.
    """

    def __init__(self) -> None:
        """Know none."""
        self._texts: dict[str, str] = {}

    def add(self, file: int, name: str, text: str) -> None:
        """Note that an enum of `file` has a name that stands for some text."""
        known = self._texts.get(name)
        self._texts[name] = f"{file} {text}" if known is None else f"{known}{_BETWEEN}{file} {text}"

    def get(self, name: str) -> list[tuple[int, str]]:
        """Return the (file, text) pairs of a name in the order in which they were added, none for an unknown one."""
        known = self._texts.get(name)
        return [] if known is None else _pairs(known)

    def __contains__(self, name: str) -> bool:
        """Tell whether some enum has a name."""
        return name in self._texts

    def items(self) -> Iterator[tuple[str, list[tuple[int, str]]]]:
        """Yield all names with their (file, text) pairs."""
        yield from ((name, _pairs(known)) for name, known in self._texts.items())


def _pairs(known: str) -> list[tuple[int, str]]:
    split = (one.partition(" ") for one in known.split(_BETWEEN))
    return [(int(file), text) for file, _, text in split]
