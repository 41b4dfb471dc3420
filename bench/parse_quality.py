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
    measured = Measured(options.tree)
    for path in paths:
        measured.add(path)
    measured.report()
    if options.ctags:
        compare(options.tree, measured.ours)
    random.Random(2).shuffle(measured.shown)
    for where, context in measured.shown[: options.show]:
        print("-----", where)
        print(context)


class Measured:
    """Counts, times and damaged functions of the files added so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.counts: collections.Counter[str] = collections.Counter()
        self.clock: collections.Counter[str] = collections.Counter()
        self.shown: list[tuple[str, str]] = []
        self.ours: dict[str, int] = {}

    def add(self, path: str) -> None:
        """Normalise and parse one file of the tree."""
        data = (self.root / path).read_bytes()
        self.counts["files"] += 1
        begin = time.process_time()
        code = has_code(data)
        self.clock["has_code"] += time.process_time() - begin
        if not code:
            self.counts["skipped"] += 1
            self.counts["skipped bytes"] += len(data)
            return
        begin = time.process_time()
        done = normalise(data)
        middle = time.process_time()
        root = PARSER.parse(done.text).root_node
        self.clock["normalise"] += middle - begin
        self.clock["parse"] += time.process_time() - middle
        self.counts["bytes"] += len(data)
        found = functions(root)
        self.ours[path] = len(found)
        self.counts["functions"] += len(found)
        self.counts["error files"] += root.has_error
        for function in found:
            if function.has_error:
                self.counts["bad"] += 1
                self._damaged(path, data, function)

    def _damaged(self, path: str, data: bytes, function: Node) -> None:
        error = first_error(function)
        if error is not None:
            line = error.start_point[0]
            context = b"\n".join(data.splitlines()[max(0, line - 2) : line + 3]).decode("utf-8", "replace")
            self.shown.append((f"{path}:{line + 1} {name(function).decode('utf-8', 'replace')}", context))

    def report(self) -> None:
        """Print the totals."""
        for key, value in self.counts.items():
            print(f"{key:14} {value}")
        print(f"bad functions  {100 * self.counts['bad'] / max(1, self.counts['functions']):.3f} %")
        for key, seconds in self.clock.items():
            print(f"{key:14} {seconds:.2f} s  {self.counts['bytes'] / 1e6 / max(seconds, 1e-9):.1f} MB/s")


def compare(tree: Path, ours: dict[str, int]) -> None:
    """Print our number of functions beside Universal Ctags' and the files that differ most."""
    listing = "\n".join(ours)
    command = ["ctags", "--languages=C", "--langmap=C:.c.h", "--kinds-C=f", "-f", "-", "-L", "-"]
    lines = subprocess.run(command, cwd=tree, input=listing.encode(), capture_output=True, check=True).stdout.splitlines()
    theirs = collections.Counter(line.split(b"\t")[1].decode() for line in lines if not line.startswith(b"!"))
    print(f"ctags          {sum(theirs.values())} functions; ours {sum(ours.values())}")
    for path in sorted(ours, key=lambda p: -abs(ours[p] - theirs[p]))[:25]:
        print(f"   {ours[path]:5} ours {theirs[path]:5} ctags {path}")


if __name__ == "__main__":
    main()
