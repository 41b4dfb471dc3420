"""The formats of other programs, byte by byte, and against what describes them."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jsonschema
import msgspec
import pytest

from kgfplint.config import Settings
from kgfplint.engine import run
from kgfplint.findings import Edit, Finding, Severity, Step, with_fingerprints
from kgfplint.report import FORMATS, Report, Stats, html, render, sarif
from kgfplint.report.github import append_summary, summary

SNAPSHOTS, SCHEMAS = (Path(__file__).parent / name for name in ("snapshots", "schemas"))
SUFFIX = {"text": "txt", "terse": "txt", "json": "json", "jsonl": "jsonl", "sarif": "sarif", "github": "txt", "gitlab": "json",
          "rdjson": "json", "checkstyle": "xml", "junit": "xml", "html": "html"}
FINDINGS = [
    Finding("KGF301", "unchecked-allocation", Severity.NOTE, "a.c", 1, 1, 1, "g", "not checked"),
    Finding("KGF401", "mismatched-free", Severity.ERROR, "net/x/y.c", 12, 2, 13, "y_free",
            'kfree() of vmalloc() memory, 100 % <wrong> & "so"',
            (Step("net/x/y.c", 7, "y_init", "allocated here"), Step("net/x/y.h", 3, "", "declared here")), key="kfree(p)"),
    Finding("KGF201", "gfp-conflict", Severity.WARNING, "net/x/y.c", 40, 9, 40, "y_more", "GFP_ATOMIC | __GFP_NOFAIL", key="k"),
    Finding("KGF201", "gfp-conflict", Severity.WARNING, "net/a b,c:\udcff.c", 3, 9, 3, "z", "odd path\x01", key="k"),
]


def report(findings=FINDINGS) -> Report:
    stats = Stats(files=2, functions=3, functions_with_errors=1, lines=40, skipped={"no code": 1}, seconds={"facts": 0.12345})
    sources = {"net/x/y.c": {12: "\tkfree(p); /* </script> \u202e */", 13: "}\x0c"}}
    return Report("/src/linux", "6.1", tuple(with_fingerprints(findings)), stats, sources)


def text(name, findings=FINDINGS) -> str:
    return "".join(render(name, report(findings)))


def many(count, severity=Severity.WARNING, start=1, note="") -> list[Finding]:
    return [Finding("KGF201", "gfp-conflict", severity, "a.c", n, 1, n, "f", "m", (Step("a.c", n, "f", note),) if note else (),
                    key=str(n)) for n in range(start, start + count)]


@pytest.mark.parametrize("name", FORMATS)
def test_bytes(name, monkeypatch):
    """What a format writes; a change here is one that its readers must know of."""
    monkeypatch.setattr("kgfplint.report.json.__version__", "0")
    for module in (sarif, html):
        monkeypatch.setattr(module, "__version__", "0")
        monkeypatch.setattr(module, "rules_directory", lambda: SNAPSHOTS)
        monkeypatch.setattr(module, "all_checks", dict)
    monkeypatch.setattr(html, "PAGE", SNAPSHOTS / "page")
    path = SNAPSHOTS / f"{name}.{SUFFIX[name]}"
    assert text(name).encode("utf-8", "surrogateescape") == path.read_bytes()


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_found_is_a_good_report(name):
    said = text(name, [])
    if SUFFIX[name] == "xml":
        assert ElementTree.fromstring(said).find(".//failure") is None
    elif SUFFIX[name] in ("json", "sarif"):
        json.loads(said)
    elif SUFFIX[name] == "html":
        assert '"findings":[]' in said
    else:
        assert said == ""


@pytest.mark.parametrize("findings", [FINDINGS, [], many(25_001)], ids=["some", "none", "too many"])
def test_sarif_is_sarif(findings):
    schema = json.loads((SCHEMAS / "sarif.json").read_text())
    jsonschema.Draft7Validator(schema).validate(json.loads(text("sarif", findings)))


def test_sarif_tells_github_what_it_reads(tree):
    found = run([tree], Settings(jobs=1))
    [log] = json.loads("".join(render("sarif", found)))["runs"]
    rules = log["tool"]["driver"]["rules"]
    assert len(log["results"]) == len(found.findings) > 3
    for result, finding in zip(log["results"], found.findings, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == finding.code
        [place] = result["locations"]
        assert place["physicalLocation"]["region"] == {"startLine": finding.line, "startColumn": finding.column}
        assert (tree / place["physicalLocation"]["artifactLocation"]["uri"]).is_file()
        assert result["partialFingerprints"] == {"primaryLocationLineHash": f"{finding.fingerprint}:1"}
        flow = [step["location"] for step in result.get("codeFlows", [{"threadFlows": [{"locations": []}]}])[0]["threadFlows"][0][
            "locations"]]
        assert [step["message"]["text"] for step in flow] == [step.note for step in finding.trace]
    for rule in rules:
        assert rule["fullDescription"]["text"] and "## How to fix" in rule["help"]["markdown"]


def test_sarif_stays_within_what_github_takes(monkeypatch):
    findings = many(24_999, Severity.NOTE) + many(2, Severity.ERROR, start=50_000)
    [log] = json.loads(text("sarif", findings))["runs"]
    levels = [result["level"] for result in log["results"]]
    assert len(levels) == 25_000 and levels.count("error") == 2
    assert "1 more findings" in log["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]

    monkeypatch.setattr(sarif, "MOST_BYTES", 20_000)
    import gzip

    said = text("sarif", many(2000, Severity.NOTE, note="n" * 50) + many(3, Severity.ERROR, start=5000))
    assert len(gzip.compress(said.encode())) <= 20_000
    levels = [result["level"] for result in json.loads(said)["runs"][0]["results"]]
    assert levels.count("error") == 3 and 100 < len(levels) < 2000


def test_github_shows_the_most_severe_first_and_ten_of_each():
    lines = text("github", many(12) + many(30, Severity.ERROR, start=100) + many(1, Severity.NOTE, start=500)).splitlines()
    kinds = [line.split(" ")[0] for line in lines]
    assert kinds == ["::error"] * 10 + ["::warning"] * 10 + ["::notice"] + ["kgfplint:"]
    assert "22 more findings" in lines[-1]


def test_github_lines_give_back_what_they_were_made_of():
    [line, _, _, _] = text("github").splitlines()
    found = re.fullmatch(r"::error file=net/x/y\.c,line=12,endLine=12,col=2,title=KGF401 mismatched-free::(.*)", line)
    said = found[1].replace("%0A", "\n").replace("%25", "%")
    assert said == FINDINGS[1].message + "\nnet/x/y.c:7: allocated here\nnet/x/y.h:3: declared here"


def test_github_gets_a_summary_of_all(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("before\n")
    append_summary(report())
    said = (tmp_path / "summary.md").read_text(errors="surrogateescape")
    assert said.startswith("before\n### kgfplint\n\n4 findings.\n")
    assert "| error | KGF401 mismatched-free | 1 |\n| warning | KGF201 gfp-conflict | 2 |\n" in said
    assert "kfree() of vmalloc() memory, 100 % \\<wrong> & \"so\"" in said
    assert "900 more are not shown" in summary(report(many(1000)))
    assert "Nothing found" in summary(report([]))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    append_summary(report())


def test_json_lines_are_the_findings_of_json():
    assert [json.loads(line) for line in text("jsonl").splitlines()] == json.loads(text("json"))["findings"]


def test_gitlab_fingerprints_differ():
    rows = json.loads(text("gitlab"))
    assert len({row["fingerprint"] for row in rows}) == len(rows) == 4


@pytest.mark.parametrize("name", ["checkstyle", "junit"])
def test_xml_can_be_read(name):
    root = ElementTree.fromstring(text(name))
    messages = {element.get("message") for element in root.iter() if element.get("message")}
    assert messages == {finding.message.replace("\x01", "?") for finding in FINDINGS}


def test_fingerprints_survive_unrelated_edits(tmp_path):
    code = "void f(size_t n)\n{\n\tvoid *p = vmalloc(n);\n\n\tkfree(p);\n}\n"
    hashes = []
    for before in ("", "int other;\n\n\n", "/* x */ int g(void) { return 1; }\n"):
        (tmp_path / "a.c").write_text(before + code)
        found = run([tmp_path], Settings(jobs=1, select=("KGF401",)))
        [result] = json.loads("".join(render("sarif", found)))["runs"][0]["results"]
        hashes.append(result["partialFingerprints"]["primaryLocationLineHash"])
    assert len(set(hashes)) == 1


def test_the_trace_is_no_part_of_the_place():
    """GitHub reads the first location only."""
    [result] = json.loads(text("sarif", [FINDINGS[1]]))["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "net/x/y.c"
    moved = msgspec.structs.replace(FINDINGS[1], line=99)
    [other] = json.loads(text("sarif", [moved]))["runs"][0]["results"]
    assert other["partialFingerprints"] == result["partialFingerprints"]


def test_sarif_has_one_change_for_each_file():
    edits = tuple(Edit("net/x/y.c", line, 1, line, 5, "text") for line in (3, 9))
    [result] = json.loads(text("sarif", [msgspec.structs.replace(FINDINGS[1], edits=edits)]))["runs"][0]["results"]
    [change] = result["fixes"][0]["artifactChanges"]
    assert [one["deletedRegion"]["startLine"] for one in change["replacements"]] == [3, 9]
