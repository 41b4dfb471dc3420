"""The command `kgfplint model`: what an allocator makes of a size, for people."""

import json
import re
from collections.abc import Callable, Iterator

import click
import msgspec

from kgfplint import allocator
from kgfplint.allocator import Kernel, ModelError, Placement
from kgfplint.catalogue import Version
from kgfplint.gfp import ALL, Mask, Masks
from kgfplint.source.layouts import abi_names

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}
_SIZE = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)\s*([KMG]?)(?:i?B)?", re.IGNORECASE)
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\..*)?")
_LARGEST = 1 << 62
_FAILS = {
    "never": "no", "rarely": "hardly, but it must be checked", "often": "yes, under memory pressure", "always": "always",
}  # fmt: skip

ASKED: dict[str, Callable[[Kernel, Masks, Mask, int], Placement]] = {
    "kmalloc": allocator.kmalloc, "kvmalloc": allocator.kvmalloc, "vmalloc": allocator.vmalloc, "pages": allocator.pages,
    "percpu": allocator.percpu, "dma": allocator.dma,
}  # fmt: skip
"""The allocators that take a size (pages: an order) and a mask."""


@click.command()
@click.argument("what", type=click.Choice([*ASKED, "cache"]), metavar="ALLOCATOR")
@click.argument("size", metavar="SIZE")
@click.option("--gfp", default="GFP_KERNEL", show_default=True, metavar="MASK", help="The mask, as C.")
@click.option("--arch", type=click.Choice(abi_names()), default="x86_64", show_default=True, help="The architecture.")
@click.option("--kernel", metavar="VERSION", help="Kernel version, such as 6.1 (default: newest).")
@click.option("--page-size", metavar="BYTES", help="Bytes of a page (default: the usual ones of the architecture).")
@click.option("--slab", type=click.Choice(["slub", "slab", "slob"]), default="slub", show_default=True,
              help="The slab allocator.")
@click.option("--cpus", type=click.IntRange(1, 8192), default=4, show_default=True, help="Processors; slabs grow with them.")
@click.option("--align", metavar="BYTES", default="0", help="Alignment asked for (cache, percpu).")
@click.option("--hwcache-align", is_flag=True, help="SLAB_HWCACHE_ALIGN (cache).")
@click.option("--format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Format of the answer.")
def model(
    what: str, size: str, gfp: str, arch: str, kernel: str | None, page_size: str | None, slab: str, cpus: int, align: str,
    hwcache_align: bool, format: str,
) -> None:
    """Tell what ALLOCATOR makes of SIZE bytes: where they come from, how many, how aligned, whether it sleeps or fails.

    ALLOCATOR is kmalloc, kvmalloc, vmalloc, pages (SIZE is an order), percpu, dma or cache. SIZE may be written as 4100,
    0x1000, 64K or 4M.
    """
    try:
        machine = allocator.kernel(arch, _version(kernel), _bytes(page_size, "--page-size") if page_size else None, slab, cpus)
        masks = Masks.of_tree(None, machine.version)
        placed = _place(machine, masks, what, _bytes(size, "SIZE"), _mask(masks, gfp), _bytes(align, "--align"), hwcache_align)
    except ModelError as error:
        raise click.ClickException(str(error)) from None
    if format == "json":
        click.echo(json.dumps(_as_json(machine, gfp, placed), indent=2))
    else:
        click.echo("\n".join(_as_text(machine, gfp, placed)))


def _place(machine: Kernel, masks: Masks, what: str, size: int, mask: Mask, align: int, cache_line: bool) -> Placement:
    if align & (align - 1):
        raise ModelError(f"--align {align}: it is no power of two")
    if what == "cache":
        return allocator.cache(machine, masks, mask, size, align, cache_line)
    if what == "percpu":
        return allocator.percpu(machine, masks, mask, size, align)
    if what == "pages" and size >= machine.pointer * 8:
        raise ModelError(f"an order of {size}: pages takes an order, not bytes")
    return ASKED[what](machine, masks, mask, size)


def _bytes(text: str, name: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    number = int(match[1], 0 if match[1][:2].lower() == "0x" else 10) << _UNITS[match[2].upper()] if match else -1
    if not 0 <= number < _LARGEST:
        raise ModelError(f"{name} {text!r} is no number of bytes, such as 4100, 0x1000 or 64K")
    return number


def _version(text: str | None) -> Version | None:
    if text is None:
        return None
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ModelError(f"--kernel {text!r} is no kernel version, such as 6.1")
    return int(match[1]), int(match[2])


def _mask(masks: Masks, text: str) -> Mask:
    mask = masks.parse(text)
    if mask.known != ALL:
        unknown = sorted(name for name in mask.params if name not in masks.named)
        raise ModelError(f"--gfp {text!r} is no mask" + (f": {', '.join(unknown)} is not known" if unknown else ""))
    return mask


def _as_json(machine: Kernel, gfp: str, placed: Placement) -> dict[str, object]:
    """Return the answer as an object: the kernel, the mask, and the fields of the Placement with its waste."""
    kernel = {"arch": machine.arch, "version": ".".join(map(str, machine.version)) if machine.version else None,
              "page_size": machine.page_size, "slab": machine.slab, "cpus": machine.cpus}
    answer = msgspec.to_builtins(placed) | {"waste": placed.waste, "outcome": placed.outcome._asdict()}
    return {"kernel": kernel, "gfp": gfp, **answer}


def _as_text(machine: Kernel, gfp: str, placed: Placement) -> Iterator[str]:
    """Yield the lines of the answer."""
    outcome = placed.outcome
    yield f"{placed.allocator} of {placed.size} bytes with {gfp}: {machine}"
    if placed.real:
        yield _row("from", placed.cache or placed.source)
        yield _row("real size", f"{placed.real} bytes, {placed.waste} of them wasted ({100 * placed.waste // placed.real} %)")
        objects = f", {placed.objects} objects in {machine.page_size << (placed.order or 0)} bytes" if placed.objects else ""
        yield _row("order", f"{placed.order}{objects}" if placed.order is not None else "single pages")
        yield _row("alignment", f"{placed.align} bytes")
        yield _row("contiguous", "physically" if placed.contiguous else "not physically")
    yield _row("may sleep", {True: "yes", False: "no", None: "unknown"}[outcome.may_sleep])
    yield _row("may fail", f"{_FAILS[outcome.may_fail] if outcome.may_fail else 'unknown'}: {outcome.how}")
    yield from (_row("step", step) for step in placed.steps)
    yield from (_row("rather use", line) for line in placed.advice)


def _row(title: str, text: str) -> str:
    return f"  {title:11} {text}"
