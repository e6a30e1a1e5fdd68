"""Which serials never came: the kernel numbers its events, so a hole is an event that we do not have."""

REORDER_SECONDS = 4
"""How much stream time a serial may be late: two loaded CPUs bring 6 % of records out of order, by milliseconds;
an event without its end waits up to 3 s."""
MAX_RANGES = 1024
_SERIALS = 1 << 32

Missing = tuple[int, int, int]
"""First serial, how many, and the second of stream time at which the hole was seen."""


class SerialGaps:
    """Tells holes in the serials of one boot, tolerant of late ones and of the counter's wrap."""

    def __init__(self) -> None:
        self.next: int | None = None
        """The serial that comes next when none is missing; None before the first one."""
        self.missing: list[Missing] = []

    def see(self, serial: int, clock: int) -> None:
        """Take note of an event's serial."""
        if serial == self.next:
            self.next = (serial + 1) % _SERIALS
            return
        if self.next is None:
            self.next = (serial + 1) % _SERIALS
            return
        ahead = (serial - self.next) % _SERIALS
        if ahead < _SERIALS // 2:
            self.missing.append((self.next, ahead, clock))
            self.next = (serial + 1) % _SERIALS
        elif self.missing:
            self._fill(serial)

    def settle(self, clock: int, *, is_idle: bool = False) -> list[tuple[int, int]]:
        """Return, and forget, the holes (first serial, count) too old to be filled; all of them if *is_idle*."""
        if not self.missing:
            return []
        lasting = [hole for hole in self.missing if not is_idle and clock - hole[2] < REORDER_SECONDS]
        if len(lasting) > MAX_RANGES:
            lasting = lasting[-MAX_RANGES:]
        settled = [(first, count) for first, count, _ in self.missing[: len(self.missing) - len(lasting)]]
        self.missing = lasting
        return settled

    def restart(self) -> None:
        """Begin anew: the host was booted, and its kernel counts from 0."""
        self.next = None
        self.missing = []

    def _fill(self, serial: int) -> None:
        for position, (first, count, seen) in enumerate(self.missing):
            offset = (serial - first) % _SERIALS
            if offset < count:
                pieces = [(first, offset, seen), ((serial + 1) % _SERIALS, count - offset - 1, seen)]
                self.missing[position : position + 1] = [piece for piece in pieces if piece[1]]
                return
