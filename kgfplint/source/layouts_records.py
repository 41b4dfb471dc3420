"""Laying out structs and unions by the rules that gcc follows on all architectures of rules/abi.toml."""

import enum
from collections.abc import Callable
from typing import NamedTuple

from kgfplint.source.layouts_abi import Abi
from kgfplint.source.layouts_text import Mark
from kgfplint.source.layouts_types import Choice, Items, Member, Open, Record, Type
from kgfplint.source.layouts_values import Values


class End(enum.Enum):
    """Which end of a range is computed."""

    LOW = 0
    HIGH = 1


class Extent(NamedTuple):
    """Size and alignment in bytes."""

    size: int
    align: int


NOTHING = Extent(0, 1)
"""The least that something unknown may take."""


class Unbounded(Exception):
    """The upper end is not known."""


class Laid(NamedTuple):
    """A laid out record: its extent, and each member with its offset in bits."""

    extent: Extent
    places: list[tuple[Member, int]]


class _State(NamedTuple):
    """A record half laid out: the next free bit, in a union the largest end, and the alignment so far in bytes."""

    bit: int
    align: int


def lay_out(
    record: Record, abi: Abi, end: End, extent_of: Callable[[Type, End], Extent],
    alignment: Callable[[tuple[Mark, ...], End], int], values: Values,
) -> Laid:
    """Return the layout of a record at one end of its range; Unbounded where the upper one is not known."""
    return _Layout(record, abi, end, extent_of, alignment, values).done()


class _Layout:
    """One walk over the members of a record."""

    def __init__(
        self, record: Record, abi: Abi, end: End, extent_of: Callable[[Type, End], Extent],
        alignment: Callable[[tuple[Mark, ...], End], int], values: Values,
    ) -> None:
        self._record, self._abi, self._end = record, abi, end
        self._extent_of, self._alignment, self._values = extent_of, alignment, values
        self._packed = any(mark.kind == "packed" for mark in record.marks)
        self._pack = min((int(mark.text) for mark in record.marks if mark.kind == "pack"), default=0)
        self._places: list[tuple[Member, int]] = []

    def done(self) -> Laid:
        """Walk all members and round the size up to the alignment."""
        state = self._walk(self._record.items or (), _State(0, 1))
        align = max(state.align, self._alignment(self._record.marks, self._end))
        return Laid(Extent(_up(_up(state.bit, 8) // 8, align), align), self._places)

    def _walk(self, items: Items, state: _State) -> _State:
        for item in items:
            match item:
                case Member(bits=None):
                    state = self._plain(item, state)
                case Member():
                    state = self._bit_field(item, state)
                case Choice():
                    state = self._choice(item, state)
                case Open() if self._end is End.HIGH:
                    raise Unbounded
        return state

    def _choice(self, choice: Choice, state: _State) -> _State:
        """Return the state after the arm that takes least or most, of those that may hold."""
        found = []
        for condition, items in choice.arms:
            holds = self._values.decided(condition)
            if holds is not False:
                found.append(self._walk(items, state))
            if holds:
                break
        else:
            found.append(state)
        pick = max if self._end is End.HIGH else min
        return _State(pick(s.bit for s in found), pick(s.align for s in found))

    def _plain(self, member: Member, state: _State) -> _State:
        extent = self._extent_of(member.type, self._end)
        align = self._member_align(member, extent.align)
        return self._placed(member, _up(state.bit, 8 * align), 8 * extent.size, align, state)

    def _member_align(self, member: Member, align: int) -> int:
        """Return the alignment of a member in bytes, after the attributes of itself and of its record."""
        if self._packed or any(mark.kind == "packed" for mark in member.marks):
            align = 1
        align = max(align, self._alignment(member.marks, self._end))
        return min(align, self._pack) if self._pack else align

    def _bit_field(self, member: Member, state: _State) -> _State:
        """Place a bit-field: it must not cross a boundary of its type, unless it is packed."""
        extent = self._extent_of(member.type, self._end)
        assert member.bits is not None
        width = self._values.of(member.bits)
        if width is None:
            return self._plain(member, state) if self._end is End.HIGH else state
        # Neither packing nor #pragma pack change what a width of 0 does, and #pragma pack goes before packing.
        align = min(extent.align, self._pack) if self._pack and width else extent.align
        packed = self._packed or any(mark.kind == "packed" for mark in member.marks)
        bit = 0 if self._record.union else state.bit
        if width == 0 or (not packed and not self._pack and bit % (8 * align) + width > 8 * extent.size):
            bit = _up(bit, 8 * align)
        asked = self._alignment(member.marks, self._end)
        bit = _up(bit, 8 * asked) if asked else bit
        counts = (member.name or self._abi.unnamed_fields) and not (packed and width and not self._pack)
        return self._placed(member, bit, width, max(align if counts else 1, asked), state)

    def _placed(self, member: Member, bit: int, width: int, align: int, state: _State) -> _State:
        if self._record.union:
            bit = 0
        self._places.append((member, bit))
        after = max(state.bit, bit + width) if self._record.union else bit + width
        return _State(after, max(state.align, align))


def _up(value: int, unit: int) -> int:
    """Return a value rounded up to a multiple of `unit`."""
    return -(-value // unit) * unit
