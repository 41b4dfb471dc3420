"""Asking git, in words that neither the language nor the settings of the user change."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType


class GitError(Exception):
    """A git command failed; str is what it said, in one line."""


def ask(folder: Path, *args: str, data: bytes = b"", variables: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Return what a git command prints; GitError with the first line that it complains in."""
    command = ["git", "-c", "core.quotePath=false", *args]
    try:
        done = subprocess.run(command, cwd=folder, input=data, capture_output=True, check=False,
                              env={**os.environ, "LC_ALL": "C", **variables})
    except FileNotFoundError:
        raise GitError("git is not installed") from None
    if done.returncode and not (args[0] == "diff" and done.returncode == 1):
        lines = os.fsdecode(done.stderr).strip().splitlines() or [f"git {args[0]} failed"]
        raise GitError(re.sub(r"^(?:error|fatal): (?:patch failed: )?", "", lines[0]))
    return done.stdout


def line(folder: Path, *args: str) -> str:
    """Return the one line that a git command prints; GitError as `ask`."""
    return os.fsdecode(ask(folder, *args)).removesuffix("\n")


def prefix(root: Path) -> str:
    """Return the path of a folder below the top of its git work tree, "" or with a slash at its end."""
    return line(root, "rev-parse", "--show-prefix")
