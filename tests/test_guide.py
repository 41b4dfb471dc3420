"""The coverage table of the guide: no rule, fixture or sentence is left unconnected."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from kgfplint.checks import all_checks
from kgfplint.cli import kgfplint
from kgfplint.guide import Sentence, sentences

FIXTURES = Path(__file__).parent / "fixtures"
EXPECT = re.compile(r"/\*\s*expect:\s*([\w, -]+?)\s*\*/")
# KGF0xx are about kgfplint's own comments, not about the guide.
NAMES = {code: check.RULE.name for code, check in all_checks().items() if code > "KGF1"}
SECTIONS = ["Introduction", "Get Free Page flags", "GFP flags and reclaim behavior", "Selecting memory allocator"]


def _files(sentence: Sentence) -> list[str]:
    """The fixtures of a sentence, patterns expanded; one that fits nothing fails."""
    found = {pattern: sorted(FIXTURES.glob(pattern)) for pattern in sentence.fixtures}
    assert all(found.values()), found
    return [path.relative_to(FIXTURES).as_posix() for paths in found.values() for path in paths]


def test_the_sentences_stand_in_the_order_of_the_guide():
    table = sentences()
    assert list(dict.fromkeys(s.section for s in table)) == SECTIONS
    assert [s.lines for s in table] == sorted(s.lines for s in table)
    assert all(first <= last for first, last in (s.lines for s in table))
    assert len({s.says for s in table}) == len(table)


@pytest.mark.parametrize("sentence", sentences(), ids=lambda s: "-".join(map(str, s.lines)))
def test_a_sentence_is_enforced_planned_or_explained(sentence: Sentence):
    assert sentence.rules or sentence.planned or sentence.reason
    assert set(sentence.rules) <= NAMES.keys(), "a rule that does not exist is `planned`"
    assert not set(sentence.planned) & NAMES.keys(), "a rule that exists belongs to `rules`, with its fixtures"
    assert bool(sentence.rules) == bool(sentence.fixtures)


@pytest.mark.parametrize("sentence", [s for s in sentences() if s.rules], ids=lambda s: "-".join(map(str, s.lines)))
def test_each_rule_of_a_sentence_is_proved_by_one_of_its_fixtures(sentence: Sentence):
    proved: set[str] = set()
    for name in _files(sentence):
        expected = {rule.strip() for rules in EXPECT.findall((FIXTURES / name).read_text()) for rule in rules.split(",")}
        assert expected & {NAMES[code] for code in sentence.rules}, name
        proved |= expected
    assert {NAMES[code] for code in sentence.rules} <= proved


def test_every_rule_enforces_a_sentence():
    assert NAMES.keys() == {code for sentence in sentences() for code in sentence.rules}


def test_every_fixture_of_a_mistake_proves_a_sentence():
    named = {name for sentence in sentences() for name in _files(sentence)}
    there = {path.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("KGF*/bad*.c") if path.parent.name in NAMES}
    assert there == named


def test_the_command_shows_every_sentence_and_every_gap():
    text = CliRunner().invoke(kgfplint, ["guide"], catch_exceptions=False).output
    rows = json.loads(CliRunner().invoke(kgfplint, ["guide", "--format", "json"], catch_exceptions=False).output)
    assert [row["says"] for row in rows] == [s.says for s in sentences()]
    for row in rows:
        mark = {"enforced": "+", "partly": "~", "open": "-", "no tool": " "}[row["state"]]
        assert any(line.startswith(mark) and row["says"] in line for line in text.splitlines())
        assert all(code in text for code in (*row["rules"], *row["planned"]))


def test_a_sentence_with_a_planned_rule_is_not_enforced():
    plain = Sentence("Introduction", (1, 2), "x")
    assert plain.state == "no tool"
    assert Sentence("Introduction", (1, 2), "x", rules=("KGF401",)).state == "enforced"
    assert Sentence("Introduction", (1, 2), "x", rules=("KGF401",), planned=("KGF999",)).state == "partly"
    assert Sentence("Introduction", (1, 2), "x", planned=("KGF999",)).state == "open"
