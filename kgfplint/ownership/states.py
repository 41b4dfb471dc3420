"""What the simulation of paths is about: objects and their states, where they come from, what happens to them."""

from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.ownership import ops
from kgfplint.ownership.conditions import Known

MAYBE, VALID, NULL, ERROR, UNKNOWN = range(5)
"""What is known of a pointer: untested result of an allocator, tested, NULL, error pointer, anything."""


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
    "use-after-free", "freed-error". `event` is where; `line` its line; `earlier` the line of the first free.
    """

    kind: str
    origin: Origin
    lvalue: str
    event: ir.Event | None
    line: int
    free: ops.Release | None = None
    earlier: int = 0


class Exit(NamedTuple):
    """A return: what the value is (origin and state), which parameters were freed or NULL, which lvalues, what those hold."""

    event: ir.Return
    origin: Origin | None
    state: int
    freed: frozenset[int]
    null_params: frozenset[int]
    freed_lvalues: frozenset[int]
    stored: dict[int, Origin]


class Object(NamedTuple):
    """The state of one object on a path: its pointer's state and the line of its free (0: alive; negative: softly)."""

    state: int
    freed: int = 0


class State(NamedTuple):
    """One ownership state: lvalue → object number, object number → object, and facts."""

    values: dict[int, int]
    objects: dict[int, Object]
    facts: dict[int, Known]

    def key(self) -> tuple[frozenset[tuple[int, int]], frozenset[tuple[int, Object]]]:
        """The part by which states are told apart."""
        return frozenset(self.values.items()), frozenset(self.objects.items())
