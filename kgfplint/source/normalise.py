"""Normalising: C with macros in, C that a grammar can read out, every byte at its old offset."""

from bisect import bisect_left
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

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


Spared = TypeVar("Spared")


class Normalised(NamedTuple, Generic[Spared]):
    """`text` has the length and the line ends of the input; `notes` tells in order what was taken out.

    `spared` holds, by the offset of its opening brace, what was said of each function body that was left empty.
    """

    text: bytes
    notes: list[Note]
    spared: dict[int, Spared]


def normalise(data: bytes, spare: Callable[[bytes, int], Spared | None] | None = None) -> Normalised[Spared]:
    """Return `data` with comments and preprocessor-only constructs blanked or rewritten in place.

    Pure, linear in the length of `data`, and never raises, whatever the bytes. A function body of which `spare`, given
    its code and the offset of its end, says anything is emptied.
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


def _emptied(canvas: Canvas, regions: Regions, spare: Callable[[bytes, int], Spared | None]) -> dict[int, Spared]:
    """Empty function bodies, with the directives in them."""
    spared: dict[int, Spared] = {}
    lines = [line.start for line in canvas.directives]
    for region in regions.all:
        if region.kind == "function":
            said = spare(bytes(canvas.text[region.start : region.end]), region.end)
            if said is not None:
                spared[region.start] = said
                canvas.blank(region.start + 1, region.end - 1)
                for index in range(bisect_left(lines, region.start), bisect_left(lines, region.end)):
                    canvas.drop(index)
    return spared
