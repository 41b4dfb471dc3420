"""The guide, sentence by sentence: which rules enforce it, which fixtures prove that, and where no tool can.

The table is rules/guide.toml; `kgfplint guide` prints it.
"""

from collections.abc import Iterator
from typing import Literal

import click
import msgspec

from kgfplint.catalogue import CatalogueError, rules_directory

State = Literal["enforced", "partly", "open", "no tool"]
_MARKS: dict[State, str] = {"enforced": "+", "partly": "~", "open": "-", "no tool": " "}


class Sentence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the guide asks for in the (1-based) `lines` of its text, put in our words.

    `rules` enforce it, `fixtures` (below tests/fixtures/, `*` is any name) prove that; `planned` are rules that are still to
    come, and `reason` tells why no tool can check it, or the rest of it.
    """

    section: str
    lines: tuple[int, int]
    says: str
    rules: tuple[str, ...] = ()
    fixtures: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()
    reason: str = ""

    @property
    def state(self) -> State:
        """How far the sentence is enforced."""
        if self.planned:
            return "partly" if self.rules else "open"
        return "enforced" if self.rules else "no tool"


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sentence: tuple[Sentence, ...]


def sentences() -> tuple[Sentence, ...]:
    """Return the sentences in the order of the guide; CatalogueError when rules/guide.toml is wrong."""
    path = rules_directory() / "guide.toml"
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_Table).sentence
    except (OSError, msgspec.DecodeError) as error:
        raise CatalogueError(str(path), 1, f"is no table of sentences: {error}") from None


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Format (default: text).")
def guide(form: str) -> None:
    """Show which rules enforce each sentence of the Memory Allocation Guide, and which gaps there are.

    Each line begins with + (enforced), ~ (partly), - (open) or nothing (no tool can), and the lines of the guide.
    """
    if form == "json":
        rows = [{**msgspec.to_builtins(sentence), "state": sentence.state} for sentence in sentences()]
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=1).decode())
    else:
        click.echo("\n".join(_lines(sentences())))


def _lines(table: tuple[Sentence, ...]) -> Iterator[str]:
    section = ""
    for sentence in table:
        if sentence.section != section:
            yield f"\n{sentence.section}" if section else sentence.section
            section = sentence.section
        first, last = sentence.lines
        where = f"{first}-{last}" if last != first else str(first)
        yield f"{_MARKS[sentence.state]} {where:8} {sentence.says}"
        if sentence.rules:
            yield f"{'':11}{', '.join(sentence.rules)}"
        if sentence.planned:
            yield f"{'':11}open: {', '.join(sentence.planned)}"
        if sentence.reason:
            yield f"{'':11}not checked: {sentence.reason}"
    counts = {state: sum(sentence.state == state for sentence in table) for state in _MARKS}
    yield ""
    yield f"{len(table)} sentences: " + ", ".join(f"{count} {state}" for state, count in counts.items())
