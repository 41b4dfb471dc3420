"""One mask: of each bit of a gfp_t whether it is set, clear or unknown."""

import msgspec

ALL = (1 << 32) - 1
"""Every bit of a gfp_t."""


class Mask(msgspec.Struct, frozen=True):
    """Bits known to be set and known to be clear; `copied` the unknown ones that equal those of the name in `params`.

    A mask without unknown bits depends on no name; `copied` is 0 unless `params` is one name.
    """

    set: int
    clear: int
    params: frozenset[str] = frozenset()
    copied: int = 0

    @staticmethod
    def of(value: int) -> "Mask":
        """Return the mask of a constant."""
        return Mask(value & ALL, ~value & ALL)

    @staticmethod
    def unknown(*names: str) -> "Mask":
        """Return the mask of which nothing is known; with one name, it is the value of that name."""
        return Mask(0, 0, frozenset(names), ALL if len(names) == 1 else 0)

    @property
    def known(self) -> int:
        """The bits that are known either way."""
        return self.set | self.clear

    @property
    def value(self) -> int | None:
        """The constant that this mask is, None while any bit is unknown."""
        return self.set if self.known == ALL else None

    @property
    def truth(self) -> bool | None:
        """Whether it is not zero, None if unknown."""
        if self.set:
            return True
        return False if self.clear == ALL else None

    def __or__(self, other: "Mask") -> "Mask":
        """The bitwise or."""
        passed = (self.copied & other.clear) | (other.copied & self.clear) | (self.copied & other.copied)
        return made(self.set | other.set, self.clear & other.clear, self, other, passed)

    def __and__(self, other: "Mask") -> "Mask":
        """The bitwise and."""
        passed = (self.copied & other.set) | (other.copied & self.set) | (self.copied & other.copied)
        return made(self.set & other.set, self.clear | other.clear, self, other, passed)

    def __xor__(self, other: "Mask") -> "Mask":
        """The bitwise exclusive or."""
        known = self.known & other.known
        value = self.set ^ other.set
        passed = (self.copied & other.clear) | (other.copied & self.clear)
        return made(value & known, ~value & known, self, other, passed)

    def __invert__(self) -> "Mask":
        """The bitwise complement."""
        return Mask(self.clear, self.set, self.params)

    def join(self, other: "Mask") -> "Mask":
        """Return what is known of a value that is either of the two."""
        return made(self.set & other.set, self.clear & other.clear, self, other, self.copied & other.copied)

    def bind(self, name: str, argument: "Mask") -> "Mask":
        """Return the mask with `argument` in the place of the parameter `name`."""
        if name not in self.params:
            return self
        rest = Mask(self.set, self.clear, self.params - {name})
        return made(
            self.set | (argument.set & self.copied), self.clear | (argument.clear & self.copied), rest, argument,
            argument.copied & self.copied,
        )  # fmt: skip


def made(ones: int, zeros: int, left: Mask, right: Mask, copied: int) -> Mask:
    """Return the mask of two operands, in the one form that equal masks have."""
    unknown = ALL & ~(ones | zeros)
    params = left.params | right.params if unknown else frozenset()
    return Mask(ones, zeros, params, copied & unknown if len(params) == 1 else 0)


def unary(op: str, operand: Mask) -> Mask:
    """Return what is known of `op operand` (`~ ! - +`)."""
    if op == "~":
        return ~operand
    if op == "-" and operand.value is not None:
        return Mask.of(-operand.value)
    if op == "!" and operand.truth is not None:
        return Mask.of(not operand.truth)
    return operand if op == "+" else Mask(0, 0, operand.params)


def binary(op: str, left: Mask, right: Mask) -> Mask:
    """Return what is known of `left op right`, for bitwise, logical, shift and equality operators."""
    match op:
        case "|":
            return left | right
        case "&":
            return left & right
        case "^":
            return left ^ right
    if op in ("&&", "||"):
        truths = (left.truth, right.truth)
        decided = op == "||"
        if decided in truths:
            return Mask.of(decided)
        return Mask.of(not decided) if None not in truths else Mask(0, 0, left.params | right.params)
    if left.value is None or right.value is None:
        apart = left.set & right.clear or left.clear & right.set
        if apart and op in ("==", "!="):
            return Mask.of(op == "!=")
        return Mask(0, 0, left.params | right.params)
    return _arithmetic(op, left.value, right.value)


def _arithmetic(op: str, left: int, right: int) -> Mask:
    match op:
        case "==":
            return Mask.of(left == right)
        case "!=":
            return Mask.of(left != right)
        case "+":
            return Mask.of(left + right)
        case "-":
            return Mask.of(left - right)
        case "<<" if right < 64:
            return Mask.of(left << right)
        case ">>":
            return Mask.of(left >> right)
    return Mask(0, 0)
