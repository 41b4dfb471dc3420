"""KGF205: an allocation that asks for one of the old DMA zones."""

import functools
from collections.abc import Iterator

import msgspec

from kgfplint.catalogue import CatalogueError, rules_directory
from kgfplint.checks import Rule
from kgfplint.checks.chosen import choices
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF205",
    name="legacy-dma-zone",
    severity=Severity.NOTE,
    guide="Get Free Page flags",
    summary="GFP_DMA and GFP_DMA32 are legacy: hardware that reaches only some memory is served by dma_alloc_*().",
)

_ZONES = ("__GFP_DMA", "__GFP_DMA32")


class _Zone(msgspec.Struct, frozen=True):
    mask: str
    allocators: tuple[str, ...]


class _Tables(msgspec.Struct, frozen=True):
    zone: tuple[_Zone, ...]


@functools.cache
def zones_of_allocators() -> dict[str, str]:
    """Return the zone of each allocator that has its own, from rules/gfp.toml; CatalogueError when it is wrong."""
    path = rules_directory() / "gfp.toml"
    try:
        tables = msgspec.toml.decode(path.read_bytes(), type=_Tables)
    except (OSError, msgspec.DecodeError) as error:
        raise CatalogueError(str(path), 1, f"is no table of zones: {error}") from None
    return {name: zone.mask for zone in tables.zone for name in zone.allocators}


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation that asks for a DMA zone, by a mask chosen here or by the allocator itself."""
    own = zones_of_allocators()
    for allocation in unit.allocations:
        if allocation.name in own:
            yield _finding(unit, allocation.call, allocation.name, own[allocation.name])
    for choice in choices(unit):
        zones = choice.may_set(*_ZONES)
        if choice.alloc is not None and zones and choice.name not in own:
            asked = " or ".join(zone.removeprefix("__") for zone in zones)
            yield _finding(unit, choice.call, choice.name, asked)


def _finding(unit: Unit, call: ir.Call, name: str, zone: str) -> Finding:
    advice = "; prefer dma_alloc_*(), or plain memory and dma_map_*(): they go by the device's mask"
    if name.startswith("dma"):
        advice = ", which the DMA interface ignores: the device's mask decides"
    return unit.finding(RULE, call, f"{name}() asks for the {zone} zone{advice}")
