#!/usr/bin/env python3
"""How time and memory grow with the tree: cold runs over growing parts of it; exit code 1 if worse than linear.

    python bench/scale.py TREE [--parts 8,4,2,1] [--jobs N] [--repeat N] [--place DIR]

A part 1/N is a tree with all of include/ and, spread evenly over the others, folders that make 1/N of the bytes of
code outside it, always the same ones. What include/ alone costs, a run of its own, is taken
off, as it does not grow: growth is that of CPU seconds and of peak memory per byte beyond it, against every smaller
part. CPU time is that of all processes; memory is the largest sum of their proportional sizes (PSS), sampled. The
least of the repeated runs counts. Parts are copies: hard links would change the times of the originals.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from costs import Cost, lint

from kgfplint.source.tree import discover, has_code, is_kernel_tree

ALLOWED = 1.15
"""Growth per byte against a smaller part that passes for linear."""
DEPTH = 4
"""Folders of this depth, such as drivers/net/ethernet/intel, are in a part as a whole or not at all."""


def sizes(root: Path) -> dict[str, int]:
    """Return the bytes of each C file by its path, 0 for those that hold no code, as register lists do."""
    found = {}
    for path in discover(root, [root]):
        data = (root / path).read_bytes()
        found[path] = len(data) if has_code(data) else 0
    return found


def pick(code: dict[str, int], share: float) -> list[str]:
    """Return files outside include/: of every so many folders in the order of their names, a share of the bytes of code."""
    folders: dict[str, list[str]] = {}
    for path in code:
        if not path.startswith("include/"):
            folders.setdefault("/".join(path.split("/")[:-1][:DEPTH]), []).append(path)
    weights = {folder: sum(code[path] for path in paths) for folder, paths in folders.items()}
    picked, due = [], 0.0
    for folder, weight in sorted(weights.items()):
        due += share * weight
        if due >= weight / 2:
            due -= weight
            picked += folders[folder]
    return picked


def copy(root: Path, paths: Iterable[str], place: Path) -> None:
    """Make a kernel tree of some files of another one."""
    for path in ["Makefile", "Kconfig", *paths]:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, place / path)


def measure(root: Path, paths: Iterable[str], place: Path, jobs: int, repeat: int) -> Cost:
    """Return the least cost of a few runs over some files of a tree."""
    copy(root, paths, place)
    runs = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as cache:
            runs.append(lint(place, jobs, cache))
    shutil.rmtree(place)
    best = min(runs, key=lambda run: run.cpu)
    return replace(best, memory=min(run.memory for run in runs))


def growth(costs: list[float], loads: list[int]) -> list[float]:
    """Return for each part the cost per byte over the least such of the parts before it; 1 for the first."""
    each = [cost / load for cost, load in zip(costs, loads, strict=True)]
    return [1.0, *(each[n] / min(each[:n]) for n in range(1, len(each)))]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("tree", type=Path)
    options.add_argument("--parts", default="8,4,2,1", help="N of each 1/N, the smallest part first")
    options.add_argument("--jobs", type=int, default=0)
    options.add_argument("--repeat", type=int, default=1)
    options.add_argument("--place", type=Path, help="folder for the copies, on a disk with room for the tree")
    given = options.parse_args()
    if not is_kernel_tree(given.tree):
        sys.exit(f"{given.tree} is not the root of a kernel tree")
    parts = sorted({int(part) for part in given.parts.split(",")}, reverse=True)
    code = sizes(given.tree)
    headers = [path for path in code if path.startswith("include/")]
    stages = ["facts", "program", "analysis"]
    print(f"{'part':>7} {'files':>7} {'lines':>12} {'code MB':>8} {'CPU s':>8} {'peak MB':>8} {'wall s':>8}",
          *(f"{stage:>8}" for stage in stages))
    loads: list[int] = []
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory(dir=given.place) as folder:
        for part in [0, *parts]:
            picked = pick(code, 1 / part) if part else []
            cost = measure(given.tree, headers + picked, Path(folder) / "tree", given.jobs, given.repeat)
            loads.append(sum(code[path] for path in picked))
            costs.append(cost)
            print(f"{f'1/{part}' if part else 'include':>7} {cost.stats['files']:7} {cost.stats['lines']:12,}"
                  f" {loads[-1] / 1e6:8.1f} {cost.cpu:8.1f} {cost.memory / 1e6:8.0f} {cost.wall:8.1f}",
                  *(f"{cost.stats['seconds'].get(stage, 0):8.1f}" for stage in stages), flush=True)
    base, *rest = costs
    times = growth([cost.cpu - base.cpu for cost in rest], loads[1:])
    memories = growth([cost.memory - base.memory for cost in rest], loads[1:])
    print("\ncost per byte of code beyond include/, over the least of the smaller parts (linear is 1)")
    print(f"{'part':>7} {'CPU':>6} {'memory':>7}")
    for part, seconds, memory in zip(parts, times, memories, strict=True):
        print(f"{f'1/{part}':>7} {seconds:6.2f} {memory:7.2f}")
    sys.exit(1 if max(times + memories) > ALLOWED else 0)


if __name__ == "__main__":
    main()
