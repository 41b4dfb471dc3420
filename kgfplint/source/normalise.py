"""Normalising: C with macros in, C that a grammar can read out, every byte at its old offset."""

from bisect import bisect_left
from collections.abc import Callable
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
    """`text` has the length and the line ends of the input; `notes` tells in order what was taken out.

    `spared` holds the code of function bodies that were left empty, by the offset of their opening brace.
    """

    text: bytes
    notes: list[Note]
    spared: dict[int, bytes]


def normalise(data: bytes, spare: Callable[[bytes, int], bool] | None = None) -> Normalised:
    """Return `data` with comments and preprocessor-only constructs blanked or rewritten in place.

    Pure, linear in the length of `data`, and never raises, whatever the bytes. Function bodies for which `spare` is
    true, called with their code and the offset of their end, are emptied.
    """
    canvas = Canvas(data)
    if canvas.directives:
        settle_conditionals(canvas)
    blank_annotations(canvas)
    regions = Regions(canvas)
    spared = _emptied(canvas, regions, spare) if spare else {}
    rewrite_members(canvas, regions)
    rewrite_toplevel(canvas, regions)
    rewrite_statements(canvas, regions)
    rewrite_arguments(canvas, regions)
    rewrite_blocks(canvas, regions)
    return Normalised(canvas.finish(), sorted(canvas.notes, key=lambda note: note.start), spared)


def _emptied(canvas: Canvas, regions: Regions, spare: Callable[[bytes, int], bool]) -> dict[int, bytes]:
    """Empty function bodies, with the directives in them."""
    spared: dict[int, bytes] = {}
    lines = [line.start for line in canvas.directives]
    for region in regions.all:
        if region.kind == "function":
            body = bytes(canvas.text[region.start : region.end])
            if spare(body, region.end):
                spared[region.start] = body
                canvas.blank(region.start + 1, region.end - 1)
                for index in range(bisect_left(lines, region.start), bisect_left(lines, region.end)):
                    canvas.drop(index)
    return spared
