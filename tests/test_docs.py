"""The pages for people: what they show works as they say."""

import json
import re
from pathlib import Path

from kgfplint.cli import main

ROOT = Path(__file__).parent.parent


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


def test_own_apis_are_told_as_the_page_says(tmp_path, capsys):
    rules, setting = blocks("docs/own-apis.md", "toml")
    [code] = blocks("docs/own-apis.md", "c")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "demo.toml").write_text(rules)
    (tmp_path / "kgfplint.toml").write_text(setting)
    (tmp_path / "demo.c").write_text(code)
    wanted = [(number, line.split()[-2]) for number, line in enumerate(code.splitlines(), 1) if "expect:" in line]
    assert main([str(tmp_path), "--format", "json", "--jobs", "1"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [(one["line"], one["code"]) for one in found] == wanted and len(wanted) == 3


def test_links_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_options_and_commands_of_the_readme_exist(capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    known = ""
    for words in ("check", "", "model", "cache prune", "lsp", "rules", "patch"):
        main([*words.split(), "--help"])
        known += capsys.readouterr().out
    for option in set(re.findall(r"(?<=[ `])--[a-z][a-z-]+", re.sub(r"git send-email[^`\n]*", "", text))):
        assert option in known, option
    for command in set(re.findall(r"`kgfplint ([a-z]+)[ `]", text)):
        assert re.search(rf"^  {command} ", known, re.M), command


def test_all_pages_as_one(capsys):
    assert main(["rules", "--format", "markdown"]) == 0
    text = capsys.readouterr().out
    assert main(["rules"]) == 0
    codes = re.findall(r"^KGF\d{3}", capsys.readouterr().out, re.M)
    assert re.findall(r"^\| (KGF\d{3}) \|", text, re.M) == codes
    assert len(re.findall(r"^## .*KGF\d{3}", text, re.M)) == len(codes) and len(re.findall("^# ", text, re.M)) == 1
