"""Measure how many function definitions of a kernel tree parse without an error inside.

python bench/parse_quality.py TREE [--sample N] [--seed S] [--under DIR] [--show N] [--ctags]
"""

import argparse
import collections
import random
import subprocess
import time
from pathlib import Path

from tree_sitter import Node

from kgfplint.source.normalise import normalise
from kgfplint.source.syntax import PARSER
from kgfplint.source.tree import discover, has_code

KEYWORDS = {b"if", b"else", b"for", b"while", b"switch", b"do", b"return"}


def functions(root: Node) -> list[Node]:
    """Return the function definitions below `root`, outermost only."""
    found, stack = [], [root]
    while stack:
        node = stack.pop()
        if node.type == "function_definition" and name(node) not in KEYWORDS:
            found.append(node)
            continue
        if (
            node.type in ("expression_statement", "declaration", "compound_statement")
            and node.parent is not None
            and not node.has_error
        ):
            continue
        stack.extend(node.named_children)
    return found


def name(function: Node) -> bytes:
    """Return the name that a function definition declares."""
    node = function.child_by_field_name("declarator")
    while node is not None and node.type not in ("identifier", "type_identifier", "field_identifier"):
        node = node.child_by_field_name("declarator") or (node.named_children[0] if node.named_children else None)
    return b"" if node is None or node.text is None else node.text


def first_error(node: Node) -> Node | None:
    """Return the first ERROR or MISSING node below `node`."""
    while not (node.is_error or node.is_missing):
        for child in node.children:
            if child.has_error or child.is_missing:
                node = child
                break
        else:
            return None
    return node


def main() -> None:
    """Parse, count, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tree", type=Path)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--under", default=".")
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--ctags", action="store_true")
    options = parser.parse_args()
    paths = list(discover(options.tree, [options.tree / options.under]))
    if options.sample:
        paths = random.Random(options.seed).sample(paths, min(options.sample, len(paths)))
    counts: collections.Counter[str] = collections.Counter()
    shown: list[tuple[str, str]] = []
    clock: collections.Counter[str] = collections.Counter()
    ours: dict[str, int] = {}
    for path in paths:
        data = (options.tree / path).read_bytes()
        counts["files"] += 1
        begin = time.process_time()
        code = has_code(data)
        clock["has_code"] += time.process_time() - begin
        if not code:
            counts["skipped"] += 1
            counts["skipped bytes"] += len(data)
            continue
        begin = time.process_time()
        done = normalise(data)
        middle = time.process_time()
        tree = PARSER.parse(done.text)
        clock["normalise"] += middle - begin
        clock["parse"] += time.process_time() - middle
        counts["bytes"] += len(data)
        found = functions(tree.root_node)
        counts["functions"] += len(found)
        ours[path] = len(found)
        counts["error files"] += tree.root_node.has_error
        for function in found:
            if not function.has_error:
                continue
            counts["bad"] += 1
            error = first_error(function)
            if error is not None:
                line = error.start_point[0]
                lines = data.splitlines()
                context = b"\n".join(lines[max(0, line - 2) : line + 3]).decode("utf-8", "replace")
                shown.append((f"{path}:{line + 1} {name(function).decode('utf-8', 'replace')}", context))
    for key, value in counts.items():
        print(f"{key:14} {value}")
    print(f"bad functions  {100 * counts['bad'] / max(1, counts['functions']):.3f} %")
    for key, seconds in clock.items():
        print(f"{key:14} {seconds:.2f} s  {counts['bytes'] / 1e6 / max(seconds, 1e-9):.1f} MB/s")
    if options.ctags:
        compare(options.tree, ours)
    random.Random(2).shuffle(shown)
    for where, context in shown[: options.show]:
        print("-----", where)
        print(context)


def compare(tree: Path, ours: dict[str, int]) -> None:
    """Print our number of functions beside Universal Ctags' and the files that differ most."""
    listing = "\n".join(ours)
    command = ["ctags", "--languages=C", "--langmap=C:.c.h", "--kinds-C=f", "-f", "-", "-L", "-"]
    lines = subprocess.run(
        command, cwd=tree, input=listing.encode(), capture_output=True, check=True
    ).stdout.splitlines()
    theirs = collections.Counter(line.split(b"\t")[1].decode() for line in lines if not line.startswith(b"!"))
    print(f"ctags          {sum(theirs.values())} functions; ours {sum(ours.values())}")
    for path in sorted(ours, key=lambda p: -abs(ours[p] - theirs[p]))[:25]:
        print(f"   {ours[path]:5} ours {theirs[path]:5} ctags {path}")


if __name__ == "__main__":
    main()
