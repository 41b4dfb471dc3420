"""KGF205: an allocation that asks for one of the old DMA zones."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import choices
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.findings import Finding, Severity
from kgfplint.gfp.policy import policy

RULE = Rule(
    code="KGF205",
    name="legacy-dma-zone",
    severity=Severity.NOTE,
    guide="Get Free Page flags",
    summary="GFP_DMA and GFP_DMA32 are legacy: hardware that reaches only some memory is served by dma_alloc_*().",
)

_ZONES = ("__GFP_DMA", "__GFP_DMA32")
_REFUSING = frozenset({"dma-pages", "dma-noncoherent"})
"""Families whose allocators return nothing for such a mask (a gfp-conflict); the other DMA functions drop the bit."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation that asks for a DMA zone, by a mask chosen here or by the allocator itself."""
    own = policy(unit.meaning.catalogue.version).zones
    for allocation in unit.allocations:
        if allocation.name in own:
            yield _finding(unit, allocation.call, allocation.name, own[allocation.name], allocation.alloc.family)
    for choice in choices(unit):
        zones = choice.may_set(*_ZONES)
        if choice.alloc is not None and zones and choice.name not in own:
            asked = " or ".join(zone.removeprefix("__") for zone in zones)
            yield _finding(unit, choice.call, choice.name, asked, choice.alloc.family)


def _finding(unit: Unit, call: ir.Call, name: str, zone: str, family: str) -> Finding:
    advice = "; prefer dma_alloc_*(), or plain memory and dma_map_*(): they go by the device's mask"
    if family in _REFUSING:
        advice = ": leave it out, the device's mask decides"
    elif name.startswith("dma"):
        advice = ", which the DMA interface ignores: the device's mask decides"
    return unit.finding(RULE, call, f"{name}() asks for the {zone} zone{advice}")
