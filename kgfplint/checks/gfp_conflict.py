"""KGF201: a mask whose bits contradict each other, or mean nothing beside each other."""

import functools
from collections.abc import Iterator
from typing import Literal

import msgspec

from kgfplint.catalogue import CatalogueError, rules_directory
from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, mask_text
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF201",
    name="gfp-conflict",
    severity=Severity.ERROR,
    guide="GFP flags and reclaim behavior",
    summary="A request has one zone and one way to reclaim; contradictory bits leave it to chance which counts.",
)


class Conflict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bits that must not all be set while those of `clear` are clear; `slab`: only in memory from slab."""

    set: tuple[str, ...]
    severity: Literal["error", "warning", "note"]
    why: str
    clear: tuple[str, ...] = ()
    slab: bool = False


class _Tables(msgspec.Struct):
    conflict: tuple[Conflict, ...]


@functools.cache
def conflicts() -> tuple[Conflict, ...]:
    """Return the conflicts of rules/gfp.toml, the gravest first; CatalogueError when the file is wrong."""
    path = rules_directory() / "gfp.toml"
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_Tables).conflict
    except (OSError, msgspec.DecodeError) as error:
        raise CatalogueError(str(path), 1, f"is no table of conflicts: {error}") from None


def check(unit: Unit) -> Iterator[Finding]:
    """Report each call that is given a mask with a conflict in all values that it may have there, or in an arm of its `?:`."""
    for choice in choices(unit):
        conflict = next((c for c in conflicts() for arm in choice.arms() if _applies(arm, c)), None)
        if conflict is not None:
            message = f"{choice.name}() is given {mask_text(unit, choice)}: {conflict.why}"
            yield unit.finding(RULE, choice.call, message, severity=Severity.parse(conflict.severity))


def _applies(choice: Choice, conflict: Conflict) -> bool:
    return (choice.slab or not conflict.slab) and choice.sets(*conflict.set) and choice.clears(*conflict.clear)
