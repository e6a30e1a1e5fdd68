"""How many entries a producer has put into its store, exact over kills."""

from zlib import crc32

from auditline.workers.common.batch import Store
from auditline.workers.common.counters import CounterPage

RECORDED = "entries_recorded_total"
_EPOCH, _BASE = "recorded_epoch", "recorded_base"
_WRAP = 1 << 64


class RecordedCount:
    """Keeps the counter RECORDED of a page at what the store's numbers say, so that no kill comes between the two.

    What the store kept from an earlier run counts as recorded in this one, because it is written in this one.
    """

    def __init__(self, counters: CounterPage, store: Store) -> None:
        self._counters = counters
        self._store = store
        counters.extend((RECORDED, _EPOCH, _BASE))
        epoch = crc32(store.epoch.encode())
        if counters.get(_EPOCH) != epoch:
            is_new_page = not counters.get(_EPOCH)
            first = store.done_number if is_new_page else store.last_number
            counters.set(_BASE, (counters.get(RECORDED) - first) % _WRAP)
            counters.set(_EPOCH, epoch)
        self.update()

    def update(self) -> None:
        """Count what has been recorded since; in one store into the page."""
        self._counters.set(RECORDED, (self._counters.get(_BASE) + self._store.last_number) % _WRAP)
