"""Building a control flow graph: blocks, edges, loops, labels and what runs at the end of scopes."""

from collections.abc import Iterator

from kgfplint.facts import ir


class OpenBlock:
    """A basic block under construction."""

    __slots__ = ("edges", "end", "events", "line", "number")

    def __init__(self) -> None:
        """Start without events and edges."""
        self.events: list[ir.Event] = []
        self.edges: list[tuple[OpenBlock, ir.Expr | None, bool]] = []
        self.line = 0
        self.end: OpenBlock | None = None
        self.number = -1


Scope = list[ir.Event]
"""What runs when a scope is left, in order of registration (it runs backwards)."""
Place = list[tuple[Scope, int]]
"""The scopes around a label or goto, outermost first, each with how much it had registered there."""


class Builder:
    """Collects blocks while statements are lowered in source order.

    `current` is where events go. Scopes hold exit events of guards and cleanup variables; leaving
    one by return, break, continue or goto runs them.
    """

    def __init__(self) -> None:
        """Start with an empty entry block and the scope of the body."""
        self.entry = self.current = OpenBlock()
        self.scopes: list[Scope] = []
        self.loops: list[tuple[OpenBlock | None, OpenBlock, int]] = []
        self.labels: dict[str, tuple[OpenBlock, Place]] = {}
        self.gotos: list[tuple[OpenBlock, str, Place]] = []

    def emit(self, event: ir.Event) -> None:
        """Append an event to the current block."""
        self.current.events.append(event)

    def link(self, to: OpenBlock, condition: ir.Expr | None = None, truth: bool = True) -> None:
        """Add an edge from the current block."""
        self.current.edges.append((to, condition, truth))

    def go(self, to: OpenBlock) -> None:
        """Fall through to `to` and go on there."""
        self.link(to)
        self.current = to

    def branch(self, condition: ir.Expr | None, line: int, then: OpenBlock, other: OpenBlock) -> None:
        """End the current block with a two-way branch; a constant condition keeps one edge."""
        self.current.line = line
        value = condition.value if isinstance(condition, ir.Number) else None
        if value is None or value:
            self.link(then, None if value else condition, True)
        if value is None or not value:
            self.link(other, None if value == 0 else condition, False)

    def decide(self, value: ir.Expr, line: int, then: OpenBlock, other: OpenBlock) -> None:
        """Branch on an expression, splitting `&&`, `||`, `!` and relations of truth values into edges of single conditions."""
        if type(value) is ir.Unary and value.op == "!":
            self.decide(value.operand, line, other, then)
        elif type(value) is ir.Binary and value.op in ("&&", "||"):
            middle = OpenBlock()
            self.decide(value.left, line, *((middle, other) if value.op == "&&" else (then, middle)))
            self.current = middle
            self.decide(value.right, line, then, other)
        elif type(value) is ir.Binary and value.op in _RELATIONS and _is_truth(value.left) and _is_truth(value.right):
            same, differ = (then, other) if value.op == "==" else (other, then)
            holds, fails = OpenBlock(), OpenBlock()
            self.decide(value.left, line, holds, fails)
            self.current = holds
            self.decide(value.right, line, same, differ)
            self.current = fails
            self.decide(value.right, line, differ, same)
        else:
            self.branch(value, line, then, other)

    def stop(self) -> None:
        """What follows cannot be reached from here (until a label)."""
        self.current = OpenBlock()

    def enter_scope(self) -> None:
        """Open a scope."""
        self.scopes.append([])

    def leave_scope(self) -> None:
        """Close the innermost scope, running what it registered."""
        for event in reversed(self.scopes.pop()):
            self.emit(event)

    def at_exit(self, event: ir.Event) -> None:
        """Register an event for the end of the innermost scope."""
        if self.scopes:
            self.scopes[-1].append(event)

    def unwind(self, depth: int) -> None:
        """Run the exits of all scopes deeper than `depth` without closing them."""
        for scope in reversed(self.scopes[depth:]):
            for event in reversed(scope):
                self.emit(event)

    def leave_loop(self, again: bool) -> None:
        """Lower `continue` (again) or `break`; outside any loop it ends the path."""
        for head, after, depth in reversed(self.loops):
            target = head if again else after
            if target is not None:
                self.unwind(depth)
                self.link(target)
                break
        self.stop()

    def label(self, name: str) -> None:
        """Place a label here."""
        block = OpenBlock()
        self.go(block)
        self.labels[name] = block, self._place()

    def goto(self, name: str) -> None:
        """Jump to a label, known or yet to come."""
        self.gotos.append((self.current, name, self._place()))
        self.stop()

    def _place(self) -> Place:
        return [(scope, len(scope)) for scope in self.scopes]

    def finish(self) -> tuple[ir.Block, ...]:
        """Resolve gotos, skip empty blocks, and return what the entry reaches, in reverse post-order."""
        for block, name, place in self.gotos:
            if name in self.labels:
                target, kept = self.labels[name]
                block.events.extend(_exits(place, kept))
                block.edges.append((target, None, True))
        order = _reverse_post_order(self.entry)
        for number, block in enumerate(order):
            block.number = number
        return tuple([
            ir.Block(
                tuple(block.events),
                tuple([ir.Edge(to.number, condition, truth) for to, condition, truth in block.edges]),
                block.line,
            )
            for block in order
        ])


_RELATIONS = frozenset({"==", "!=", "^"})
_TRUTHS = frozenset({"==", "!=", "<", "<=", ">", ">=", "&&", "||"})


def _is_truth(expr: ir.Expr) -> bool:
    """Tell whether an expression is 0 or 1 by its form."""
    return (type(expr) is ir.Unary and expr.op == "!") or (type(expr) is ir.Binary and expr.op in _TRUTHS)


def _exits(left: Place, reached: Place) -> list[ir.Event]:
    """What a jump runs: the exits of the scopes it leaves, and in a shared scope those registered behind the label."""
    exits: list[ir.Event] = []
    for depth in reversed(range(len(left))):
        scope, count = left[depth]
        shared = depth < len(reached) and reached[depth][0] is scope
        exits.extend(reversed(scope[reached[depth][1] if shared else 0 : count]))
    return exits


def _beyond(block: OpenBlock) -> OpenBlock:
    """Return where an edge to a block ends, led past blocks that hold nothing and only go on."""
    if block.events or len(block.edges) != 1:
        return block
    path: list[OpenBlock] = []
    while block.end is None and not block.events and len(block.edges) == 1 and block not in path:
        path.append(block)
        block = block.edges[0][0]
    end = block.end or block
    for passed in path:
        passed.end = end
    return end


def _reverse_post_order(entry: OpenBlock) -> list[OpenBlock]:
    """Order reachable blocks so that, loops aside, each comes after its predecessors; their edges skip empty blocks."""
    if not entry.edges:
        return [entry]
    entry.number = 0
    done: list[OpenBlock] = []
    stack = [(entry, _led(entry))]
    while stack:
        block, edges = stack[-1]
        for child, _, _ in edges:
            if child.number < 0:
                child.number = 0
                stack.append((child, _led(child)))
                break
        else:
            done.append(block)
            stack.pop()
    done.reverse()
    return done


def _led(block: OpenBlock) -> Iterator[tuple[OpenBlock, ir.Expr | None, bool]]:
    """Lead the edges of a block past empty ones; return an iterator over them."""
    block.edges = [(_beyond(to), condition, truth) for to, condition, truth in block.edges]
    return iter(block.edges)
