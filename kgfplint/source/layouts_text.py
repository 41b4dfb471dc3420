"""Kernel C made fit for pycparser, nothing that shapes a layout lost: attributes and directives become marks.

A mark is an identifier `__mark_N` whose meaning is `marks[N]`. It stands as a member or an enumerator of its own, behind a
declarator that it is about, or as the operand of an _Alignas that stands among the specifiers.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kgfplint.source.words import ATTRIBUTE_CALLS, ATTRIBUTES, MARKERS, rules

MARK = "__mark_"
OPAQUE, ALONE = "__opaque", "__alone"
"""The types of what nothing is known of, and of a mark that stands as a member of its own."""
_TOKEN = re.compile(
    r"/\*.*?\*/|//[^\n]*|(?P<directive>^[ \t]*\#(?:\\\r?\n|/\*.*?\*/|[^\n])*)|(?P<token>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
    r"|\w+|->|<<|>>|[<>=!]=|&&|\|\||\.\.\.|\S)",
    re.DOTALL | re.MULTILINE,
)
_DIRECTIVE = re.compile(r"\s*#\s*(\w+)\s*(.*)", re.DOTALL)
_PACK = re.compile(r"pack\s*\(\s*(?:(push|pop)\s*)?,?\s*(\w+)?\s*\)")
_PLACE = re.compile(r"\$(\d)(\.\.\.)?")
_CONDITIONS = frozenset(("if", "ifdef", "ifndef", "elif", "else", "endif"))
_QUALIFIERS = frozenset(("const", "volatile", "typedef", "static", "extern", "register", "__extension__", "_Atomic"))
_LEADING = _QUALIFIERS | {"_Alignas", "(", ")"}
_BASIC = frozenset((
    "void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "_Bool", "__int128", "struct", "union",
    "enum",
))  # fmt: skip
_TYPEOF = frozenset(("typeof", "__typeof__", "__typeof", "typeof_unqual"))
_SPELLINGS = {"__signed__": "signed", "__const": "const", "__volatile__": "volatile", "__inline__": "inline"} | dict.fromkeys(
    ("__alignof__", "__alignof", "alignof"), "_Alignof")
_LONGEST = 4_000
"""Macros of members that are replaced in one text: none of the kernel's has a tenth of it."""


def _decoded(words: frozenset[bytes]) -> frozenset[str]:
    return frozenset(word.decode() for word in words)


_RULES: dict[str, Any] = rules("abi.toml")
PACKED = frozenset[str](_RULES["attributes"]["packed"])
"""Words that pack a struct or a member."""
_ALIGN = frozenset(_RULES["attributes"]["align"])
WORDS: dict[str, list[int | str]] = _RULES["attributes"]["words"]
"""Words for an alignment: its smallest and largest, in bytes or "line" for a cache line."""
_MACROS: dict[str, str] = _RULES["member_macros"]
_CALLS = _decoded(ATTRIBUTE_CALLS) - _ALIGN | {"__attribute__", "__attribute"}
_BLANK = _decoded(ATTRIBUTES) - PACKED - WORDS.keys() | {word.decode() for word in MARKERS} | {"restrict", "__restrict"}


class Mark(NamedTuple):
    """What stood in the text: an attribute ("packed", "align", "word", "pack"), a directive, "unknown" members; and its words."""

    kind: str
    text: str = ""


class Clean(NamedTuple):
    """Text that pycparser reads, what its marks mean, and the names that it uses as types."""

    text: str
    marks: list[Mark]
    types: set[str]


def tokens_of(text: str) -> list[str]:
    """Return the tokens of C text without comments; a directive with its continuation lines is one token."""
    return [match["directive"] or match["token"] for match in _TOKEN.finditer(text) if match.lastgroup]


def clean(text: str, pack: int = 0) -> Clean:
    """Return declarations as pycparser reads them; `pack` is the #pragma pack (bytes, 0: none) in force where they begin."""
    return _Cleaner(tokens_of(text), pack).run()


def pack_at(text: str, end: int) -> int:
    """Return the #pragma pack in force at offset `end` of a file, 0 if there is none."""
    stack, now = list[int](), 0
    for match in re.finditer(r"^[ \t]*#[ \t]*pragma[ \t]+(pack[^\n]*)", text[:end], re.MULTILINE):
        stack, now = _packed(match[1], stack, now)
    return now


def _packed(words: str, stack: list[int], now: int) -> tuple[list[int], int]:
    match = _PACK.match(words)
    if match is None:
        return stack, now
    if match[1] == "pop":
        return stack[:-1], stack[-1] if stack else 0
    number = int(match[2]) if match[2] and match[2].isdigit() else 0
    return ([*stack, now], number or now) if match[1] else (stack, number)


class _Cleaner:
    """One walk over the tokens of a text."""

    def __init__(self, tokens: list[str], pack: int) -> None:
        self._in = tokens[::-1]
        self._out: list[str] = []
        self._marks: list[Mark] = []
        self._types: set[str] = set()
        self._braces: list[str] = []
        self._closed = ""
        self._tag: list[Mark] = []
        self._pack, self._stack = pack, list[int]()
        self._macros = 0

    def run(self) -> Clean:
        """Return the cleaned text."""
        while self._in:
            self._step(self._in.pop())
        return Clean(" ".join(self._out), self._marks, self._types)

    def _step(self, token: str) -> None:
        if token.lstrip().startswith("#"):
            self._directive(token)
        elif token in PACKED or token in _ALIGN or token in WORDS or token in _CALLS:
            self._attributes(token)
        elif token in _TYPEOF and self._next() == "(":
            self._group()
            self._out.append(OPAQUE)
        elif token == "{":
            self._open()
        elif token == "}":
            self._closed = self._braces.pop() if self._braces else ""
            self._out.append(token)
        elif token == "(" and self._last() == ")" and self._inside:
            self._in.append(token)
            self._group()
            self._out += ["(", ")"]
        elif self._begins and self._inside and self._member(token):
            pass
        elif token not in _BLANK:
            self._name_type(token)
            self._out.append(_SPELLINGS.get(token, token))

    @property
    def _inside(self) -> bool:
        """Whether the place is directly inside a struct or union."""
        return bool(self._braces) and self._braces[-1] in ("struct", "union")

    @property
    def _begins(self) -> bool:
        """Whether a declaration begins here."""
        return self._last() in (";", "{", "")

    def _last(self) -> str:
        return self._out[-1] if self._out else ""

    def _next(self) -> str:
        return self._in[-1] if self._in else ""

    def _group(self) -> list[str]:
        """Take a parenthesised group from the input and return what is in it."""
        group = _group_in(reversed(self._in))
        del self._in[-len(group) - 2 :]
        return group

    def _mark(self, kind: str, text: str = "") -> str:
        self._marks.append(Mark(kind, text))
        return f"{MARK}{len(self._marks) - 1}"

    def _directive(self, token: str) -> None:
        match = _DIRECTIVE.match(token.replace("\\\n", " "))
        word, rest = match.groups() if match else ("", "")
        if word == "pragma":
            self._stack, self._pack = _packed(rest, self._stack, self._pack)
        elif word in _CONDITIONS and self._inside:
            if word in ("ifdef", "ifndef"):
                rest = f"{'!' if word == 'ifndef' else ''}defined({rest.split()[0] if rest.split() else ''})"
            condition = " ".join(tokens_of(rest))
            self._out += [ALONE, self._mark("if" if word.startswith("if") else word, condition), ";"]

    def _open(self) -> None:
        place = max((at for at in range(len(self._out) - 3, len(self._out)) if at >= 0 and self._out[at] in (
            "struct", "union", "enum")), default=-1)
        kind = self._out[place] if place >= 0 and "{" not in self._out[place:] else "block"
        self._braces.append(kind)
        self._out.append("{")
        if kind in ("struct", "union"):
            if self._pack:
                self._tag.append(Mark("pack", str(self._pack)))
            for mark in self._tag:
                self._out += [ALONE, self._mark(*mark), ";"]
            self._tag = []

    def _attributes(self, token: str) -> None:
        """Take one attribute or several in a row, and mark what they are about."""
        found: list[Mark] = []
        while True:
            found += self._attribute(token)
            following = self._next()
            if not (following in PACKED or following in _ALIGN or following in WORDS or following in _CALLS):
                break
            token = self._in.pop()
        if not found:
            return
        if self._last() == "}" and self._closed != "block":
            self._inside_last(found)
        elif self._last() in ("struct", "union", "enum"):
            self._tag += found
        elif self._next() in (";", ",", "=") and not self._begins:
            for mark in found:
                self._out += [",", self._mark(*mark)]
        else:
            for mark in found:
                self._out += ["_Alignas", "(", self._mark(*mark), ")"]

    def _attribute(self, token: str) -> Iterator[Mark]:
        arguments = self._group() if self._next() == "(" else None
        if token in WORDS:
            yield Mark("word", token)
        elif token in PACKED:
            yield Mark("packed")
        elif token in _ALIGN:
            yield Mark("align", " ".join(arguments or []))
        else:  # __attribute__((packed, aligned(8)))
            for at, word in enumerate(arguments or []):
                if word in PACKED:
                    yield Mark("packed")
                elif word in _ALIGN:
                    yield Mark("align", " ".join(_group_in((arguments or [])[at + 1 :])))

    def _inside_last(self, found: list[Mark]) -> None:
        """Put the attributes of a whole type inside the brace that closed last."""
        del self._out[-1]
        for mark in found:
            if self._closed == "enum":
                self._out += [self._mark(*mark)] if self._last() == "," else [",", self._mark(*mark)]
            else:
                self._out += [ALONE, self._mark(*mark), ";"]
        self._out.append("}")

    def _member(self, token: str) -> bool:
        """Replace a macro that declares members; False if the token is no such macro."""
        if not token.isidentifier() or token in _BASIC or token in _QUALIFIERS:
            return False
        if self._next() == "(" and self._in[-2:-1] not in (["*"], ["^"]):
            arguments = _split(self._group())
            shape = _MACROS.get(token)
            if self._next() == ";":
                self._in.pop()
            self._macros += 1
            if shape is not None and self._macros < _LONGEST and (replaced := _expand(shape, arguments)) is not None:
                self._in += replaced[::-1]
                return True
        elif self._next() == ";":
            self._in.pop()
        else:
            return False
        self._out += [ALONE, self._mark("unknown", token), ";"]
        return True

    def _name_type(self, token: str) -> None:
        """Note a name that stands where a declaration has its type."""
        if not token.isidentifier() or token in _BASIC or token in _QUALIFIERS or (self._braces and not self._inside):
            return
        at = len(self._out) - 1
        while at >= 0 and (self._out[at] in _LEADING or self._out[at].startswith(MARK)):
            if self._out[at] == "(" and self._out[at - 1 : at] != ["_Alignas"]:
                return
            at -= 1
        if at < 0 or self._out[at] in (";", "{"):
            self._types.add(token)


def _group_in(tokens: Iterable[str]) -> list[str]:
    """Return what is in the parenthesised group that tokens begin with, nothing if they begin with none."""
    taken: list[str] = []
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if depth == 0:
            break
        taken.append(token)
    return taken[1:]


def _split(tokens: list[str]) -> list[list[str]]:
    """Return the arguments of a macro."""
    arguments: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token in "([{") - (token in ")]}")
        if token == "," and depth == 0:
            arguments.append([])
        else:
            arguments[-1].append(token)
    return arguments


def _expand(shape: str, arguments: list[list[str]]) -> list[str] | None:
    """Return what a macro stands for, None if it has too few arguments."""
    if any(int(match[1]) >= len(arguments) for match in _PLACE.finditer(shape)):
        return None
    texts = ["\n".join(["", *argument, ""]) for argument in arguments]  # a directive has its line for itself
    return tokens_of(_PLACE.sub(lambda m: " , ".join(texts[int(m[1]) :]) if m[2] else texts[int(m[1])], shape))
