#!/usr/bin/env python3
"""What a run costs beyond parsing: CPU time of a cold and a warm run over that of tree-sitter alone.

    python bench/speed.py PATH... [--jobs N]

Tree-sitter parses the bytes of the same files that hold code, as they are, in the same minute on the
same machine. CPU time is that of all processes, user and system; the store is a new one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tree_sitter import Parser

from kgfplint.config import Settings
from kgfplint.engine import survey
from kgfplint.source.syntax import LANGUAGE


def children_seconds() -> float:
    """CPU seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def lint(paths: list[str], jobs: int) -> tuple[float, float, dict]:
    """Run kgfplint; return its CPU and wall-clock seconds and its stats."""
    cpu, wall = children_seconds(), time.perf_counter()
    command = [sys.executable, "-m", "kgfplint", "--format", "json", "--jobs", str(jobs), *paths]
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)
    return children_seconds() - cpu, time.perf_counter() - wall, json.loads(done.stdout)["stats"]


def parse(paths: list[str]) -> tuple[float, int]:
    """Parse the files with code among those that a run reads; return CPU seconds and bytes."""
    parser = Parser(LANGUAGE)
    seconds, size = 0.0, 0
    with survey([Path(path) for path in paths], Settings()) as found:
        names = [name for name, facts in found.facts() if facts.code]
    for name in names:
        data = (found.root / name).read_bytes()
        began = time.process_time()
        parser.parse(data)
        seconds += time.process_time() - began
        size += len(data)
    return seconds, size


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("paths", nargs="+")
    options.add_argument("--jobs", type=int, default=0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["KGFPLINT_CACHE"] = cache
        cold, cold_wall, stats = lint(given.paths, given.jobs)
        warm, warm_wall, _ = lint(given.paths, given.jobs)
        floor, size = parse(given.paths)
        stored = sum(path.stat().st_size for path in Path(cache).iterdir())
    print(f"files {stats['files']}, lines {stats['lines']:,}, code {size / 1e6:.1f} MB, store {stored / 1e6:.1f} MB")
    print("stages, wall seconds:", ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stats["seconds"].items()))
    print(f"{'':12} {'CPU s':>8} {'wall s':>8} {'ratio':>6}")
    print(f"{'parse only':12} {floor:8.1f} {'':8} {1:6.2f}")
    print(f"{'cold run':12} {cold:8.1f} {cold_wall:8.1f} {cold / floor:6.2f}")
    print(f"{'warm run':12} {warm:8.1f} {warm_wall:8.1f} {warm / floor:6.2f}")


if __name__ == "__main__":
    main()
