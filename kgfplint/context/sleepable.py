"""Which functions surely run where sleeping is allowed: those that only code calls, or registers, that may sleep.

A function that others may reach in ways that are not seen proves nothing: it is open.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kgfplint.catalogue import Callback, Catalogue
from kgfplint.context.flow import Flow, is_plain
from kgfplint.context.steps import Hop
from kgfplint.facts import ir
from kgfplint.program.link import Program

_DEEPEST = 4
"""So many calls above a function are looked at."""
_MOST_CALLERS = 12
_COMMENT = re.compile(rb"/\*.*?(?:\*/|\Z)|//[^\n]*", re.DOTALL)
_Use = tuple[str, Sequence[Callback], int]
"""What registers a function ("INIT_WORK()", "file_operations.open"), what is known of it, and the line."""


@dataclass
class Sleepable:
    """Proves that functions may sleep; `flows` returns the flows of functions by number, `text` the bytes of a file."""

    program: Program
    catalogue: Catalogue
    flows: Callable[[Sequence[int]], Mapping[int, Flow]]
    text: Callable[[int], bytes]
    _read: tuple[int, bytes] = (-1, b"")
    _opened: dict[int, Flow] = field(default_factory=dict)
    _uses: dict[int, tuple[tuple[str, int], ...] | None] = field(default_factory=dict)
    _proofs: dict[int, "Hop | None"] = field(default_factory=dict)

    def proofs(self, functions: Collection[int]) -> dict[int, Hop]:
        """Return, for those of some functions that may surely sleep, the last step of a chain that shows it."""
        self._gather(functions)
        found = ((function, self._proof(function, _DEEPEST)) for function in sorted(functions))
        return {function: hop for function, hop in found if hop is not None}

    def is_denied(self, function: int) -> bool:
        """Tell whether a function is registered to run where sleeping is wrong, whatever it does."""
        row = self.program.rows[function]
        uses = (*self._handed.get((row.file, row.name), ()), *self._bound.get(function, ()))
        return any(self.catalogue.contexts[callback.context].atomic for _, known, _ in uses for callback in known)

    def _gather(self, functions: Collection[int]) -> None:
        """Open the callers of functions, and theirs, as far as all of them are known."""
        front = set(functions)
        wanted: set[int] = set()
        for _ in range(_DEEPEST):
            closed = [function for function in sorted(front) if self._registered(function) is not None]
            callers = {caller for function in closed for caller in self.program.callers_in_file(function)}
            front = callers - wanted
            wanted |= callers
        self._opened.update(self.flows(sorted(wanted)))

    def _proof(self, function: int, depth: int) -> Hop | None:
        """Return the step from what calls or registers a function; all ways to it were found to allow sleeping."""
        if function in self._proofs:
            return self._proofs[function]
        self._proofs[function] = None  # what only calls itself proves nothing
        proof = self._judged(function, depth)
        if proof is None and depth < _DEEPEST:
            del self._proofs[function]  # from nearer by there may be one
        else:
            self._proofs[function] = proof
        return proof

    def _judged(self, function: int, depth: int) -> Hop | None:
        registered = self._registered(function)
        callers = self.program.callers_in_file(function)
        if registered is None or not depth or len(callers) > _MOST_CALLERS:
            return None
        hops = [Hop(None, function, line, note, mark="") for note, line in registered]
        for caller in callers:
            hop = self._calling(caller, function, depth)
            if hop is None:
                return None
            hops.append(hop)
        return min(hops, key=lambda hop: len(hop.chain())) if hops else None

    def _calling(self, caller: int, function: int, depth: int) -> Hop | None:
        """Return the step of a call by a function that may sleep, with nothing held; None if one of its calls may be other.

        That a function sleeps which is registered where that is wrong proves nothing: it is a mistake of its own.
        """
        flow, name = self._opened.get(caller), self.program.rows[function].name
        sites = [site for site in flow.sites if site.name == name] if flow is not None else []
        if flow is None or not sites or not all(is_plain(site, self.catalogue) for site in sites) or self.is_denied(caller):
            return None
        above = None
        if not flow.sleepy:
            above = self._proof(caller, depth - 1)
            if above is None:
                return None
        waits = f", and {flow.sleepy}() whatever it is given" if flow.sleepy else ""
        return Hop(above, caller, sites[0].line, f"calls {name}(){waits}", sites[0].column)

    def _registered(self, function: int) -> tuple[tuple[str, int], ...] | None:
        """Return what registers a function to run where it may sleep, with the lines; None where others may reach it."""
        if function not in self._uses:
            row = self.program.rows[function]
            closed = row.flags & ir.STATIC and not row.flags & ir.MACRO and self.program.paths[row.file].endswith(".c")
            found = list(self._registrations(function)) if closed else [None]
            told = tuple(use for use in found if use is not None)
            lines = {line for _, line in told}
            self._uses[function] = told if len(told) == len(found) and self._mentions(function) <= lines else None
        return self._uses[function]

    def _registrations(self, function: int) -> Iterator[tuple[str, int] | None]:
        """Yield where a function is registered; None for what may run it anywhere."""
        row = self.program.rows[function]
        for what, known, line in self._handed.get((row.file, row.name), ()):
            yield self._use(what, known, row.file, line)
        for what, known, line in self._bound.get(function, ()):
            yield self._use(what, known, row.file, line)

    def _use(self, what: str, known: Collection[Callback], file: int, line: int) -> tuple[str, int] | None:
        """Return a registration in words, with its line, None if it need not allow sleeping."""
        contexts = [self.catalogue.contexts[callback.context] for callback in known]
        if not contexts or any(context.atomic for context in contexts):
            return None
        if any(callback.unless and callback.unless.encode() in self.text(file) for callback in known):
            return None
        return f"{what} runs it in {contexts[0].title}", line

    @cached_property
    def _handed(self) -> Mapping[tuple[int, str], Sequence[_Use]]:
        """The registrations by a call, or by a macro at file scope, by file and name of what is handed over."""
        program, found = self.program, dict[tuple[int, str], list[_Use]]()
        given = ((program.rows[where].file, callee, place, name, line) for where, callee, place, name, line in program.handed)
        for file, callee, place, name, line in (*given, *program.declared):
            known = [callback for callback in self.catalogue.callbacks.get(callee, ()) if callback.argument == place]
            found.setdefault((file, name), []).append((f"{callee}()", known, line))
        return found

    @cached_property
    def _bound(self) -> Mapping[int, Sequence[_Use]]:
        """The members of structs that functions are stored in, by function."""
        found = dict[int, list[_Use]]()
        for (tag, member), key in self.program.keys.items():
            stored = self.catalogue.fields.get(f"{tag}.{member}")
            for target, line in self.program.bound.get(key, {}).items():
                found.setdefault(target, []).append((f"{tag}.{member}", [stored] if stored is not None else [], line))
        return found

    def _mentions(self, function: int) -> set[int]:
        """Return the lines that name a function without calling it."""
        row = self.program.rows[function]
        if self._read[0] != row.file:
            self._read = row.file, _COMMENT.sub(lambda comment: b"\n" * comment[0].count(b"\n"), self.text(row.file))
        text = self._read[1]
        name = row.name.encode()
        # Looked for quickly, as it begins with the name: what stands before that is asked afterwards.
        named = re.finditer(name + rb"(?<!\w" + name + rb")\b(?!\s*\()", text)
        return {text.count(b"\n", 0, match.start()) + 1 for match in named}
