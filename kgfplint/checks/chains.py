"""From a chain of calls to what sleeps, to a finding: where it stands, its steps, and the words for them."""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from kgfplint.checks import CheckModule, Rule
from kgfplint.context.flow import Site
from kgfplint.context.reach import Reach
from kgfplint.context.recursion import Recursion
from kgfplint.context.sleeping import ANYWHERE, RAW
from kgfplint.context.steps import Hit, Reached
from kgfplint.facts import ir
from kgfplint.findings import Finding, Mark, Severity, Step
from kgfplint.gfp.policy import Reentry, policy
from kgfplint.program.link import Program

_PLAIN, _LONG = 4, 5
"""Steps before what sleeps: so many are plain to see; more than so many convince few."""


class Chain:
    """How something that sleeps is reached from a lock or an atomic root.

    The finding stands on what sleeps if the code that makes it wrong is in the same file; else on the last call in
    that file: whoever calls code of others under a lock is to blame, not the code that is called.
    """

    def __init__(self, hit: Hit, program: Program, does: str = "", entry: Reentry | None = None) -> None:
        """Look at a hit; `does` is what the allocation does wrong there, as words for the last step, `entry` the code that
        reclaim must not come back into.
        """
        self.does = does
        self.entry = entry
        assert hit.site.sleep is not None
        self.sleep = hit.site.sleep
        self.state = hit.state
        self._assumed = hit.assumed
        self._site = hit.site
        self._program = program
        self._hops = hit.state.hop.chain()
        # The first hop is a registration, which may stand anywhere, or a lock, whose holder makes the first call.
        functions = [*(hop.function for hop in self._hops[1:]), hit.state.function]
        home = program.rows[functions[0]].file
        self._functions = functions
        here = [place for place, function in enumerate(functions) if self._stands_in(function, home)]
        self._at = len(functions) - 1 if not here else here[-1]
        self.file = program.rows[functions[self._at]].file

    def _stands_in(self, function: int, file: int) -> bool:
        row = self._program.rows[function]
        return row.file == file and not row.flags & ir.MACRO

    @property
    def why(self) -> str:
        """The reason why sleeping is wrong, with the functions in between: "under … taken at … via a() → b()"."""
        via = " → ".join(f"{name}()" for name in self.names[1:])
        return f"{self.state.why} via {via}" if via else self.state.why

    @property
    def names(self) -> Sequence[str]:
        """The names of the functions of the chain, down to the one that allocates."""
        return [self._program.rows[function].name for function in self._functions]

    @property
    def lazy(self) -> bool:
        """Whether what is allocated is kept, and only allocated where it is not there yet, as it is if others came first."""
        return self._site.kept and (self._site.key.startswith(f"{self._site.once} = ") or self.unlikely)

    @property
    def unlikely(self) -> bool:
        """Whether something is assumed that is more often wrong than right."""
        return any(one.seldom for one in self._assumed)

    @property
    def param_types(self) -> frozenset[str]:
        """The types of what the functions of the chain are given."""
        rows = (self._program.rows[function] for function in (self._hops[0].function, *self._functions))
        return frozenset(param.ctype for row in rows for param in row.params)

    @property
    def certain(self) -> bool:
        """Whether nothing is assumed, and the steps are few enough to be plain."""
        return not self._assumed and len(self._hops) <= _PLAIN

    @property
    def provided(self) -> str:
        """What the chain assumes, as the end of the reason: ", provided that …"."""
        assumed = self._assumed
        more = f", and {len(assumed) - 1} more" if len(assumed) > 1 else ""
        return f", provided that {assumed[0].text}{more}" if assumed else ""

    def severity(self) -> Severity:
        """An error if it is plain, a warning if it needs one assumption, a note if it needs more or is long."""
        rarely = self.sleep.perhaps and self.sleep.unless is None
        # That a driver comes to a line of its own is easily believed, however often it has to.
        assumed = sum(not one.near for one in self._assumed) + any(one.near for one in self._assumed) + rarely
        seldom = self.unlikely or (rarely and self.sleep.where == ANYWHERE)
        if assumed > 1 or seldom or len(self._hops) > _LONG:
            return Severity.NOTE
        return Severity.WARNING if assumed or len(self._hops) > _PLAIN else Severity.ERROR

    def steps(self) -> Sequence[Step]:
        """Return the steps from the root to what sleeps."""
        program = self._program
        steps = [Step(hop.path(program), hop.line, program.rows[hop.function].name, hop.note, hop.mark) for hop in self._hops]
        does = self.does or ("" if self.sleep.where == RAW else " may sleep")
        mark: Mark = "free" if self.sleep.frees else "alloc"
        function = self.state.function
        what = f"{self.sleep.what}{does}"
        return [*steps, Step(program.file_of(function), self._site.line, program.rows[function].name, what, mark)]

    def finding(self, rule: Rule, message: str, severity: Severity | None = None) -> Finding:
        """Return the finding of a rule."""
        function, site = self._functions[self._at], self._site
        path, name = self._program.file_of(function), self._program.rows[function].name
        line, column, end, key = site.line, site.column, site.end_line, site.key
        if self._at < len(self._functions) - 1:
            hop = self._hops[self._at + 1]
            line, column, end, key = hop.line, hop.column, hop.line, f"{hop.note}: {site.key}"
        return Finding(rule.code, rule.name, rule.severity if severity is None else severity, path, line, column, end, name,
                       message, tuple(self.steps()), key=key)


def across(reach: Reach, starts: Iterable[tuple[int, Sequence[Site], Sequence[Site]]], checks: Sequence[CheckModule],
           targets: Collection[int], told: set[tuple[str, str, int]]) -> Iterator[Finding]:
    """Yield the findings that take more than one function, in files of `targets`, each place once.

    `starts` are functions with what they call under locks of their own, and with masks that forbid to sleep; `told` are
    the places (code, path, line) that a finding stands on already.
    """
    begun = list(starts)
    held = (state for function, under, _ in begun for state in reach.under(function, under))
    masked = (state for function, _, sites in begun for state in reach.told(function, sites))
    hits = reach.follow(itertools.chain(held, reach.roots(), masked))
    rules = [check.reached for check in checks if hasattr(check, "reached")]
    yield from _judged((Chain(hit, reach.program) for hit in hits), rules, targets, told)


def recursions(reach: Recursion, starts: Iterable[tuple[int, Sequence[Site]]], tainted: Iterable[tuple[Site, Reached]],
               checks: Sequence[CheckModule], targets: Collection[int], told: set[tuple[str, str, int]]) -> Iterator[Finding]:
    """Yield the findings of masks that let reclaim in again; `starts` are functions with the sites that it may begin at,
    `tainted` sites under locks that reclaim waits for, with their state.
    """
    begun, locked = list(starts), list(tainted)
    sections = (state for function, sites in begun for state in reach.sections(function, sites))
    masked = (state for function, sites in begun for state in reach.masked(function, sites))
    at_once = (hit for site, state in locked for hit in reach.at(state, site))
    under = (below for site, state in locked for below in reach.below(state, site))
    hits = itertools.chain(at_once, reach.follow(itertools.chain(reach.roots(), sections, under, masked)))
    entries = policy(reach.catalogue.version).reentries
    chains = (Chain(hit, reach.program, ": reclaim comes in again", entries.get(hit.state.context)) for hit in hits)
    rules = [check.recursed for check in checks if hasattr(check, "recursed")]
    yield from _judged(chains, rules, targets, told)


def _judged(chains: Iterable[Chain], rules: Sequence[Callable[[Chain], Iterator[Finding]]], targets: Collection[int],
            told: set[tuple[str, str, int]]) -> Iterator[Finding]:
    for chain in chains:
        for finding in (finding for rule in rules for finding in rule(chain)) if chain.file in targets else ():
            place = finding.code, finding.path, finding.line
            if place not in told:
                told.add(place)
                yield finding
