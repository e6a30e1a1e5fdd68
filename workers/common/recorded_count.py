"""How many entries a producer has put into its store, exact over kills."""

from typing import Protocol
from zlib import crc32

from auditline.workers.common.counters import CounterPage

RECORDED = "entries_recorded_total"
_EPOCH, _BASE = "recorded_epoch", "recorded_base"
_WRAP = 1 << 64


class Recorder(Protocol):
    """A store that counts its entries, through all its batches."""

    @property
    def epoch(self) -> str:
        """See `Store`."""

    @property
    def done_entry(self) -> int:
        """The last entry that the router said is done; 0: none."""

    @property
    def last_entry(self) -> int:
        """The last entry that is kept; `done_entry` when none is."""


class RecordedCount:
    """Keeps the counter RECORDED of a page at what the store's numbers say, so that no kill comes between the two.

    What the store kept from an earlier run counts as recorded in this one, because it is written in this one.
    """

    def __init__(self, counters: CounterPage, store: Recorder) -> None:
        self._counters = counters
        self._store = store
        counters.extend((RECORDED, _EPOCH, _BASE))
        epoch = crc32(store.epoch.encode())
        if counters.get(_EPOCH) != epoch:
            is_new_page = not counters.get(_EPOCH)
            first = store.done_entry if is_new_page else store.last_entry
            counters.set(_BASE, (counters.get(RECORDED) - first) % _WRAP)
            counters.set(_EPOCH, epoch)
        self.update()

    def update(self) -> None:
        """Count what has been recorded since; in one store into the page."""
        self._counters.set(RECORDED, (self._counters.get(_BASE) + self._store.last_entry) % _WRAP)
