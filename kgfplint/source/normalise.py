"""Normalising: C with macros in, C that a grammar can read out, every byte at its old offset."""

from typing import NamedTuple

from kgfplint.source.annotations import blank_annotations
from kgfplint.source.arguments import rewrite_arguments
from kgfplint.source.blocks import rewrite_blocks
from kgfplint.source.canvas import Canvas, Note
from kgfplint.source.conditionals import settle_conditionals
from kgfplint.source.members import rewrite_members
from kgfplint.source.regions import Regions
from kgfplint.source.statements import rewrite_statements
from kgfplint.source.toplevel import rewrite_toplevel

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
    regions = Regions(canvas)
    rewrite_members(canvas, regions)
    rewrite_toplevel(canvas, regions)
    rewrite_statements(canvas, regions)
    rewrite_arguments(canvas, regions)
    rewrite_blocks(canvas, regions)
    return Normalised(canvas.finish(), sorted(canvas.notes, key=lambda note: note.start))
