"""Getting segments onto the disk while the router goes on.

A thread, because fdatasync waits for the disk: with 25 MB/s written and a sync each second it took up to 43 ms on a
virtual disk (ext4), up to 72 ms beside a second writer (one run of 6 s each), and nothing bounds it on a slower disk.
The thread does nothing but sync and close.
"""

import os
import signal
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from auditline.workers.common.disk import sync_directory


class _Job(NamedTuple):
    descriptor: int
    sequence: int
    new_in: Path | None
    is_last: bool


class Syncer:
    """Syncs one segment at a time, in the order of the requests; its results are read by the asking thread."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._errors: SimpleQueue[OSError] = SimpleQueue()
        self._thread: Thread | None = None
        self._requested = 0
        self._finished = 0
        self.synced_sequence = 0
        """Every line that was written when the request that named this sequence was made is on the disk."""

    @property
    def is_idle(self) -> bool:
        """All requests are done."""
        return self._requested == self._finished

    def request(self, descriptor: int, sequence: int, *, new_in: Path | None, is_last: bool) -> None:
        """Have the file synced; also its directory *new_in* if it was begun since; *is_last*: and then close it."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="segments sync", daemon=True)
            self._thread.start()
        self._requested += 1
        self._jobs.put(_Job(descriptor, sequence, new_in, is_last))

    def take_error(self) -> OSError | None:
        """Return a failure that was not yet told."""
        return None if self._errors.empty() else self._errors.get()

    def close(self, deadline_seconds: float) -> None:
        """Finish the requests, within the time."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(deadline_seconds)

    def _run(self) -> None:
        # Signals are the main thread's.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while (job := self._jobs.get()) is not None:
            try:
                os.fdatasync(job.descriptor)
                if job.new_in is not None:
                    sync_directory(job.new_in)
            except OSError as error:
                # The kernel has dropped what it could not write and reports it once: to try again proves nothing.
                self._errors.put(error)
            if job.is_last:
                os.close(job.descriptor)
            self.synced_sequence = job.sequence
            self._finished += 1
