"""`kgfplint lsp`, with a real client over standard input and output: texts as they are written, broken ones included."""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lsprotocol import types
from pygls.lsp.client import LanguageClient

from kgfplint.cli import main
from kgfplint.editor import answers, worker
from kgfplint.editor.messages import actions
from kgfplint.editor.texts import Text
from kgfplint.findings import Finding, Severity

ROOT = Path(__file__).parent.parent
PANEL = ROOT / "tests" / "fixtures" / "KGF101" / "bad_callee.c"
GOOD = """#include "ring.h"

int ring_use(struct ring *r)
{
	void *p = vmalloc(64);

	if (!p)
		return -ENOMEM;
	vfree(p);
	return 0;
}
"""
BAD = GOOD.replace("vfree", "kfree")
LINE = BAD.splitlines().index("\tkfree(p);")
HEADER = "struct ring { spinlock_t lock; void *buf; };\nvoid *ring_alloc(struct ring *r);\n"
MAKER = '#include "ring.h"\n\nvoid *ring_alloc(struct ring *r)\n{\n\treturn vmalloc(4096);\n}\n'
WHOLE = types.Range(types.Position(0, 0), types.Position(1000, 0))


class Editor:
    """An editor with one server; the diagnostics that it was sent last, by path."""

    def __init__(self, root, **capabilities):
        self.root = root
        self.shown = {}
        self.messages = []
        self.fresh = asyncio.Condition()
        self.versions = 0
        self.capabilities = types.ClientCapabilities(**capabilities)
        self.client = LanguageClient("test", "1")

        @self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        async def shown(params):
            async with self.fresh:
                self.shown[params.uri] = params.diagnostics
                self.fresh.notify_all()

        @self.client.feature(types.WINDOW_SHOW_MESSAGE)
        async def message(params):
            async with self.fresh:
                self.messages.append(params.message)
                self.fresh.notify_all()

    async def start(self, *args):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        await self.client.start_io(sys.executable, "-m", "kgfplint", "lsp", *args, env=environment, cwd="/")
        self.server = self.client._server
        return await self.client.initialize_async(types.InitializeParams(capabilities=self.capabilities))

    def uri(self, path):
        return (self.root / path).as_uri()

    def open(self, path, text):
        item = types.TextDocumentItem(self.uri(path), "c", 1, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def change(self, path, text):
        self.versions += 1
        name = types.VersionedTextDocumentIdentifier(self.versions + 1, self.uri(path))
        whole = types.TextDocumentContentChangeWholeDocument(text)
        self.client.text_document_did_change(types.DidChangeTextDocumentParams(name, [whole]))

    def save(self, path):
        self.client.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(self.uri(path))))

    async def until(self, true):
        async with self.fresh:
            await self.fresh.wait_for(true)

    async def places(self, path, *wanted):
        """Wait until just these (line, code) are shown in a file; return its diagnostics."""
        def there():
            found = self.shown.get(self.uri(path))
            return found is not None and sorted((one.range.start.line, one.code) for one in found) == sorted(wanted)

        await self.until(there)
        return self.shown[self.uri(path)]

    async def hover(self, path, line, column):
        place = types.Position(line, column)
        params = types.HoverParams(types.TextDocumentIdentifier(self.uri(path)), place)
        said = await self.client.text_document_hover_async(params)
        return said and said.contents.value

    async def actions(self, path, where=WHOLE):
        name = types.TextDocumentIdentifier(self.uri(path))
        return await self.client.text_document_code_action_async(
            types.CodeActionParams(name, where, types.CodeActionContext([]))) or []


def edited(text, edits):
    """Return a text with edits made, as an editor makes them (no other columns than those of ASCII here)."""
    lines = text.split("\n")

    def offset(place):
        return sum(len(line) + 1 for line in lines[: place.line]) + place.character

    for edit in sorted(edits, key=lambda edit: -offset(edit.range.start)):
        text = text[: offset(edit.range.start)] + edit.new_text + text[offset(edit.range.end) :]
    return text


@pytest.fixture
def module(tmp_path):
    """An out-of-tree module; what is on disk is right."""
    folder = tmp_path / "my module"
    folder.mkdir()
    for name, text in (("ring.h", HEADER), ("user.c", GOOD), ("maker.c", MAKER)):
        (folder / name).write_text(text)
    return folder


def session(root, steps, *args, **capabilities):
    """Run the steps of a test with an editor; at the end the server must leave when it is told to."""
    async def run():
        editor = Editor(root, **capabilities)
        await editor.start(*args)
        await asyncio.wait_for(steps(editor), 300)
        await editor.client.shutdown_async(None)
        editor.client.exit(None)
        assert await editor.server.wait() == 0

    asyncio.run(run())


RELATED = types.TextDocumentClientCapabilities(
    publish_diagnostics=types.PublishDiagnosticsClientCapabilities(related_information=True))


def test_what_is_not_saved_is_linted(module):
    async def steps(editor):
        editor.open("user.c", BAD)
        [shown] = await editor.places("user.c", (LINE, "KGF401"))
        assert shown.range == types.Range(types.Position(LINE, 1), types.Position(LINE, len("\tkfree(p);")))
        assert shown.severity == types.DiagnosticSeverity.Error and shown.source == "kgfplint"
        assert shown.message.startswith("p is vmalloc() memory") and "mismatched-free" in shown.message
        [made] = [one for one in shown.related_information if one.location.range.start.line == 4]
        assert made.location.uri == editor.uri("user.c") and "ring_use()" in made.message
        editor.change("user.c", "\n\n" + BAD)
        await editor.places("user.c", (LINE + 2, "KGF401"))
        editor.change("user.c", GOOD)
        await editor.places("user.c")
        editor.change("user.c", BAD)
        await editor.places("user.c", (LINE, "KGF401"))
        editor.client.text_document_did_close(
            types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(editor.uri("user.c"))))
        await editor.places("user.c")

    session(module, steps, text_document=RELATED)
    assert (module / "user.c").read_text() == GOOD


def test_a_chain_without_related_information_is_in_the_message(module):
    async def steps(editor):
        editor.open("user.c", BAD)
        [shown] = await editor.places("user.c", (LINE, "KGF401"))
        assert shown.related_information is None and "\nuser.c:5: in ring_use()" in shown.message

    session(module, steps)


def test_files_beside_it_count_as_the_editor_has_them(module):
    text = GOOD.replace("vmalloc(64)", "ring_alloc(r)")

    async def steps(editor):
        editor.open("user.c", text)
        await editor.places("user.c")
        editor.open("maker.c", MAKER.replace("vmalloc(4096)", "kmalloc(4096, GFP_KERNEL)"))
        editor.save("maker.c")
        await editor.places("user.c", (LINE, "KGF401"))

    session(module, steps)


def test_the_whole_tree_counts_once_it_is_read(tmp_path, capsys):
    root = tmp_path / "tree"
    for path, text in (("Kconfig", ""), ("Makefile", "VERSION = 6\nPATCHLEVEL = 6\n"), ("include/ring.h", HEADER),
                       ("lib/maker.c", MAKER.replace('"ring.h"', "<ring.h>")), ("drivers/user.c", GOOD)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text.replace("vmalloc(64)", "ring_alloc(r)").replace("vfree", "kfree"))
        os.utime(root / path, (1_700_000_000, 1_700_000_000))

    async def unknown(editor):
        editor.open("drivers/user.c", (root / "drivers/user.c").read_text())
        await editor.places("drivers/user.c")

    async def known(editor):
        editor.open("drivers/user.c", (root / "drivers/user.c").read_text())
        await editor.places("drivers/user.c", (LINE, "KGF401"))

    session(root, unknown)
    assert main([str(root), "--jobs", "1"]) == 1
    capsys.readouterr()
    session(root, known)


def test_the_fix_is_written_and_lints_clean(module):
    async def steps(editor):
        editor.open("user.c", BAD)
        await editor.places("user.c", (LINE, "KGF401"))
        mend, allow = await editor.actions("user.c")
        assert (mend.title, mend.kind, mend.is_preferred) == ("Mend mismatched-free", types.CodeActionKind.QuickFix, True)
        assert mend.diagnostics == editor.shown[editor.uri("user.c")]
        assert edited(BAD, mend.edit.changes[editor.uri("user.c")]) == GOOD
        assert allow.title.startswith("Allow mismatched-free here")
        elsewhere = types.Range(types.Position(0, 0), types.Position(1, 0))
        assert await editor.actions("user.c", elsewhere) == []
        editor.change("user.c", "\n" + BAD)
        assert await editor.actions("user.c") == [], "the text is no longer the one that was linted"

    session(module, steps)


def test_a_comment_allows_it_when_a_person_gave_the_reason(module):
    async def steps(editor):
        editor.open("user.c", BAD)
        await editor.places("user.c", (LINE, "KGF401"))
        allow = (await editor.actions("user.c"))[-1]
        text = edited(BAD, allow.edit.changes[editor.uri("user.c")])
        assert text.splitlines()[LINE] == "\t/* kgfplint: allow(mismatched-free) */"
        editor.change("user.c", text)
        await editor.places("user.c", (LINE, "KGF001"), (LINE + 1, "KGF401"))
        editor.change("user.c", text.replace("free) */", "free) it is small */"))
        await editor.places("user.c")

    session(module, steps)


def test_a_comment_within_a_macro_goes_on_as_the_macro_does():
    text = "#define DROP(p) { \\\n\t\tkfree(p); \\\n\t}\n"
    found = Finding("KGF401", "mismatched-free", Severity.ERROR, "a.c", 2, 3, 2, "f", "m")
    [action] = actions([found], Text(text), "file:///a.c", WHOLE, Path("/"), False)
    assert edited(text, action.edit.changes["file:///a.c"]).splitlines()[1] == "\t\t/* kgfplint: allow(mismatched-free) */ \\"


def test_hover(module):
    lines = PANEL.read_text().splitlines()

    def place(word, after):
        line = next(number for number, text in enumerate(lines) if word in text and after in text)
        return line, lines[line].index(word) + 1

    async def steps(editor):
        editor.open("panel.c", PANEL.read_text())
        said = await editor.hover("panel.c", *place("GFP_KERNEL", "expect"))
        assert "GFP_KERNEL = 0xcc0" in said and "__GFP_DIRECT_RECLAIM" in said and "may sleep" in said
        said = await editor.hover("panel.c", *place("panel_queue", "(panel, code)"))
        assert "in panel_press() spin_lock_bh(&panel->lock)" in said
        assert await editor.hover("panel.c", 0, 0) is None
        assert await editor.hover("panel.c", 100000, 100000) is None
        text = "void f(void)\n{\n\tvoid *é = x(GFP_ATOMIC | __GFP_ZERO, undeclared_thing(1));\n}\n"
        editor.change("panel.c", text)
        said = await editor.hover("panel.c", 2, text.splitlines()[2].index("__GFP_ZERO"))
        assert "__GFP_ZERO = 0x100," in said and "GFP_ATOMIC | __GFP_ZERO = 0x920" in said and "does not sleep" in said
        assert await editor.hover("panel.c", 2, text.splitlines()[2].index("undeclared")) is None

    session(module, steps)


def test_half_written_code_and_broken_messages_do_no_harm(module):
    async def steps(editor):
        editor.open("user.c", BAD)
        await editor.places("user.c", (LINE, "KGF401"))
        for end in range(0, len(BAD), 9):
            editor.change("user.c", BAD[:end])
            if end % 4 == 0:
                # The editor goes on writing and wants no answer any more.
                asked = asyncio.ensure_future(editor.hover("user.c", 2, 6))
                await asyncio.sleep(0)
                asked.cancel()
                editor.client.protocol.notify("$/cancelRequest", {"id": "nothing"})
        hover = b'{"jsonrpc": "2.0", "method": "textDocument/hover", "id": 9, "params": 7}'
        for body in (b"{", b"[]", b"null", hover, b"\xff\xfe"):
            editor.server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        for text in ("\0" * 50, "\ud83d\ude00 \udcff", "{" * 3000, "((" * 3000, "#if\n" * 500, '"', "/*"):
            with contextlib.suppress(UnicodeEncodeError):
                editor.change("user.c", text)
            await asyncio.sleep(0.5)
        editor.open("gone/none.c", "int a;\n")
        editor.open("x.txt", BAD)
        editor.change("user.c", "\n" + BAD)
        await editor.places("user.c", (LINE + 1, "KGF401"))
        await editor.places("gone/none.c")
        assert editor.uri("x.txt") not in editor.shown

    session(module, steps)


def children(pid):
    return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_process_that_dies_is_replaced(module):
    async def steps(editor):
        editor.open("user.c", BAD)
        await editor.places("user.c", (LINE, "KGF401"))
        for blanks in (1, 2, 3):
            for pid in children(editor.server.pid):
                os.kill(pid, 9)
            editor.change("user.c", "\n" * blanks + BAD)
            await editor.places("user.c", (LINE + blanks, "KGF401"))

    session(module, steps)


def test_a_question_that_a_process_dies_of_is_told(monkeypatch):
    tried = []

    def started():
        tried.append(subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return tried[-1]

    monkeypatch.setattr(worker, "_started", started)
    for _ in range(2):
        with pytest.raises(worker.NoAnswer, match=r"^quick: .* died$"):
            asyncio.run(worker.Worker().ask(answers.quick, None))
    assert len(tried) == 2 and all(process.returncode is not None for process in tried)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_an_editor_that_goes_away_leaves_nothing_behind(module):
    async def run():
        editor = Editor(module)
        await editor.start()
        editor.open("user.c", BAD)
        await asyncio.wait_for(editor.places("user.c", (LINE, "KGF401")), 300)
        processes = children(editor.server.pid)
        editor.server.stdin.close()
        await editor.server.wait()
        return processes

    processes = asyncio.run(run())
    assert processes and not any(Path(f"/proc/{pid}/exe").exists() for pid in processes)


def test_settings_are_read_and_mistakes_in_them_are_told(module):
    (module / "kgfplint.toml").write_text('ignore = ["mismatched-free"]\n')

    async def steps(editor):
        editor.open("user.c", BAD)
        await editor.places("user.c")
        (module / "kgfplint.toml").write_text('ignorre = ["mismatched-free"]\n')
        editor.change("user.c", BAD + "\n")
        await editor.until(lambda: editor.messages)
        assert "unknown setting 'ignorre'" in editor.messages[0]
        (module / "kgfplint.toml").write_text("")
        editor.change("user.c", BAD)
        await editor.places("user.c", (LINE, "KGF401"))

    session(module, steps)


def test_options_of_the_command_line(module):
    rules = module / "own"
    rules.mkdir()
    (rules / "own.toml").write_text("broken = [\n")

    async def broken(editor):
        editor.open("user.c", BAD)
        await editor.until(lambda: editor.messages)
        assert "own.toml" in editor.messages[0]

    session(module, broken, "--rules", str(rules))


@pytest.mark.parametrize(("encoding", "column"), [("utf-8", 9), ("utf-16", 6), ("utf-32", 5), (None, 6)])
def test_columns_are_counted_as_the_editor_does(encoding, column):
    text = Text("a\fb\n\té\U0001f600 x = GFP_ATOMIC;\r\n", encoding)
    place = text.position(2, len("\té\U0001f600 x".encode()))
    assert place == types.Position(1, column - 1)
    assert text.masks_at(types.Position(1, column + 5)) == ["GFP_ATOMIC"]
    assert text.end(2) == types.Position(1, column + len(" = GFP_ATOMIC;"))
    assert text.position(99, 1) == types.Position(2, 0)


def test_nobody_else_waits_for_it_to_load():
    code = "import sys, kgfplint.cli; print({'pygls', 'lsprotocol'} & {name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_what_is_missing_is_named(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("kgfplint.editor.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pygls", None)
    assert main(["lsp"]) == 2
    assert capsys.readouterr().err == "kgfplint: pygls is missing; install kgfplint[lsp]\n"
