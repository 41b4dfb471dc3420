"""The formats, byte by byte: people and programs depend on them."""

import dataclasses
import json

import pytest

from kgfplint.findings import Finding, Severity, Step, with_fingerprints
from kgfplint.report import Report, Stats, render, seen_from

BARE = Finding("KGF301", "unchecked-allocation", Severity.NOTE, "a.c", 1, 1, 1, "g", "not checked")
FULL = Finding(
    "KGF401", "mismatched-free", Severity.ERROR, "net/x/y.c", 12, 2, 12, "y_free", "kfree() of vmalloc() memory",
    (Step("net/x/y.c", 7, "y_init", "allocated here"), Step("net/x/y.c", 3, "", "declared here")), key="kfree(p)",
)


@pytest.fixture
def report() -> Report:
    stats = Stats(files=2, functions=3, functions_with_errors=1, lines=40, skipped={"no code": 1},
                  seconds={"facts": 0.12345})
    return Report("/src/linux", "6.1", tuple(with_fingerprints([FULL, BARE])), stats)


def test_text(report):
    assert "".join(render("text", report)) == (
        "a.c:1:1: note: not checked [KGF301 unchecked-allocation]\n"
        "net/x/y.c:12:2: error: kfree() of vmalloc() memory [KGF401 mismatched-free]\n"
        "    net/x/y.c:7: in y_init() allocated here\n"
        "    net/x/y.c:3: declared here\n"
    )


def test_text_with_colours_says_the_same(report):
    import re

    coloured = "".join(render("text", report, colour=True))
    assert "\033[" in coloured
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == "".join(render("text", report))


def test_json_has_exactly_the_agreed_keys(report):
    document = json.loads("".join(render("json", report)))
    assert list(document) == ["schema", "tool", "tree", "findings", "stats"]
    assert document["schema"] == 1
    assert document["tool"]["name"] == "kgfplint"
    assert document["tree"] == {"root": "/src/linux", "version": "6.1"}
    assert document["stats"] == {
        "files": 2, "functions": 3, "functions_with_errors": 1, "lines": 40, "skipped": {"no code": 1},
        "seconds": {"facts": 0.123},
    }
    fingerprint = report.findings[1].fingerprint
    assert document["findings"][1] == {
        "code": "KGF401", "rule": "mismatched-free", "severity": "error", "path": "net/x/y.c", "line": 12, "column": 2,
        "end_line": 12, "function": "y_free", "message": "kfree() of vmalloc() memory",
        "trace": [
            {"path": "net/x/y.c", "line": 7, "function": "y_init", "note": "allocated here"},
            {"path": "net/x/y.c", "line": 3, "function": "", "note": "declared here"},
        ],
        "fix": None, "fingerprint": fingerprint,
    }
    assert len(fingerprint) == 32


def test_json_of_nothing():
    document = json.loads("".join(render("json", Report("/r", "", (), Stats()))))
    assert document["findings"] == [] and document["tree"]["version"] == ""


def test_json_carries_paths_that_are_not_utf8():
    odd = Finding("KGF301", "x", Severity.NOTE, "a\udcff.c", 1, 1, 1, "g", "m")
    text = "".join(render("json", Report("/r", "", (odd,), Stats())))
    text.encode("ascii")
    assert json.loads(text)["findings"][0]["path"] == "a\udcff.c"


def test_paths_from_another_folder(report, tmp_path):
    report = dataclasses.replace(report, root=str(tmp_path / "top" / "src"))
    (tmp_path / "top" / "src").mkdir(parents=True)

    def paths(folder):
        moved = seen_from(report, str(folder)).findings
        return [one.path for one in moved], [step.path for step in moved[1].trace]

    assert seen_from(report, str(tmp_path / "top" / "src")) is report
    assert paths(tmp_path / "top") == (["src/a.c", "src/net/x/y.c"], ["src/net/x/y.c", "src/net/x/y.c"])
    assert paths(tmp_path / "top" / "other")[0] == ["../src/a.c", "../src/net/x/y.c"]
    (tmp_path / "link").symlink_to(tmp_path / "top")
    assert paths(tmp_path / "link")[0] == ["src/a.c", "src/net/x/y.c"]


def test_the_worst_severity(report):
    assert report.worst() is Severity.ERROR
    assert Report("/r", "", (), Stats()).worst() is None
