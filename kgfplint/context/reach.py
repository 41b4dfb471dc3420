"""Which code runs where sleeping is wrong: from locks and atomic roots down the calls, to what sleeps.

Goes from level to level over the whole program. Only functions that can reach something that sleeps are opened, and only
along calls whose conditions the constants that were handed down do not rule out.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kgfplint.catalogue import Callback, Catalogue
from kgfplint.context.deciding import Deciding, known_of
from kgfplint.context.distances import FAR, NO_KERNEL, Distances, home_of
from kgfplint.context.flow import LITERAL, PRESENT, SMALL, Flow, Place, Site, mentioned
from kgfplint.context.meant import Meant
from kgfplint.context.sleeping import MASKED, forbidden
from kgfplint.context.stated import told_context
from kgfplint.context.steps import Assumed, Hit, Hop, Reached, registered
from kgfplint.facts import ir
from kgfplint.facts.terms import names as names_in
from kgfplint.facts.terms import show, substitute
from kgfplint.program.definitions import GFP_TYPES, definitions_of, takes_mask
from kgfplint.program.link import Program, Row

_DEEPEST = 8
"""Calls between the root and what sleeps: a longer chain convinces nobody."""
_MOST_STATES = 4
"""A function is looked at in so many states (locks, values of parameters), the shortest chains first."""
Values = Mapping[str, ir.Expr]
Possible = tuple[Site, Values, tuple[str, ...]]
"""A site that may be reached, the values of the function's parameters, and the kinds of locks that are still held there."""
_UNREAD = Flow(())


@dataclass
class Reach:
    """Follows contexts through a program, to the functions that are `sleeping` by something of their own.

    `flows` returns the flows of functions by number, of those that can be read; `opened` keeps them. `raw`: only
    contexts count in which nothing at all may be allocated; `every`: those count, too, that may sleep; `deepest`: so many
    calls are followed. `mentions` tells whether a word stands in a file.
    """

    program: Program
    catalogue: Catalogue
    distances: Distances
    sleeping: Iterable[int]
    flows: Callable[[Sequence[int]], Mapping[int, Flow]]
    opened: dict[int, Flow] = field(default_factory=dict)
    raw: bool = False
    every: bool = False
    deepest: int = _DEEPEST
    mentions: Callable[[int, str], bool] = lambda file, word: False

    def __post_init__(self) -> None:
        """Find out which functions can reach something that sleeps."""
        program = self.program
        self._definitions = definitions_of(program)
        self._deciding = Deciding(program, self.catalogue)
        self._meant = Meant(program)
        self._handed: dict[tuple[str, int], list[tuple[int, str, int]]] = {}
        for function, callee, place, given, line in program.handed:
            self._handed.setdefault((callee, place), []).append((function, given, line))
        self._given_names = {given for _, _, _, given, _ in program.handed}
        self._interrupting = {context.name for context in self.catalogue.contexts.values() if context.interrupt}
        self._interrupted: Mapping[int, str] | None = None
        self._deferred = {ctype for context in self.catalogue.contexts.values() for ctype in context.types if not context.atomic}
        self._runs_argument: dict[tuple[int, int], bool] = {}
        self._away = self.distances.to(self.sleeping, self.deepest)
        self._seen: dict[int, set[tuple[object, ...]]] = {}
        self._telling: dict[int, set[str]] = {}

    def _leads(self, target: int, calls: int) -> bool:
        """Tell whether a function that is reached after so many calls leads to something that sleeps."""
        return calls + int(self._away[target]) <= self.deepest

    def roots(self) -> Iterator[Reached]:
        """Yield the functions that run in a context of interest because of where they are registered."""
        program = self.program
        for function, callee, place, given, line in program.handed:
            for callback in self.catalogue.callbacks.get(callee, ()):
                if callback.argument == place:
                    file = program.rows[function].file
                    note = f"{callee}(): {given}() runs in {self._title(callback.context)}"
                    targets = self._given(file, given, callback.member)
                    yield from self._roots(targets, callback, Hop(None, function, line, note, mark="root"))
        for file, macro, place, given, line in program.declared:
            for callback in self.catalogue.callbacks.get(macro, ()):
                if callback.argument == place:
                    note = f"{macro}(): {given}() runs in {self._title(callback.context)}"
                    for target in self._given(file, given, callback.member):
                        yield from self._roots((target,), callback, Hop(None, target, line, note, mark="root"))
        for (tag, member), key in program.keys.items():
            stored = self.catalogue.fields.get(f"{tag}.{member}")
            for target, places in program.stored(key) if stored is not None else ():
                assert stored is not None
                note = f"{tag}.{member}: {program.rows[target].name}() runs in {self._title(stored.context)}"
                yield from self._roots((target,), stored, registered(target, places, note))
        yield from self._documented()

    def _documented(self) -> Iterator[Reached]:
        """Yield the functions whose comments say in which context they run."""
        for number, row in enumerate(self.program.rows):
            context = told_context(row, self.catalogue) if row.annotations else ""
            if context and self._counts(context):
                title = self._title(context)
                hop = Hop(None, number, row.line, f"the comment of {row.name}() says that it runs in {title}", mark="root")
                # Most comments that allow any context are about what a function locks, not about what it allocates.
                assumed = (Assumed(f"the comment of {row.name}() is right", seldom=self.catalogue.contexts[context].vague),)
                yield Reached(number, (), context, (), f"in {title}, as the comment of {row.name}() says", hop, assumed)

    def _title(self, context: str) -> str:
        return self.catalogue.contexts[context].title

    def _given(self, file: int, name: str, member: str) -> Sequence[int]:
        """Return the functions that a name given in a file stands for: itself, or what a member of that object holds."""
        if not member:
            return self._definitions.of(file, name).functions
        stored = self.program.objects.get(name, ())
        return [target for where, place, target in stored if where == file and place == member]

    def _roots(self, targets: Sequence[int], callback: Callback, hop: Hop) -> Iterator[Reached]:
        if self._counts(callback.context):
            for target in targets:
                if not callback.unless or not self.mentions(self.program.rows[target].file, callback.unless):
                    title, name = self._title(callback.context), self.program.rows[target].name
                    holds = self.catalogue.contexts[callback.context].holds
                    yield Reached(target, holds, "" if holds else callback.context, (), f"in {title} ({name}())", hop)

    def _counts(self, context: str) -> bool:
        known = self.catalogue.contexts[context]
        return known.raw if self.raw else known.atomic or self.every

    def under(self, function: int, sites: Iterable[Site]) -> Iterator[Reached]:
        """Yield what a function calls while it holds something itself."""
        file, path = self.program.rows[function].file, self.program.file_of(function)
        for site in () if home_of(path) in NO_KERNEL else sites:
            kinds = tuple(dict.fromkeys(held.kind for held in site.held))
            if not kinds or (self.raw and not any(self.catalogue.kinds[kind].raw for kind in kinds)):
                continue
            if self._goes_on(function, site) and not self._deciding.impossible(file, site.guards, {}):
                last = _telling(site.held)
                place = f"{last.by}({last.lock})"
                hop = Hop(None, function, last.line, f"{place}: no sleeping from here", mark="lock")
                since = f"{place} {'stated' if last.stated else 'taken'} at {path}:{last.line}"
                # In an interrupt as well: what puts its work off there does so.
                here = Reached(function, kinds, self._interrupts().get(function, ""), (), f"under {since}", hop)
                yield from self._below(here, site, {})

    def _goes_on(self, function: int, site: Site) -> bool:
        """Tell whether a site may lead to something that sleeps, without regard to conditions: most do not."""
        row = self.program.rows[function]
        if site.member or any(type(value) is ir.Name for _, value in site.given) or site.name in (one.name for one in row.params):
            return True
        return any(self._away[target] < FAR for target in self._definitions.of(row.file, site.name).functions)

    def _interrupts(self) -> Mapping[int, str]:
        """Return the functions that only run in interrupts, with the context they are registered for."""
        if self._interrupted is None:
            registered = {root.function: root.context for root in Reach.roots(self) if root.context in self._interrupting}
            self._interrupted = {number: context for number, context in registered.items() if not self.distances.callers(number)}
        return self._interrupted

    def told(self, function: int, sites: Iterable[Site]) -> Iterator[Reached]:
        """Yield the functions that are given a mask which forbids to sleep, by what knows it."""
        path = self.program.file_of(function)
        params = {param.name for param in self.program.rows[function].params}
        for site in () if self.raw else sites:
            if site.mask in params:
                continue
            for target in self._definitions.of(self.program.rows[function].file, site.name).functions:
                row = self.program.rows[target]
                hop = Hop(None, function, site.line, f"calls {row.name}() with {site.mask}", mark="root")
                why = f"in {row.name}(), which is given {site.mask} at {path}:{site.line}"
                given = tuple((row.params[place].name, value) for place, value in site.given if place < len(row.params))
                yield Reached(target, (), MASKED, given, why, hop)

    def follow(self, start: Iterable[Reached]) -> Iterator[Hit]:
        """Yield what sleeps wrongly at or below states, the shortest chains first."""
        for state, sites in self.walk(start):
            yield from self._hits(state, sites)

    def walk(self, start: Iterable[Reached]) -> Iterator[tuple[Reached, Sequence[Possible]]]:
        """Yield each function in each state that it is reached in, the shortest chains first, with its sites that are possible.

        Goes only to functions that lead to those that are `sleeping`.
        """
        front = [state for state in start if self._leads(state.function, 0)]
        for calls in range(1, self.deepest + 2):
            if not front:
                return
            missing = sorted({state.function for state in front} - self.opened.keys())
            self.opened.update(self.flows(missing))
            front.sort(key=self._strays)
            below: list[Reached] = []
            for state in front:
                flow = self.opened.get(state.function, _UNREAD)
                if flow.sleepy and not self.every:
                    continue  # nobody calls it where sleeping is wrong, whatever the chain says
                if self._new(state, flow):
                    sites = list(self._possible(state, flow))
                    yield state, sites
                    below.extend(self._next(state, sites))
            front = [state for state in below if self._leads(state.function, calls)]

    def _strays(self, state: Reached) -> bool:
        """Tell whether a chain has left the file where it begins: of two that are equally long the other one is plainer."""
        rows = self.program.rows
        return rows[state.hop.chain()[0].function].file != rows[state.function].file

    def _new(self, state: Reached, flow: Flow) -> bool:
        """Tell whether the function was not yet seen in such a state."""
        telling = self._telling.get(state.function)
        if telling is None:
            telling = self._telling[state.function] = {name for site in flow.sites for name in mentioned(site)}
        values = tuple((name, show(value)) for name, value in state.values if name in telling)
        seen = self._seen.setdefault(state.function, set())
        barred = tuple(place for place, site in enumerate(flow.sites) if self._barred(state, site)) if state.known else ()
        key = values, barred, *self._state(state, flow)
        if key in seen or len(seen) >= _MOST_STATES:
            return False
        seen.add(key)
        return True

    def _state(self, state: Reached, flow: Flow) -> tuple[object, ...]:
        """Return what tells two states of a function apart, beside the values of parameters."""
        # Under one lock or another: a function that does not drop any does the same.
        dropping = any(site.dropped for site in flow.sites)
        return state.kinds if dropping else (), state.context if state.context else bool(state.kinds)

    def _possible(self, state: Reached, flow: Flow) -> Iterator[Possible]:
        values = dict(state.values)
        row = self.program.rows[state.function]
        file = row.file
        masks = {param.name for param in row.params if param.ctype in GFP_TYPES} if state.context == MASKED else ()
        for site in flow.sites:
            if masks and any(not names_in(condition).isdisjoint(masks) for condition, _ in site.guards):
                continue  # it looks at the mask that it is given
            kinds = tuple(kind for kind in state.kinds if kind not in site.dropped)
            # What this function holds itself is the shorter chain.
            open_ = not site.held and (kinds or state.context)
            if open_ and not self._deciding.impossible(file, site.guards, values) and not self._barred(state, site):
                yield site, values, kinds

    def _barred(self, state: Reached, site: Site) -> bool:
        """Tell whether the last caller found out what rules a site out."""
        return state.known is not None and self._deciding.barred(self.program.rows[state.function].file, site, state.known)

    def _hits(self, state: Reached, sites: Iterable[Possible]) -> Iterator[Hit]:
        """Yield the first site that sleeps wrongly: those after it would follow from the same mistake."""
        for site, values, kinds in sites:
            if site.sleep is not None and forbidden(site.sleep, kinds, state.context, self.catalogue):
                if self._spared(site, values):
                    continue
                yield Hit(state, site, (*state.assumed, *self._assumed(state, site, values)))
                return

    def _spared(self, site: Site, values: Values) -> bool:
        """Tell whether what a site is given lets it sleep never: memory that is small, a text that need not be copied."""
        assert site.sleep is not None
        given = {place: values.get(value.id, value) if type(value) is ir.Name else value for place, value in site.given}
        alloc = self.catalogue.allocs.get(site.name)
        if alloc is not None and alloc.constant is not None:
            return given.get(alloc.constant) == LITERAL
        free = self.catalogue.frees.get(site.name)
        return free is not None and site.sleep.perhaps and given.get(free.ptr) == SMALL

    def _next(self, state: Reached, sites: Iterable[Possible]) -> Iterator[Reached]:
        for site, values, kinds in sites:
            if site.sleep is None:
                yield from self._below(state._replace(kinds=kinds), site, values)

    def _below(self, state: Reached, site: Site, values: Values) -> Iterator[Reached]:
        """Yield the callees of a site that lead to something that sleeps."""
        program = self.program
        file = program.rows[state.function].file
        params = {param.name for param in program.rows[state.function].params}
        unknown = params - values.keys()
        state = state._replace(assumed=(*state.assumed, *self._assumed(state, site, values)))
        if site.name in params and site.held:
            yield from self._visited(state, site)
            return
        if site.member:
            stored = self._meant.targets(state.function, site)
            targets: Sequence[int] = self._meant.near(state, stored)
            if len(stored) > 1 or not all(self._meant.together(state, target) for target in stored):
                state = state._replace(assumed=(*state.assumed, Assumed(f"->{site.name}() is the one meant")))
        else:
            definition = self._definitions.of(file, site.name)
            targets = () if site.name in self.catalogue.described else self._meant.general(file, definition.functions)
            yield from self._handed_on(state, site, targets)
        for target in targets:
            row = program.rows[target]
            honours = takes_mask(row) and not (state.context == MASKED and site.mask in params)
            if self._away[target] < FAR and not honours and target != state.function:
                hop = Hop(state.hop, state.function, site.line, f"calls {row.name}()", site.column)
                given = tuple((row.params[place].name, substitute(value, values)) for place, value in site.given
                              if place < len(row.params) and unknown.isdisjoint(names_in(value)))
                yield state._replace(function=target, values=given, hop=hop, known=known_of(site, row))

    def _assumed(self, state: Reached, site: Site, values: Values) -> tuple[Assumed, ...]:
        """Return the first condition on a parameter whose value is not known, that a site stands under.

        That a pointer is not NULL is what most functions ask first, and most often so.
        """
        row = self.program.rows[state.function]
        params = {param.name for param in row.params if values.get(param.name, PRESENT) in (PRESENT, SMALL)}
        near = not self._strays(state)
        asked = ((show(condition), truth) for condition, truth in site.guards
                 if not params.isdisjoint(names_in(condition)) and not (truth and type(condition) is ir.Name))
        unknown = (Assumed(f"{text} is {str(truth).lower()} in {row.name}()", near) for text, truth in asked
                   if text != site.once and not site.spills.startswith(text))
        small = (Assumed(f"{site.spills} in {row.name}()"),) if site.spills else ()
        lazy = site.once and not site.held  # what takes a lock itself there holds it the first time, too
        first = (Assumed(f"{site.once} was not there before", seldom=self._entered_elsewhere(state)),) if lazy else ()
        return (*itertools.islice(unknown, 1), *small, *first)

    def _entered_elsewhere(self, state: Reached) -> bool:
        """Tell whether there are other ways to the functions of a chain: what is done once may have been done there."""
        begun, *below = [*(hop.function for hop in state.hop.chain()[1:]), state.function]
        return any(self.distances.callers(function) > 1 or self.program.rows[function].name in self._given_names
                   for function in below if function != begun)

    def _handed_on(self, state: Reached, site: Site, targets: Sequence[int]) -> Iterator[Reached]:
        """Yield functions that a site gives to one that calls them itself (list_sort(…, compare))."""
        if site.name in self.catalogue.callbacks:
            return
        file = self.program.rows[state.function].file
        if "put" in site.name:
            state = state._replace(assumed=(*state.assumed, Assumed(f"{site.name}() drops the last reference")))
        for place, value in site.given:
            walker = place in self.catalogue.walkers.get(site.name, ())
            if type(value) is ir.Name and (walker or any(self._runs(target, place) for target in targets)):
                for target in self._definitions.of(file, value.id).functions:
                    if self._away[target] < FAR and not takes_mask(self.program.rows[target]):
                        hop = Hop(state.hop, state.function, site.line, f"{site.name}() calls {value.id}()", site.column)
                        yield state._replace(function=target, values=(), hop=hop, known=None)

    def _visited(self, state: Reached, site: Site) -> Iterator[Reached]:
        """Yield the functions that a walker is given, which calls them under a lock of its own."""
        row = self.program.rows[state.function]
        place = [param.name for param in row.params].index(site.name)
        for function, given, line in self._handed.get((row.name, place), ()):
            file = self.program.rows[function].file
            if self._deciding.impossible(row.file, site.guards, self._told(function, line, row)):
                continue
            if state.function in self._definitions.of(file, row.name).functions:
                for target in self._definitions.of(file, given).functions:
                    if self._away[target] < FAR and not takes_mask(self.program.rows[target]):
                        hop = Hop(None, function, line, f"{row.name}(): {given}() is called {state.why}")
                        yield state._replace(function=target, values=(), why=f"{state.why} by {row.name}()", hop=hop, known=None)

    def _told(self, function: int, line: int, row: Row) -> Values:
        """Return the values of the parameters of `row`, which a function calls around a line."""
        if function not in self.opened:
            self.opened.update(self.flows([function]))
        sites = (site for site in self.opened.get(function, _UNREAD).sites
                 if site.name == row.name and site.line <= line <= site.end_line)
        own = {param.name for param in self.program.rows[function].params}
        return {row.params[place].name: value for site in sites for place, value in site.given
                if place < len(row.params) and own.isdisjoint(names_in(value))}

    def _runs(self, target: int, place: int) -> bool:
        """Tell whether a function calls its parameter at `place`."""
        key = target, place
        if key not in self._runs_argument:
            params = self.program.rows[target].params
            name = params[place].name if place < len(params) else ""
            later = not name or params[place].ctype in self._deferred
            self._runs_argument[key] = not later and any(callee == name for callee, _ in self.program.calls(target))
        return self._runs_argument[key]


def _telling(held: Sequence[Place]) -> Place:
    """Return what of some held state tells most: a lock that turns interrupts off, else any lock."""
    off = {(place.by, place.line) for place in held if place.kind == "irq"}
    locks = [place for place in held if place.lock]
    return next((place for place in locks if (place.by, place.line) in off), locks[0] if locks else held[0])
