"""Comments that allow a finding: where they hold, what is wrong with them, and that they cost nothing to look for."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgfplint.cli import main
from kgfplint.source.tree import Files
from kgfplint.suppressions import MARK, allows

BAD = "int f(size_t n)\n{\n\tvoid *p = vmalloc(n);\n\n\tif (!p)\n\t\treturn -ENOMEM;\n%s\treturn 0;\n}\n"


def lines(text) -> list[tuple[int, int, int]]:
    return [(allow.line, allow.first, allow.last) for allow in allows(text.encode())]


@pytest.mark.parametrize(("text", "place"), [
    ("a(); /* kgfplint: allow(KGF401) x */\nb();\n", (1, 1, 1)),
    ("a(); // kgfplint: allow(KGF401) x\nb();\n", (1, 1, 1)),
    ("/* kgfplint: allow(KGF401) x */\na();\nb();\n", (1, 2, 2)),
    ("/*\n * kgfplint: allow(KGF401) x\n */\na();\nb();\n", (1, 4, 4)),
    ("a();\n\n/* kgfplint: allow(KGF401) x */\n/* and */\n// so\nb(1,\n  2);\nc();\n", (3, 6, 7)),
    ("a();\nb(1,\n  2); // kgfplint: allow(KGF401) x\nc();\n", (3, 2, 3)),
    ("a();\nb(1, /* kgfplint: allow(KGF401) x */\n  \";\",\n  2);\nc();\n", (2, 2, 4)),
    ("void f(void)\n{\n\t/* kgfplint: allow(KGF401) x */\n\tp = k(1,\n\t      2);\n}\n", (3, 4, 5)),
    ("#define A 1\na(1, // kgfplint: allow(KGF401) x\n2);\n", (2, 2, 3)),
    ("// kgfplint: allow(KGF401) x\n", (1, 2, 2)),
    ("/* kgfplint: allow(KGF401) never closed\na();\n", (1, 3, 3)),
])
def test_the_statement_at_or_below_a_comment(text, place):
    assert lines(text) == [place]


@pytest.mark.parametrize("text", [
    'char *s = "/* kgfplint: allow(KGF401) x */";\n', "a(); /* see kgfplint: allow(KGF401) x */\n", "kgfplint: allow(KGF401) x\n",
    "char c = '\"'; // \"kgfplint:\n",
])
def test_what_is_no_such_comment(text):
    assert allows(text.encode()) == []


@pytest.mark.parametrize(("comment", "codes", "problem"), [
    ("allow(mismatched-free) because", ("KGF401",), ""),
    ("allow( KGF401 , double-free ): because", ("KGF401", "KGF406"), ""),
    ("allow(kgf401) - because", ("KGF401",), ""),
    ("allow(KGF401)", ("KGF401",), "reason"),
    ("allow(KGF401) -- ", ("KGF401",), "reason"),
    ("allow() because", (), "unknown rule ''"),
    ("allow(nothing) because", (), "unknown rule 'nothing'"),
    ("disable", (), "not understood"),
    ("allow KGF401", (), "not understood"),
])
def test_what_a_comment_says(comment, codes, problem):
    [found] = allows(f"/* kgfplint: {comment} */\na();\n".encode())
    assert found.codes == codes
    assert problem in found.problem and bool(found.problem) == bool(problem)


PIECES = [b"/*", b"*/", b"//", b"\n", b'"', b"'", b"\\", b";", b"{", b"a", b" ", b"kgfplint: allow(KGF401) x"]


@given(st.lists(st.sampled_from(PIECES)))
def test_any_text_can_be_read(parts):
    data = b"".join(parts)
    for allow in allows(data):
        assert 1 <= allow.line <= data.count(b"\n") + 1
        assert 1 <= allow.first <= allow.last <= data.count(b"\n") + 1


@pytest.fixture
def linted(tmp_path, capsys):
    """Lints one file of an out-of-tree module with some lines in it."""
    def lint(body, *options) -> list[tuple[int, str]]:
        (tmp_path / "a.c").write_text(BAD % body)
        main([str(tmp_path), "--format", "json", "--jobs", "1", *options])
        return [(finding["line"], finding["rule"]) for finding in json.loads(capsys.readouterr().out)["findings"]]

    return lint


def test_only_the_allowed_rule_at_that_place(linted):
    assert linted("\tkfree(p);\n") == [(7, "mismatched-free")]
    assert linted("\tkfree(p); /* kgfplint: allow(mismatched-free) so */\n") == []
    other = "\t/* kgfplint: allow(mismatched-free) so */\n\tn++;\n\tkfree(p);\n"
    assert linted(other) == [(7, "bad-suppression"), (9, "mismatched-free")]
    assert linted("\tkfree(p); /* kgfplint: allow(KGF406) so */\n") == [(7, "bad-suppression"), (7, "mismatched-free")]


def test_rules_that_did_not_run_are_not_said_to_be_unused(linted):
    line = "\tvfree(p); /* kgfplint: allow(mismatched-free) so */\n"
    assert linted(line) == [(7, "bad-suppression")]
    assert linted(line, "--ignore", "mismatched-free") == []
    assert linted(line, "--select", "KGF4") == []
    assert linted(line, "--ignore", "KGF001") == []


def test_a_run_that_knows_less_says_nothing_of_unused_ones(linted, tmp_path):
    for path, text in (("Kconfig", ""), ("Makefile", "VERSION = 6\nPATCHLEVEL = 6\n")):
        (tmp_path / path).write_text(text)
    line = "\tvfree(p); /* kgfplint: allow(mismatched-free) so */\n"
    assert linted(line) == [(7, "bad-suppression")]
    assert linted(line, "--scope", "paths") == []
    assert linted("\tvfree(p); /* kgfplint: allow(mismatched-free) */\n", "--scope", "paths") == [(7, "bad-suppression")]


def test_files_are_read_once_for_it(linted, tmp_path, monkeypatch):
    for number in range(5):
        (tmp_path / f"b{number}.c").write_text(f"int b{number};\n")
    linted("\tkfree(p);\n")
    read = []
    real = Files.place
    monkeypatch.setattr(Files, "place", lambda self, path: read.append(path) or real(self, path))
    monkeypatch.setattr(Path, "read_bytes", lambda self, real=Path.read_bytes: read.append(f"read {self.name}") or real(self))
    assert linted("\tkfree(p); /* kgfplint: allow(mismatched-free) so */\n") == []
    assert [name for name in read if name.startswith("read b") and name.endswith(".c")] == []
    assert "read a.c" in read
    assert MARK in (tmp_path / "a.c").read_bytes()
