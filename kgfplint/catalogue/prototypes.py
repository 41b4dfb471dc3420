"""C prototypes in rule files → names and parameter names, parsed by pycparser.

The names of types need no declaration: an identifier that another name follows is one. Parsing a
few thousand prototypes takes some tenths of a second, so that the result is kept in the folder
of the store under the digest of the text.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
from pycparser import c_ast
from pycparser.c_parser import CParser, ParseError

from kgfplint.catalogue.tables import CatalogueError
from kgfplint.facts.store import cache_folder

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_TOKEN = re.compile(r"[A-Za-z_]\w*|\.\.\.|[^\s\w]")
_TAGS = {"struct", "union", "enum"}
_KEYWORDS = _TAGS | {
    "void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "const", "volatile",
    "static", "inline", "extern", "register", "restrict", "_Bool",
}  # fmt: skip


class Prototype(msgspec.Struct, frozen=True, array_like=True):
    """One declared function: its name, the names of its parameters ("..." for the rest) and the 1-based line."""

    name: str
    params: tuple[str, ...]
    line: int


def parse_all(texts: Sequence[tuple[str, int, str]], cache: Path | None = None) -> list[list[Prototype]]:
    """Return the prototypes of each text; a text is (file name, 1-based line of its start, C prototypes).

    The result is cached below `cache` (default: the folder of the store) under the hash of the
    texts; a directory that cannot be written is no error. CatalogueError tells where a text is not C.
    """
    key = hashlib.sha256(msgspec.msgpack.encode(texts)).hexdigest()[:32]
    path = (cache or cache_folder()) / f"prototypes-{key}.msgpack"
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=list[list[Prototype]])
    except (OSError, msgspec.DecodeError):
        parsed = [_parse(*text) for text in texts]
    _store(path, msgspec.msgpack.encode(parsed))
    return parsed


def _store(path: Path, data: bytes) -> None:
    scratch = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError:
        return


def _parse(file: str, line: int, text: str) -> list[Prototype]:
    text = _COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    stubs = "".join(f"typedef int {name};" for name in sorted(_type_names(text)))
    # The line marker makes pycparser count lines as the rule file does.
    try:
        tree = CParser().parse(f'{stubs}\n# {line} "rules"\n{text}')
    except ParseError as error:
        where, _, what = str(error).removeprefix("rules:").partition(": ")
        number = where.partition(":")[0]
        raise CatalogueError(file, int(number) if number.isdigit() else line, f"not a C prototype: {what}") from None
    return [_prototype(file, node) for node in tree.ext if not isinstance(node, c_ast.Typedef)]


def _type_names(text: str) -> set[str]:
    """Return the identifiers that stand where C expects the name of a type."""
    tokens = [token for token in _TOKEN.findall(text) if token != "*"]
    return {
        token
        for before, token, after in zip(["", *tokens], tokens, tokens[1:], strict=False)
        if (token[0].isalpha() or token[0] == "_") and (after[0].isalpha() or after[0] == "_")
        and token not in _KEYWORDS and before not in _TAGS
    }  # fmt: skip


def _prototype(file: str, node: c_ast.Node) -> Prototype:
    line = node.coord.line if node.coord else 0
    if not isinstance(node, c_ast.Decl) or not isinstance(node.type, c_ast.FuncDecl):
        raise CatalogueError(file, line, "not the prototype of a function")
    params: list[str] = []
    for param in node.type.args.params if node.type.args else ():
        if isinstance(param, c_ast.EllipsisParam):
            params.append("...")
        elif param.name:
            params.append(param.name)
        elif len(node.type.args.params) > 1 or not _is_void(param):
            raise CatalogueError(file, line, f"{node.name}: a parameter has no name")
    return Prototype(node.name, tuple(params), line)


def _is_void(param: c_ast.Node) -> bool:
    inner = getattr(getattr(param, "type", None), "type", None)
    return isinstance(inner, c_ast.IdentifierType) and inner.names == ["void"]
