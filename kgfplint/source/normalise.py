"""Normalising: C with macros in, C that a grammar can read out, every byte at its old offset."""

from typing import NamedTuple

from kgfplint.source.annotations import blank_annotations
from kgfplint.source.canvas import Canvas, Note
from kgfplint.source.conditionals import settle_conditionals

__all__ = ["Normalised", "Note", "normalise"]


class Normalised(NamedTuple):
    """`text` has the length and the line ends of the input; `notes` tells in order what was taken out."""

    text: bytes
    notes: list[Note]


def normalise(data: bytes) -> Normalised:
    """Return `data` with comments and preprocessor-only constructs blanked or rewritten in place.

    Pure, linear in the length of `data`, and never raises, whatever the bytes.
    """
    canvas = Canvas(data)
    if canvas.directives:
        settle_conditionals(canvas)
    blank_annotations(canvas)
    return Normalised(canvas.finish(), sorted(canvas.notes, key=lambda note: note.start))
