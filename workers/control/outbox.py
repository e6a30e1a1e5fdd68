"""What the control process has to tell the router, kept in one small file until the router is done with it."""

import base64
import json
import logging
import secrets
from pathlib import Path
from typing import Any

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.disk import replace_file
from auditline.workers.common.drift_entry import CONTROL_SOURCE
from auditline.workers.common.errors import StorageError

OUTBOX_FILE = "control-outbox.json"
"""Its name in the state directory."""
MOST_ENTRIES = 1000
"""Beyond it what is new is dropped: so many changes that nobody takes say nothing that the first do not."""

_MOST_FILE_BYTES = 1 << 26
_EPOCH_BYTES = 8
_log = logging.getLogger(__name__)


class Outbox:
    """Numbered entries; a `Store` of the bus. Written anew with each change: there are few."""

    source = CONTROL_SOURCE

    def __init__(self, path: Path) -> None:
        """Go on with the file at *path*; one that is missing or damaged is begun anew."""
        self._path = path
        self.epoch = secrets.token_hex(_EPOCH_BYTES)
        self.done_number = 0
        self.done_state = b""
        self._entries: dict[int, bytes] = {}
        try:
            with path.open("rb") as file:
                self._take(json.loads(file.read(_MOST_FILE_BYTES)))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.error("%s cannot be read and is begun anew: %r", path, error)  # says all
            self._entries.clear()

    @property
    def last_number(self) -> int:
        """The last entry appended; `done_number` when none is kept."""
        return max(self._entries, default=self.done_number)

    @property
    def is_full(self) -> bool:
        """Whether an entry more would be dropped."""
        return len(self._entries) >= MOST_ENTRIES

    def append(self, payload: bytes) -> bool:
        """Keep one more entry; False: it was dropped."""
        if self.is_full:
            return False
        self._entries[self.last_number + 1] = payload
        self._write()
        return True

    def read(self, number: int) -> Batch:
        """Return a kept entry.

        Raises:
            StorageError: there is none of that number.
        """
        if number not in self._entries:
            raise StorageError(f"{self._path} has no entry {number}")
        return Batch(number, BatchKind.DRIFT, b"", self._entries[number])

    def forget(self, number: int, state: bytes) -> None:
        """Keep *number* as done; entries up to it go."""
        self.done_number, self.done_state = number, state
        self._entries = {kept: payload for kept, payload in self._entries.items() if kept > number}
        self._write()

    def _take(self, content: dict[str, Any]) -> None:
        entries = {int(number): base64.b64decode(text) for number, text in content["entries"].items()}
        done_number, epoch = int(content["done_number"]), str(content["epoch"])
        if sorted(entries) != list(range(done_number + 1, done_number + 1 + len(entries))):
            raise ValueError("its entries have gaps")
        if len(bytes.fromhex(epoch)) != _EPOCH_BYTES:
            raise ValueError(f"its epoch is {epoch!r}")
        self.done_state = base64.b64decode(content["done_state"])
        self.done_number, self.epoch, self._entries = done_number, epoch, entries

    def _write(self) -> None:
        """Put all at its place in one step; what cannot be written is told, and kept in memory."""
        content = {
            "epoch": self.epoch,
            "done_number": self.done_number,
            "done_state": base64.b64encode(self.done_state).decode(),
            "entries": {number: base64.b64encode(payload).decode() for number, payload in self._entries.items()},
        }
        try:
            replace_file(self._path, json.dumps(content).encode())
        except OSError as error:
            _log.warning("%s cannot be written: %s; a kill of this process would lose it", self._path, error.strerror)
