"""From a register's number to words: flags, one of several values, modes, ids, descriptors."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from auditline.workers.common.tables.lookup import call_flags, signal_name, signal_names

Decoded = str | list[str]
Decode = Callable[[int], Decoded]

AT_FDCWD = 0xFFFFFF9C
"""-100 in 32 bits: relative to the working directory. Source: linux/fcntl.h."""


class FlagName(NamedTuple):
    """A name of one or several bits, or of one value of the bits in *mask*."""

    mask: int | None
    number: int
    name: str


_WORD = 0xFFFFFFFF
_SIGN = 0x80000000
_GROUP_BITS, _REMEMBERED = 8, 4096
_EXIT_SIGNAL = 0xFF
"""The bits of clone's flags that are a signal. Source: linux/sched.h, CSIGNAL."""


def decoder(kind: str, architecture: str) -> Decode:
    """Return what decodes a register of this kind: `set.open`, `enum.fcntl`, `mode`.

    Raises:
        KeyError: there is no such kind, or no such set of names.
    """
    kind, _, name = kind.partition(".")
    if kind in _OF_NAMES:
        return _OF_NAMES[kind]([FlagName(*row) for row in call_flags(name, architecture)])
    return _PLAIN[kind]


class SetDecoder:
    """Makes of a number the names of its bits, in the order of the bits, and what is left in one number."""

    def __init__(self, names: Sequence[FlagName], mask: int) -> None:
        """Look at the bits in *mask* only."""
        self.mask = mask
        self.groups = [(group.bits, group) for group in _group(names)]
        self.unnamed = ~sum(bits for bits, _ in self.groups)

    def __call__(self, number: int) -> list[str]:
        """Return the names, and the rest in hexadecimal."""
        number &= self.mask
        if number == _WORD:
            return [hex(number)]
        words: list[str] = []
        rest = number & self.unnamed
        for bits, group in self.groups:
            found, left = group[number & bits]
            words += found
            rest |= left
        return [*words, hex(rest)] if rest else words


def set_decoder(names: Sequence[FlagName]) -> Decode:
    """Return what decodes the bits of an int."""
    return SetDecoder(names, _WORD)


def long_set_decoder(names: Sequence[FlagName]) -> Decode:
    """Return what decodes the bits of a whole register."""
    return SetDecoder(names, -1)


class _Group(dict[int, tuple[list[str], int]]):
    """Neighbouring bits of a set, and what they say: the names in order, and the bits that have none.

    Remembered: every event has flags, and nearly all of them have the same.
    """

    def __init__(self, names: Sequence[FlagName]) -> None:
        super().__init__()
        # A name that is several bits comes before those that are one of them: O_SYNC before O_DSYNC.
        self.names = sorted(names, key=lambda row: (row.mask is None, -row.number.bit_count()))
        self.bits = 0
        for row in names:
            self.bits |= bits_of(row)

    def __missing__(self, number: int) -> tuple[list[str], int]:
        if len(self) >= _REMEMBERED:
            self.clear()
        found, rest = [], number
        for row in self.names:
            bits = bits_of(row)
            if (number if row.mask else rest) & bits == row.number:
                found.append((row.number, row.name))
                rest &= ~bits
        made = self[number] = [name for _, name in sorted(found)], rest
        return made


def bits_of(row: FlagName) -> int:
    """Return which bits a name is for."""
    return row.number if row.mask is None else row.mask


def _group(names: Sequence[FlagName]) -> list[_Group]:
    """Return names in groups that have no bit in common, nor one between two bits of another group, lowest first."""
    rows = sorted((row for row in names if bits_of(row)), key=lambda row: bits_of(row) & -bits_of(row))
    groups: list[list[FlagName]] = []
    for row in rows:
        if groups and _span([row])[0] <= _span(groups[-1])[1]:
            groups[-1].append(row)
        else:
            groups.append([row])
    # The name of a zero stands before all others.
    if any(row.number == 0 for group in groups[1:] for row in group):
        groups = [rows]
    joined: list[list[FlagName]] = []
    for group in groups:
        if joined and _span(group)[1] - _span(joined[-1])[0] < _GROUP_BITS:
            joined[-1] += group
        else:
            joined.append(list(group))
    return [_Group(group) for group in joined]


def _span(group: Sequence[FlagName]) -> tuple[int, int]:
    """Return the lowest and the highest bit that a group has a name for, by number."""
    bits = [bits_of(row) for row in group]
    return min(each & -each for each in bits).bit_length(), max(bits).bit_length()


def enum_decoder(names: Sequence[FlagName]) -> Decode:
    """Return what makes of an int its name, or a decimal number."""
    known: dict[int, str] = {}
    for row in names:
        known.setdefault(row.number, row.name)

    def decode(number: int) -> str:
        return known.get(number & _WORD) or signed(number)

    return decode


def short_enum_decoder(names: Sequence[FlagName]) -> Decode:
    """Return the same for the lower 16 bits: ipc() has the version of the call's structure in the upper ones.

    Source: ipc/syscall.c, ksys_ipc().
    """
    decode = enum_decoder(names)
    return lambda number: decode(number & 0xFFFF)


def file_mode_decoder(names: Sequence[FlagName]) -> Decode:
    """Return what makes of a mode the type of file, if it has one, and the permissions in octal."""
    known = {row.number: row.name for row in names}

    def decode(number: int) -> list[str]:
        kind = number & 0o170000
        return [known[kind], mode(number & 0o7777)] if kind in known else [mode(number)]

    return decode


def clone_decoder(names: Sequence[FlagName]) -> Decode:
    """Return what makes of clone's flags their names and that of the signal at the child's end."""
    signals = [FlagName(_EXIT_SIGNAL, number, name) for number, name in signal_names().items()]
    return long_set_decoder([*signals, *names])


def mode(number: int) -> str:
    """Return 16 bits in octal: `0644`."""
    return f"0{number & 0xFFFF:03o}"


def signed(number: int) -> str:
    """Return an int in decimal."""
    number &= _WORD
    return str(number - 2 * _SIGN if number & _SIGN else number)


def hexadecimal(number: int) -> str:
    """Return an unsigned int in hexadecimal."""
    return hex(number & _WORD)


def directory(number: int) -> str:
    """Return a descriptor that names are relative to."""
    return "AT_FDCWD" if number & _WORD == AT_FDCWD else signed(number)


def owner(number: int) -> str:
    """Return a user's or group's number; -1: stays as it is."""
    number &= _WORD
    return "-1" if number == _WORD else str(number)


def short_owner(number: int) -> str:
    """Return the same of the older calls of 32-bit machines, whose ids have 16 bits."""
    number &= 0xFFFF
    return "-1" if number == 0xFFFF else str(number)


def signal(number: int) -> str:
    """Return a signal's name; 0, which only asks, stays a number."""
    return signal_name(number & _WORD) or signed(number)


def device(number: int) -> str:
    """Return `MAJOR:MINOR`. Source: linux/kdev_t.h, new_decode_dev()."""
    return f"{(number & 0xFFF00) >> 8}:{number & 0xFF | number >> 12 & 0xFFF00}"


_OF_NAMES: dict[str, Callable[[Sequence[FlagName]], Decode]] = {
    "set": set_decoder,
    "longset": long_set_decoder,
    "enum": enum_decoder,
    "shortenum": short_enum_decoder,
    "filemode": file_mode_decoder,
    "cloneset": clone_decoder,
}
_PLAIN: dict[str, Decode] = {
    "mode": mode,
    "int": signed,
    "size": str,
    "hex": hexadecimal,
    "dirfd": directory,
    "id": owner,
    "id16": short_owner,
    "signal": signal,
    "device": device,
}
