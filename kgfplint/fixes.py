"""Mending what rules know how to mend: from a finding's Rewrite to edits of the text, in the kernel's style.

Nothing is edited that is not found exactly as expected: the call by its name at its place, its arguments by their
brackets. Positions are in bytes, as those of findings are.
"""

import difflib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kgfplint.findings import Edit, Finding, Rewrite

COLUMNS = 100
"""Where a line that is written anew is broken (checkpatch's limit); tabs are 8 wide."""
_HEAD = re.compile(rb"(\w+)\s*\(")
_TOKEN = re.compile(rb'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|/\*.*?\*/|//[^\n]*|[][(){},]', re.S)


class _Call(NamedTuple):
    """A call in a text: where it begins, where its name and it end, and the range of each argument, without blanks around."""

    start: int
    name: int
    end: int
    args: Sequence[tuple[int, int]]


def edits(finding: Finding, data: bytes) -> tuple[Edit, ...]:
    """Return how to mend a finding in the text of its file; nothing where the text is not what the rule made of it."""
    fix = finding.fix
    if fix is None:
        return ()
    call = _call(data, _offset(data, finding.line, finding.column), fix.callee)
    if call is None or any(int(number) >= len(call.args) for arg in fix.args for number in re.findall(r"\$(\d)", arg)):
        return ()
    ranges = [(call.start, call.end, _rewritten(data, call, fix))]
    if fix.drop is not None:
        gone = _statement(data, _offset(data, *fix.drop))
        if gone is None:
            return ()
        ranges.append((*gone, b""))
    return tuple(_edit(finding.path, data, *one) for one in ranges if data[one[0] : one[1]] != one[2])


def applied(data: bytes, changes: Iterable[Edit]) -> bytes:
    """Return a text with edits made; one that overlaps another before it is left out."""
    done, at = [], 0
    ranges = ((_offset(data, e.line, e.column), _offset(data, e.end_line, e.end_column), e.text) for e in changes)
    for start, end, text in sorted(ranges):
        if start >= at:
            done += [data[at:start], text.encode("utf-8", "surrogateescape")]
            at = end
    return b"".join([*done, data[at:]])


def diff(path: str, before: bytes, after: bytes) -> Iterator[str]:
    """Yield the lines of a unified diff that `git apply` and `patch -p1` take."""
    # Only line feeds end a line for those who read diffs.
    old, new = (io.StringIO(text.decode("utf-8", "surrogateescape"), newline="\n").readlines() for text in (before, after))
    for line in difflib.unified_diff(old, new, f"a/{path}", f"b/{path}"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _offset(data: bytes, line: int, column: int) -> int:
    at = 0
    for _ in range(line - 1):
        at = data.find(b"\n", at) + 1
        if not at:
            return len(data)
    return at + column - 1


def _edit(path: str, data: bytes, start: int, end: int, text: bytes) -> Edit:
    first, last = (data.count(b"\n", 0, at) + 1 for at in (start, end))
    columns = (at - data.rfind(b"\n", 0, at) for at in (start, end))
    begin, stop = columns
    return Edit(path, first, begin, last, stop, text.decode("utf-8", "surrogateescape"))


def _call(data: bytes, start: int, name: str) -> _Call | None:
    """Return the call of a function that begins at an offset, None if there is none."""
    head = _HEAD.match(data, start)
    if head is None or head[1] != name.encode():
        return None
    depth, first, args = 1, head.end(), []
    for token in _TOKEN.finditer(data, head.end()):
        depth += (token[0] in b"([{") - (token[0] in b")]}") if len(token[0]) == 1 else 0
        if not depth or (depth == 1 and token[0] == b","):
            text = data[first : token.start()]
            args.append((first + len(text) - len(text.lstrip()), token.start() - len(text) + len(text.rstrip())))
            first = token.end()
        if not depth:
            return _Call(start, head.end(1), token.end(), args)
    return None


def _rewritten(data: bytes, call: _Call, fix: Rewrite) -> bytes:
    """Return the text of a call as it is to be; what need not change stays as it is."""
    texts = [data[first:last] for first, last in call.args]
    given = (arg.encode("utf-8", "surrogateescape") for arg in fix.args)
    wanted = [re.sub(rb"\$(\d)", lambda number: texts[int(number[1])], arg) for arg in given]
    name = fix.name.encode()
    # An argument that no longer spans lines leaves nothing that the others could stay aligned with.
    shorter = any(b"\n" in old and b"\n" not in new for old, new in zip(texts[:-1], wanted, strict=False))
    if len(wanted) != len(texts) or (shorter and not any(b"\n" in new for new in wanted)):
        return _filled(data, call, name, wanted)
    pieces, at = [name], call.name
    for (first, last), text in zip(call.args, wanted, strict=True):
        pieces += [data[at:first], text]
        at = last
    text = b"".join([*pieces, data[at : call.end]])
    if b"\n" not in text:
        fits = len(text) <= call.end - call.start or _width(data, call) + len(text) <= COLUMNS
        return text if fits else _filled(data, call, name, wanted)
    return _aligned(data, call, name, text)


def _indent(data: bytes, call: _Call) -> int:
    """Return the column that a call begins at, from 0."""
    return len(data[data.rfind(b"\n", 0, call.start) + 1 : call.start].expandtabs(8))


def _width(data: bytes, call: _Call) -> int:
    """Return the columns before and behind a call in its lines."""
    return _indent(data, call) + len(data[call.end :].partition(b"\n")[0])


def _blank(columns: int) -> bytes:
    return b"\t" * (columns // 8) + b" " * (columns % 8)


def _filled(data: bytes, call: _Call, name: bytes, args: Sequence[bytes]) -> bytes:
    """Return a call with its arguments on as few lines as they fit on, aligned behind the bracket."""
    column = _indent(data, call) + len(name) + 1
    lines, tail = [b""], _width(data, call) - _indent(data, call)
    for number, arg in enumerate(args):
        last = number == len(args) - 1
        room = COLUMNS - column - (1 + tail if last else 1)
        grown = lines[-1] + (b" " if lines[-1] else b"") + arg
        if lines[-1] and len(grown) > room:
            lines.append(arg)
        else:
            lines[-1] = grown
        lines[-1] += b")" if last else b","
    return name + b"(" + (b"\n" + _blank(column)).join(lines)


def _aligned(data: bytes, call: _Call, name: bytes, text: bytes) -> bytes:
    """Return the text of a call with the lines that were aligned behind its bracket aligned again."""
    before = _indent(data, call) + call.name - call.start + 1
    after = _indent(data, call) + len(name) + 1
    first, *others = text.split(b"\n")
    for number, line in enumerate(others):
        blank = line[: len(line) - len(line.lstrip())]
        if len(blank.expandtabs(8)) == before:
            others[number] = _blank(after) + line.lstrip()
    return b"\n".join([first, *others])


def _statement(data: bytes, start: int) -> tuple[int, int] | None:
    """Return the range of lines of the call at an offset if they hold nothing else, and are no branch without braces."""
    head = _HEAD.match(data, start)
    call = _call(data, start, head[1].decode("ascii", "replace")) if head else None
    if call is None:
        return None
    first, end = data.rfind(b"\n", 0, start) + 1, data.find(b"\n", call.end) + 1
    above = data[:first].rstrip()
    if data[first:start].strip() or data[call.end : end].strip() != b";" or not above.endswith((b";", b"{", b"}")):
        return None
    around = data[:first].endswith(b"\n\n"), data[end : end + 1] == b"\n"
    return first, end + 1 if all(around) else end
