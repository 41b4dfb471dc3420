"""The order of bottom-up analyses: callees first, cycles together."""

from hypothesis import given, settings
from hypothesis import strategies as st
from test_facts_harness import lowered

from kgfplint.program import Program, link
from kgfplint.program.order import BottomUp, Calls, Former, Outcome, Wave

GRAPHS = st.integers(2, 9).flatmap(lambda n: st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=20)
                                   .map(lambda edges: (n, set(edges))))


def program_of(count: int, edges: set[tuple[int, int]]) -> Program:
    bodies = "".join(f"void f{i}(void) {{ {' '.join(f'f{b}();' for a, b in sorted(edges) if a == i)} }}\n" for i in range(count))
    return link([("a.c", lowered(bodies).facts)])


def reaches(edges: set[tuple[int, int]], start: int) -> set[int]:
    seen: set[int] = set()
    stack = [start]
    while stack:
        node = stack.pop()
        for a, b in edges:
            if a == node and b not in seen:
                seen.add(b)
                stack.append(b)
    return seen


@given(GRAPHS)
@settings(max_examples=60, deadline=None)
def test_groups_are_the_cycles_of_the_call_graph(graph):
    count, edges = graph
    group = BottomUp(Calls(program_of(count, edges))).group
    reach = {node: reaches(edges, node) for node in range(count)}
    for a in range(count):
        for b in range(count):
            together = a == b or (b in reach[a] and a in reach[b])
            assert (group[a] == group[b]) == together


def drive(order: BottomUp, telling: set[int], summed: set[int], former: Former | None = None,
          before: set[int] = frozenset()) -> list[Wave]:
    """Run waves in which the functions of `summed` turn out to have a summary."""
    known: set[int] = set()
    waves = []

    def analyse(wave: Wave) -> list[Outcome]:
        waves.append(wave)
        outcomes = [Outcome(f, f in summed - known, f in summed, (f in summed) != (f in before)) for f in wave.functions]
        known.update(summed.intersection(wave.functions))
        return outcomes

    order.sweep(analyse, telling, 8, former)
    return waves


@given(GRAPHS, st.data())
@settings(max_examples=60, deadline=None)
def test_callees_come_before_their_callers(graph, data):
    count, edges = graph
    telling = data.draw(st.sets(st.integers(0, count - 1)))
    summed = data.draw(st.sets(st.integers(0, count - 1)))
    order = BottomUp(Calls(program_of(count, edges)))
    waves = drive(order, telling, summed)
    last = {f: place for place, wave in enumerate(waves) for f in wave.functions}
    wanted = set(telling)
    while more := {a for a, b in edges if b in wanted & summed} - wanted:
        wanted |= more
    assert last.keys() == wanted
    for a, b in edges:
        if b in last and b in summed and order.group[a] != order.group[b]:
            assert last[b] < last[a]


@given(GRAPHS, st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_kept_is_not_analysed_again(graph, data):
    count, edges = graph
    telling, summed = set(range(count)), data.draw(st.sets(st.integers(0, count - 1)))
    order = BottomUp(Calls(program_of(count, edges)))
    edited = data.draw(st.integers(0, count - 1))
    former = Former(count)
    former.made[:] = former.kept[:] = True
    former.summed[list(summed)] = True
    former.kept[edited] = False
    same = {f for wave in drive(order, telling, summed, former, summed) for f in wave.functions}
    cycle = {f for f in range(count) if order.group[f] == order.group[edited]}
    assert same == cycle
    changed = {f for wave in drive(order, telling, summed ^ {edited}, former, summed) for f in wave.functions}
    assert changed == cycle | {a for a, b in edges if b == edited} | {
        f for a, b in edges if b == edited for f in range(count) if order.group[f] == order.group[a]}


def test_a_function_of_another_file_is_called_only_if_it_can_be():
    program = link([("a.c", lowered("void f(void) { g(); h(); }").facts), ("b.c", lowered("static void g(void) { }").facts),
                    ("c.c", lowered("void h(void) { }").facts)])
    calls = Calls(program)
    pairs = zip(calls.callers, calls.targets, strict=True)
    assert [(program.rows[a].name, program.rows[b].name) for a, b in pairs] == [("f", "h")]
    assert not len(Calls(program, ["h"]).callers)
