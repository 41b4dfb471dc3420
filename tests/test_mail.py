"""`kgfplint patch`: a mail that git applies, that says what was wrong, and that blames a commit only when it is proven."""

import datetime
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kgfplint import __version__, fixes
from kgfplint.checks import all_checks
from kgfplint.cli import main
from kgfplint.config import Settings
from kgfplint.engine import run
from kgfplint.findings import Finding, Rewrite, Severity
from kgfplint.mail import Author, mail, subsystem, wording

TREE = os.environ.get("KGFPLINT_TREE")
SNAPSHOT = Path(__file__).parent / "snapshots" / "patch.eml"
PATH = "drivers/net/wireless/acme/card.c"
CODE = """#include <linux/slab.h>

int card_open(size_t n)
{
	void *p = vmalloc(n);

	if (!p)
		return -ENOMEM;
	card_use(p);
	return 0;
}

int card_id(void)
{
	return 7;
}
"""
BROKEN = CODE.replace("\tcard_use(p);\n", "\tcard_use(p);\n\tkfree(p);\n")
AUTHOR = Author("Ann Other", "ann@example.org", datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC))


class Repository:
    """A git repository with a small kernel tree in it."""

    def __init__(self, top: Path, below: str = "") -> None:
        self.top, self.root = top, top / below
        self.root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q")
        for name, value in (("name", "Ann Other"), ("email", "ann@example.org")):
            self.git("config", f"user.{name}", value)
        (self.root / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\n")
        (self.root / "Kconfig").write_text("")
        self.commit("start")

    def git(self, *args: str, data: bytes = b"") -> str:
        date = {"GIT_AUTHOR_DATE": "1770000000 +0100", "GIT_COMMITTER_DATE": "1770000000 +0100"}
        done = subprocess.run(["git", *args], cwd=self.top, input=data, capture_output=True, check=True, env=os.environ | date)
        return done.stdout.decode()

    def write(self, text: str, path: str = PATH) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def commit(self, subject: str, text: str | None = None, path: str = PATH) -> str:
        """Commit a file with a text and return the beginning of the commit's name."""
        if text is not None:
            self.write(text, path)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)
        return self.git("rev-parse", "HEAD")[:12]

    def fingerprint(self, code: str = "KGF401") -> str:
        [found] = run([self.root], Settings(jobs=1, severity="note", select=(code,))).findings
        return found.fingerprint


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Repository:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_AUTHOR_DATE", "1770000000 +0100")
    return Repository(tmp_path / "linux")


@pytest.fixture
def made(repository, capsys):
    """Makes the mail for the one mismatched free of the repository."""
    def make(*args: str, code: str = "KGF401") -> str:
        assert main(["patch", repository.fingerprint(code), str(repository.root), "--jobs", "1", *args]) == 0
        return capsys.readouterr().out

    return make


def test_the_mail_byte_by_byte(repository, made):
    repository.commit("wifi: acme: open cards", CODE)
    culprit = repository.commit("wifi: acme: free memory", BROKEN)
    said = made().replace(culprit, "CULPRIT").replace(f"kgfplint {__version__}", "kgfplint VERSION")
    assert said == SNAPSHOT.read_text()


def test_git_applies_it_and_says_the_same(repository, made):
    repository.commit("wifi: acme: open cards", BROKEN)
    said = made()
    repository.git("am", "-q", data=said.encode())
    assert (repository.root / PATH).read_text() == BROKEN.replace("kfree", "vfree")
    logged = repository.git("log", "-1", "--format=%an <%ae>%n%ad%n%s%n%n%b", "--date=raw").splitlines()
    assert logged[:4] == ["Ann Other <ann@example.org>", "1770000000 +0100",
                          "wifi: acme: use vfree() instead of kfree() in card_open()", ""]
    shown = repository.git("format-patch", "-1", "--stdout", "--abbrev=12")
    assert said.split("\n---\n")[1].split("\n-- \n")[0] == shown.split("\n---\n")[1].split("\n-- \n")[0]
    assert run([repository.root], Settings(jobs=1, select=("KGF401",))).findings == ()


def test_names_and_sources_that_are_not_ascii(repository, made):
    repository.git("config", "user.name", "Änn, Other Ünger")
    repository.write(BROKEN.replace("return 0;", "return 0; /* ümläut */"))
    said = made()
    assert "Content-Transfer-Encoding: 8bit\n" in said and said.split("\n\n")[0].isascii()
    repository.commit("wifi: acme: open cards")
    repository.git("am", "-q", data=said.encode())
    assert repository.git("log", "-1", "--format=%an%n%b").splitlines()[0] == "Änn, Other Ünger"
    assert "Signed-off-by: Änn, Other Ünger <ann@example.org>\n" in said


def test_a_tree_below_the_top_of_its_repository(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GIT_AUTHOR_DATE", "1770000000 +0100")
    repository = Repository(tmp_path / "work", "sources/linux")
    repository.commit("start", CODE)
    culprit = repository.commit("free it", BROKEN)
    assert main(["patch", repository.fingerprint(), str(repository.root), "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert f"\n--- a/sources/linux/{PATH}\n" in said and f"Fixes: {culprit} (\"free it\")\n" in said
    repository.git("am", "-q", data=said.encode())


def blamed(said: str) -> list[str]:
    return re.findall(r"^Fixes: (\w+) \(", said, re.M)


def test_the_commit_that_made_it_wrong_is_blamed_not_the_one_that_wrote_the_line(repository, made):
    right = BROKEN.replace("vmalloc", "kmalloc").replace("(n);", "(n, GFP_KERNEL);")
    repository.commit("open", right)
    culprit = repository.commit("large cards", BROKEN)
    repository.commit("more", f"int other;\n\n{BROKEN}")
    assert blamed(made()) == [culprit]


def test_a_commit_that_only_touched_the_lines_is_not_blamed(repository, made):
    repository.commit("open", BROKEN)
    repository.commit("blanks", BROKEN.replace("\tkfree(p);", "\tkfree( p );"))
    assert blamed(made()) != [] and "(\"open\")" in made()
    repository.commit("names", BROKEN.replace("kfree(p);", "kfree(p /* done */);"))
    assert blamed(made()) == []


@pytest.mark.parametrize("how", ["not committed", "the first commit", "no repository", "no mistake"])
def test_nothing_is_blamed_where_nothing_is_known(repository, made, how, tmp_path):
    if how == "not committed":
        repository.commit("open", CODE)
        repository.write(BROKEN)
    elif how == "the first commit":
        repository.write(BROKEN)
        repository.git("add", "-A")
        repository.git("commit", "-q", "--amend", "-m", "all")
    elif how == "no repository":
        repository.write(BROKEN)
        repository.git("config", "--global", "user.name", "Ann Other")
        repository.git("config", "--global", "user.email", "ann@example.org")
        shutil.rmtree(repository.top / ".git")
    else:
        repository.commit("open", CODE)
        repository.commit("taps", "int *taps(size_t n)\n{\n\treturn kzalloc(n * sizeof(int), GFP_KERNEL);\n}\n")
    said = made(code="KGF501" if how == "no mistake" else "KGF401")
    assert "Fixes:" not in said and "Signed-off-by: Ann Other <ann@example.org>\n---\n" in said


def failure(capsys, *args: str) -> str:
    assert main(["patch", *args, "--jobs", "1"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


def test_what_cannot_be_sent(repository, capsys, monkeypatch):
    repository.write(BROKEN + "int *taps(void)\n{\n\tint *t = kmalloc(4, GFP_KERNEL);\n\n\tt[0] = 1;\n\treturn t;\n}\n")
    root = str(repository.root)
    assert "no finding has this fingerprint" in failure(capsys, "0" * 32, root)
    assert "not a fingerprint" in failure(capsys, "card.c:10", root)
    assert "not a fingerprint" in failure(capsys, "abc", root)
    assert "unchecked-allocation is not mended by rote" in failure(capsys, repository.fingerprint("KGF301"), root)
    assert "no such file" in failure(capsys, "0" * 32, root + "/none")
    repository.git("config", "--unset", "user.email")
    monkeypatch.delenv("EMAIL", raising=False)
    assert "git does not know who you are" in failure(capsys, repository.fingerprint(), root)


def test_the_beginning_of_a_fingerprint_will_do_and_the_mail_may_go_to_a_file(repository, tmp_path, monkeypatch, capsys):
    repository.commit("open", BROKEN)
    monkeypatch.chdir(repository.root / "drivers")
    assert main(["patch", repository.fingerprint()[:8], "--jobs", "1", "-o", str(tmp_path / "a.eml")]) == 0
    assert capsys.readouterr().out == "" and "vfree" in (tmp_path / "a.eml").read_text()


@pytest.mark.parametrize(("path", "former", "begins"), [
    ("drivers/net/wireless/acme/card.c", [], "wifi: acme"), ("mm/slub.c", [], "mm/slub"), ("fs/ext4/inode.c", [], "ext4"),
    ("sound/soc/acme/x.c", [], "ASoC: acme"), ("sound/pci/hda/patch.c", [], "ALSA: hda"), ("card.c", [], "card"),
    ("net/core/dev.c", [], "net"), ("arch/x86/mm/pat.c", [], "x86/mm"), ("src/card.c", [], "src"),
    ("fs/ext4/inode.c", ["ext4: fix a: b", "ext4: do", "treewide: all"], "ext4"),
    ("drivers/net/x.c", ["net: acme: fix", "net: acme: do", "Merge it"], "net: acme"),
    ("drivers/net/x.c", ["Revert \"net: x: y\"", "one: time"], "net: x"),
])
def test_subjects_begin_as_those_before(path, former, begins):
    assert subsystem(path, former) == begins


def test_each_rule_that_mends_has_words_of_its_own():
    mechanical = {path.name for path in (Path(__file__).parent / "fixtures").iterdir() if path.name in all_checks()} & {
        "KGF101", "KGF210", "KGF213", "KGF214", "KGF401", "KGF402", "KGF501", "KGF502"}
    names = {all_checks()[code].RULE.name for code in mechanical}
    assert len(names) == 8 and not any(wording(name).subject.startswith("mend what") for name in names)
    assert wording("none").subject


def test_many_lines_are_drawn_to_scale():
    before = b"".join(b"int a%d;\n" % number for number in range(100))
    fix = Rewrite("kfree", "vfree", ())
    finding = Finding("KGF401", "mismatched-free", Severity.ERROR, "a.c", 1, 1, 1, "", "it is wrong", fix=fix)
    said = mail(finding, "a.c", before, before.replace(b"int", b"long"), AUTHOR)
    assert " a.c | 200 " + "+" * 25 + "-" * 25 + "\n" in said and "100 insertions(+), 100 deletions(-)" in said
    assert "\nIt" not in said and "\nit is wrong.\n" in said
    said = mail(finding, "a.c", b"x\ny", b"x", AUTHOR)
    assert "\\ No newline at end of file" in said and ", 1 insertion(+), 2 deletions(-)" in said


@pytest.mark.skipif(TREE is None, reason="KGFPLINT_TREE names no kernel tree, whose checkpatch.pl this needs")
@pytest.mark.parametrize("code", ["KGF101", "KGF210", "KGF213", "KGF214", "KGF401", "KGF402", "KGF501", "KGF502"])
def test_checkpatch_has_nothing_to_say_in_a_tree(code, tmp_path):
    """Fixtures are cut off their comments about what is expected, which make lines long."""
    source = tmp_path / "bad.c"
    text = (Path(__file__).parent / "fixtures" / code / "bad.c").read_text()
    source.write_text(re.sub(r"\s*/\* expect: .*?\*/", "", text))
    found = [one for one in run([source], Settings(jobs=1, severity="note", select=(code,))).findings if one.edits]
    assert found
    for number, finding in enumerate(found):
        before = source.read_bytes()
        place = tmp_path / f"{number}.eml"
        place.write_text(mail(finding, "drivers/acme/bad.c", before, fixes.applied(before, finding.edits), AUTHOR))
        # What is needless about an `if` is what the patch removes.
        command = ["perl", f"{TREE}/scripts/checkpatch.pl", "--no-tree", "--ignore", "NEEDLESS_IF", place]
        done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
        assert "total: 0 errors, 0 warnings" in done.stdout, done.stdout
