"""Files are looked at by some processes, a lease each at a time, while the tree is gone through."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import NamedTuple, Self

from auditline.workers.common.errors import AuditlineError
from auditline.workers.common.file_state import FileState
from auditline.workers.common.jobs import LARGE_BYTES, LEASE_BYTES, LEASE_FILES, Lane, Lease, Result
from auditline.workers.common.settings import FimSettings
from auditline.workers.hasher.lease import look_at_all

_LEASES_EACH = 4
"""So many are out for each process: enough that none has to wait."""


class Job(NamedTuple):
    """A file that is to be read."""

    path: bytes
    before: FileState | None
    """What is approved."""
    size: int


class Answer(NamedTuple):
    """What became of it."""

    job: Job
    result: Result


class Lookers:
    """Gives files out and takes answers; use it as a context."""

    def __init__(self, root: bytes, identity: tuple[int, int], settings: FimSettings, processes: int) -> None:
        self._root = root
        self._identity = identity
        self._settings = settings
        self._most = processes * _LEASES_EACH
        self._executor = ProcessPoolExecutor(processes, mp_context=get_context("fork"))
        self._gathered: list[Job] = []
        self._gathered_bytes = 0
        self._out: deque[tuple[Future[list[Result]], Sequence[Job]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def give(self, job: Job) -> Iterator[Answer]:
        """Let a file be looked at; yield what has become of earlier ones."""
        if job.size > LARGE_BYTES:
            yield from self._send(Lane.LARGE, [job])
            return
        self._gathered.append(job)
        self._gathered_bytes += job.size
        if len(self._gathered) >= LEASE_FILES or self._gathered_bytes >= LEASE_BYTES:
            yield from self._flush()

    def finish(self) -> Iterator[Answer]:
        """Yield what becomes of all that is left."""
        yield from self._flush()
        while self._out:
            yield from self._take()

    def _flush(self) -> Iterator[Answer]:
        if self._gathered:
            jobs, self._gathered, self._gathered_bytes = self._gathered, [], 0
            yield from self._send(Lane.SMALL, jobs)

    def _send(self, lane: Lane, jobs: Sequence[Job]) -> Iterator[Answer]:
        paths = tuple(job.path for job in jobs)
        settings = self._settings
        lease = Lease(1, lane, self._root, self._identity, settings.hashes, settings.max_file_bytes, paths)
        self._out.append((self._executor.submit(look_at_all, lease), jobs))
        while len(self._out) > self._most:
            yield from self._take()

    def _take(self) -> Iterator[Answer]:
        future, jobs = self._out.popleft()
        try:
            results = future.result()
        except BrokenProcessPool as error:
            raise AuditlineError(f"a process that reads files was ended ({error}): nothing was changed") from error
        for job, result in zip(jobs, results, strict=True):
            yield Answer(job, result)


def usual_processes() -> int:
    """Return how many processes read files where nobody says it: one for each processor that we may use."""
    return max(1, len(os.sched_getaffinity(0)))
