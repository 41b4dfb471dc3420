"""The baseline: what is known is not told again, what is new is, and what is fixed is seen."""

import json
import re

import pytest

from kgfplint import baseline
from kgfplint.cli import main
from kgfplint.findings import Severity

BAD = "int {0}(size_t n)\n{{\n\tvoid *p = vmalloc(n);\n\n\tif (!p)\n\t\treturn -ENOMEM;\n\tkfree(p);\n\treturn 0;\n}}\n"


@pytest.fixture
def module(tmp_path):
    """An out-of-tree module with a mistake in each of two folders."""
    for folder in ("a", "b"):
        (tmp_path / "src" / folder).mkdir(parents=True)
        (tmp_path / "src" / folder / "x.c").write_text(BAD.format(folder))
    return tmp_path / "src"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "known.json"


def entries(file) -> dict[str, dict]:
    return {entry["path"]: entry for entry in json.loads(file.read_text())["findings"]}


def test_known_findings_are_not_told_again(module, file, capsys):
    assert main([str(module), "--baseline", str(file), "--update-baseline", "--reason", "old code"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"kgfplint: {file}: 2 added, 0 kept, 0 fixed and dropped\n")
    assert {entry["reason"] for entry in entries(file).values()} == {"old code"}
    (module / "a/x.c").write_text("\n\nint other;\n" + BAD.format("a"))
    assert main([str(module), "--baseline", str(file)]) == 0
    (module / "a/new.c").write_text(BAD.format("new"))
    assert main([str(module), "--baseline", str(file)]) == 1
    assert re.findall(r"^(\S+?):", capsys.readouterr().out, re.M) == ["a/new.c"]


def test_the_day_and_the_reason_stay(module, file, capsys):
    main([str(module), "--baseline", str(file), "--update-baseline"])
    text = re.sub(r'"added": "[-0-9]+"', '"added": "2020-02-29"', file.read_text()).replace(baseline.REASON, "we know")
    file.write_text(text)
    (module / "a/new.c").write_text(BAD.format("new"))
    (module / "b/x.c").write_text(BAD.format("b").replace("kfree", "vfree"))
    capsys.readouterr()
    main([str(module), "--baseline", str(file), "--update-baseline", "--reason", "later"])
    assert "1 added, 1 kept, 1 fixed and dropped" in capsys.readouterr().err
    found = entries(file)
    assert found.keys() == {"a/x.c", "a/new.c"}
    assert (found["a/x.c"]["added"], found["a/x.c"]["reason"]) == ("2020-02-29", "we know")
    assert (found["a/new.c"]["added"] > "2026", found["a/new.c"]["reason"]) == (True, "later")


@pytest.mark.parametrize("options", [["b"], ["--select", "KGF5", "."], ["--ignore", "mismatched-free", "."]])
def test_what_was_not_looked_for_is_not_fixed(module, file, monkeypatch, options):
    (module / "kgfplint.toml").write_text('baseline = "../known.json"\n')
    monkeypatch.chdir(module)
    main([".", "--update-baseline"])
    before = entries(file)
    assert before.keys() == {"a/x.c", "b/x.c"}
    (module / "a/x.c").write_text("int a;\n")
    (module / "Kconfig").write_text("")
    (module / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 6\n")
    main([*options, "--update-baseline"])
    assert entries(file) == before
    main([".", "--update-baseline", "--severity", "error"])
    assert entries(file).keys() == {"b/x.c"}


def test_what_is_fixed_since_is_shown(module, file, capsys):
    main([str(module), "--baseline", str(file), "--update-baseline", "--reason", "old code"])
    (module / "b/x.c").unlink()
    capsys.readouterr()
    assert main(["baseline", str(module), "--baseline", str(file)]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"b/x\.c: mismatched-free in b: fixed \(known since [-0-9]{10}: old code\)", first)
    assert last == "2 known, 1 of them fixed"


def test_what_is_fixed_is_told_by_any_run_that_looked_for_it(module, file, capsys):
    (module / "Kconfig").write_text("")  # so that its folders have no roots of their own
    (module / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 6\n")
    (module / "a" / "n.c").write_text("int *n(size_t n)\n{\n\treturn kmalloc(n, __GFP_RECLAIM | __GFP_IO | __GFP_FS);\n}\n")
    main([str(module), "--baseline", str(file), "--update-baseline", "--severity", "note"])
    assert len(json.loads(file.read_text())["findings"]) == 3
    capsys.readouterr()
    assert main([str(module), "--baseline", str(file)]) == 0  # the note is not reported, but it is there
    assert capsys.readouterr().err == ""
    (module / "b/x.c").write_text(BAD.format("b").replace("kfree", "vfree"))
    assert main([str(module), "--baseline", str(file)]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"kgfplint: {file}: 1 fixed since; --update-baseline drops what is fixed\n")
    assert main([str(module / "a"), "--baseline", str(file)]) == 0
    assert main([str(module), "--baseline", str(file), "--select", "KGF301"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_reason_is_needed(module, file, capsys, reason):
    assert "needs a reason" in failure(capsys, module, "--baseline", file, "--update-baseline", "--reason", reason)
    assert not file.exists()


def failure(capsys, *args) -> str:
    assert main([str(arg) for arg in args]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(("text", "said"), [
    ("", "truncated"), ("{", "truncated"), ("[]", "object"), ('{"schema": 2, "findings": []}', "schema 2"),
    ('{"schema": 1, "findings": [{}]}', "$.findings[0]"), ('{"schema": 1, "findings": [], "more": 1}', "more"),
    ('{"schema": 1, "findings": [{"fingerprint": "f1", "rule": "r", "path": "p", "function": "", "message": "m",'
     ' "added": "yesterday", "reason": "x"}]}', "$.findings[0].added"),
    ('{"schema": 1, "findings": [{"fingerprint": "f1", "rule": "r", "path": "p", "function": "", "message": "m",'
     ' "added": "2026-01-01", "reason": " "}]}', "f1: the reason is missing"),
])
def test_a_broken_file_is_named(module, file, capsys, text, said):
    file.write_text(text)
    for args in ([module], [module, "--update-baseline"]):
        line = failure(capsys, *args, "--baseline", file)
        assert line.startswith(f"kgfplint: --baseline {file}: ") and said in line
    assert file.read_text() == text


def test_other_mistakes(module, file, tmp_path, capsys):
    assert f"--baseline {file}: No such file" in failure(capsys, module, "--baseline", file)
    assert "--update-baseline needs --baseline" in failure(capsys, module, "--update-baseline")
    assert "--update-baseline needs" in failure(capsys, module, "--update-baseline", "--baseline", file, "--diff", "HEAD")
    assert "no baseline" in failure(capsys, "baseline", module)
    assert "No such file" in failure(capsys, module, "--update-baseline", "--baseline", tmp_path / "none" / "x")


def test_nothing_lower_than_asked_for_is_added(module, file):
    main([str(module), "--baseline", str(file), "--update-baseline", "--severity", "error"])
    assert len(entries(file)) == 2
    known = baseline.read(file)
    scope = baseline.Scope(["."], {"mismatched-free"})
    assert baseline.updated([], Severity.ERROR, known, scope, "x").dropped == 2
