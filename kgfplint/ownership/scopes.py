"""Following the cookies of reclaim scopes (memalloc_nofs_save() and its kin) along the paths of one function.

A cookie is what the begin of a scope returns and its end takes back. Per block there is one entry for each distinct
state of the cookies, with what is known of tested values joined; a function too rich in states is cut short.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root, substitute, walk
from kgfplint.gfp.policy import policy
from kgfplint.ownership.branches import facts_of, tests_of
from kgfplint.ownership.conditions import ANY, Known, after, constant, join
from kgfplint.program.meaning import Meaning, ScopeChange

_MOST_STATES = 40
_MOST_STEPS = 4000


class Cookie(NamedTuple):
    """What is in a variable: the cookie of a scope of `kind`, begun by a function on a line; `ended` is the line of its end.

    An empty kind is some other value, which nothing is said of.
    """

    kind: str
    by: str = ""
    line: int = 0
    ended: int = 0

    @property
    def open(self) -> bool:
        """Whether the scope has begun and not ended."""
        return bool(self.kind) and not self.ended


class Misuse(NamedTuple):
    """Something wrong with a cookie: what, of which variable, at which event, and whether on every path to there.

    `what` is "open" (returned without an end), "lost" (overwritten), "dropped" (never stored), "other" (ended as a scope of
    another kind, `kind`), "twice" or "never" (ended without a begin).
    """

    what: str
    lvalue: ir.Expr
    cookie: Cookie
    event: ir.Event
    sure: bool = True
    kind: str = ""


Cookies = Mapping[ir.Expr, Cookie]
_OTHER = Cookie("")


class Leaving(NamedTuple):
    """A state in which a function returns: the event, the cookies, and the scopes of callers that it ended."""

    event: ir.Return
    cookies: Cookies


class Scopes:
    """The simulation of one function: `misuses`, and `changes` for its callers."""

    def __init__(self, body: ir.Body, file: int, meaning: Meaning, params: tuple[ir.Param, ...]) -> None:
        """Run to the end; a function that is too rich in states has neither misuses nor changes."""
        self._blocks = body.blocks
        self._file = file
        self._meaning = meaning
        self._policy = policy(meaning.catalogue.version)
        self._params = frozenset(param.name for param in params)
        self._locals = frozenset(local.name for local in body.locals if not local.storage) | self._params
        self._tests = tests_of(body)
        self._facts = facts_of(body, self._tests, ())
        self._at = 0
        self._runs = [0] * len(body.blocks)
        self._found: dict[tuple[int, str, ir.Expr], list[tuple[Misuse, int]]] = {}
        self._ends: dict[int, list[tuple[str, ir.Expr, Cookie, ir.Event]]] = {}
        self._leaving: list[Leaving] = []
        self._own = self._begun()
        complete = bool(self._blocks) and self._run()
        self.misuses: tuple[Misuse, ...] = tuple(self._judged()) if complete else ()
        self.changes: tuple[ScopeChange, ...] = self._told() if complete else ()

    def _begun(self) -> frozenset[str]:
        """The locals that nothing but cookies is ever stored in."""
        begun: set[str] = set()
        other: set[str] = set()
        for event in (event for block in self._blocks for event in block.events):
            if isinstance(event, ir.Call | ir.Assign) and isinstance(event.target, ir.Name):
                is_cookie = isinstance(event, ir.Call) and any(c.action == "begin" and c.cookie is None for c in self._of(event))
                (begun if is_cookie else other).add(event.target.id)
            if isinstance(event, ir.Call):
                other.update(arg.base.id for arg in event.args if isinstance(arg, ir.AddressOf) and isinstance(arg.base, ir.Name))
        return frozenset(begun - other - self._params)

    def _of(self, call: ir.Call) -> tuple[ScopeChange, ...]:
        """Return what a call does to scopes; cookies are expressions of this function, None for the returned one."""
        if not isinstance(call.callee, ir.Name):
            return ()
        name = call.callee.id
        if name in self._policy.begins:
            return (ScopeChange(self._policy.begins[name].kind, "begin", None),)
        if name in self._policy.ends:
            return (ScopeChange(self._policy.ends[name].kind, "end", bare(call.args[0])),) if call.args else ()
        changes = self._meaning.called(self._file, name).summary.scopes
        if not changes:
            return ()
        values = self._meaning.arguments(self._file, call)
        return tuple(ScopeChange(kind, action, None if cookie is None else bare(substitute(cookie, values)))
                     for kind, action, cookie in ((change.kind, change.action, change.cookie) for change in changes))

    def _run(self) -> bool:
        """Run all paths; False when there are too many."""
        known: list[dict[frozenset[tuple[ir.Expr, Cookie]], dict[int, Known]]] = [{} for _ in self._blocks]
        known[0][frozenset()] = {}
        waiting: list[tuple[int, frozenset[tuple[ir.Expr, Cookie]]]] = [(0, frozenset())]
        steps = 0
        while waiting:
            number, key = waiting.pop()
            steps += 1
            if steps > _MOST_STEPS:
                return False
            for to, cookies, facts in self._step(number, dict(key), dict(known[number][key])):
                entry = frozenset(cookies.items())
                before = known[to].get(entry)
                if before is not None:
                    facts = {n: both for n, fact in before.items() if n in facts and (both := join(fact, facts[n])) != ANY}
                    if facts == before:
                        continue
                elif len(known[to]) >= _MOST_STATES:
                    return False
                known[to][entry] = facts
                waiting.append((to, entry))
        return True

    def _step(self, number: int, cookies: dict[ir.Expr, Cookie],
              facts: dict[int, Known]) -> Iterator[tuple[int, dict[ir.Expr, Cookie], dict[int, Known]]]:
        """Run one block; yield what arrives at the next ones."""
        block = self._blocks[number]
        self._at = number
        self._runs[number] += 1
        for place, event in enumerate(block.events):
            self._apply(event, block.events[place + 1 :], block.edges, cookies)
            changed = _changed(event)
            self._forget(event, changed, facts)
            for lvalue in [lvalue for lvalue in cookies if lvalue not in changed and any(t in changed for t in walk(lvalue))]:
                del cookies[lvalue]  # a member of what the variable pointed to before
            if isinstance(event, ir.Return):
                self._leaving.append(Leaving(event, dict(cookies)))
                return
            if isinstance(event, ir.Call) and not self._meaning.returns(self._file, event):
                return
        for edge, test in zip(block.edges, self._tests[number], strict=True):
            arriving = facts
            if test is not None and test.subject in self._facts:
                fact = self._facts[test.subject]
                outcome = after(facts.get(fact, ANY), test)
                if outcome is None:
                    continue
                arriving = {**facts, fact: outcome}
            yield edge.to, cookies, arriving

    def _forget(self, event: ir.Event, changed: list[ir.Expr], facts: dict[int, Known]) -> None:
        """Change what is known of tested values as an event does."""
        flipped = self._flipped(event, facts)
        for target in changed:
            for subject, number in self._facts.items():
                if number in facts and any(term == target for term in walk(subject)):
                    del facts[number]
            value = flipped or (constant(event.value) if isinstance(event, ir.Assign) and not event.op else None)
            if value is not None and target in self._facts:
                facts[self._facts[target]] = value

    def _flipped(self, event: ir.Event, facts: Mapping[int, Known]) -> Known | None:
        """Return what `flag = !flag` makes of a known flag, None for any other event."""
        if not isinstance(event, ir.Assign) or event.op or bare(event.value) != ir.Unary("!", event.target):
            return None
        known = facts.get(self._facts.get(event.target, -1), ANY)
        if (known.lo, known.hi) == (0, 0):
            return Known(1, 1)
        return Known(0, 0) if not known.lo <= 0 <= known.hi or 0 in known.excluded else None

    def _apply(self, event: ir.Event, rest: tuple[ir.Event, ...], edges: tuple[ir.Edge, ...],
               cookies: dict[ir.Expr, Cookie]) -> None:
        """Change the cookies as an event does."""
        if isinstance(event, ir.Call):
            self._call(event, rest, edges, cookies)
        elif isinstance(event, ir.Assign):
            target, source = bare(event.target), bare(event.value)
            moved = cookies.get(source) if not event.op else None
            if moved is not None and moved.open and moved.kind:
                cookies[source] = _OTHER
                self._store(event, target, moved, cookies)
            elif target in cookies or (isinstance(target, ir.Name) and target.id in self._own):
                self._store(event, target, _OTHER, cookies)
            self._given_away(event.value, cookies, source)
        elif isinstance(event, ir.Declare):
            lost = cookies.pop(ir.Name(event.name), None)
            if lost is not None and lost.open:
                self._note("lost", ir.Name(event.name), lost, event)
        elif isinstance(event, ir.Return) and event.value is not None:
            returned = cookies.get(bare(event.value))
            if returned is None:
                self._given_away(event.value, cookies)

    def _call(self, event: ir.Call, rest: tuple[ir.Event, ...], edges: tuple[ir.Edge, ...],
              cookies: dict[ir.Expr, Cookie]) -> None:
        changes = self._of(event)
        name = event.callee.id if isinstance(event.callee, ir.Name) else ""
        target = bare(event.target) if event.target is not None else None
        ended = {change.cookie for change in changes if change.action == "end"}
        for arg in event.args:
            if bare(arg) not in ended:
                self._given_away(arg, cookies)
        for change in changes:
            if change.action == "end" and change.cookie is not None:
                self._end(event, change.kind, change.cookie, cookies)
        begun = [change for change in changes if change.action == "begin"]
        for change in begun:
            cookie = Cookie(change.kind, name, event.line)
            place = change.cookie if change.cookie is not None else target
            if place is not None:
                self._store(event, place, cookie, cookies)
            elif not _taken(event, rest, edges):
                self._note("dropped", event.callee, cookie, event)
        if not begun and target in cookies:
            self._store(event, target, _OTHER, cookies)

    def _store(self, event: ir.Event, target: ir.Expr, cookie: Cookie, cookies: dict[ir.Expr, Cookie]) -> None:
        before = cookies.get(target)
        if before is not None and before.open and isinstance(target, ir.Name) and target.id in self._locals:
            self._note("lost", target, before, event)
        cookies[target] = cookie

    def _end(self, event: ir.Call, kind: str, place: ir.Expr, cookies: dict[ir.Expr, Cookie]) -> None:
        if isinstance(place, ir.Number):
            return
        cookie = cookies.get(place)
        if cookie is None:
            own = isinstance(place, ir.Name) and place.id in self._own
            self._ends.setdefault(id(event), []).append(("never" if own else "", place, Cookie(kind), event))
            cookies[place] = Cookie(kind, "", 0, event.line)
        elif cookie.kind:
            if cookie.open and cookie.kind != kind:
                self._note("other", place, cookie, event, kind)
            # A member may be that of another object by now, or have been given a new cookie by any function.
            what = "twice" if cookie.ended and cookie.ended != event.line and isinstance(place, ir.Name) else ""
            self._ends.setdefault(id(event), []).append((what, place, cookie, event))
            cookies[place] = cookie._replace(ended=event.line)

    def _given_away(self, expr: ir.Expr, cookies: dict[ir.Expr, Cookie], moved: ir.Expr | None = None) -> None:
        """Who is handed a cookie, or where it is, may end its scope: nothing is known of it any more."""
        for term in walk(expr):
            if term in cookies and term != moved and cookies[term].open:
                cookies[term] = _OTHER

    def _note(self, what: str, lvalue: ir.Expr, cookie: Cookie, event: ir.Event, kind: str = "") -> None:
        misuse = Misuse(what, lvalue, cookie, event, True, kind)
        self._found.setdefault((id(event), what, lvalue), []).append((misuse, self._at))

    def _judged(self) -> Iterator[Misuse]:
        """Yield the misuses: those met on the way, ends that some path does not begin, and returns that leave a scope open."""
        for found in self._found.values():
            misuse, block = found[0]
            yield misuse._replace(sure=len(found) == self._runs[block])
        for outcomes in self._ends.values():
            whats = [what for what, *_ in outcomes]
            for wrong in ("twice", "never"):
                if wrong in whats:
                    _, place, cookie, event = outcomes[whats.index(wrong)]
                    yield Misuse(wrong, place, cookie, event, all(what == wrong for what in whats))
        told: set[tuple[ir.Expr, int]] = set()
        for leaving in self._leaving:
            for lvalue, cookie in leaving.cookies.items():
                if (lvalue, cookie.line) not in told and self._stays_open(leaving, lvalue, cookie):
                    told.add((lvalue, cookie.line))
                    here = [other.cookies.get(lvalue) for other in self._leaving if other.event is leaving.event]
                    yield Misuse("open", lvalue, cookie, leaving.event, all(c is not None and c.open for c in here))

    def _stays_open(self, leaving: Leaving, lvalue: ir.Expr, cookie: Cookie) -> bool:
        """Tell whether nobody can end a scope any more; one that is stored elsewhere a failing function has to end itself."""
        if not cookie.open or (leaving.event.value is not None and bare(leaving.event.value) == lvalue):
            return False
        if isinstance(lvalue, ir.Name):
            return lvalue.id in self._locals
        fails = leaving.event.value is not None and (value := constant(leaving.event.value)) is not None and value.hi < 0
        return fails and any(other.cookies.get(lvalue, _OTHER).ended for other in self._leaving)

    def _told(self) -> tuple[ScopeChange, ...]:
        """Return what every return has done to scopes, in terms of parameters and of the returned value."""
        found = [self._changes(leaving) for leaving in self._leaving]
        same = frozenset.intersection(*found) if found else frozenset()
        return tuple(sorted(same, key=repr))

    def _changes(self, leaving: Leaving) -> frozenset[ScopeChange]:
        changes: set[ScopeChange] = set()
        value = bare(leaving.event.value) if leaving.event.value is not None else None
        for lvalue, cookie in leaving.cookies.items():
            if lvalue == value and cookie.open:
                changes.add(ScopeChange(cookie.kind, "begin", None))
            elif root(lvalue) in self._params and cookie.kind:
                if cookie.open and not isinstance(lvalue, ir.Name):
                    changes.add(ScopeChange(cookie.kind, "begin", lvalue))
                elif cookie.ended and not cookie.by:
                    changes.add(ScopeChange(cookie.kind, "end", lvalue))
        if isinstance(value, ir.CallResult):
            call = ir.Call(value.callee, value.args, None, 0, 0, 0)
            changes.update(change for change in self._of(call) if change.action == "begin" and change.cookie is None)
        return frozenset(changes)


def _changed(event: ir.Event) -> list[ir.Expr]:
    """Return the lvalues that an event may give another value."""
    found = [event.target] if isinstance(event, ir.Assign | ir.Call) and event.target is not None else []
    if isinstance(event, ir.Call):
        found += [arg.base for arg in event.args if isinstance(arg, ir.AddressOf)]
    elif isinstance(event, ir.Declare):
        found = [ir.Name(event.name)]
    elif isinstance(event, ir.Evaluate):
        found = [term for term in walk(event.value) if isinstance(term, ir.Name)]
    return [bare(lvalue) for lvalue in found]


def _taken(call: ir.Call, rest: tuple[ir.Event, ...], edges: tuple[ir.Edge, ...]) -> bool:
    """Tell whether the value of a call is used in what is evaluated after it."""
    result = ir.CallResult(call.callee, call.args)
    later: list[ir.Expr] = [edge.condition for edge in edges if edge.condition is not None]
    for event in rest:
        if isinstance(event, ir.Assign | ir.Evaluate | ir.Return) and event.value is not None:
            later.append(event.value)
        elif isinstance(event, ir.Call):
            later.extend(event.args)
    return any(term == result for expr in later for term in walk(expr))
