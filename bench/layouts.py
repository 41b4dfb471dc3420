"""How well layouts agree with gcc, and how many of the kernel's allocations have a known size.

    bench/layouts.py generated [--structs 10000] [--seed 1]       # structs made by hypothesis, for each installed compiler
    bench/layouts.py tree TREE [--most 2000]                      # structs of a kernel that stand alone
    bench/layouts.py sizes TREE drivers/net fs sound              # sizeof-based allocations whose size is known

The first two need pytest and hypothesis, and share the makers of structs with the tests.
"""

import argparse
import collections
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from kgfplint.checks import Rule, all_checks  # noqa: E402 (the path comes first)
from kgfplint.checks.requests import Measured, requests  # noqa: E402
from kgfplint.checks.sizes import arguments  # noqa: E402
from kgfplint.checks.unit import Question, Unit  # noqa: E402
from kgfplint.config import Settings  # noqa: E402
from kgfplint.engine import run  # noqa: E402
from kgfplint.facts import ir  # noqa: E402
from kgfplint.facts.terms import show, walk  # noqa: E402
from kgfplint.findings import Finding, Severity  # noqa: E402
from kgfplint.source.layouts import Layouts, Range, abi_of, declarations  # noqa: E402

ARCHES = ("x86_64", "i386", "arm64", "arm")


def generated(wanted: int, seed: int, arches: Sequence[str]) -> None:
    """Compare generated structs with each compiler."""
    import test_layouts as tests
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    made: list[list[Any]] = []

    @seeded(seed)
    @settings(max_examples=wanted, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(tests.structs())
    def collect(structs: list[Any]) -> None:
        if sum(map(len, made)) < wanted:
            made.append(structs)

    collect()
    for arch in arches:
        compiler = tests.COMPILERS[arch]
        if shutil.which(compiler[0]) is None:
            print(f"{arch}: no {compiler[0]}")
            continue
        structs, wrong, values = 0, 0, 0
        for example in made:
            text = tests.PRELUDE + "".join(one.text for one in example)
            asked = tests.questions(example)
            expected = tests.compiled(compiler, text, (tests.in_c(*question) for question in asked))
            layouts = Layouts(abi_of(arch), declarations(text))
            bad = {tag for (tag, path), value in zip(asked, expected, strict=True)
                   if tests.ours(layouts, tag, path) != Range(value, value)}
            structs, wrong, values = structs + len(example), wrong + len(bad), values + len(asked)
            for tag in sorted(bad):
                print(f"{arch}: {tag} of\n{text}")
        print(f"{arch}: {structs - wrong} of {structs} structs as gcc lays them out ({values} sizes, alignments and offsets)")


def tree(root: Path, most: int, arches: Sequence[str]) -> None:
    """Compare the structs of a kernel that gcc accepts behind nothing but the basic types."""
    os.environ["KGFPLINT_TREE"] = str(root)
    import test_layouts_tree as tests

    candidates = list(_spread(tests.structs(), most * 6))
    for arch in arches:
        compiler = tests.COMPILERS[arch]
        if shutil.which(compiler[0]) is None:
            print(f"{arch}: no {compiler[0]}")
            continue
        counts: collections.Counter[str] = collections.Counter()
        start = tests.prelude(arch)
        for path, ctype, text, pack in candidates:
            values = _by_gcc(compiler, start, ctype, text, pack, tests.NUMBER)
            if values is None:
                continue
            layouts = Layouts(abi_of(arch), declarations(text, pack))
            found = layouts.sizeof(ctype), layouts.alignof(ctype)
            held = all(range is None or (range.low <= value and (range.high is None or value <= range.high))
                       for range, value in zip(found, values, strict=True))
            exact = held and all(range is not None and range.exact == value for range, value in zip(found, values, strict=True))
            counts["exact" if exact else "within" if held else "wrong"] += 1
            if not exact:
                print(f"{arch}: {path}: {ctype}: {[str(one) for one in found]}, gcc says {values}")
            if counts.total() == most:
                break
        share = 100 * counts["exact"] / max(1, counts.total())
        print(f"{arch}: {counts['exact']} of {counts.total()} structs of the tree exact ({share:.2f} %), "
              f"{counts['within']} a wider range, {counts['wrong']} wrong")


def _spread(found: Iterator[Any], most: int) -> Iterator[Any]:
    for _, one in zip(range(most), found, strict=False):
        yield one


def _by_gcc(compiler: list[str], start: str, ctype: str, text: str, pack: int, number: Any) -> tuple[int, int] | None:
    """Return size and alignment as gcc has them, None for what does not stand alone."""
    pragma = f"#pragma pack({pack})\n" if pack else ""
    asked = f"const unsigned int asked[] = {{ sizeof({ctype}), __builtin_offsetof(struct {{ char c; {ctype} x; }}, x) }};"
    made = subprocess.run([*compiler, "-w", "-S", "-x", "c", "-o", "-", "-"], capture_output=True, text=True,
                          input=f"{start}\n{pragma}{text}\n#pragma pack()\n{asked}")
    if made.returncode:
        return None
    size, align = (int(found or 0) for found, _ in number.findall(made.stdout[made.stdout.index("asked:"):]))
    return size, align


PROBE = Rule(code="KGF999", name="probe", severity=Severity.NOTE, guide="-", summary="-")


def probe(unit: Unit) -> Iterator[Finding]:
    """Report each allocation that is sized by a sizeof: whether the bytes of each are known."""
    sized = [request for request in requests(unit) if _sizes(unit, request)]
    if sized and unit.provenance is None:
        unit.questions.append(Question((), ()))
    elif unit.provenance is not None:
        for request in sized:
            parts = [Measured(unit).sizeof(term) for term in _sizes(unit, request)]
            state = ("unknown" if None in parts else "bounded" if any(part.exact is None for part in parts if part) else "exact")
            if any(part is not None and part.high is None for part in parts):
                state = "unknown"
            text = ", ".join(show(term) for term in _sizes(unit, request))
            yield unit.finding(PROBE, request.allocation.call, f"{state} {text}")


def _sizes(unit: Unit, request: Any) -> list[ir.SizeOf]:
    return [term for size in arguments(unit, request.allocation) for term in walk(size) if isinstance(term, ir.SizeOf)]


def sizes(root: Path, folders: list[str], show_unknown: int) -> None:
    """Print the share of sizeof-based allocations whose sizes are known, by folder."""
    all_checks()["KGF999"] = SimpleNamespace(RULE=PROBE, check=probe)  # type: ignore[assignment]
    every: collections.Counter[str] = collections.Counter()
    unknown: list[str] = []
    for folder in folders:
        report = run([root / folder], Settings(select=["KGF999"], severity="note", scope="paths"))
        counts = collections.Counter(finding.message.partition(" ")[0] for finding in report.findings)
        unknown += [f"{one.path}:{one.line}: {one.message}" for one in report.findings if one.message.startswith("unknown")]
        every += counts
        _tell(folder, counts)
    _tell("all", every)
    random.Random(1).shuffle(unknown)
    print("\n".join(unknown[:show_unknown]))


def _tell(name: str, counts: "collections.Counter[str]") -> None:
    known = counts["exact"] + counts["bounded"]
    share = 100 * known / max(1, counts.total())
    print(f"{name}: {known} of {counts.total()} allocations by sizeof have known sizes ({share:.2f} %), {counts['exact']} of "
          f"them the same in all configurations")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("generated")
    one.add_argument("--structs", type=int, default=10000)
    one.add_argument("--seed", type=int, default=1)
    two = commands.add_parser("tree")
    two.add_argument("tree", type=Path)
    two.add_argument("--most", type=int, default=2000)
    for command in (one, two):
        command.add_argument("--arch", nargs="+", choices=ARCHES, default=ARCHES)
    three = commands.add_parser("sizes")
    three.add_argument("tree", type=Path)
    three.add_argument("folders", nargs="+")
    three.add_argument("--unknown", type=int, default=0, help="show so many that are not known")
    args = parser.parse_args()
    if args.command == "generated":
        generated(args.structs, args.seed, args.arch)
    elif args.command == "tree":
        tree(args.tree, args.most, args.arch)
    else:
        sizes(args.tree, args.folders, args.unknown)


if __name__ == "__main__":
    main()
