"""The explain pages and the fixtures: complete, well-formed, and (for known rules) true."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "rules" / "pages").glob("KGF*.md"))
FIXTURES = sorted(p for p in (ROOT / "tests" / "fixtures").glob("**/KGF*")
                  if p.is_dir() and (ROOT / "rules" / "pages" / f"{p.name}.md").is_file())
HEADINGS = ["What it says", "Why", "Wrong", "Right", "How to fix", "When to ignore it", "Confirm it at run time"]
SECTIONS = ["Get Free Page flags", "GFP flags and reclaim behavior", "Selecting memory allocator"]
EXPECT = re.compile(r"/\* expect: ([a-z0-9-]+(?:, [a-z0-9-]+)*) \*/$")
PREAMBLE = "#include <linux/slab.h>\n#include <linux/mm.h>\n#include <linux/list.h>\n\n"


def sections(page: Path) -> dict[str, str]:
    """Return the text under each heading, in order."""
    parts = re.split(r"(?m)^## (.+)$", page.read_text(encoding="utf-8"))
    return {heading: text.strip() for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def rule_name(code: str) -> str:
    """Return the name that the page of a rule gives it."""
    head = (ROOT / "rules" / "pages" / f"{code}.md").read_text(encoding="utf-8").split("\n", 1)[0]
    return head.split()[2]


def code_of(text: str) -> str:
    """Return the one C block of a section."""
    blocks = re.findall(r"^```c\n(.*?)^```$", text, re.M | re.S)
    assert len(blocks) == 1
    return str(blocks[0])


@pytest.fixture(scope="module")
def checks() -> dict[str, str]:
    """Registered rules: code → name."""
    registry = pytest.importorskip("kgfplint.checks")
    return {code: module.RULE.name for code, module in registry.all_checks().items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_page_is_complete(page: Path) -> None:
    head = page.read_text(encoding="utf-8").split("\n", 1)[0]
    assert re.fullmatch(rf"# {page.stem} [a-z]+(-[a-z]+)*", head)
    parts = sections(page)
    assert list(parts) == HEADINGS
    assert all(parts.values())
    assert any(f'"{section}"' in parts["Why"] for section in SECTIONS), "the guide's section is not named"
    assert code_of(parts["Wrong"]) != code_of(parts["Right"])


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda p: p.name)
def test_fixture_says_what_it_expects(folder: Path) -> None:
    name = rule_name(folder.name)
    bad, good = sorted(folder.glob("bad*.c")), sorted(folder.glob("good*.c"))
    assert bad and good
    for path in bad + good:
        lines = path.read_text(encoding="utf-8").split("\n")
        expected = [EXPECT.search(line) for line in lines if "expect" in line]
        assert all(expected), f"{path.name}: an expectation that nobody would read"
        named = {rule for match in expected if match for rule in match.group(1).split(", ")}
        assert (name in named) == (path in bad), path.name


def test_every_rule_has_page_and_fixture(checks: dict[str, str]) -> None:
    pages, folders = {p.stem for p in PAGES}, {p.name for p in FIXTURES}
    assert not checks.keys() - pages
    assert not checks.keys() - folders
    assert {code: rule_name(code) for code in checks} == checks


def test_examples_are_true(checks: dict[str, str], tmp_path: Path) -> None:
    """The Wrong example of a page is reported by its rule, the Right one is not."""
    if not checks:
        pytest.skip("no checks yet")
    for code in checks:
        parts = sections(ROOT / "rules" / "pages" / f"{code}.md")
        for heading in ("Wrong", "Right"):
            (tmp_path / f"{code}_{heading}.c").write_text(PREAMBLE + code_of(parts[heading]), encoding="utf-8")
    command = [sys.executable, "-m", "kgfplint", "--no-cache", "--severity", "note", "--format", "json"]
    done = subprocess.run([*command, str(tmp_path)], stdout=subprocess.PIPE, check=False, cwd=tmp_path)
    assert done.returncode in (0, 1)
    reported = {(f["code"], Path(f["path"]).stem) for f in json.loads(done.stdout)["findings"]}
    assert [code for code in checks if (code, f"{code}_Wrong") not in reported] == []
    assert [code for code in checks if (code, f"{code}_Right") in reported] == []
