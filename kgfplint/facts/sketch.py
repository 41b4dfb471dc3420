"""The outline of a function from its text alone: what it calls, hands over and stores, without a syntax tree.

Two thirds of a kernel's functions touch neither memory nor locks. Parsing their bodies would cost more than
everything else, and all that linking needs of them can be read off; should an analysis want one after all, it is
parsed then (see facts.bodies). What cannot be read off reliably makes a body telling, and it is parsed at once.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from kgfplint.facts.words import FATAL, LOOKED_THROUGH, spelled
from kgfplint.source.words import BUILTIN, SIZES, STATEMENT, TAGS, syntax_rules

_CALL = re.compile(rb"(?<![\w.>])([A-Za-z_]\w*+)\s?+\(")
_TELLING = re.compile("|".join(syntax_rules()["telling"]["names"]).encode())
_WORDS = tuple(word.encode() for word in syntax_rules()["telling"]["words"])
_ZEROES = re.compile(rb"= \{\s*+(?:0|NULL)?\s*+\}")
_MEMBER_CALL = re.compile(rb"[.>](\w++)\)?\s?+\(")
_ARGUMENT = re.compile(rb"[(,]\s*+&?([A-Za-z_]\w*+)\s*+(?=[,)])")
_STORED = re.compile(rb"[.>](\w++)\s*+=\s*+&?([A-Za-z_]\w*+)\s*+;")
_CHOSEN = re.compile(rb"[.>](\w++)\s*+=(?!=)[^;?]*+\?\s*+&?([A-Za-z_]\w*+)\s*+:\s*+&?([A-Za-z_]\w*+)\s*+;")
_SET = re.compile(
    rb"[.>](\w++)((?:\s*+\[(?:[^][]|\[[^][]*+\])*+\])*+)\s*+=(?!=)\s*+(?!NULL\b|true\b|false\b|[-!\dA-Z])")
_ADDRESS = re.compile(rb"[(,]\s*+&(?:[\w.>-]|\[[^][]*+\])*?[.>](\w++)((?:\[[^][]*+\])*+)\s*+[,)]")
_DECLARATION = re.compile(
    rb"[;{}]\s*((?:(?:const|volatile|register|static|unsigned|signed|struct|union|enum|long)\s+)*"
    rb"(?!(?:return|goto|else|case|break|continue|do|typeof|if|for|while|switch)\b)[A-Za-z_]\w*)\s*(?:(?<=\s)|(?=\*))"
    rb"((?:\*\s*)*)(?:const\s+)?([A-Za-z_]\w*)\s*((?:\[[^\]]*\])*)\s*(?=[;=,])([^;]*)")
_TYPEOF_LOCAL = re.compile(rb"[;{}]\s*(?:__)?typeof(?:__)?\s*\([^;=]*?\)[\s*]*([A-Za-z_]\w*)\s*[;=,]")
_MORE = re.compile(rb",\s*((?:\*\s*)*)([A-Za-z_]\w*)\s*((?:\[[^\]]*\])*)(?=\s*(?:[,=]|\Z))")
_NESTED = re.compile(rb"\([^()]*\)|\{[^{}]*\}")
_QUALIFIERS = re.compile(rb"\b(?:const|volatile|register|static)\s+")
_NO_CALL = STATEMENT | TAGS | BUILTIN | spelled(SIZES) | spelled(LOOKED_THROUGH | FATAL) | {
    b"sizeof", b"typeof", b"__typeof__", b"defined", b"offsetof", b"__builtin_offsetof", b"true", b"false"}
_CHAIN = re.compile(rb"(?:([A-Za-z_]\w*)|\))((?:\s*(?:->|\.)\s*\w+|\s*\[[^\][]*\])*)\s*\Z")
_TAG_GIVEN = re.compile(rb"(?:\A\(\s*|,\s*)(?:const\s+)?((?:struct|union)\s+\w+)\s*(\**)\s*[,)]")
_STEP = re.compile(rb"(?:->|\.)\s*(\w+)")
_HEAD = re.compile(rb"(->|\.)?\s*\b([A-Za-z_]\w*)\s*\Z")
_SIGN = re.compile(rb"[(),]")
_REACH = 400
"""How far, in bytes, the beginning of an expression is looked for."""


class Sketch(NamedTuple):
    """What the body of a function does, as in ir.Function; `stored` holds names of functions, as in ir.Binding."""

    calls: tuple[tuple[str, int], ...]
    indirect: tuple[tuple[str, str, int], ...]
    handed: tuple[tuple[str, int, str, int], ...]
    members: tuple[str, ...]
    stored: tuple[tuple[str, str, str, int], ...]


class Plain(NamedTuple):
    """A function body, comments and strings blanked, that need not be parsed; the names called in it, in order."""

    body: bytes
    names: tuple[bytes, ...]


def plain(body: bytes) -> Plain | None:
    """Return a function body that need not be parsed to know what it does for now, None for one that must be."""
    for word in _WORDS:
        if word in body:
            return None
    filled = body.count(b"= {")  # an initialiser may store functions
    if filled and filled > len(_ZEROES.findall(body)):
        return None
    names = tuple(dict.fromkeys(_CALL.findall(body)))
    return None if _TELLING.search(b" ".join(names)) else Plain(body, names)


def sketch(found: Plain, line: int, params: Mapping[str, str]) -> Sketch:
    """Return the sketch of a function; `line` is the number of its body's first line, `params` the types of parameters."""
    return _Reader(found, line, params).sketch()


class _Reader:
    """Reads one body."""

    def __init__(self, found: Plain, line: int, params: Mapping[str, str]) -> None:
        self._body, self._names = found
        self._first = line
        self._params = params

    def sketch(self) -> Sketch:
        found = (*_SET.findall(self._body), *_ADDRESS.findall(self._body))
        members = sorted({(name + b"[]" if element else name).decode() for name, element in found})
        return Sketch(tuple(self._calls()), self._indirect(), tuple(self._handed()), tuple(members), tuple(self._stored()))

    def _line(self, at: int) -> int:
        return self._first + self._body.count(b"\n", 0, at)

    @cached_property
    def _types(self) -> dict[str, str]:
        """The types of parameters and locals by name."""
        types = dict(self._params)
        if b"typeof" in self._body:
            types.update((match[1].decode(), "") for match in _TYPEOF_LOCAL.finditer(self._body))
        for base, stars, name, array, rest in _DECLARATION.findall(self._body):
            base = _QUALIFIERS.sub(b"", b" ".join(base.split()) + b" ").strip()
            types[name.decode()] = _derived(base, stars, array)
            if b"," in rest:
                while rest != (rest := _NESTED.sub(b"0", rest)):
                    pass
                types.update((more[2].decode(), _derived(base, more[1], more[3])) for more in _MORE.finditer(rest))
        return types

    def _calls(self) -> Iterator[tuple[str, int]]:
        for name in self._names:
            if name not in _NO_CALL:
                yield name.decode(), self._line(max(0, self._body.find(name + b"(")))

    def _foreign(self, names: Iterable[bytes]) -> set[bytes]:
        """Those of some words that may name a function: neither keywords nor constants, parameters or locals."""
        found = {name for name in names if name not in _NO_CALL and not name.isupper() and name.decode() not in self._params}
        return {name for name in found if name.decode() not in self._types} if found else found

    def _place(self, at: int, last: bytes) -> tuple[str, str] | None:
        """The type of the root and the path of the member `last` of the expression that ends at `at`."""
        at -= self._body[at : at + 1] == b">"  # the hyphen of the arrow
        # An expression seldom goes over several lines; from further back, finding its beginning takes longer.
        chain = _CHAIN.search(self._body, max(0, at - _REACH, self._body.rfind(b"\n", 0, at)), at)
        if chain is None:
            return None
        path = ".".join(step.decode() for step in (*_STEP.findall(chain[2]), last))
        if chain[1] is None:
            root = self._value(chain.start() + 1)
            return (root, path) if root else None
        root = chain[1].decode()
        return self._types.get(root, "@" + root), path

    def _value(self, end: int) -> str:
        """The type of the call or cast whose closing parenthesis ends at `end`, `()name` for what a function returns."""
        opening, _ = self._opening(end - 1)
        if opening < 0:
            return ""
        given = _TAG_GIVEN.search(self._body[opening + 1 : end])
        if given:
            return _derived(b" ".join(given[1].split()), given[2] or b"*", b"")
        head = _HEAD.search(self._body, max(0, opening - 80), opening)
        return "()" + head[2].decode() if head and not head[1] and head[2] not in _NO_CALL else ""

    def _opening(self, end: int) -> tuple[int, int]:
        """Where the parenthesis around what ends at `end` opens (-1: too far away), and how many commas lie between."""
        depth = commas = 0
        for sign in reversed(list(_SIGN.finditer(self._body, max(0, end - _REACH), end))):
            if sign[0] == b")":
                depth += 1
            elif sign[0] == b"," and depth == 0:
                commas += 1
            elif sign[0] == b"(" and depth:
                depth -= 1
            elif sign[0] == b"(":
                return sign.start(), commas
        return -1, commas

    def _indirect(self) -> tuple[tuple[str, str, int], ...]:
        found: dict[tuple[str, str], int] = {}
        for match in _MEMBER_CALL.finditer(self._body):
            place = self._place(match.start(), match[1])
            if place is not None:
                found.setdefault(place, self._line(match.start()))
        return tuple((root, path, line) for (root, path), line in found.items())

    def _handed(self) -> Iterator[tuple[str, int, str, int]]:
        foreign = self._foreign(set(_ARGUMENT.findall(self._body)))
        found: dict[tuple[str, int, str], int] = {}
        for match in _ARGUMENT.finditer(self._body) if foreign else ():
            call = self._argument(match.start()) if match[1] in foreign else None
            if call is not None:
                found.setdefault((*call, match[1].decode()), self._line(match.start(1)))
        return ((callee, place, name, line) for (callee, place, name), line in found.items())

    def _argument(self, at: int) -> tuple[str, int] | None:
        """The function called, and the place of the argument, behind the parenthesis or comma at `at`."""
        opening, place = self._opening(at + 1)
        head = _HEAD.search(self._body, max(0, opening - 80), opening) if opening >= 0 else None
        if head is None or head[2] in _NO_CALL:
            return None
        return "" if head[1] else head[2].decode(), place

    def _stored(self) -> Iterator[tuple[str, str, str, int]]:
        found = [(match, match[2]) for match in _STORED.finditer(self._body)]
        found += [(match, name) for match in _CHOSEN.finditer(self._body) for name in match.group(2, 3)]
        foreign = self._foreign({name for _, name in found})
        for match, name in found if foreign else ():
            place = self._place(match.start(), match[1]) if name in foreign else None
            if place is not None:
                yield (*place, name.decode(), self._line(match.start()))


def _derived(base: bytes, stars: bytes, array: bytes) -> str:
    """Return a declarator's type as normalised text."""
    count = stars.count(b"*")
    return base.decode("utf-8", "replace") + (" " + "*" * count if count else "") + array.decode("utf-8", "replace")
