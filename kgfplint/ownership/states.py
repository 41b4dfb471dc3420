"""What the simulation of paths is about: objects and their states, where they come from, what happens to them."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.ownership import ops
from kgfplint.ownership.conditions import Known
from kgfplint.ownership.failing import failed

MAYBE, VALID, NULL, ERROR, UNKNOWN, DOUBTED = range(6)
"""What is known of a pointer: untested result of an allocator, tested, NULL, error pointer, anything; DOUBTED: a call that was
given an untested one did not fail, so that it may have been tested there."""
PARAM = -100
"""The object that the first parameter points to; the others have the numbers below."""


class Origin(NamedTuple):
    """Where an object comes from: an allocation site, or `what` else ("local", "string", "param", "freed").

    `within` is the object that an address leads into.
    """

    site: ops.Site | None
    what: str
    param: int = -1
    within: int | None = None


class Incident(NamedTuple):
    """Something that happened on some path; what it is worth is for a rule to say.

    kind: "double-free", "free" (every free of a known origin), "unchecked", "null-use", "null-test", "error-test",
    "use-after-free", "freed-error", "in-use" (the cache of living memory is destroyed), "doubted" (used while only callees may
    have tested it: those of `given`, see ops.Handed). `event` is where; `line` its line; `earlier` the line of the first free.
    """

    kind: str
    origin: Origin
    lvalue: str
    event: ir.Event | None
    line: int
    free: ops.Release | None = None
    earlier: int = 0
    given: frozenset[int] = frozenset()


class Object(NamedTuple):
    """The state of one object on a path: its pointer's state and the line of its free (0: alive; negative: softly)."""

    state: int
    freed: int = 0


Given = Mapping[int, frozenset[int]]
Way = tuple[int, ...]
_NONE: frozenset[int] = frozenset()
_SOMEBODY = frozenset((-1,))
_NOBODY: Given = {}


def together(left: Given, right: Given) -> Given:
    """Return who may know the objects on either of two paths: `left` itself if that is all."""
    more = {number: whom | left.get(number, _NONE) for number, whom in right.items() if not whom <= left.get(number, _NONE)}
    return {**left, **more} if more else left


class State:
    """One ownership state: lvalue → object number, object number → object, facts, and who else may know an object.

    `given` holds, by object number, the numbers of the calls that it was handed to (see ops.Handed; -1: it is known elsewhere
    for sure), on any of the paths that are one state here. `loose` tells that an object may be left that nothing points to,
    `way` the calls that failed last of those: paths that come from different failures are not one state, nor are such on which
    nobody may know an object yet and such on which somebody may.
    Once a state has arrived somewhere it is shared, and only a copy may change.
    """

    __slots__ = ("_key", "facts", "given", "loose", "objects", "values", "way")

    def __init__(self, values: dict[int, int], objects: dict[int, Object], facts: dict[int, Known], given: Given = _NOBODY,
                 key: "Key | None" = None, loose: bool = False, way: Way = ()) -> None:
        """Take over the dictionaries; `key` is that of the state, if it is known. `given` is never changed."""
        self.values = values
        self.objects = objects
        self.facts = facts
        self.given = given
        self.loose = loose
        self.way = way
        self._key = key

    def copy(self) -> "State":
        """Return a state that may change."""
        return State(dict(self.values), dict(self.objects), dict(self.facts), self.given, None, self.loose, self.way)

    def with_facts(self, facts: dict[int, Known]) -> "State":
        """Return the state with other facts."""
        return State(self.values, self.objects, facts, self.given, self._key, self.loose, self.way)

    def joined(self, facts: dict[int, Known], given: Given) -> "State":
        """Return the state with other facts, and others who may know its objects."""
        return State(self.values, self.objects, facts, given, self._key, self.loose, self.way)

    def give(self, number: int, to: int) -> None:
        """Note that an object was handed to a call."""
        known = self.given.get(number, _NONE)
        if to not in known:
            self.given = {**self.given, number: known | {to}}

    def learn(self, op: ops.Learn) -> None:
        """Note what a variable is set to."""
        self.facts[op.fact] = op.known

    def adopt(self, op: ops.Adopt) -> None:
        """Note that a variable is set to another one."""
        if op.source in self.facts:
            self.facts[op.fact] = self.facts[op.source]

    def regain(self, op: ops.Regain) -> None:
        """Note that some calls, failed or not, do not know any more what they were given."""
        for number in {self.values[target] for target in op.targets if target in self.values}:
            known = self.given.get(number, _NONE)
            if known:
                left = frozenset(one for one in known if one not in op.calls and failed(one) not in op.calls)
                self.given = {**self.given, number: left}

    def after_failure(self, calls: Collection[int]) -> "State":
        """Return the state once calls that objects were handed to have failed."""
        given = {number: frozenset(failed(one) if one in calls else one for one in whom) for number, whom in self.given.items()}
        way = tuple(calls) if given != self.given else self.way
        return State(self.values, self.objects, self.facts, given, None, self.loose, way)

    def anyhow(self) -> "State":
        """Return the state as one that is not told apart by what failed before, or by who may know of its objects."""
        key = frozenset(self.values.items()), frozenset(self.objects.items()), (), _NONE
        return State(self.values, self.objects, self.facts, self.given, key, self.loose)

    def same_as(self, other: "State") -> None:
        """Note that values and objects are those of another state."""
        self._key = other._key

    def after_success(self, calls: Collection[int]) -> "State":
        """Return the state once calls did not fail: they may well have failed, had they been handed NULL."""
        tested = {number: Object(DOUBTED, thing.freed) for number, thing in self.objects.items() if thing.state == MAYBE
                  and not self.given.get(number, _NONE).isdisjoint(calls)} if calls else {}
        if not tested:
            return self
        return State(self.values, {**self.objects, **tested}, self.facts, self.given, None, self.loose, self.way)

    def doubts(self, number: int) -> frozenset[int]:
        """Return the calls that may have tested an object which they were given; -1: somebody unknown has."""
        given = frozenset(one for one in self.given.get(number, _NONE) if one >= 0)
        return given or (_SOMEBODY if self.objects[number].state == DOUBTED else _NONE)

    def changed(self) -> None:
        """Note that values or objects are others now than when the key was asked for."""
        self._key = None

    def key(self) -> "Key":
        """The part by which states are told apart."""
        if self._key is None:
            self._key = frozenset(self.values.items()), frozenset(self.objects.items()), self.way, self._known()
        return self._key

    def _known(self) -> frozenset[int]:
        """Return the objects that others may know, by their numbers."""
        return frozenset(number for number, whom in self.given.items() if whom and number in self.objects)


Key = tuple[frozenset[tuple[int, int]], frozenset[tuple[int, Object]], Way, frozenset[int]]


class Exit(NamedTuple):
    """A return: what the value is (origin and state), and the ownership there."""

    event: ir.Return
    origin: Origin | None
    state: int
    left: State
    origins: Mapping[int, Origin]

    def frees_param(self, place: int) -> bool:
        """Tell whether what a parameter points to has been freed."""
        thing = self.left.objects.get(PARAM - place)
        return thing is not None and bool(thing.freed)

    def has_null_param(self, place: int) -> bool:
        """Tell whether a parameter is known to be NULL or an error pointer."""
        thing = self.left.objects.get(PARAM - place)
        return thing is not None and thing.state in (NULL, ERROR)

    def frees(self, lvalue: int) -> bool:
        """Tell whether what a tracked lvalue points to has been freed, or the lvalue is NULL."""
        number = self.left.values.get(lvalue)
        return number is not None and bool(self.left.objects[number].freed or self.left.objects[number].state == NULL)

    def stored(self, lvalue: int) -> Origin | None:
        """Return where the living object comes from that a tracked lvalue points to, None if none is known."""
        number = self.left.values.get(lvalue)
        return self.origins[number] if number is not None and not self.left.objects[number].freed else None
