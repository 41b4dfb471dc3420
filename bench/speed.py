#!/usr/bin/env python3
"""What a run costs beyond parsing: CPU time over that of tree-sitter alone, cold, warm and after edits.

    python bench/speed.py TREE [--jobs N]

Tree-sitter parses the bytes of the same files that hold code, as they are, in the same minutes on the same machine. CPU
time is that of all processes, user and system. Memory is the peak of the proportional sizes (PSS) of all processes
together. The store is a new one (--cache names an empty folder to keep it in); edits are made in a copy of the tree by
hard links beside it, which is removed.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from costs import lint
from tree_sitter import Parser

from kgfplint.source.syntax import LANGUAGE
from kgfplint.source.tree import discover, has_code


def parse(tree: Path) -> tuple[float, float, int]:
    """Parse the files with code; return CPU seconds, those for all files, and bytes of code."""
    parser = Parser(LANGUAGE)
    code = everything = 0.0
    size = 0
    for name in discover(tree, [tree]):
        data = (tree / name).read_bytes()
        began = time.process_time()
        parser.parse(data)
        took = time.process_time() - began
        everything += took
        if has_code(data):
            code += took
            size += len(data)
    return code, everything, size


def replaced(path: Path, old: str, new: str) -> None:
    """Edit a file of the copy, not the one that it shares its bytes with."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    if old not in text:
        sys.exit(f"{path}: nothing to edit")
    path.unlink()
    path.write_text(text.replace(old, new, 1), encoding="utf-8", errors="surrogateescape")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("tree", type=Path)
    options.add_argument("--jobs", type=int, default=0)
    options.add_argument("--source", default="drivers/net/ethernet/intel/e1000e/netdev.c", help="the .c file to edit")
    options.add_argument("--header", default="include/linux/skbuff.h", help="the header to edit")
    options.add_argument("--member", default="unsigned int\t\ttruesize;", help="the member before which one is added")
    options.add_argument("--cache", help="an empty folder for the store")
    given = options.parse_args()
    tree = given.tree.resolve()
    copy = Path(tempfile.mkdtemp(prefix="speed-", dir=tree.parent)) / "tree"
    with tempfile.TemporaryDirectory() as place:
        cache = given.cache or place
        try:
            subprocess.run(["cp", "-al", str(tree), str(copy)], check=True)
            rows = [("cold", lint(copy, given.jobs, cache))]
            floor, everything, size = parse(copy)
            print(f"files {rows[0][1].stats['files']}, lines {rows[0][1].stats['lines']:,}, code {size / 1e6:.0f} MB")
            print("stages, wall seconds:", rows[0][1].stats["seconds"])
            print(f"cold: {rows[0][1]}"[:200])
            print(f"parse only: {floor:.1f} CPU s for files with code, {everything:.1f} for all", flush=True)
            rows.append(("nothing changed", lint(copy, given.jobs, cache)))
            replaced(copy / given.source, "return 0;", "return (0);")
            rows.append(("a statement changed in one .c file", lint(copy, given.jobs, cache)))
            with (copy / given.source).open("a") as file:
                file.write("\nint kgfplint_bench(struct device *dev) { return dev ? 0 : 1; }\n")
            rows.append(("a function added to it", lint(copy, given.jobs, cache)))
            replaced(copy / given.header, "\n\n", "\n\n#define KGFPLINT_BENCH 1\n\n")
            rows.append(("a macro added to a header", lint(copy, given.jobs, cache)))
            replaced(copy / given.header, given.member, f"int kgfplint_bench_member;\n\t{given.member}")
            rows.append(("a member added to its struct", lint(copy, given.jobs, cache)))
            stored = sum(path.stat().st_size for path in Path(cache).iterdir())
        finally:
            shutil.rmtree(copy.parent)
    print(f"{'':36} {'CPU s':>8} {'wall s':>8} {'/ parse':>8} {'cold /':>8} {'peak MB':>8} {'findings':>8}")
    for name, cost in rows:
        print(f"{name:36} {cost.cpu:8.1f} {cost.wall:8.1f} {cost.cpu / floor:8.2f} {rows[0][1].cpu / cost.cpu:8.1f}"
              f" {cost.memory / 1e6:8.0f} {cost.findings:8}")
    print(f"store {stored / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
