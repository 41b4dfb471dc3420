"""What lowering knows of a file beside its tree: the notes of the normaliser, and the plain expressions seen so far."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from tree_sitter import Node

from kgfplint.facts.texts import Texts
from kgfplint.source.normalise import Note


class Marks:
    """The source notes that lowering looks at, by offset, and what it remembers of the file's expressions."""

    def __init__(self, notes: Iterable[Note]) -> None:
        """Sort the notes of one normalised text by kind."""
        self.texts = Texts()
        self._macros: list[Note] = []
        self.cleanups: dict[int, str] = {}
        self.types: dict[int, str] = {}
        self.annotations: list[Note] = []
        self._functions: list[Note] = []
        self.ranges: set[int] = set()
        self._labels: list[Note] = []
        for note in notes:
            if note.kind == "block_macro":
                self._macros.append(note)
            elif note.kind == "cleanup":
                self.cleanups[note.start] = note.text
            elif note.kind == "type_argument":
                self.types[note.end] = note.text
            elif note.kind == "annotation":
                self.annotations.append(note)
            elif note.kind == "case_range":
                self.ranges.add(note.end)
            elif note.kind == "label":
                self._labels.append(note)
            elif note.kind == "macro_function":
                self._functions.append(note)
        self._starts = [note.start for note in self._macros]
        self._type_ends = sorted(self.types)

    def types_within(self, start: int, end: int) -> bool:
        """Tell whether an argument that ends between two offsets was a type."""
        at = bisect_left(self._type_ends, start)
        return at < len(self._type_ends) and self._type_ends[at] <= end

    def label(self, node: Node, data: bytes) -> str:
        """Return the label right before a directive of the text `data`, "" if there is none."""
        at = bisect_right(self._labels, node.start_byte, key=lambda note: note.start) - 1
        return self._labels[at].text if at >= 0 and not data[self._labels[at].end : node.start_byte].strip() else ""

    def block_macro(self, node: Node) -> str | None:
        """Return the name of the macro that a loop or `if` stands for, None for a plain one."""
        if not self._macros:
            return None
        start = node.start_byte
        at = bisect_right(self._starts, start) - 1
        return self._macros[at].text if at >= 0 and start < self._macros[at].end else None

    def function_name(self, node: Node, body: Node) -> str | None:
        """Return the name of the function that a top-level macro defines, None for a plain definition."""
        if not self._functions:
            return None
        first, last = node.start_byte, body.start_byte
        return next((n.text for n in self._functions if first <= n.start < last), None)

    def attributes(self, node: Node, body: Node, data: bytes) -> tuple[str, ...]:
        """Return the attribute words of a function definition's head; `data` is the text that they were taken out of."""
        if not self.annotations:
            return ()
        first, last = node.start_byte, body.start_byte
        at = bisect_left(self.annotations, first, key=lambda note: note.start)
        while at and not data[self.annotations[at - 1].start : first].strip():
            at -= 1  # they may stand before all of it
            first = self.annotations[at].start
        found = []
        for note in self.annotations[at:]:
            if note.start >= last:
                break
            found.append(note.text)
        return tuple(found)
