"""Conditional directives: which `#if` arms can stay side by side in a syntax tree, and which cannot.

Arms stay where C's grammar allows a whole item: at the top level, among statements, members and
enumerators. Inside an expression, an argument list or an initialiser, or where braces do not
balance in each arm, the directives go and one arm stays.
"""

import re
from typing import NamedTuple

from kgfplint.source.canvas import Canvas, reduced

_NO_BRACE, _NO_PAREN, _NO_SIGN = (bytes(c for c in range(256) if c not in signs) for signs in (b"{}", b"()", b"{}()"))
_BLOCK = re.compile(rb"\{[();]*+\}")
_LEVELS = 12
_OPEN = frozenset((b"if", b"ifdef", b"ifndef"))
_KEPT = _OPEN | {b"else", b"elif", b"elifdef", b"elifndef", b"endif"}
_NEVER = re.compile(
    rb"if\s+0\b|if\s+(?:!\s*1\b|false\b)|(?:ifdef|if\s+defined\W*)\s*(?:__ASSEMBL\w*|__cplusplus|LINKER_SCRIPT)\b"
)
_ALWAYS = re.compile(rb"ifndef\s+(?:__ASSEMBL\w*|LINKER_SCRIPT|__cplusplus)|if\s+!\s*defined\W*(?:__ASSEMBL\w*|LINKER_SCRIPT)")
_SWITCH = re.compile(rb"if\s+([A-Za-z_]\w*)\s*\Z")
_ASKED = re.compile(rb"(?:ifdef\s+|if\s+defined\s*\(?\s*)([A-Za-z_]\w*)\s*\)?\s*\Z")
_CONTINUES = re.compile(rb"\s{0,400}+(?:else\b|[?:=.,)\]+*/%|&^<>-]|\{)")
_RECORD = re.compile(rb"\b(enum|struct|union|extern)\b[^;{}()=]*$")
_GOES_ON = re.compile(rb"\s{0,400}+(?:else\b|\{|=)")
_ENDS = b";{}"
_LABEL = re.compile(rb"(?:\A|[;{}:\n])\s*(?!default\b)[A-Za-z_]\w*\s*:\Z")

_JUMPED_TO = re.compile(rb"[;{}]\s*([A-Za-z_]\w*)\s*:\s*\Z")


class _Balance(NamedTuple):
    """How a stretch of code moves the depth: lowest point and end, for braces and for parentheses."""

    brace_low: int = 0
    brace: int = 0
    paren_low: int = 0
    paren: int = 0

    def then(self, other: "_Balance") -> "_Balance":
        """Return the balance of this stretch followed by `other`."""
        return _Balance(
            min(self.brace_low, self.brace + other.brace_low),
            self.brace + other.brace,
            min(self.paren_low, self.paren + other.paren_low),
            self.paren + other.paren,
        )


class _Group:
    """One `#if … #endif`: the indices of its directives and the balance of each arm."""

    def __init__(self, first: int) -> None:
        self.lines = [first]
        self.arms: list[_Balance] = []
        self.uneven = False
        self.kept = 0


def _balance(text: bytearray, start: int, end: int) -> _Balance:
    piece = bytes(text[start:end])
    return _Balance(*_moves(piece.translate(None, _NO_BRACE), b"{}"), *_moves(piece.translate(None, _NO_PAREN), b"()"))


def _moves(signs: bytes, pair: bytes) -> tuple[int, int]:
    """Return the lowest depth on the way through `signs` of one `pair`, and the depth at the end, from 0."""
    depth = low = 0
    opening = pair[0]
    for sign in reduced(signs, pair):
        depth += 1 if sign == opening else -1
        low = min(low, depth)
    return low, depth


def _groups(canvas: Canvas) -> dict[int, _Group]:
    """Return the groups by the index of their first directive, with their balances known."""
    lines = canvas.directives
    done: dict[int, _Group] = {}
    stack: list[tuple[_Group, _Balance]] = []
    total, position = _Balance(), 0
    for index, line in enumerate(lines):
        word = line.word
        if word not in _KEPT:
            continue
        if stack:
            total = total.then(_balance(canvas.text, position, line.start))
        position = line.end
        if word in _OPEN:
            stack.append((_Group(index), total))
            done[index] = stack[-1][0]
            total = _Balance()
            _judge_dead(canvas, stack[-1][0])
        elif stack:
            group, before = stack[-1]
            group.lines.append(index)
            group.arms.append(total)
            total = _Balance()
            if word == b"endif":
                stack.pop()
                group.uneven = any(arm != _Balance() for arm in group.arms)
                kept = min(group.kept, len(group.arms) - 1)
                total = before.then(group.arms[kept])
    return {index: group for index, group in done.items() if len(group.lines) > len(group.arms) > 0}


def _judge_dead(canvas: Canvas, group: _Group) -> None:
    if _is_dead(canvas, _condition(canvas, group)):
        group.kept = 1


def _is_dead(canvas: Canvas, condition: bytes) -> bool:
    """Tell whether a condition never holds: `#if 0`, or a name that this file itself defines as 0, or in a comment."""
    if _NEVER.match(condition):
        return True
    switch = _SWITCH.match(condition)
    if switch is not None:
        return switch[1] in canvas.zeros
    asked = _ASKED.match(condition)
    return asked is not None and asked[1] in canvas.commented_out


def _condition(canvas: Canvas, group: _Group) -> bytes:
    return canvas.directives[group.lines[0]].text.lstrip(b" \t#")


def _open_braces(piece: bytes, count: int) -> list[int]:
    """Return where the last `count` braces are that open and do not close in `piece`."""
    found: list[int] = []
    depth = 0
    opening, closing = piece.rfind(b"{"), piece.rfind(b"}")
    while len(found) < count:
        if closing > opening:
            depth += 1
            closing = piece.rfind(b"}", 0, closing)
        else:
            if depth:
                depth -= 1
            else:
                found.append(opening)
            opening = piece.rfind(b"{", 0, opening)
    return found[::-1]


def _tail(piece: bytes, begin: int, end: int, last: bytes) -> bytes:
    """Return the end of the code between `begin` and `end`, at most back to the last brace; `last` if there is none."""
    brace = max(piece.rfind(b"{", begin, end), piece.rfind(b"}", begin, end))
    code = piece[brace + 1 if brace >= 0 else begin : end].rstrip()
    if code:
        return code[-40:]
    return piece[brace : brace + 1] if brace >= 0 else last


class _Place:
    """Where a scan from left to right stands: the kinds of the open braces, the depth of parentheses."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.position = 0
        self.parens = 0
        self.stack: list[tuple[str, int]] = []
        self.last = b";"

    def advance(self, end: int) -> None:
        """Read the code up to `end`."""
        start, self.position = self.position, end
        piece = bytes(self.canvas.text[start:end].rstrip())
        if not piece:
            return
        signs = piece.translate(None, _NO_SIGN)
        opened = self._follow(signs) if signs else []
        begin = 0
        for at, parens in zip(_open_braces(piece, len(opened)), opened, strict=True):
            self.last = _tail(piece, begin, at, self.last)
            self.stack.append((self._kind(start + at), parens))
            begin = at
        self.last = _tail(piece, begin, len(piece), self.last)

    def _follow(self, signs: bytes) -> list[int]:
        """Follow braces and parentheses; return for each brace that stays open the depth of parentheses before it."""
        signs = reduced(signs, b"()")
        for _ in range(_LEVELS):
            signs, blocks = _BLOCK.subn(b";", signs)  # what is inside of a block that closes does not matter
            if not blocks:
                break
        opened: list[int] = []
        for sign in signs:
            if sign == 0x28:
                self.parens += 1
            elif sign == 0x29:
                self.parens -= 1
            elif sign == 0x7B:
                opened.append(self.parens)
            else:
                if sign == 0x7D and opened:
                    self.parens = opened.pop()
                elif sign == 0x7D and self.stack:
                    self.parens = self.stack.pop()[1]
                if not opened and not self.stack:
                    self.parens = 0
        return opened

    def _kind(self, at: int) -> str:
        last, outer = self.last[-1:], self.stack[-1][0] if self.stack else ""
        if last == b"=" or (outer == "init" and last != b"("):
            return "init"
        if last == b"," or (last == b"(" and self.canvas.text[at - 1] != 0x28):
            return "init"
        if last in (b")", b";", b"}", b"{", b":") or self.last.endswith((b"else", b"do")):
            return "block"
        head = self.canvas.before(at)
        found = _RECORD.search(head)
        if found:
            return found[1].decode()
        return "block"

    def within(self) -> str:
        """Return what the place is inside of: "expression", "init", "enum", "struct", "block" or "" (top level)."""
        kind, base = self.stack[-1] if self.stack else ("", 0)
        if self.parens > base:
            return "expression"
        return kind


def _whole(last: bytes, kind: str) -> bool:
    """Tell whether code that ends in `last` ends with a whole item inside a `kind`."""
    if last[-1:] in _ENDS:
        return True
    if last[-1:] == b":":
        return not _LABEL.search(last)
    if kind in ("", "struct", "union", "extern"):
        return last[-1:] == b")"
    return kind == "enum"


def _splits(canvas: Canvas, group: _Group, kind: str, last: bytes) -> bool:
    """Tell whether some arm of the group begins or ends in the middle of a statement or declaration."""
    if not _whole(last, kind):
        return True
    lines = canvas.directives
    text = canvas.text
    for here, there in zip(group.lines, group.lines[1:], strict=False):
        start, end = lines[here].end, lines[there].start
        body = bytes(text[max(start, end - 400) : end]).rstrip()
        if body and not _whole(body, kind):
            return True
        if body and _CONTINUES.match(text, start, end) and kind != "enum":
            return True
    return bool(kind in ("block", "") and _GOES_ON.match(text, lines[group.lines[-1]].end))


def _listed(canvas: Canvas, group: _Group) -> bool:
    """Tell whether every arm is a run of whole list items, so that all can stay side by side."""
    lines = canvas.directives
    for here, there in zip(group.lines, group.lines[1:], strict=False):
        body = bytes(canvas.text[max(lines[here].end, lines[there].start - 400) : lines[there].start]).rstrip()
        if body and body[-1:] != b",":
            return False
    return True


def _choose(canvas: Canvas, group: _Group, hide: bool, all_arms: bool) -> None:
    """Blank the arms that are not kept and, if `hide`, the directives of the group."""
    lines = canvas.directives
    for number, (here, there) in enumerate(zip(group.lines, group.lines[1:], strict=False)):
        start, end = lines[here].end, lines[there].start
        if not all_arms and number != group.kept:
            for inner in range(here + 1, there):
                canvas.drop(inner)
            canvas.blank(start, end)
            canvas.note("arm", start, end, lines[here].text.strip())
        if hide:
            canvas.drop(here)
    if hide:
        canvas.drop(group.lines[-1])


def settle_conditionals(canvas: Canvas) -> None:
    """Blank the arms and directives that a syntax tree cannot hold; one "arm" note for each blanked arm."""
    groups = _groups(canvas)
    place = _Place(canvas)
    for index, line in enumerate(canvas.directives):
        if canvas.dropped(index):
            continue  # inside an arm that is gone, or of a group that is settled
        place.advance(line.start)
        kind = place.within()
        group = groups.get(index)
        if group is None:
            if line.word not in _KEPT and (kind in ("expression", "init") or not _whole(place.last, kind)):
                canvas.drop(index)
                for start, end in line.lines():
                    canvas.note("directive", start, end)
            continue
        condition = _condition(canvas, group)
        if kind == "block" and place.last[-1:] == b":" and not group.uneven:
            place.last = _without_label(canvas, line.start, place.last)
        if kind in ("expression", "init") or group.uneven or _splits(canvas, group, kind, place.last):
            keep_all = kind == "init" and not group.uneven and group.kept == 0 and _listed(canvas, group)
            _choose(canvas, group, True, keep_all)
        elif _is_dead(canvas, condition):
            group.kept = 1
            _drop_arm(canvas, group, 0)
        elif _ALWAYS.match(condition) and len(group.lines) == 3:
            _drop_arm(canvas, group, 1)


def _without_label(canvas: Canvas, end: int, last: bytes) -> bytes:
    """Take away a label that no statement follows before a directive, with a note; return what the code ends in then."""
    found = _JUMPED_TO.search(canvas.text, max(0, end - 400), end)
    label = bytes(found[1]) if found is not None else b"default"
    if found is None or label == b"default":
        return last
    canvas.blank(found.start(1), found.end())
    canvas.note("label", found.start(1), found.end(), label)
    return b";"


def _drop_arm(canvas: Canvas, group: _Group, number: int) -> None:
    here, there = group.lines[number : number + 2]
    start, end = canvas.directives[here].end, canvas.directives[there].start
    for inner in range(here + 1, there):
        canvas.drop(inner)
    canvas.blank(start, end)
    canvas.note("arm", start, end, canvas.directives[here].text.strip())
