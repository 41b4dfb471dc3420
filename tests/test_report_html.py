"""The HTML report: what is in it, and how it behaves in a real browser."""

import json
import os
import re
import shutil

import pytest

from kgfplint.cli import main
from kgfplint.config import Settings
from kgfplint.engine import run
from kgfplint.findings import Edit, Finding, Severity, Step, with_fingerprints
from kgfplint.report import Report, Stats, lines_around, render, seen_from

HOSTILE = "</script><img src=x onerror=alert(1)><!--\u202e"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHAIN = Finding(
    "KGF101", "sleeping-alloc-in-atomic", Severity.ERROR, "drivers/net/a.c", 30, 6, 30, "a_grow", "kmalloc() may sleep",
    (Step("drivers/net/a.c", 10, "a_irq", "spin_lock(&a->lock): no sleeping from here", "lock"),
     Step("drivers/net/a.c", 11, "a_irq", "calls a_grow()", "call"),
     Step("drivers/net/b.c", 30, "a_grow", "kmalloc() with GFP_KERNEL may sleep", "alloc")), key="kmalloc")
FREE = Finding(
    "KGF401", "mismatched-free", Severity.WARNING, "fs/x.c", 3, 2, 3, "x_free", "vmalloc() memory, but kfree() frees it",
    (Step("fs/x.c", 1, "x_new", "vmalloc() allocates it", "alloc"), Step("fs/x.c", 3, "x_free", "kfree() frees it", "free")),
    edits=(Edit("fs/x.c", 3, 2, 3, 10, "vfree(p)"),), key="kfree")
NOTE = Finding("KGF210", "open-coded-mask", Severity.NOTE, "drivers/usb/c.c", 5, 1, 5, "c", f"which is {HOSTILE}", key="k")
SOURCES = {"fs/x.c": {1: "\tp = vmalloc(n);", 2: "", 3: "\tkfree(p);", 4: "}"}, "drivers/net/b.c": {30: f"\tkmalloc({HOSTILE});"}}


def report(findings=(CHAIN, FREE, NOTE)) -> Report:
    return Report("/src/linux", "6.12", tuple(with_fingerprints(findings)), Stats(files=3), SOURCES)


def text(findings=(CHAIN, FREE, NOTE)) -> str:
    return "".join(render("html", report(findings)))


def data(page) -> dict:
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])


def test_it_is_one_file_without_any_address_to_load_from():
    page = text()
    assert page == text() and page.count("</script>") == 2 and page.count("<script") == 2
    assert not re.search(r"""(?:src|href)\s*=\s*["']|@import|url\(""", page)
    assert page.count("http") - json.dumps(data(page)).count("http") == page.count("http-equiv") + page.count("http://www.w3.org/2000/svg")


def test_nothing_of_the_source_is_markup():
    page = text()
    assert "<img" not in page and "<!--" not in page and "\u202e" not in page
    assert data(page)["sources"]["drivers/net/b.c"]["30"] == f"\tkmalloc({HOSTILE[:-1]}?);"


def test_fixes_are_shown_by_lines():
    [fix] = [finding["fix"] for finding in data(text())["findings"] if finding["code"] == "KGF401"]
    assert fix == [[3, ["\tkfree(p);"], ["\tvfree(p);"]]]


def test_the_lines_around_each_place():
    def read(path):
        if path == "gone.c":
            raise FileNotFoundError
        return b"".join(b"%d\n" % number for number in range(1, 101))

    finding = Finding("K", "k", Severity.NOTE, "a.c", 2, 1, 3, "f", "m", (Step("a.c", 50, "g", "n"), Step("gone.c", 1, "", "n")),
                      edits=(Edit("a.c", 99, 1, 99, 2, ""),))
    found = lines_around([finding], read)
    assert found.keys() == {"a.c"}
    assert list(found["a.c"]) == [*range(1, 8), *range(46, 55), *range(95, 101)]
    assert found["a.c"][50] == "50"


def test_only_a_format_that_shows_source_has_it_read(tree):
    assert run([tree], Settings(jobs=1)).sources == {}
    found = run([tree], Settings(jobs=1, format="html"))
    for finding in found.findings:
        there = (tree / finding.path).read_text().splitlines()
        assert found.sources[finding.path][finding.line] == there[finding.line - 1]
    moved = seen_from(found, str(tree.parent))
    assert moved.sources.keys() == {f"tree/{path}" for path in found.sources}


def test_the_command_writes_it(tree, tmp_path):
    assert main([str(tree), "--format", "html", "-o", str(tmp_path / "r.html"), "--jobs", "1"]) == 1
    found = data((tmp_path / "r.html").read_text())
    assert any(step[4] == "lock" for finding in found["findings"] for step in finding["trace"])
    assert all(rule["name"] and rule["says"] and rule["remedy"] for rule in found["rules"].values())


@pytest.fixture(scope="module")
def browser():
    """A headless browser; without one (Debian: apt-get install chromium) these tests are left out."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
    if BROWSER is None:
        pytest.skip("no browser is installed (Debian: apt-get install chromium)")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield running
        running.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a report; at the end nothing must have failed, asked the network or opened a dialog."""
    troubles, pages = [], []

    def show(findings=(CHAIN, FREE, NOTE), address="", scheme="light"):
        (tmp_path / "report.html").write_text(text(findings))
        page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme=scheme)
        pages.append(page)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on("request", lambda request: request.url.startswith("file:") or troubles.append(request.url))
        page.goto(f"{(tmp_path / 'report.html').as_uri()}{address}")
        return page

    yield show
    for page in pages:
        page.close()
    assert troubles == []


def messages(page) -> list[str]:
    return page.locator(".finding summary span:nth-child(2)").all_inner_texts()


def test_everything_is_listed_and_counted(opened):
    page = opened()
    assert page.locator("#count").inner_text() == "3 findings"
    assert messages(page) == [CHAIN.message, NOTE.message[:-1] + "?", FREE.message]
    assert page.locator("#by-folder .bar").evaluate_all("bars => bars.map(bar => bar.dataset.key)") == ["drivers/", "fs/"]
    assert page.locator("#by-folder .number").all_text_contents() == ["2", "1"]
    assert page.locator("#by-rule .bar").count() == 3
    assert page.locator("body").inner_text().count("/src/linux, kernel 6.12") == 1


def test_folders_rules_and_severities_filter(opened):
    page = opened()
    page.locator('#by-folder .bar[data-key="drivers/"]').click()
    assert messages(page) == [CHAIN.message, NOTE.message[:-1] + "?"]
    page.locator('#by-folder .bar[data-key="drivers/net/"]').click()
    assert messages(page) == [CHAIN.message] and page.locator("#count").inner_text() == "1 of 3 findings"
    assert page.locator("#by-folder .bar").evaluate_all("bars => bars.map(bar => bar.dataset.key)") == ["drivers/net/a.c"]
    page.locator("#crumbs button", has_text="all").click()
    page.locator('#by-rule .bar[data-key="KGF401"]').click()
    assert messages(page) == [FREE.message]
    page.locator('#by-rule .bar[data-key="KGF101"]').click()
    assert messages(page) == [CHAIN.message, FREE.message]
    page.locator("#severities input[value=warning]").check()
    assert messages(page) == [FREE.message]
    page.locator("#reset").click()
    assert len(messages(page)) == 3


def test_the_chart_begins_where_the_folders_part(opened):
    page = opened((CHAIN, NOTE))
    keys = "bars => bars.map(bar => bar.dataset.key)"
    assert page.locator("#by-folder .bar").evaluate_all(keys) == ["drivers/net/", "drivers/usb/"]
    assert page.locator("#crumbs").inner_text() == "all / drivers"
    single = opened((CHAIN,))
    assert single.locator("#by-folder .bar").evaluate_all(keys) == ["drivers/net/a.c"]
    single.locator("#by-folder .bar").click()
    assert messages(single) == [CHAIN.message]
    assert single.locator("#by-folder .bar").evaluate_all(keys) == ["drivers/net/a.c"]


def test_search_takes_all_words_anywhere(opened):
    page = opened()
    page.keyboard.press("/")
    page.keyboard.type("KFREE fs/x.c")
    page.locator("#count", has_text="1 of 3").wait_for()
    assert messages(page) == [FREE.message]
    page.locator("#search").fill("nowhere")
    page.locator(".empty", has_text="Nothing matches").wait_for()
    page.locator("#search").fill("<img")
    page.locator("#count", has_text="1 of 3").wait_for()
    assert messages(page) == [NOTE.message[:-1] + "?"]


@pytest.mark.parametrize(("group", "titles"), [
    ("code", ["KGF101 sleeping-alloc-in-atomic", "KGF210 open-coded-mask", "KGF401 mismatched-free"]),
    ("severity", ["error", "warning", "note"]), ("folder", ["drivers/net", "drivers/usb", "fs"]),
])
def test_groups(opened, group, titles):
    page = opened()
    page.locator("#group").select_option(group)
    assert page.locator(".group b").all_inner_texts() == titles


def test_a_finding_opens_with_its_chain_as_a_picture(opened):
    page = opened()
    page.locator(".finding summary").first.click()
    picture = page.locator(".finding[open] svg.chain")
    picture.wait_for()
    assert [picture.locator(f".{mark}").count() for mark in ("lock", "call", "alloc", "free", "box", "band", "arrow")] == [
        1, 1, 1, 0, 2, 1, 1]
    said = picture.inner_html()
    assert "a_irq()" in said and "must not sleep" in said
    assert "kmalloc(&lt;/script&gt;" in said  # the line of source, as text
    assert page.locator(".finding[open] .source").count() == 1  # of b.c; a.c was not read
    assert "Memory Allocation Guide" in page.locator(".finding[open]").inner_text()


def test_a_fix_is_shown(opened):
    page = opened(address="#rule=KGF401")
    page.locator(".finding summary").click()
    assert page.locator(".fix .gone").inner_text().split() == ["3", "-", "kfree(p);"]
    assert page.locator(".fix .come").inner_text().split() == ["+", "vfree(p);"]
    assert "kgfplint patch" in page.locator(".commands").inner_text()
    lines = page.locator(".source:not(.fix) tr")
    assert lines.evaluate_all("rows => rows.map(row => row.className)") == ["step", "", "step here", ""]


def test_the_address_tells_what_is_shown(opened):
    page = opened()
    page.locator("#severities input[value=warning]").check()
    page.locator(".finding summary").click()
    page.locator(".chain").wait_for()
    address = page.evaluate("location.hash")
    assert "severity=warning" in address and "open=" in address
    other = opened(address=address)
    other.locator(".finding[open] .chain").wait_for()
    assert messages(other) == [FREE.message]
    strange = opened(address="#severity=fatal&group=__proto__&rule=X&open=none")
    assert len(messages(strange)) == 3


def test_keys_walk_through_the_list(opened):
    page = opened()
    for key in ("j", "j", "k", "Enter"):
        page.keyboard.press(key)
    assert page.locator(".finding[open]").count() == 1 and page.locator(".finding").first.get_attribute("open") is not None


def test_light_and_dark(opened):
    shades = [opened(scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor") for scheme in ("light", "dark")]
    assert shades[0] != shades[1]
    page = opened()
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == shades[1]


def test_nothing_found_is_said(opened):
    assert opened(()).locator(".empty").inner_text() == "Nothing found."


def test_a_narrow_window_needs_no_sideways_scrolling(opened):
    page = opened()
    page.set_viewport_size({"width": 420, "height": 800})
    page.locator(".finding summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_thousands_are_drawn_as_they_are_scrolled_to(opened):
    many = [Finding("KGF101", "sleeping-alloc-in-atomic", Severity.ERROR, f"drivers/d{n % 40:02}/f{n % 7}.c", n, 1, n, "f",
                    f"m{n}", CHAIN.trace, key=str(n)) for n in range(1, 3001)]
    page = opened(many)
    assert page.locator("#count").inner_text() == "3,000 findings"
    assert page.locator(".finding").count() < 1000
    last = page.evaluate("DATA.findings.at(-1).fingerprint")
    for _ in range(200):
        if page.locator(f"#f-{last}").count():
            break
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(20)
    assert page.locator(".finding").count() == 3000
    page.locator("#search").fill("m2321")
    page.locator("#count", has_text="1 of").wait_for()
    assert messages(page) == ["m2321"]
    middle = opened(many, address=f"#open={last}")
    middle.locator(".finding[open] .chain").wait_for()
