"""What a call means: the catalogue's entry for its name, or the summary inferred for the function it calls."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from kgfplint.catalogue import Alloc, Catalogue, Free
from kgfplint.facts import ir
from kgfplint.facts.terms import is_zero, substitute
from kgfplint.gfp import Mask, Masks
from kgfplint.program.definitions import Definition, definitions_of, takes_mask
from kgfplint.program.link import Program

Values = Mapping[str, Sequence[ir.Expr | None]]
"""Names of locals and parameters with all values assigned to them (None: an unknown one; none: a parameter's own)."""


class LockChange(Struct, frozen=True, array_like=True):
    """One kind of held state that a function changes; `lock` is an expression over its parameters.

    `when` is the return value for which it holds: "always", "zero", "nonzero"; "sometimes": on some paths.
    """

    kind: str
    lock: ir.Expr | None
    when: str = "always"


class Freed(Struct, frozen=True, array_like=True):
    """Memory that a function frees: by what kind of deallocator, and which, as an expression over its parameters."""

    free: Free
    subject: ir.Expr


class ScopeChange(Struct, frozen=True, array_like=True):
    """A reclaim scope of a `kind` that a function begins or ends ("begin", "end") for its caller.

    `cookie` is where the cookie lies, as an expression over its parameters; None: it is returned.
    """

    kind: str
    action: str
    cookie: ir.Expr | None


class Counts(Struct, frozen=True, array_like=True):
    """A parameter (`place`; -1: what is returned) that holds a counted object when a function returns, which only `put` ends.

    `given_up`: where the function fails, it has given the object up itself; `named`: the object has a name of its own.
    """

    place: int
    put: str
    given_up: bool
    named: bool


class Ending(Struct, frozen=True, array_like=True):
    """A parameter that a function frees, at least on some path; `given`: what it calls with it, or with something of it,
    `returned`: with an amount of it, negated.
    """

    place: int
    given: tuple[str, ...]
    returned: tuple[str, ...]


class Summary(Struct, frozen=True, array_like=True):
    """What calling a function does, as far as its callers must know.

    `allocates` it returns fresh memory; `frees` what is freed on every path on which it is not NULL;
    `acquires` held after every return; `releases` dropped on some path without having been taken;
    `assigns` the parameters that a macro assigns to; `returns` False: control does not come back; `scopes` the
    reclaim scopes that every return has begun or ended; `retakes` the kinds of its caller's locks that it drops for a while;
    `hands` what it hands its mask on to, as it came, whatever it does with the memory; `needs` the parameters that it gives
    on to a function that needs memory of a kind, with that function's name; `leave` how a macro returns from its user, with
    `$0` for its first argument; `counts` what it makes a counted object; `failing` what is freed on every path on which it
    fails, and on no other; `ends` what is freed on some path.
    """

    allocates: Alloc | None = None
    frees: tuple[Freed, ...] = ()
    acquires: tuple[LockChange, ...] = ()
    releases: tuple[LockChange, ...] = ()
    assigns: tuple[int, ...] = ()
    returns: bool = True
    scopes: tuple[ScopeChange, ...] = ()
    retakes: tuple[str, ...] = ()
    hands: Alloc | None = None
    needs: tuple[tuple[int, str], ...] = ()
    leave: ir.Return | None = None
    counts: tuple[Counts, ...] = ()
    failing: tuple[Freed, ...] = ()
    ends: tuple[Ending, ...] = ()

    @property
    def drops(self) -> frozenset[str]:
        """The kinds of locks that are not held all the time while the function runs."""
        return frozenset((*self.retakes, *(change.kind for change in self.releases)))


EMPTY = Summary()


class Called(NamedTuple):
    """What a call of a name in a file does: how it allocates, whether it frees, its summary, whether it comes back.

    `locks`: the call may change what is held.
    """

    alloc: Alloc | None
    frees: bool
    summary: Summary
    returns: bool
    locks: bool


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
        self._definitions = definitions_of(program)
        self._called: dict[tuple[int, str], Called] = {}
        self._by_mask: dict[str, bool] = {}

    def definition(self, file: int, name: str) -> Definition:
        """Return which functions `name` means in `file`."""
        return self._definitions.of(file, name)

    def called(self, file: int, name: str) -> Called:
        """Return what a call of `name` in `file` does.

        What the catalogue describes has no summary: what it does stands there, whatever its body says.
        """
        key = file, name
        known = self._called.get(key)
        if known is None:
            known = self._called[key] = self._judged(file, name)
        return known

    def _judged(self, file: int, name: str) -> Called:
        known = self.catalogue
        summary = EMPTY if name in known.described else self.inferred(file, name)
        return Called(
            self._own(file, name) or summary.allocates, name in known.frees or bool(summary.frees), summary,
            summary.returns and name not in self.program.noreturn,
            name in known.locks or name in known.sections or bool(summary.acquires or summary.releases),
        )

    def _own(self, file: int, name: str) -> Alloc | None:
        """Return the allocator of a name; of one that a program defines for itself, nobody knows that it fails."""
        known = self.catalogue.allocs.get(name)
        if known is None or name not in self.program.defined:
            return known
        found = self._definitions.of(file, name).functions
        if not found or not all(self.program.file_of(number).startswith(self.catalogue.apart) for number in found):
            return known
        return replace(known, fails="never")

    def summary(self, file: int, name: str) -> Summary:
        """Return the summary of what `name` means in `file`, EMPTY for a primitive."""
        return self.called(file, name).summary

    def inferred(self, file: int, name: str) -> Summary:
        """Return the summary of what `name` means in `file`, also of what the catalogue describes.

        Where definitions differ, it is what they agree on.
        """
        if not any(number in self.summaries for number in self.program.defined.get(name, ())):
            return EMPTY  # most names are resolved for nothing
        found = [self.summaries.get(target, EMPTY) for target in self._definitions.of(file, name).functions]
        if not found:
            return EMPTY
        first = found[0]
        if all(other == first for other in found[1:]):
            return first
        allocates = first.allocates if all(o.allocates == first.allocates for o in found) else None
        frees = tuple(f for f in first.frees if all(f in o.frees for o in found))
        acquires = tuple(a for a in first.acquires if all(a in o.acquires for o in found))
        # All implement one interface: where one looks as if it dropped a lock and another does not, it was misread.
        releases = tuple(r for r in first.releases if all(r in o.releases for o in found))
        assigns = tuple(sorted({place for o in found for place in o.assigns}))
        scopes = tuple(s for s in first.scopes if all(s in o.scopes for o in found))
        retakes = tuple(kind for kind in first.retakes if all(kind in o.retakes for o in found))
        hands = first.hands if all(o.hands == first.hands for o in found) else None
        counts = first.counts if all(o.counts == first.counts for o in found) else ()
        failing = tuple(f for f in first.failing if all(f in o.failing for o in found))
        ends = first.ends if all(o.ends == first.ends for o in found) else ()
        leaves = all(o.leave is not None for o in found)
        same = all(o.leave == first.leave for o in found)
        leave = (first.leave if same else ir.Return(ir.Unknown("return"), 0, 0)) if leaves else None
        return Summary(allocates, frees, acquires, releases, assigns, any(o.returns for o in found), scopes, retakes, hands,
                       leave=leave, counts=counts, failing=failing, ends=ends)

    def alloc(self, file: int, name: str) -> Alloc | None:
        """Return how a call of `name` allocates, None if it does not (as far as is known)."""
        return self.called(file, name).alloc

    def frees(self, file: int, name: str) -> bool:
        """Tell whether a call of `name` frees something."""
        return self.called(file, name).frees

    def freed(self, file: int, call: ir.Call) -> list[tuple[Free, ir.Expr]]:
        """Return what a call frees: by what kind of deallocator, and which expression of the caller."""
        if not isinstance(call.callee, ir.Name):
            return []
        known = self.catalogue.frees.get(call.callee.id)
        if known is not None:
            nowhere = known.cache is not None and known.cache < len(call.args) and is_zero(call.args[known.cache])
            return [(known, call.args[known.ptr])] if known.ptr < len(call.args) and not nowhere else []
        return self._substituted(file, call, self.summary(file, call.callee.id).frees)

    def freed_by_failing(self, file: int, call: ir.Call) -> list[tuple[Free, ir.Expr]]:
        """Return what a call frees where it fails: by what kind of deallocator, and which expression of the caller."""
        name = call.callee.id if type(call.callee) is ir.Name else ""
        known = self.catalogue.failing.get(name)
        if known is not None:
            return [(known, call.args[known.ptr])] if known.ptr < len(call.args) else []
        return self._substituted(file, call, self.summary(file, name).failing) if name else []

    def _substituted(self, file: int, call: ir.Call, frees: Sequence[Freed]) -> list[tuple[Free, ir.Expr]]:
        values = self.arguments(file, call) if frees else {}
        return [(freed.free, substitute(freed.subject, values)) for freed in frees]

    def arguments(self, file: int, call: ir.Call) -> dict[str, ir.Expr]:
        """Return the arguments of a call by the names of the parameters of (the first of) its callees."""
        name = call.callee.id if isinstance(call.callee, ir.Name) else ""
        targets = self._definitions.of(file, name).functions
        params = self.program.rows[targets[0]].params if targets else ()
        return {param.name: arg for param, arg in zip(params, call.args, strict=False)}

    def returns(self, file: int, call: ir.Call) -> bool:
        """Tell whether control comes back from a call."""
        if type(call.callee) is not ir.Name:
            return True
        return self.called(file, call.callee.id).returns

    def gfp_argument(self, file: int, name: str) -> int | None:
        """Return the position of the mask among the arguments of `name`, None if it takes none."""
        known = self.catalogue.allocs.get(name) or self.catalogue.sleepers.get(name)
        return known.gfp if known is not None else self._definitions.mask(file, name)

    def allocates_by_mask(self, name: str) -> bool:
        """Tell whether something named `name` that takes a mask allocates, itself or through others that take one.

        Some only keep or translate it (mapping_set_gfp_mask()). One that calls what is not in sight may.
        """
        known = self._by_mask.get(name)
        if known is None:
            self._by_mask[name] = False  # in a cycle, others decide
            known = self._by_mask[name] = self._looks_allocating(name)
        return known

    def _looks_allocating(self, name: str) -> bool:
        program, allocs = self.program, self.catalogue.allocs
        if name not in program.defined:
            return self._definitions.promised(name) is not None
        for function in program.defined.get(name, ()):
            for callee, _ in program.calls(function):
                if callee in allocs or callee not in program.defined:
                    return True
                rows = (program.rows[target] for target in program.defined.get(callee, ()))
                masked = any(map(takes_mask, rows))
                if masked and self.allocates_by_mask(callee):
                    return True
            if any(True for _ in program.indirect(function)):
                return True  # an operation that is given the mask
        return False

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
        under_way: dict[str, Mask] = {}

        def lookup(name: str) -> Mask | ir.Expr | None:
            if name in under_way:
                return under_way[name]
            if name in values:
                return assigned(name) if values[name] else None
            return None if name in self.masks.named else self._macro(file, name)

        def assigned(name: str) -> Mask:
            """The join of all values; those that build on the variable itself (`gfp |= x`) come last."""
            under_way[name] = Mask.unknown(name)
            fresh = [v for v in values[name] if not (isinstance(v, ir.Binary) and v.left == ir.Name(name))]
            masks = [Mask.unknown(name) if v is None else self.masks.evaluate(v, lookup) for v in fresh]
            joined = functools.reduce(Mask.join, masks) if masks else Mask.unknown(name)
            for value in values[name]:
                if value is not None and value not in fresh:
                    under_way[name] = joined
                    joined = joined.join(self.masks.evaluate(value, lookup))
            del under_way[name]
            return joined

        return self.masks.evaluate(expr, lookup)

    def _macro(self, file: int, name: str) -> Mask | None:
        found = self.program.macros.get(name)
        own = [text for where, text in found if where == file] or [text for _, text in found]
        return self.masks.parse(own[0]) if own and all(text == own[0] for text in own) else None
