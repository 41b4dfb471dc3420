"""The command line: exit codes, and one clear line for every mistake of a user."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kgfplint import checks, engine
from kgfplint.checks import Rule
from kgfplint.cli import main
from kgfplint.findings import Finding, Severity

RULE = Rule("KGF401", "mismatched-free", Severity.ERROR, "Selecting memory allocator", "freed by another allocator")


class FakeCheck:
    RULE = RULE
    check = staticmethod(lambda unit: iter(()))


@pytest.fixture(autouse=True)
def _no_findings(monkeypatch):
    """What rules find is not the matter here."""
    monkeypatch.setattr(engine, "analyse", lambda *_: [])


@pytest.fixture
def one_rule(monkeypatch):
    monkeypatch.setattr(checks, "all_checks", lambda: {RULE.code: FakeCheck})
    monkeypatch.setattr("kgfplint.cli.all_checks", lambda: {RULE.code: FakeCheck})


@pytest.fixture
def finding(monkeypatch):
    """Let a run find one thing, of the severity given."""

    def find(severity):
        found = Finding("KGF401", "mismatched-free", severity, "drivers/demo/ring.c", 7, 2, 7, "f", "bad")
        monkeypatch.setattr(engine, "analyse", lambda *_: [found])

    return find


def failure(capsys, *args) -> str:
    """Run a command that must fail, and return the one line that it says."""
    assert main([str(arg) for arg in args]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"kgfplint: [^\n]+\n", said.err)
    return said.err


def test_nothing_found_is_0(tree, capsys):
    assert main([str(tree)]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("severity", "options", "code", "shown"), [
    (Severity.ERROR, [], 1, True),
    (Severity.WARNING, [], 1, True),
    (Severity.NOTE, [], 0, False),
    (Severity.NOTE, ["--severity", "note"], 0, True),
    (Severity.NOTE, ["--severity", "note", "--fail-on", "note"], 1, True),
    (Severity.WARNING, ["--fail-on", "error"], 0, True),
    (Severity.WARNING, ["--severity", "error"], 0, False),
])
def test_exit_code_and_report(tree, finding, capsys, severity, options, code, shown):
    finding(severity)
    assert main([*options, str(tree)]) == code
    line = f"drivers/demo/ring.c:7:2: {severity.label}: bad [KGF401 mismatched-free]\n"
    assert capsys.readouterr().out == (line if shown else "")


def test_check_may_be_written_out(tree, finding, capsys):
    finding(Severity.ERROR)
    assert main(["check", str(tree)]) == main([str(tree)]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_json_to_a_file(tree, finding, tmp_path, capsys):
    finding(Severity.ERROR)
    assert main([str(tree), "--format", "json", "-o", str(tmp_path / "out.json")]) == 1
    assert capsys.readouterr().out == ""
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["tree"] == {"root": str(tree), "version": "6.6"}
    assert document["findings"][0]["line"] == 7


def test_colours_only_where_asked_for(tree, finding, capsys):
    finding(Severity.ERROR)
    main([str(tree)])
    main([str(tree), "--color", "always"])
    plain, coloured = capsys.readouterr().out.splitlines()
    assert "\033" not in plain and "\033" in coloured


def test_stats_go_to_standard_error(tree, finding, capsys):
    finding(Severity.ERROR)
    main([str(tree), "--stats"])
    said = capsys.readouterr()
    assert said.out.count("\n") == 1
    assert re.search(r"^files +10$", said.err, re.M) and "seconds: facts" in said.err


@pytest.mark.parametrize(("args", "said"), [
    (["{tmp}/none"], "{tmp}/none"),
    (["--format", "xml", "{tree}"], "--format"),
    (["--severity", "fatal", "{tree}"], "--severity"),
    (["--nonsense", "{tree}"], "--nonsense"),
    (["--jobs", "-1", "{tree}"], "--jobs"),
    (["--jobs", "many", "{tree}"], "--jobs"),
    (["--kernel", "six", "{tree}"], "--kernel"),
    (["--rules", "{tmp}/none", "{tree}"], "{tmp}/none"),
    (["--select", "no-such-rule", "{tree}"], "no-such-rule"),
    (["--ignore", "KGF999", "{tree}"], "KGF999"),
    (["-o", "{tmp}/none/out", "{tree}"], "{tmp}/none/out"),
    (["-o", "/dev/full", "{tree}", "--format", "json"], "/dev/full"),
    (["explain", "no-such-rule"], "no-such-rule"),
    (["callers", "no_such_function", "{tree}"], "no_such_function"),
    (["callees", "no_such_function", "{tree}"], "no_such_function"),
    (["explain"], "RULE"),
    ([], "paths"),
])
def test_a_mistake_is_one_line_that_names_it(tree, tmp_path, capsys, args, said):
    args = [arg.format(tree=tree, tmp=tmp_path) for arg in args]
    assert said.format(tmp=tmp_path) in failure(capsys, *args)


def test_a_setting_in_a_file_holds(tree, tmp_path, monkeypatch, finding, capsys):
    finding(Severity.WARNING)
    (tmp_path / "kgfplint.toml").write_text('fail-on = "error"\n')
    monkeypatch.chdir(tmp_path)
    assert main([str(tree)]) == 0
    assert main([str(tree), "--fail-on", "warning"]) == 1
    monkeypatch.setenv("KGFPLINT_FAIL_ON", "note")
    assert main([str(tree)]) == 1


@pytest.mark.parametrize(("text", "said"), [
    ("fail_on = 'error'", "fail_on"), ("jobs = 'two'", "jobs"), ("severity = 'bad'", "severity"), ("= 1", "line 1"),
    ("select = 'KGF401'", "select"), ("kernel = '6'", "kernel"),
])
def test_a_wrong_setting_names_file_and_key(tree, tmp_path, monkeypatch, capsys, text, said):
    (tmp_path / "kgfplint.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    line = failure(capsys, tree)
    assert str(tmp_path / "kgfplint.toml") in line and said in line


def test_settings_of_a_shared_file(tree, tmp_path, monkeypatch, finding):
    finding(Severity.WARNING)
    (tmp_path / "pyproject.toml").write_text('[tool.kgfplint]\nfail-on = "error"\n')
    monkeypatch.chdir(tmp_path)
    assert main([str(tree)]) == 0


def test_a_wrong_variable_is_named(tree, monkeypatch, capsys):
    monkeypatch.setenv("KGFPLINT_JOBS", "two")
    assert "KGFPLINT_JOBS" in failure(capsys, tree)


def test_the_rules_are_listed(one_rule, capsys):
    assert main(["rules"]) == 0
    assert capsys.readouterr().out.split(maxsplit=3) == [
        "KGF401", "mismatched-free", "error", "freed by another allocator\n"]


@pytest.mark.parametrize("word", ["KGF401", "kgf401", "mismatched-free"])
def test_a_rule_is_explained(one_rule, tmp_path, monkeypatch, capsys, word):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "KGF401.md").write_text("# KGF401 mismatched-free\n")
    monkeypatch.setattr("kgfplint.cli.rules_directory", lambda: tmp_path)
    assert main(["explain", word]) == 0
    assert capsys.readouterr().out.startswith("# KGF401 mismatched-free\n")


def test_callers_and_callees(tree, capsys):
    assert main(["callers", "demo_ring_add", str(tree)]) == 0
    assert capsys.readouterr().out == "drivers/demo/main.c:51: demo_send (direct)\n"
    assert main(["callees", "demo_destroy", str(tree / "drivers")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "drivers/demo/main.c:64: demo_ring_drain (direct)" in lines


def command(*args) -> list[str]:
    return [sys.executable, "-c", "import sys; from kgfplint.cli import main; sys.exit(main())", *map(str, args)]


def test_a_closed_pipe_is_silent(tree):
    args = command(tree, "--format", "json", "--select", "KGF401")
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_full_standard_output_is_one_line(tree):
    args = command(tree, "--format", "json", "--select", "KGF401")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(args, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == b"kgfplint: standard output: No space left on device\n"


def test_an_interrupt_is_130_without_a_traceback(tree, tmp_path):
    for number in range(60):
        (tmp_path / f"f{number}.c").write_bytes(b"".join(p.read_bytes() for p in sorted(tree.rglob("*.c"))) * 60)
    # A job in the background of a script has interrupts ignored, and so has what it starts.
    process = subprocess.Popen(command(tmp_path, "--jobs", "2"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    log = Path(os.environ["KGFPLINT_CACHE"]) / "kgfplint.sqlite-wal"
    while not (log.exists() and log.stat().st_size > 50_000):  # facts in it show that the workers are at it
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err.strip()) == (130, b"", b"")


def test_an_internal_error_is_not_a_finding(tree, monkeypatch, capsys):
    monkeypatch.setattr(engine, "analyse", lambda *_: 1 / 0)
    assert main([str(tree)]) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("kgfplint: internal error") and "Traceback" in said


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"kgfplint \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_shows_the_options(capsys):
    assert main(["check", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--format", "--severity", "--select", "--jobs", "--no-cache"))
