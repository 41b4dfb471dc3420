"""What a call means: the catalogue's entry for its name, or the summary inferred for the function it calls."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from kgfplint.catalogue import Alloc, Catalogue, Free
from kgfplint.facts import ir
from kgfplint.gfp import Mask, Masks
from kgfplint.program.link import Program

Values = Mapping[str, Sequence[ir.Expr | None]]
"""Names of locals and parameters with all values assigned to them (None: an unknown one; none: a parameter's own)."""

GFP_TYPES = frozenset({"gfp_t", "const gfp_t"})


class LockChange(Struct, frozen=True, array_like=True):
    """One kind of held state that a function changes; `lock` is an expression over its parameters.

    `when` is the return value for which it holds: "always", "zero", "nonzero".
    """

    kind: str
    lock: ir.Expr | None
    when: str = "always"


class Summary(Struct, frozen=True, array_like=True):
    """What calling a function does, as far as its callers must know.

    `allocates` it returns fresh memory; `frees` parameters freed on every path on which they are not
    NULL; `acquires` held after every return; `releases` dropped on some path without having been taken.
    """

    allocates: Alloc | None = None
    frees: tuple[Free, ...] = ()
    acquires: tuple[LockChange, ...] = ()
    releases: tuple[LockChange, ...] = ()


EMPTY = Summary()


class Meaning:
    """Answers what calls do, seen from one file after another.

    `summaries` maps function numbers to their summaries; functions without one do nothing of interest.
    """

    def __init__(self, program: Program, catalogue: Catalogue, masks: Masks, summaries: Mapping[int, Summary]) -> None:
        """Bind the program to what is known of the kernel's API."""
        self.program = program
        self.catalogue = catalogue
        self.masks = masks
        self.summaries = summaries
        self._gfp: dict[tuple[int, str], int | None] = {}
        self._found: dict[tuple[int, str], Summary] = {}

    def summary(self, file: int, name: str) -> Summary:
        """Return the summary of what `name` means in `file`; where definitions differ, what they agree on."""
        key = file, name
        known = self._found.get(key)
        if known is None:
            known = self._found[key] = self._agreed(file, name)
        return known

    def _agreed(self, file: int, name: str) -> Summary:
        targets = self.program.resolve(file, name)
        found = [self.summaries.get(target, EMPTY) for target in targets]
        if not found:
            return EMPTY
        first = found[0]
        if all(other == first for other in found[1:]):
            return first
        allocates = first.allocates if all(o.allocates == first.allocates for o in found) else None
        frees = tuple(f for f in first.frees if all(f in o.frees for o in found))
        acquires = tuple(a for a in first.acquires if all(a in o.acquires for o in found))
        releases = tuple(dict.fromkeys(r for o in found for r in o.releases))
        return Summary(allocates, frees, acquires, releases)

    def alloc(self, file: int, name: str) -> Alloc | None:
        """Return how a call of `name` allocates, None if it does not (as far as is known)."""
        return self.catalogue.allocs.get(name) or self.summary(file, name).allocates

    def frees(self, file: int, name: str) -> tuple[Free, ...]:
        """Return what a call of `name` frees."""
        known = self.catalogue.frees.get(name)
        return (known,) if known is not None else self.summary(file, name).frees

    def gfp_argument(self, file: int, name: str) -> int | None:
        """Return the position of the mask among the arguments of `name`, None if it takes none."""
        key = file, name
        if key not in self._gfp:
            self._gfp[key] = self._gfp_argument(file, name)
        return self._gfp[key]

    def _gfp_argument(self, file: int, name: str) -> int | None:
        known = self.catalogue.allocs.get(name)
        if known is not None:
            return known.gfp
        for target in self.program.resolve(file, name):
            for place, param in enumerate(self.program.rows[target].params):
                if param.ctype in GFP_TYPES:
                    return place
        return None

    def mask_of(self, file: int, alloc: Alloc, call: ir.Call, values: Values) -> Mask:
        """Return the mask that an allocating call is given; `values` are those of locals."""
        if alloc.gfp is not None and alloc.gfp < len(call.args):
            return self.evaluate(file, call.args[alloc.gfp], values)
        if alloc.mask is not None:
            return self.masks.parse(alloc.mask)
        return Mask.unknown()

    def evaluate(self, file: int, expr: ir.Expr, values: Values) -> Mask:
        """Return what is known of a mask expression in a function of `file`.

        A local has the join of the values assigned to it; an object-like macro its definition.
        """
        open_names: set[str] = set()

        def lookup(name: str) -> Mask | ir.Expr | None:
            if name in open_names:
                return None
            if name in values:
                assigned = values[name]
                if not assigned:
                    return None
                open_names.add(name)
                masks = [Mask.unknown(name) if value is None else self.masks.evaluate(value, lookup) for value in assigned]
                open_names.discard(name)
                joined = masks[0]
                for mask in masks[1:]:
                    joined = joined.join(mask)
                return joined
            return None if name in self.masks.named else self._macro(file, name)

        return self.masks.evaluate(expr, lookup)

    def _macro(self, file: int, name: str) -> Mask | None:
        found = self.program.macros.get(name, ())
        own = [text for where, text in found if where == file] or [text for _, text in found]
        return self.masks.parse(own[0]) if own and all(text == own[0] for text in own) else None
