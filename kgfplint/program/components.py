"""Strongly connected components of a directed graph: Tarjan's algorithm, without recursion."""

from collections.abc import Callable, Container, Iterable, Iterator


def components(start: int, following: Callable[[int], Iterable[int]], done: Container[int]) -> Iterator[list[int]]:
    """Yield the components that can be reached from `start`, each after those that it leads to.

    Nodes in `done` are passed by; who asks puts the members of each component there before asking for the next.
    """
    order: dict[int, int] = {start: 0}
    low: dict[int, int] = {start: 0}
    path: list[int] = [start]
    stack: list[tuple[int, Iterator[int]]] = [(start, iter(following(start)))]
    while stack:
        node, rest = stack[-1]
        target = next(rest, None)
        if target is None:
            stack.pop()
            if stack:
                low[stack[-1][0]] = min(low[stack[-1][0]], low[node])
            if low[node] == order[node]:
                at = path.index(node) if path[-1] != node else len(path) - 1
                component = path[at:]
                del path[at:]
                yield component
        elif target in done:
            continue
        elif target in order:
            low[node] = min(low[node], order[target])
        else:
            order[target] = low[target] = len(order)
            path.append(target)
            stack.append((target, iter(following(target))))
