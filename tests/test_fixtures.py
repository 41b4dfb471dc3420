"""Every rule against its fixtures: each `expect: rule` comment is a finding on its line, and nothing else is.

A file is linted alone, as an out-of-tree module, under the kernel version of a first line
`/* kernel: 6.1 */` or the newest. Files named good* hold no mistake of their folder's rule.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from kgfplint.checks import all_checks
from kgfplint.config import Settings
from kgfplint.engine import run
from kgfplint.report import render

FIXTURES = Path(__file__).parent / "fixtures"
EXPECT = re.compile(r"/\*\s*expect:\s*([\w, -]+?)\s*\*/")
KERNEL = re.compile(r"/\*\s*kernel:\s*([\d.]+)\s*\*/")
FILES = [path for folder in sorted(FIXTURES.glob("KGF*")) for path in sorted(folder.glob("*.c"))]


def expected(path: Path, base: Path) -> Counter[tuple[str, int, str]]:
    """The findings that the comments of a file ask for: path, line and rule, each as often as it is asked for."""
    name = path.relative_to(base).as_posix()
    return Counter(
        (name, number, rule.strip())
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for comment in EXPECT.findall(line)
        for rule in comment.split(",")
    )


def found(path: Path, base: Path, kernel: str = "") -> Counter[tuple[str, int, str]]:
    report = run([path], Settings(severity="note", kernel=kernel, jobs=1))
    assert not {"failed", "unreadable"} & report.stats.skipped.keys()
    assert report.root == str(base)
    return Counter((finding.path, finding.line, finding.rule) for finding in report.findings)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_fixture(path):
    if path.parent.name not in all_checks():
        pytest.skip(f"{path.parent.name} is not a rule yet")
    rule = all_checks()[path.parent.name].RULE.name
    kernel = KERNEL.match(path.read_text(encoding="utf-8").partition("\n")[0])
    wanted = expected(path, path.parent)
    reported = found(path, path.parent, kernel[1] if kernel else "")
    judged = {rule, *(name for _, _, name in wanted)}
    assert Counter({key: count for key, count in reported.items() if key[2] in judged}) == wanted


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_fixture_is_marked_as_its_name_says(path):
    marked = bool(expected(path, path.parent))
    assert path.stem.startswith(("good", "bad"))
    assert marked == path.stem.startswith("bad")


def test_the_small_tree(tree):
    rules = {check.RULE.name for check in all_checks().values()}
    wanted = sum((expected(path, tree) for path in sorted(tree.rglob("*.c"))), Counter())
    assert found(tree, tree) == Counter({key: count for key, count in wanted.items() if key[2] in rules})


def test_any_number_of_processes_finds_the_same(tree):
    texts = {
        "".join(render("text", run([tree], Settings(severity="note", jobs=jobs, cache=False)))) for jobs in (1, 2, 3)
    }
    assert len(texts) == 1
