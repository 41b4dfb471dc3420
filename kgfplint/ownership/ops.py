"""The operations that matter for ownership: what the path simulation runs, instead of events.

Tracked lvalues and remembered facts are small numbers; Reduced holds the expressions behind them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kgfplint.catalogue import Alloc, Free
from kgfplint.facts import ir
from kgfplint.ownership.conditions import Known, Test


class Site(NamedTuple):
    """Where memory comes from: the allocating call and what the catalogue says of it."""

    number: int
    alloc: Alloc
    call: ir.Call


class Allocate(NamedTuple):
    """Fresh memory goes to lvalue `target` (-1: to none that is tracked)."""

    target: int
    site: Site


class Release(NamedTuple):
    """Lvalue `subject` (-1: the argument is no lvalue) is freed by a call; `soft`: by one that may unlink it.

    `wrapped`: by a function of the tree, which may free what hangs on it, too.
    """

    subject: int
    argument: ir.Expr
    free: Free
    event: ir.Call | ir.Cleanup
    number: int
    soft: bool = False
    wrapped: bool = False


class Copy(NamedTuple):
    """`target = source`, both tracked."""

    target: int
    source: int


class Set(NamedTuple):
    """`target` gets a constant (NULL, an error pointer), an address, or something unknown ("")."""

    target: int
    what: str


class Shift(NamedTuple):
    """`target = source + n`, perhaps both the same."""

    target: int
    source: int


class Inside(NamedTuple):
    """`target = &source->member`: a place inside what a tracked lvalue points to, of the given kind (see addresses)."""

    target: int
    source: int
    what: str


class Ask(NamedTuple):
    """The error that lvalue `subject` holds is asked for."""

    subject: int
    event: ir.Event


class Forget(NamedTuple):
    """What these lvalues and facts say may have changed; `assigned` is the lvalue that gets another value (-1: a call did it)."""

    targets: tuple[int, ...]
    facts: tuple[int, ...]
    assigned: int = -1


class Learn(NamedTuple):
    """A tested variable gets a known value."""

    fact: int
    known: Known


class Adopt(NamedTuple):
    """A tested variable gets the value of another one."""

    fact: int
    source: int


class Use(NamedTuple):
    """Lvalues whose pointed-to memory an event accesses."""

    targets: tuple[int, ...]
    event: ir.Event | None
    line: int


class Pass(NamedTuple):
    """Lvalues whose value an event hands to a call; `tested`: one that may check it (an assertion macro),
    `forgotten`: one that may take a reference.
    """

    targets: tuple[int, ...]
    event: ir.Event
    tested: bool
    forgotten: bool


class Show(NamedTuple):
    """What lvalue `subject` leads to, or an address within that, is argument `place` of a call."""

    subject: int
    event: ir.Call
    place: int


class Give(NamedTuple):
    """What lvalues point to is known elsewhere from here on: for good (`to` -1), or if a call keeps what it is handed.

    `into` is the lvalue that leads to where it is stored, -1 for none that is tracked.
    """

    targets: tuple[int, ...]
    to: int
    into: int = -1


class Regain(NamedTuple):
    """Lvalues whose memory some calls, by their numbers among `handed`, do not know any more."""

    targets: tuple[int, ...]
    calls: frozenset[int]


class Leave(NamedTuple):
    """A return; `value` is the tracked lvalue returned, or -1."""

    value: int
    event: ir.Return
    site: Site | None


class Stop(NamedTuple):
    """Control does not come back."""


Op = (Allocate | Release | Copy | Set | Shift | Inside | Ask | Forget | Learn | Adopt | Use | Pass | Show | Give | Regain | Leave
      | Stop)


class Branch(NamedTuple):
    """The condition of an edge: about a tracked lvalue (`verdict` how it is tested), or a fact, or neither.

    verdict: "null" (truth of the pointer), "err_ptr", "either" (IS_ERR_OR_NULL), "mention" (in a comparison), "told" (it is
    what a function is given that may fail), "asked" (a function is asked about it), "origin" (perhaps about where it comes from),
    "address" (equal to the address of something), "error" (equal to one error pointer), "same" (equal to lvalue `other`) or "".
    `failed` are calls (see Handed) that failed where it holds, `passed` those that did not.
    """

    lvalue: int
    verdict: str
    truth: bool
    fact: int
    test: Test | None
    uses: tuple[int, ...]
    other: int = -1
    failed: tuple[int, ...] = ()
    passed: tuple[int, ...] = ()


Edge = tuple[tuple[int, ...], Branch | None]
"""Where control goes, to all of some blocks, when a condition holds (None: in any case)."""


class Handed(NamedTuple):
    """An argument that a call may keep: callee ("": not known by name), place, line, and whether what it returns is used.

    `plain`: it goes as a buffer, not as an object; `void`: the call cannot fail.
    """

    callee: str
    place: int
    line: int
    result: bool
    plain: bool
    void: bool


class Reduced(NamedTuple):
    """The operations of a body: per block, with per-edge branches; `lvalues` by number.

    `made` are the lvalues that may point to memory allocated here, `locals` those that end with the function, `stacked`
    members of structs that do, `handed` what Give refers to, `facts` what is remembered of tests, by number.
    """

    blocks: tuple[tuple[Op, ...], ...]
    edges: tuple[tuple[Edge, ...], ...]
    lines: tuple[int, ...]
    lvalues: tuple[ir.Expr, ...]
    sites: tuple[Site, ...]
    made: frozenset[int] = frozenset()
    locals: frozenset[int] = frozenset()
    stacked: frozenset[int] = frozenset()
    handed: tuple[Handed, ...] = ()
    facts: tuple[ir.Expr, ...] = ()


def shortened(
    blocks: Sequence[Sequence[Op]], edges: Sequence[Sequence[tuple[int, Branch | None]]],
) -> tuple[tuple[Edge, ...], ...]:
    """Return the edges, past blocks where nothing happens and nothing is asked: much of a body does not concern memory."""
    passed: dict[int, tuple[int, ...]] = {}
    found: list[tuple[Edge, ...]] = []
    for number in reversed(range(len(blocks))):
        always: dict[int, None] = {}
        asked: list[Edge] = []
        for to, branch in edges[number]:
            if branch is None:
                always.update(dict.fromkeys(passed.get(to, (to,))))
            else:
                asked.append((passed.get(to, (to,)), branch))
        found.append(((tuple(always), None), *asked) if always else tuple(asked))
        if not blocks[number] and not asked and len(always) <= _MOST_WAYS:
            passed[number] = tuple(always)
    return tuple(reversed(found))


_MOST_WAYS = 4
"""A block that leads to more blocks than this is not passed by: each way to it would have as many edges."""
