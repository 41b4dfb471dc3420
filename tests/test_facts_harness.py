"""The harness of the tests of the middle stages: C text in, something short to compare out.

`trace` writes a path through a body as one line: calls as C text, `x = e`, `return e`, `+cls`/`-cls` for
guards, `~p` for a cleanup; conditions are left out.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from kgfplint.catalogue import Catalogue, load, rules_directory
from kgfplint.checks.unit import Unit, text_of
from kgfplint.facts import ir
from kgfplint.facts.lower import Lowered, lower
from kgfplint.gfp import Masks
from kgfplint.ownership.frame import Frame
from kgfplint.ownership.provenance import Provenance
from kgfplint.ownership.summaries import ROUNDS, summarise, telling
from kgfplint.program import Program, link
from kgfplint.program.meaning import Meaning, Summary
from kgfplint.program.order import BottomUp, Calls, Outcome, Wave


def lowered(text: str | bytes) -> Lowered:
    return lower(text.encode() if isinstance(text, str) else text)


def bodies(text: str | bytes) -> dict[str, ir.Body]:
    found = lowered(text)
    return {row.name: body for row, body in zip(found.facts.functions, found.bodies, strict=True)}


def body_of(statements: str) -> ir.Body:
    """The body of a function of these statements; a, b, c and x are parameters."""
    return bodies(f"int f(int a, int b, int c, struct s *x)\n{{\n\t{statements}\n}}\n")["f"]


def word(event: ir.Event) -> str:
    match event:
        case ir.Guard():
            return ("+" if event.enter else "-") + event.cls
        case ir.Cleanup():
            return "~" + event.name
        case ir.Declare():
            return ""
    return text_of(event)


def walks(body: ir.Body, visits: int = 2) -> Iterator[tuple[ir.Event | ir.Edge, ...]]:
    """All paths from the entry to an end, with the edges taken; no block more than `visits` times."""
    stack: list[tuple[int, tuple[ir.Event | ir.Edge, ...], tuple[int, ...]]] = [(0, (), ())]
    while stack:
        number, past, seen = stack.pop()
        if seen.count(number) >= visits:
            continue
        block = body.blocks[number]
        past += block.events
        if not block.edges:
            yield past
        stack.extend((edge.to, (*past, edge), (*seen, number)) for edge in block.edges)


def trace(path: tuple[ir.Event | ir.Edge, ...]) -> str:
    return "; ".join(filter(None, (word(step) for step in path if not isinstance(step, ir.Edge))))


def traces(statements: str, visits: int = 2) -> set[str]:
    """The paths through a function of these statements, without the `return` at the end of its body."""
    end = statements.count("\n") + 4
    paths = (tuple(step for step in path if not isinstance(step, ir.Return) or step.line < end)
             for path in walks(body_of(statements), visits))
    return {trace(path) for path in paths}


@cache
def catalogue() -> Catalogue:
    return load([rules_directory()], None)


class Tree:
    """A program from texts by path, with the summaries of its functions inferred as a run does."""

    def __init__(self, files: Mapping[str, str]) -> None:
        found = {path: lowered(text) for path, text in files.items()}
        self.program: Program = link((path, one.facts) for path, one in found.items())
        self.bodies = [body for one in found.values() for body in one.bodies]
        self.summaries: dict[int, Summary] = {}
        masks = Masks.of_tree(None, None)
        known = catalogue()

        def analyse(wave: Wave) -> list[Outcome]:
            meaning = Meaning(self.program, known, masks, dict(self.summaries))
            fresh = {number: summarise(Frame(number, self.bodies[number], meaning)) for number in wave.functions}
            outcomes = [Outcome(number, summary != self.summaries.get(number), summary is not None, False)
                        for number, summary in fresh.items()]
            self.summaries.update((number, summary) for number, summary in fresh.items() if summary is not None)
            for number in fresh.keys() & self.summaries.keys():
                if fresh[number] is None:
                    del self.summaries[number]
            return outcomes

        BottomUp(Calls(self.program, known.described)).sweep(analyse, telling(self.program, known), ROUNDS)
        last = Meaning(self.program, known, masks, self.summaries)
        self.settled = all(summarise(Frame(number, body, last)) == self.summaries.get(number)
                           for number, body in enumerate(self.bodies))
        self.meaning = Meaning(self.program, known, masks, self.summaries)

    def number(self, name: str) -> int:
        [number] = self.program.defined[name]
        return number

    def unit(self, name: str) -> Unit:
        number = self.number(name)
        return Unit(number, self.bodies[number], self.meaning, Provenance(self.program, {}))

    def summary(self, name: str) -> Summary:
        return self.summaries.get(self.number(name), Summary())


def unit(text: str, name: str = "f") -> Unit:
    """A function of a file with its analyses."""
    return Tree({"a.c": text}).unit(name)


def test_the_harness_enumerates_paths():
    assert traces("if (a)\n\tone();\ntwo();") == {"one(); two()", "two()"}
    assert traces("while (a)\n\tone();") == {"", "one()"}


def test_the_rules_are_those_of_the_checkout():
    assert Path(rules_directory(), "locks.toml").is_file()
