"""Parsing: bytes to a tree-sitter tree of their normalised text."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import tree_sitter_c
from tree_sitter import Language, Parser, Tree

from kgfplint.source.normalise import Note, normalise

LANGUAGE = Language(tree_sitter_c.language())
"""The C grammar, for queries."""
PARSER = Parser(LANGUAGE)
"""One parser per process."""


Spared = TypeVar("Spared")


class Syntax(NamedTuple, Generic[Spared]):
    """A parsed file: the original bytes, the normalised ones, what was taken out, and the tree of the latter.

    `typeof(x)` in a declaration was a single name when the tree was made; in `text` it stands as it was written.
    """

    data: bytes
    text: bytes
    notes: list[Note]
    tree: Tree
    spared: dict[int, Spared]


def parse(data: bytes, spare: Callable[[bytes, int], Spared | None] | None = None) -> Syntax[Spared]:
    """Return the syntax of one C file, with the bodies that `spare` knows left empty; never raises, whatever the bytes."""
    text, notes, spared = normalise(data, spare)
    tree = PARSER.parse(text)
    written = [note for note in notes if note.kind == "typeof"]
    if written:
        restored = bytearray(text)
        for note in written:
            restored[note.start : note.end] = data[note.start : note.end]
        text = bytes(restored)
    return Syntax(data, text, notes, tree, spared)
