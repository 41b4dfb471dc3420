"""The definitions of GFP masks: from a kernel tree's header, else from rules/gfp.toml."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
from pycparser import c_ast
from pycparser.c_parser import CParser, ParseError

from kgfplint.catalogue import CatalogueError, Version, rules_directory
from kgfplint.facts import ir

_HEADERS = ("include/linux/gfp_types.h", "include/linux/gfp.h")
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(_*GFP_\w+)[ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
_ENUM = re.compile(r"\benum\s*\{([^}]*___GFP_[^}]*)\}")
_FUNCTION = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)\(([^)]*)\)[ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_SUFFIX = re.compile(r"[uUlL]+$")


class _Text(msgspec.Struct, frozen=True):
    """C definitions of rules/gfp.toml with the kernel versions that they hold for."""

    text: str
    since: str = ""
    until: str = ""


class _Rules(msgspec.Struct, frozen=True):
    """What this module reads of rules/gfp.toml; checks have tables of their own there."""

    header: list[_Text]
    function: list[_Text] = []


class Definitions(msgspec.Struct, frozen=True):
    """Masks by name as expressions of other names, and functions that return a mask: (parameters, expression)."""

    masks: dict[str, ir.Expr]
    functions: dict[str, tuple[tuple[str, ...], ir.Expr]]


def read_definitions(root: Path | None, version: Version | None) -> Definitions:
    """Return the definitions of the tree at `root`, of rules/gfp.toml for `version` if it has no header with masks.

    Functions always come from the rules. CatalogueError when those cannot be read.
    """
    rules = _rules()
    functions = {}
    for table in rules.function:
        for name, params, value in _FUNCTION.findall(table.text):
            expr = parse_expression(value)
            if expr is not None:
                functions[name] = tuple(re.findall(r"\w+", params)), expr
    for header in _HEADERS if root else ():
        try:
            text = (root / header).read_text(encoding="utf-8", errors="replace") if root else ""
        except OSError:
            continue
        masks = _definitions(text)
        if "GFP_KERNEL" in masks:
            return Definitions(masks, functions)
    text = "\n".join(table.text for table in rules.header if _applies(table, version))
    return Definitions(_definitions(text), functions)


def _rules() -> _Rules:
    path = rules_directory() / "gfp.toml"
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_Rules)
    except (OSError, msgspec.DecodeError) as error:
        raise CatalogueError(str(path), 1, f"is no table of masks: {error}") from None


def _applies(table: _Text, version: Version | None) -> bool:
    since, until = (tuple(map(int, text.split("."))) if text else None for text in (table.since, table.until))
    if version is None:
        return until is None
    return (since is None or since <= version) and (until is None or version < until)


def _definitions(text: str) -> dict[str, ir.Expr]:
    """Return the masks and bit numbers that a header defines; of two definitions the one that is not 0."""
    text = _COMMENT.sub(" ", text.replace("\\\n", " "))
    defined: dict[str, ir.Expr] = {name: ir.Number(place) for name, place in _enumerators(text)}
    for name, value in _DEFINE.findall(text):
        expr = parse_expression(value)
        if expr is not None and (name not in defined or defined[name] == ir.Number(0)):
            defined[name] = expr
    return defined


def _enumerators(text: str) -> Iterator[tuple[str, int]]:
    """Yield the bit numbers of `enum { ___GFP_…_BIT, … }`, as if every configuration had its bits."""
    for body in _ENUM.findall(text):
        lines = "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("#"))
        yield from ((name, place) for place, name in enumerate(re.findall(r"\w+", lines)))


def parse_expression(text: str) -> ir.Expr | None:
    """Return a constant expression such as headers have as IR, None for anything else."""
    plain = re.sub(r"\b__force\b", "", text)
    try:
        tree = CParser().parse(f"typedef unsigned gfp_t; int mask = {plain};")
    except ParseError:
        return None
    declaration = tree.ext[-1]
    return _lower(declaration.init) if isinstance(declaration, c_ast.Decl) and declaration.init else None


def _lower(node: c_ast.Node) -> ir.Expr:
    match node:
        case c_ast.Constant():
            digits = _SUFFIX.sub("", node.value)
            return ir.Number(int(digits, 0)) if digits.isalnum() else ir.Unknown(node.value)
        case c_ast.ID():
            return ir.Name(node.name)
        case c_ast.Cast():
            return _lower(node.expr)
        case c_ast.UnaryOp():
            return ir.Unary(node.op, _lower(node.expr))
        case c_ast.BinaryOp():
            return ir.Binary(node.op, _lower(node.left), _lower(node.right))
        case c_ast.TernaryOp():
            return ir.Conditional(_lower(node.cond), _lower(node.iftrue), _lower(node.iffalse))
        case c_ast.FuncCall(name=c_ast.ID(name="BIT"), args=c_ast.ExprList(exprs=[shift])):
            return ir.Binary("<<", ir.Number(1), _lower(shift))
    return ir.Unknown(type(node).__name__)
