"""Parsing: bytes to a tree-sitter tree of their normalised text."""

from typing import NamedTuple

import tree_sitter_c
from tree_sitter import Language, Parser, Tree

from kgfplint.source.normalise import Note, normalise

LANGUAGE = Language(tree_sitter_c.language())
"""The C grammar, for queries."""
PARSER = Parser(LANGUAGE)
"""One parser per process."""


class Syntax(NamedTuple):
    """A parsed file: the original bytes, the normalised ones, what was taken out, and the tree of the latter."""

    data: bytes
    text: bytes
    notes: list[Note]
    tree: Tree


def parse(data: bytes) -> Syntax:
    """Return the syntax of one C file; never raises, whatever the bytes."""
    text, notes = normalise(data)
    return Syntax(data, text, notes, PARSER.parse(text))
