"""`kgfplint context` and `kgfplint why`: what they say, and what they refuse."""

from pathlib import Path

import pytest

from kgfplint.cli import main

FIXTURE = Path(__file__).parent / "fixtures" / "KGF101" / "bad_callee.c"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A folder with one file whose functions are reached from a lock, an interrupt and a timer."""
    monkeypatch.setenv("KGFPLINT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / "panel.c").write_bytes(FIXTURE.read_bytes())
    return folder


def _line(text: str) -> int:
    """Return the 1-based line of the fixture that holds a text."""
    return next(number for number, line in enumerate(FIXTURE.read_text().splitlines(), 1) if text in line)


def test_context_tells_lock_and_chain(module, capsys):
    assert main(["context", "event_new", "--jobs", "1", str(module)]) == 0
    out = capsys.readouterr().out
    assert f"panel.c:{_line('spin_lock_bh')}: in panel_press() spin_lock_bh(&panel->lock)" in out
    assert "calls panel_queue()" in out
    assert "may sleep: kzalloc() with GFP_KERNEL" in out


@pytest.mark.parametrize(("function", "context"), [("panel_irq", "hard interrupt context"), ("panel_tick", "a timer")])
def test_context_tells_registration(module, capsys, function, context):
    assert main(["context", function, "--jobs", "1", str(module)]) == 0
    assert f"runs in {context}" in capsys.readouterr().out


def test_context_of_what_nothing_reaches(module, capsys):
    assert main(["context", "panel_start", "--jobs", "1", str(module)]) == 0
    assert "no lock holder" in capsys.readouterr().out


def test_why_tells_chain_mask_and_guide(module, capsys):
    line = _line("GFP_KERNEL); /* expect")
    assert main(["why", "--jobs", "1", f"{module / 'panel.c'}:{line}"]) == 0
    out = capsys.readouterr().out
    assert "ret = panel_queue(panel, code);" in out, "each step shows its source line"
    assert "__GFP_DIRECT_RECLAIM" in out
    assert 'Guide, section "Get Free Page flags"' in out
    assert "CONFIG_DEBUG_ATOMIC_SLEEP" in out


@pytest.mark.parametrize(("words", "error"), [
    (["context", "no_such_function", "{}"], "no_such_function: no such function"),
    (["why", "{}/panel.c"], "not a place, write PATH:LINE"),
    (["why", "{}/panel.c:1"], "no finding there"),
    (["why", "{}/gone.c:1"], "no such file or directory"),
])
def test_refusals_are_one_line(module, capsys, words, error):
    assert main([word.format(module) for word in words]) == 2
    err = capsys.readouterr().err
    assert error in err
    assert err.count("\n") == 1
