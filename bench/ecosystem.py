#!/usr/bin/env python3
"""What a change to the engine makes of the findings in some directories of real kernels.

    python bench/ecosystem.py TREE... [--update]

The findings (errors and warnings) of the directories below, each linted alone (`--scope paths`), are compared to those in
`ecosystem.txt`, by fingerprint: what came is shown with +, what went with -. With --update they are written there instead.
A tree is known by its Makefile's version; those that are not given keep their lines. Exit status 1: there is a difference.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

DIRECTORIES = (
    "block", "drivers/gpu/drm/msm", "drivers/infiniband/hw/mlx5", "drivers/md", "drivers/media/usb", "drivers/net/ethernet/intel",
    "drivers/net/wireless/ath", "drivers/scsi/lpfc", "drivers/usb/storage", "fs/ext4", "fs/nfs", "kernel/bpf", "mm",
    "net/core", "net/sctp", "sound/usb",
)
KNOWN = Path(__file__).with_name("ecosystem.txt")


def release(tree: Path) -> str:
    """Return the release of a tree by its Makefile, as 6.12.117."""
    text = (tree / "Makefile").read_text()
    return ".".join(re.search(rf"(?m)^{part}\s*=\s*(\d+)", text)[1] for part in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))


def found(tree: Path, cache: str) -> list[str]:
    """Return a line for each finding: release, fingerprint, rule, severity, path, function."""
    lines = []
    for folder in DIRECTORIES:
        command = [sys.executable, "-c", "from kgfplint.cli import main; main()", "--scope", "paths", "--severity", "warning",
                   "--format", "json", folder]
        run = subprocess.run(command, cwd=tree, capture_output=True, text=True, env=environment(cache))
        if run.returncode > 1:
            sys.exit(f"{tree}/{folder}: {run.stderr.strip()}")
        lines += [f"{release(tree)} {one['fingerprint']} {one['code']} {one['severity']} {one['path']} {one['function']}"
                  for one in json.loads(run.stdout)["findings"]]
    return lines


def environment(cache: str) -> dict[str, str]:
    """Return the environment of a run that has a store of its own."""
    return {**os.environ, "KGFPLINT_CACHE": cache, "PYTHONPATH": str(Path(__file__).parent.parent)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("trees", type=Path, nargs="+")
    options.add_argument("--update", action="store_true")
    given = options.parse_args()
    releases = {release(tree) for tree in given.trees}
    known = KNOWN.read_text().splitlines() if KNOWN.exists() else []
    before = {line for line in known if line.split(" ")[0] in releases}
    with tempfile.TemporaryDirectory() as cache:
        after = {line for tree in given.trees for line in found(tree.resolve(), cache)}
    if given.update:
        KNOWN.write_text("".join(f"{line}\n" for line in sorted(after | (set(known) - before))))
    for line in sorted(before ^ after, key=lambda line: line.split(" ")[4:]):
        print("+" if line in after else "-", line)
    print(f"{len(after - before)} came, {len(before - after)} went, {len(after & before)} stayed")
    sys.exit(before != after and not given.update)


if __name__ == "__main__":
    main()
