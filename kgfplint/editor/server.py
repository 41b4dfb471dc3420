"""The language server: what an editor says and asks, and when texts are linted."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lsprotocol import types
from pygls import uris
from pygls.lsp.server import LanguageServer

from kgfplint import __version__
from kgfplint.editor import answers
from kgfplint.editor.answers import Document, Found
from kgfplint.editor.messages import actions, diagnostic
from kgfplint.editor.texts import Text
from kgfplint.editor.worker import NoAnswer, Worker

log = logging.getLogger("kgfplint")

DELAY = 0.4
"""Seconds without a key that a text is linted after."""
PATIENCE = 4.0
"""Seconds that a thorough answer may take to be worth waiting for with each change: a quick one before it would flicker."""


class Shown(NamedTuple):
    """What an editor shows of a text: the text that was linted, and what was found."""

    text: Text
    found: Found


class Server(LanguageServer):
    """The server of one editor: its open texts, what was found in each, and the tasks that look anew."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """`options` are those of the command line, by setting name."""
        # Whole texts only: pygls ends lines at form feeds as well, and would put changes in the wrong place behind one.
        super().__init__("kgfplint", __version__, text_document_sync_kind=types.TextDocumentSyncKind.Full)
        self._options = options
        # By the editor's own names: those that pygls keeps are quoted in another way.
        self._open: set[str] = set()
        self._shown: dict[str, Shown] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._quick, self._thorough = Worker(), Worker()
        self._took: dict[str, float] = {}
        self._told = ""

    def close(self) -> None:
        """End the processes."""
        self._quick.kill()
        self._thorough.kill()

    def look(self, uri: str, delay: float = 0, thorough: bool = False) -> None:
        """Lint a text after a delay, instead of what is under way for it; `thorough` then also by its whole tree."""
        if former := self._tasks.pop(uri, None):
            former.cancel()
        if self._path(uri):
            self._tasks[uri] = asyncio.get_running_loop().create_task(self._look(uri, delay, thorough))

    def opened(self, uri: str) -> None:
        """Take note of a text, and lint it."""
        self._open.add(uri)
        self.look(uri, thorough=True)

    def closed(self, uri: str) -> None:
        """Show nothing more of a text."""
        self._open.discard(uri)
        if task := self._tasks.pop(uri, None):
            task.cancel()
        if self._shown.pop(uri, None):
            self._publish(uri, [])

    def saved(self, uri: str) -> None:
        """Lint all open texts, this one first: the others may include it, or call what is in it."""
        for one in sorted(self._open, key=lambda other: other != uri):
            self.look(one, thorough=True)

    async def hover(self, uri: str, place: types.Position) -> str | None:
        """Return, as Markdown, the bits of the mask at a place, or the contexts that reach the function there."""
        text = self._text(uri)
        if not self._path(uri):
            return None
        with contextlib.suppress(NoAnswer):  # not every name is one of ours
            lines: list[str] = []
            if words := text.masks_at(place):
                lines = await self._quick.ask(answers.mask, self._document(uri), words)
            elif function := text.function_at(place):
                lines = await self._quick.ask(answers.contexts, self._document(uri), function)
            return f"```text\n{''.join(lines)}```" if lines else None
        return None

    def actions(self, uri: str, wanted: types.Range) -> list[types.CodeAction]:
        """Return what can be done in a range; nothing while the text is another than the one that was linted."""
        shown = self._shown.get(uri)
        if shown is None or shown.text.data != self._text(uri).data:
            return []
        return list(actions(shown.found.findings, shown.text, uri, wanted, Path(shown.found.root), self._related))

    async def _look(self, uri: str, delay: float, thorough: bool) -> None:
        await asyncio.sleep(delay)
        text, document = self._text(uri), self._document(uri)
        hurry = self._took.get(uri, PATIENCE) >= PATIENCE
        try:
            if hurry:
                self._show(uri, text, await self._quick.ask(answers.quick, document))
            if thorough or not hurry:
                began = time.monotonic()
                self._show(uri, text, await self._thorough.ask(answers.thorough, document))
                self._took[uri] = time.monotonic() - began
            self._told = ""
        except NoAnswer as error:
            self._complain(str(error))

    def _show(self, uri: str, text: Text, found: Found) -> None:
        self._shown[uri] = Shown(text, found)
        self._publish(uri, [diagnostic(one, text, Path(found.root), self._related) for one in found.findings])

    def _publish(self, uri: str, shown: list[types.Diagnostic]) -> None:
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, shown))

    def _complain(self, message: str) -> None:
        """Tell what went wrong, but not with each key."""
        log.warning("%s", message)
        if message != self._told:
            self._told = message
            self.window_show_message(types.ShowMessageParams(types.MessageType.Error, f"kgfplint: {message}"))

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log a message that could not be handled: it is no business of the person who writes."""
        log.warning("%s", error)

    @property
    def _related(self) -> bool:
        """Whether the editor shows places that belong to a diagnostic."""
        asked = self.client_capabilities.text_document
        return bool(asked and asked.publish_diagnostics and asked.publish_diagnostics.related_information)

    def _text(self, uri: str) -> Text:
        encoding = self.workspace.position_encoding
        try:
            return Text(self.workspace.get_text_document(uri).source, encoding)
        except (OSError, ValueError):  # it is not open, and not there
            return Text("", encoding)

    def _document(self, uri: str) -> Document:
        texts = {path: self._text(other).data for other in self._open if (path := self._path(other))}
        return Document(self._path(uri) or "", texts, self._options)

    @staticmethod
    def _path(uri: str) -> str | None:
        """Return the absolute path of a C file, None for other texts."""
        path = uris.to_fs_path(uri) if uri.startswith("file:") else None
        return os.path.realpath(path) if path and path.endswith((".c", ".h")) else None


def serve(options: Mapping[str, Any]) -> None:
    """Serve an editor on standard input and output until it leaves; `options` are settings by name."""
    server = made(options)
    try:
        server.start_io()
    finally:
        server.close()


def made(options: Mapping[str, Any]) -> Server:
    """Return a server that knows what to do."""
    server = Server(options)

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        server.opened(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        server.look(params.text_document.uri, DELAY)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        server.saved(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        server.closed(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    async def hover(params: types.HoverParams) -> types.Hover | None:
        said = await server.hover(params.text_document.uri, params.position)
        return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, said)) if said else None

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION,
                    types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix]))
    def code_action(params: types.CodeActionParams) -> list[types.CodeAction]:
        return server.actions(params.text_document.uri, params.range)

    return server
