"""The tree, gone through in the order of its names, beside what is approved, which lies in the same order."""

import os
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from auditline.workers.common.beneath import Root
from auditline.workers.common.file_state import UNREAD, FileState
from auditline.workers.common.jobs import Outcome
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.approved import Approved
from auditline.workers.fim.compare import is_as_known, is_to_be_hashed
from auditline.workers.fim.scope import Scope
from auditline.workers.fim.unhashed import Unhashed
from auditline.workers.scan.looking import Answer, Job, Lookers

_STATES_AT_ONCE = 256


class Finding(NamedTuple):
    """A path that was looked at, or should have been."""

    path: bytes
    """Relative to the watched directory."""
    before: FileState | None
    """What is approved; None: nothing."""
    after: FileState | None
    """What is; None: nothing, or nobody can tell."""
    problem: str = ""
    """Why it could not be looked at; what lies in such a directory is not compared."""


Walk = Generator[Finding, None, list[bytes]]
"""Yields findings; returns the directories that are to be gone through, in the order of their names."""


@dataclass(slots=True)
class Counts:
    """What was gone through."""

    paths: int = 0
    read_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """What is compared, and how."""

    root: Root
    scope: Scope
    settings: FimSettings
    is_deep: bool
    """Everything is read, whatever its times say."""


class Comparer:
    """Finds what may differ: everything but what is as it was by all that the kernel says of it."""

    def __init__(self, place: Place, approved: Approved | None, lookers: Lookers) -> None:
        """*approved* None: nothing is."""
        self._place = place
        self._approved = approved
        self._lookers = lookers
        self._unhashed = Unhashed(place)
        self.counts = Counts()

    def run(self, top: bytes) -> Iterator[Finding]:
        """Yield the findings at and beneath *top*, in no order.

        Raises:
            AuditlineError: a process that reads files was ended.
        """
        before = self._approved.get(top) if self._approved is not None else None
        waiting = yield from self._compare_one(top, before)
        while waiting:
            waiting += reversed((yield from self._compare_directory(waiting.pop())))
        for answer in self._lookers.finish():
            yield self._settle(answer)

    def _compare_one(self, path: bytes, before: FileState | None) -> Walk:
        """Compare *path* itself; return it if it is a directory to go through."""
        try:
            status = self._place.root.lstat(path)
        except FileNotFoundError:
            yield from self._find_removed(path, before)
            return []
        except OSError as error:
            yield Finding(path, before, None, error.strerror or "unknown error")
            return []
        yield from self._compare(path, status, before)
        return [path] if stat.S_ISDIR(status.st_mode) and self._place.scope.enters(path) else []

    def _compare_directory(self, directory: bytes) -> Walk:
        """Compare what lies in *directory*; return the directories to go through there, in the order of their names."""
        place = self._place
        try:
            directory_fd = place.root.open_directory(directory)
        except OSError as error:
            yield Finding(directory, None, None, error.strerror or "unknown error")
            return []
        try:
            if not place.scope.opens(directory, os.fstat(directory_fd)):
                return []
            names = sorted(map(os.fsencode, os.listdir(directory_fd)))
            return (yield from self._compare_names(directory, directory_fd, names))
        except OSError as error:
            yield Finding(directory, None, None, error.strerror or "unknown error")
            return []
        finally:
            os.close(directory_fd)

    def _compare_names(self, directory: bytes, directory_fd: int, names: Sequence[bytes]) -> Walk:
        prefix, scope, below = directory + b"/" if directory else b"", self._place.scope, list[bytes]()
        for name, before, is_listed in _merge(names, self._approved_in(directory)):
            path = prefix + name
            try:
                status = os.lstat(name, dir_fd=directory_fd) if is_listed else None
            except FileNotFoundError:
                status = None
            if status is None:
                yield from self._find_removed(path, before)
                continue
            if stat.S_ISDIR(status.st_mode) and scope.enters(path):
                below.append(path)
            yield from self._compare(path, status, before)
        return below

    def _compare(self, path: bytes, status: os.stat_result, before: FileState | None) -> Iterator[Finding]:
        place = self._place
        if not place.scope.reports(path) or place.scope.is_own(status):
            return
        self.counts.paths += 1
        if before is not None and not place.is_deep and is_as_known(before, status, place.settings):
            return
        if before is not None and before.is_directory and not stat.S_ISDIR(status.st_mode):
            yield from self._find_removed_beneath(path)
        if is_to_be_hashed(status, place.settings):
            self.counts.read_bytes += status.st_size
            for answer in self._lookers.give(Job(path, before, status.st_size)):
                yield self._settle(answer)
        else:
            yield self._settle_unhashed(path, status, before)

    def _settle(self, answer: Answer) -> Finding:
        (path, before, _), (outcome, state, error) = answer
        if outcome is Outcome.LOOKED_AT and state is not None:
            return Finding(path, before, state, error if state.hash_state in UNREAD else "")
        if outcome is Outcome.GONE:
            return Finding(path, before, None)
        if outcome is not Outcome.NOT_REGULAR:
            return Finding(path, before, None, error or "cannot be read")
        try:
            return self._settle_unhashed(path, self._place.root.lstat(path), before)
        except OSError as problem:
            return Finding(path, before, None, problem.strerror or "unknown error")

    def _settle_unhashed(self, path: bytes, status: os.stat_result, before: FileState | None) -> Finding:
        after = self._unhashed.state(path, status)
        return Finding(path, before, after, "" if after is not None else "it changes all the time")

    def _find_removed(self, path: bytes, before: FileState | None) -> Iterator[Finding]:
        if before is None:
            return
        if self._place.scope.reports(path):
            yield Finding(path, before, None)
        if before.is_directory:
            yield from self._find_removed_beneath(path)

    def _find_removed_beneath(self, directory: bytes) -> Iterator[Finding]:
        if self._approved is None:
            return
        for below in self._approved.directories(directory):
            for name, state in self._approved_in(below):
                path = b"%b/%b" % (below, name)
                if self._place.scope.reports(path):
                    yield Finding(path, state, None)

    def _approved_in(self, directory: bytes) -> Iterator[tuple[bytes, FileState]]:
        if self._approved is None:
            return
        last = b""
        while page := self._approved.page_of(directory, last, _STATES_AT_ONCE):
            yield from page
            last = page[-1][0]


def _merge(
    names: Iterable[bytes], approved: Iterator[tuple[bytes, FileState]]
) -> Iterator[tuple[bytes, FileState | None, bool]]:
    """Yield each name of either with what is approved of it and whether it is among *names*; both are in order."""
    waiting = next(approved, None)
    for name in names:
        while waiting is not None and waiting[0] < name:
            yield *waiting, False
            waiting = next(approved, None)
        if waiting is not None and waiting[0] == name:
            yield *waiting, True
            waiting = next(approved, None)
        else:
            yield name, None, True
    while waiting is not None:
        yield *waiting, False
        waiting = next(approved, None)
