"""What one run of kgfplint takes: CPU and wall-clock seconds, and the memory of all its processes."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVERY = 0.25
"""Seconds between two looks at the memory."""


@dataclass
class Cost:
    """What one run took: seconds and bytes of memory."""

    cpu: float
    wall: float
    memory: int
    findings: int
    stats: dict[str, Any]
    """What the run says it read, and the wall-clock seconds of its stages."""


def proportional(session: int) -> int:
    """Return the sum of the proportional sizes of the processes of a session, in bytes."""
    total = 0
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if os.getsid(int(process.name)) != session:
                    continue
                for line in (process / "smaps_rollup").read_bytes().splitlines():
                    if line.startswith(b"Pss:"):
                        total += int(line.split()[1]) << 10
            except OSError:  # it has ended
                continue
    return total


def lint(tree: Path, jobs: int, cache: str) -> Cost:
    """Run kgfplint with the store in the folder `cache`, and watch it."""
    command = [sys.executable, "-m", "kgfplint", "--format", "json", "--severity", "note", "--jobs", str(jobs), str(tree)]
    with tempfile.TemporaryFile() as output:
        began, memory = time.perf_counter(), 0
        environment = {**os.environ, "KGFPLINT_CACHE": cache}
        process = subprocess.Popen(command, stdout=output, env=environment, start_new_session=True)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            memory = max(memory, proportional(process.pid))
            time.sleep(EVERY)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        if process.returncode not in (0, 1):
            sys.exit(f"kgfplint ended with code {process.returncode}")
        output.seek(0)
        report = json.load(output)
    return Cost(ended[2].ru_utime + ended[2].ru_stime, wall, memory, len(report["findings"]), report["stats"])
