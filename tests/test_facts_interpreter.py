"""Structured C run twice: by an interpreter of the generated statements, and along the control flow graph.

Every call decides something; both runs are given the same answers and must make the same calls.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from test_facts_harness import bodies

from kgfplint.facts import ir
from kgfplint.facts.terms import root

LONGEST = 120
"""Calls after which a run is cut off: the answers may never end a loop."""

calls = st.just(("call",))
tests = st.recursive(
    calls,
    lambda e: st.tuples(st.just("!"), e) | st.tuples(st.sampled_from(["&&", "||", ",", "?:"]), e, e),
    max_leaves=4,
)
values = st.recursive(
    tests,
    lambda e: st.tuples(st.just("?"), tests, e, e) | st.tuples(st.just("of"), e) | st.tuples(st.just("({})"), e, e),
    max_leaves=3,
)
simple = (
    st.tuples(st.sampled_from(["expr", "set", "return", "declare"]), values)
    | st.sampled_from([("break",), ("continue",), ("goto", "again"), ("goto", "out")])
)


def compound(inner):
    block = st.lists(inner, max_size=3).map(tuple)
    cases = st.lists(st.tuples(st.sampled_from([0, 1, 2, None]), block), min_size=1, max_size=3, unique_by=lambda case: case[0])
    return (
        st.tuples(st.just("if"), tests, block, block)
        | st.tuples(st.just("while"), tests, block)
        | st.tuples(st.just("do"), block, tests)
        | st.tuples(st.just("for"), values, tests, values, block)
        | st.tuples(st.just("switch"), calls, cases.map(tuple))
    )


programs = st.lists(st.recursive(simple, compound, max_leaves=6), min_size=1, max_size=4).map(tuple)


def numbered(tree, count: Iterator[int]):
    """Give each call a name of its own."""
    if tree == ("call",):
        return "call", f"c{next(count)}"
    if tree[:1] == ("of",):
        return "of", f"c{next(count)}", numbered(tree[1], count)
    return tuple(numbered(part, count) if isinstance(part, tuple) else part for part in tree)


def spelt(e) -> str:
    match e:
        case ("call", name):
            return f"{name}()"
        case ("of", name, inner):
            return f"{name}({spelt(inner)})"
        case ("!", inner):
            return f"!({spelt(inner)})"
        case ("?", test, then, other):
            return f"({spelt(test)} ? {spelt(then)} : {spelt(other)})"
        case ("({})", first, last):
            return f"({{ {spelt(first)}; {spelt(last)}; }})"
        case (op, left, right):
            return f"({spelt(left)} {op} {spelt(right)})"
    raise AssertionError(e)


def written(s) -> str:
    match s:
        case ("expr", e):
            return spelt(e) + ";"
        case ("set", e):
            return f"v = {spelt(e)};"
        case ("declare", e):
            return f"{{ int w = {spelt(e)}; }}"
        case ("return", e):
            return f"return {spelt(e)};"
        case ("goto", label):
            return f"goto {label};"
        case ("if", e, then, other):
            return f"if ({spelt(e)}) {{ {block(then)} }} else {{ {block(other)} }}"
        case ("while", e, body):
            return f"while ({spelt(e)}) {{ {block(body)} }}"
        case ("do", body, e):
            return f"do {{ {block(body)} }} while ({spelt(e)});"
        case ("for", start, e, step, body):
            return f"for ({spelt(start)}; {spelt(e)}; {spelt(step)}) {{ {block(body)} }}"
        case ("switch", e, cases):
            arms = (f"{'default' if label is None else f'case {label}'}: {block(body)};" for label, body in cases)
            return f"switch ({spelt(e)}) {{ {' '.join(arms)} }}"
    return f"{s[0]};"


def block(statements) -> str:
    return " ".join(map(written, statements))


class Leave(Exception):
    """Control leaves: by break, continue, return, the name of a label, or because the run is long enough."""


class Answers:
    """The calls made so far, and what each is answered."""

    def __init__(self, given: list[int]) -> None:
        self.given = given
        self.made: list[str] = []

    def call(self, name: str) -> int:
        if len(self.made) == LONGEST:
            raise Leave("long")
        self.made.append(name)
        return self.given[len(self.made) % len(self.given)]


class Interpreter:
    """Runs statements as C does."""

    def __init__(self, answers: Answers) -> None:
        self.call = answers.call

    def value(self, e) -> int:
        match e:
            case ("call", name):
                return self.call(name)
            case ("of", name, inner):
                self.value(inner)
                return self.call(name)
            case ("!", inner):
                return int(not self.value(inner))
            case ("&&", left, right):
                return int(bool(self.value(left)) and bool(self.value(right)))
            case ("||", left, right):
                return int(bool(self.value(left)) or bool(self.value(right)))
            case ("?:", left, right):
                return self.value(left) or self.value(right)
            case ("?", test, then, other):
                return self.value(then) if self.value(test) else self.value(other)
            case (_, first, last):
                self.value(first)
                return self.value(last)
        raise AssertionError(e)

    def block(self, statements) -> None:
        for s in statements:
            self.statement(s)

    def statement(self, s) -> None:
        match s:
            case ("if", e, then, other):
                self.block(then if self.value(e) else other)
            case ("while", e, body):
                self.loop(lambda: self.value(e), body)
            case ("do", body, e):
                if self.once(body):
                    self.loop(lambda: self.value(e), body)
            case ("for", start, e, step, body):
                self.value(start)
                self.loop(lambda: self.value(e), body, lambda: self.value(step))
            case ("switch", e, cases):
                self.switch(self.value(e), cases)
            case ("goto", label):
                raise Leave(label)
            case ("return", e):
                self.value(e)
                raise Leave("return")
            case (("break" | "continue") as word,):
                raise Leave(word)
            case (_, e):
                self.value(e)

    def loop(self, test: Callable[[], int], body, step: Callable[[], int] = int) -> None:
        while test() and self.once(body):
            step()

    def once(self, body) -> bool:
        """Run a loop's body; tell whether the loop goes on."""
        try:
            self.block(body)
        except Leave as left:
            if left.args[0] not in ("break", "continue"):
                raise
            return left.args[0] == "continue"
        return True

    def switch(self, subject: int, cases) -> None:
        labels = [label for label, _ in cases]
        first = subject if subject in labels else None
        if first not in labels:
            return
        try:
            for _, body in cases[labels.index(first) :]:
                self.block(body)
        except Leave as left:
            if left.args[0] != "break":
                raise


def interpreted(program, given) -> list[str]:
    answers = Answers(given)
    interpreter = Interpreter(answers)
    end = "again"
    while end == "again":
        try:
            interpreter.call("again")
            interpreter.block(program)
            end = "out"
        except Leave as left:
            end = left.args[0]
    if end == "out":
        answers.made.append("end")
    return answers.made[:LONGEST]


def known(e: ir.Expr, answered: dict[str, int]) -> int:
    match e:
        case ir.CallResult(ir.Name(name), _) | ir.Name(name):
            return answered[name]
        case ir.Number(value):
            return value
        case ir.Unary("!", inner):
            return int(not known(inner, answered))
        case ir.Binary("==", left, right):
            return int(known(left, answered) == known(right, answered))
        case ir.Binary(op, left, right):
            first = bool(known(left, answered))
            return int(first and bool(known(right, answered)) if op == "&&" else first or bool(known(right, answered)))
        case ir.Conditional(condition, then, other):
            return known(then if known(condition, answered) else other, answered)
    raise LookupError(e)


def walked(body: ir.Body, given) -> list[str]:
    """The calls along the edges that the answers choose; a default (no condition) is for when no case fits."""
    answers = Answers(given)
    answered: dict[str, int] = {}
    number: int | None = 0
    while number is not None:
        for event in body.blocks[number].events:
            if isinstance(event, ir.Call):
                try:
                    answered[event.callee.id] = answered[root(event.target or event.callee)] = answers.call(event.callee.id)
                except Leave:
                    return answers.made
            elif isinstance(event, ir.Assign):
                with suppress(LookupError):
                    answered[root(event.target)] = known(event.value, answered)
        fitting = [edge for edge in body.blocks[number].edges
                   if edge.condition is not None and bool(known(edge.condition, answered)) == edge.truth]
        rest = [edge for edge in body.blocks[number].edges if edge.condition is None]
        assert len(fitting) <= 1 and len(rest) <= 1
        number = next((edge.to for edge in (*fitting, *rest)), None)
    return answers.made


def in_a_loop(program) -> tuple:
    """`break` and `continue` need something to leave."""
    return (("do", program, ("call",)),)


@settings(max_examples=250, deadline=None)
@given(programs, st.lists(st.integers(0, 3), min_size=5, max_size=31))
def test_the_graph_runs_like_the_text(program, given):
    program = numbered(in_a_loop(program), iter(range(1000)))
    text = f"void f(void)\n{{\nagain:\n\tagain(); {block(program)}\nout:\n\tend();\n}}\n"
    assert walked(bodies(text)["f"], given)[:LONGEST] == interpreted(program, given), text
