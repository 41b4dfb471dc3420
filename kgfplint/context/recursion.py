"""Where masks let reclaim back into code that reclaim waits for: from such code down the calls, to what allocates.

A new kind of state for context.reach: instead of locks it hands down how far reclaim may go, which scopes along the chain
bring every mask down to.
"""

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kgfplint.context.conditions import Guard
from kgfplint.context.flow import Flow, Site
from kgfplint.context.reach import Possible, Reach, Values
from kgfplint.context.sleeping import ALLOWED, MASKED
from kgfplint.context.steps import Assumed, Hit, Hop, Reached, registered
from kgfplint.facts import ir
from kgfplint.facts.terms import names as names_in
from kgfplint.facts.terms import walk
from kgfplint.gfp.policy import Reentry, policy
from kgfplint.program.definitions import GFP_TYPES

_SPOKEN = {2: "GFP_NOFS", 1: "GFP_NOIO"}


@dataclass
class Recursion(Reach):
    """Follows how far reclaim may go. The `context` of its states is the name of a reentry (see gfp.policy), or MASKED for
    functions that were given a mask; `kinds` begin with how far reclaim may go there, as ALLOWED has it, and go on with scopes.
    """

    every: bool = True
    deepest: int = 6

    def roots(self) -> Iterator[Reached]:
        """Yield the functions that reclaim waits for or calls, because of where they are stored."""
        members = {member: entry for entry in policy(self.catalogue.version).reentries.values() for member in entry.members}
        program = self.program
        for (tag, member), key in program.keys.items():
            entry = members.get(f"{tag}.{member}")
            for target, places in program.stored(key) if entry is not None else ():
                assert entry is not None
                name = program.rows[target].name
                hop = registered(target, places, f"{tag}.{member}: {name}() runs in {entry.title}")
                yield Reached(target, (entry.allows,), entry.name, (), f"in {entry.title} ({name}())", hop)

    def sections(self, function: int, sites: Iterable[Site]) -> Iterator[Reached]:
        """Yield what a function calls in a section of its own that reclaim waits for."""
        for site in sites:
            entry = self.entry_of(site)
            if entry is not None and not site.held and not self._deciding.impossible(
                    self.program.rows[function].file, site.guards, {}):
                hop = Hop(None, function, site.line, f"this runs in {entry.title}", mark="root")
                place = f"{self.program.file_of(function)}:{site.line}"
                here = Reached(function, (entry.allows, *site.scopes), entry.name, (), f"in {entry.title} at {place}", hop)
                yield from self._below(here, site, {})

    def at(self, state: Reached, site: Site) -> Iterator[Hit]:
        """Yield the hit if a site itself allocates wrongly in a state."""
        yield from self._hits(state, self._possible(state, Flow((site,))))

    def below(self, state: Reached, site: Site) -> Iterator[Reached]:
        """Yield what a site calls that is possible in a state."""
        for possible, values, kinds in self._possible(state, Flow((site,))):
            if site.sleep is None:
                yield from self._below(state._replace(kinds=kinds), possible, values)

    def entry_of(self, site: Site) -> Reentry | None:
        """Return the kind of section that a site stands in, None if a scope makes up for it."""
        known, kinds = policy(self.catalogue.version).reentries, self.catalogue.kinds
        entry = next((known[kind] for kind in site.scopes if kinds[kind].allows and kind in known), None)
        return entry if entry is not None and self._left(site.scopes) > ALLOWED[entry.allows] else None

    def masked(self, function: int, sites: Iterable[Site]) -> Iterator[Reached]:
        """Yield the functions that are given a mask which may sleep, but keeps reclaim out of something."""
        path = self.program.file_of(function)
        for site in sites:
            said = _SPOKEN.get(site.asks)
            if said is None or site.asks >= self._left(site.scopes):
                continue
            for target in self._definitions.of(self.program.rows[function].file, site.name).functions:
                row = self.program.rows[target]
                hop = Hop(None, function, site.line, f"calls {row.name}() with {said}", mark="root")
                why = f"in {row.name}(), which is given {said} at {path}:{site.line}"
                given = tuple((row.params[place].name, value) for place, value in site.given if place < len(row.params))
                yield Reached(target, ("nofs" if site.asks == 2 else "noio", *site.scopes), MASKED, given, why, hop)

    def _below(self, state: Reached, site: Site, values: Values) -> Iterator[Reached]:
        """Yield the callees of a site: of operations only those that this code may be about, and not what ends a section."""
        ending = self.catalogue.sections.get(site.name)
        if ending is None or ending.action != "release":
            given = [*(hop.function for hop in state.hop.chain()), state.function][1:2] if state.context == MASKED else []
            own = {posixpath.dirname(path) for path in (*self._meant.homes(state), *map(self.program.file_of, given))}
            for below in super()._below(state, site, values):
                if not site.member or self._folder(state.function) in own or self._folder(below.function) in own:
                    yield below

    def _folder(self, function: int) -> str:
        return posixpath.dirname(self.program.file_of(function))

    def _left(self, scopes: Iterable[str]) -> int:
        """Return how far reclaim goes at most in some scopes."""
        return min((ALLOWED[self.catalogue.kinds[scope].leaves] for scope in scopes if scope in self.catalogue.kinds), default=3)

    def _state(self, state: Reached, flow: Flow) -> tuple[object, ...]:
        return state.kinds, state.context == MASKED

    def _possible(self, state: Reached, flow: Flow) -> Iterator[Possible]:
        values = dict(state.values)
        row = self.program.rows[state.function]
        masks = {param.name for param in row.params if param.ctype in GFP_TYPES} if state.context == MASKED else ()
        allowed = ALLOWED[state.kinds[0]]
        for site in flow.sites:
            kinds = (*state.kinds, *site.scopes)
            if site.held or self._left(kinds[1:]) <= allowed or any(self._asks(guard) for guard in site.guards):
                continue
            if masks and any(not names_in(condition).isdisjoint(masks) for condition, _ in site.guards):
                continue
            if not self._deciding.impossible(row.file, site.guards, values) and not self._barred(state, site):
                yield site, values, kinds

    def _assumed(self, state: Reached, site: Site, values: Values) -> tuple[Assumed, ...]:
        """Return what stands under a condition on a parameter; what the caller only hands on is not known here."""
        known, program = ("NULL", "true", "false"), self.program
        told = {name: value for name, value in values.items() if type(value) is not ir.Name or value.id in known
                or value.id in program.defined or program.knows(value.id)}
        return super()._assumed(state, site, told)

    def _asks(self, guard: Guard) -> bool:
        """Tell whether a condition is about how far reclaim may go."""
        words = (term.id if type(term) is ir.Name else term.member if type(term) is ir.Field else "" for term in walk(guard[0]))
        asked = policy(self.catalogue.version).asked
        return any(piece in word.lower() for word in words if word for piece in asked)

    def _hits(self, state: Reached, sites: Iterable[Possible]) -> Iterator[Hit]:
        """Yield the first allocation that lets reclaim go too far: what keeps it out there covers those after it."""
        for site, values, kinds in sites:
            if site.sleep is not None and min(site.sleep.reclaims, self._left(kinds[1:])) > ALLOWED[state.kinds[0]]:
                assumed = (*state.assumed, *self._assumed(state, site, values))
                if not (assumed and state.context == MASKED):
                    yield Hit(state, site, assumed)
                return


def starting(sites: Sequence[Site], sections: Iterable[str]) -> tuple[Site, ...]:
    """Return the sites of a function from which recursion may begin: those in sections, and those that are given a mask."""
    kinds = frozenset(sections)
    return tuple(site for site in sites if site.asks in _SPOKEN or not kinds.isdisjoint(site.scopes))
