"""`make C=1 CHECK=kgfplint-kbuild`: Kbuild calls this as it calls sparse, with gcc's flags and then the source file.

No flag is needed, for every branch of the code is read. Whatever happens, the exit code is 0: another one would break
the build.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from kgfplint.cli import FAILURES
from kgfplint.config import load
from kgfplint.engine import run
from kgfplint.report import render, seen_from


def main(args: Sequence[str] | None = None) -> int:
    """Lint the source file that the arguments name, tell on standard error, and return 0."""
    sys.stderr.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    for source in _sources(sys.argv[1:] if args is None else args):
        try:
            sys.stderr.writelines(_findings(source))
        except FAILURES as error:
            print(f"kgfplint: {error}", file=sys.stderr)
        except Exception as error:  # a mistake of ours must not break the build either
            print(f"kgfplint: {source}: internal error, please report it: {error!r}", file=sys.stderr)
    return 0


def _sources(args: Sequence[str]) -> list[Path]:
    """Return the one file to lint: the last argument, if it is C code that a person wrote."""
    return [Path(arg) for arg in args[-1:] if arg.endswith(".c") and not arg.endswith(".mod.c")]


def _findings(source: Path) -> Iterator[str]:
    """Yield the lines to print for a file, with paths as make's messages have them: from the current folder."""
    # A call for each file cannot read a whole tree each time.
    settings = load(source, {} if os.environ.get("KGFPLINT_SCOPE") else {"scope": "paths"})
    report = run([source], msgspec.structs.replace(settings, jobs=1))
    yield from render("text", seen_from(report, "."))
