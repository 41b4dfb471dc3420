"""The hooks, run by pre-commit itself on a real repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
BAD = "int f(size_t n)\n{\n\tvoid *p = vmalloc(n);\n\n\tif (!p)\n\t\treturn -ENOMEM;\n\tkfree(p);\n\treturn 0;\n}\n"
GOOD = BAD.replace("kfree", "vfree")


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Runs a command in a small kernel tree with the hooks installed; kgfplint is that of these tests."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    tree = tmp_path / "tree"
    tree.mkdir()
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "PRE_COMMIT_HOME": str(tmp_path / "home"),
                   "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{who}_NAME": "A", f"GIT_{who}_EMAIL": "a@example.org"}
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "kgfplint"
    command.write_text(f'#!/bin/sh\necho called >> {tmp_path}/calls\nPYTHONPATH={ROOT} exec {sys.executable} -m kgfplint "$@"\n')
    command.chmod(0o755)

    def run(*args, where=tree):
        done = subprocess.run(args, cwd=where, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    for folder in (hooks, tree):
        assert run("git", "init", "-q", "-b", "main", where=folder)[0] == 0
    run("git", "add", "-A", where=hooks)
    run("git", "commit", "-q", "-m", "hooks", where=hooks)
    revision = run("git", "rev-parse", "HEAD", where=hooks)[1].strip()
    for path, text in (("Kconfig", ""), ("Makefile", "VERSION = 6\nPATCHLEVEL = 6\n"), ("lib/old.c", BAD)):
        (tree / path).parent.mkdir(exist_ok=True)
        (tree / path).write_text(text)
    # The test must not fetch Python packages from the network, so that the language is not python here.
    wanted = [{"id": name, "language": "system", "stages": [stage]}
              for name, stage in (("kgfplint", "pre-commit"), ("kgfplint-files", "manual"))]
    config = {"repos": [{"repo": str(hooks), "rev": revision, "hooks": wanted}]}
    (tree / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    run("git", "add", "-A")
    assert run("git", "commit", "-q", "-m", "first")[0] == 0
    assert run(sys.executable, "-m", "pre_commit", "install")[0] == 0
    return run


def write(tmp_path, name, text):
    (tmp_path / "tree" / name).write_text(text)


def test_a_commit_is_stopped_by_what_it_newly_breaks(shell, tmp_path):
    write(tmp_path, "lib/new.c", BAD)
    write(tmp_path, "lib/old.c", BAD.replace("int f", "\nint f"))
    shell("git", "add", "-A")
    code, said = shell("git", "commit", "-m", "bad")
    assert code == 1
    assert "lib/new.c:7:2: error:" in said and "lib/old.c" not in said
    write(tmp_path, "lib/new.c", GOOD)
    # What is in the work tree only is no part of the commit.
    assert shell("git", "commit", "-m", "still bad")[0] == 1
    shell("git", "add", "-A")
    code, said = shell("git", "commit", "-m", "good")
    assert (code, "kgfplint" in said) == (0, True)
    assert (tmp_path / "calls").read_text().count("called") == 3


def test_files_are_passed_only_where_they_are_asked_for(shell):
    code, said = shell(sys.executable, "-m", "pre_commit", "run", "--all-files", "--hook-stage", "manual", "kgfplint-files")
    assert code == 1 and "lib/old.c:7:2: error:" in said
    code, said = shell(sys.executable, "-m", "pre_commit", "run", "--all-files")
    assert code == 0 and "Passed" in said


def test_other_files_call_nothing(shell, tmp_path):
    write(tmp_path, "README", "text\n")
    shell("git", "add", "-A")
    assert shell("git", "commit", "-m", "text")[0] == 0
    assert not (tmp_path / "calls").exists()


def test_several_calls_at_once(shell, tmp_path):
    """pre-commit may split long lists of files; each call must give the same answer."""
    write(tmp_path, "lib/new.c", BAD)
    shell("git", "add", "-A")
    answers = {shell("kgfplint", "--staged") for _ in range(3)}
    assert len(answers) == 1 and answers.pop()[0] == 1


def test_the_hooks_say_what_they_must():
    hooks = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert hooks.keys() == {"kgfplint", "kgfplint-files"}
    assert all(hook["require_serial"] for hook in hooks.values())
    assert hooks["kgfplint"]["pass_filenames"] is False and hooks["kgfplint"]["entry"].endswith("--staged")


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_ready_files_use_options_that_there_are(name, capsys):
    import re

    from kgfplint.cli import main

    text = (ROOT / "docs" / "ci" / name).read_text()
    assert yaml.safe_load(text)
    main(["check", "--help"])
    known = capsys.readouterr().out
    options = {option for line in text.splitlines() if "kgfplint -" in line for option in re.findall(r" (--[a-z-]+)", line)}
    assert options and all(option in known for option in options)
