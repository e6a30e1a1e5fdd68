"""What the parts of one watcher share."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from auditline.workers.common.beneath import Root
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.file_state import FileState
from auditline.workers.common.process_info import Process
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.backend import Backend
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.dirty import Dirty
from auditline.workers.fim.gaps import Gaps
from auditline.workers.fim.mounts import Mounts
from auditline.workers.fim.path_tree import is_in
from auditline.workers.fim.pool import Pool
from auditline.workers.fim.scope import Scope


@dataclass(slots=True)
class Scan:
    """One comparison of the tree, or of parts of it, with what is known; it may take several rounds."""

    began: float
    """By the monotonic clock."""
    adopts: bool
    """What is not known is not new, but merely found: nobody has looked at all of it before."""
    must_hash_all: bool
    """Files are hashed again though they seem unchanged: with other algorithms than last time."""
    tops: dict[bytes, bool]
    """What is compared with all that lies beneath, b"" for the whole tree; true: what is not known there is merely
    found."""
    files: int = 0
    directories: int = 0
    others: int = 0
    file_bytes: int = 0
    changes: int = 0
    found: int = 0
    """Changes that no event had told of."""
    visited: set[bytes] = field(default_factory=set)
    must_repeat: bool = False
    """What it was made for happened again."""
    since_ns: int | None = None
    """When everything was compared last, if this is done only because it is time again."""

    @property
    def is_whole(self) -> bool:
        """Whether it compares the whole tree."""
        return b"" in self.tops

    def covers(self, directory: bytes) -> bool:
        """Whether it compares what is in *directory*."""
        return any(is_in(directory, top) for top in self.tops)

    def count(self, status: os.stat_result) -> None:
        """Count a path."""
        if stat.S_ISREG(status.st_mode):
            self.files += 1
            self.file_bytes += status.st_size
        elif stat.S_ISDIR(status.st_mode):
            self.directories += 1
        else:
            self.others += 1

    def begin_round(self) -> None:
        """Count anew."""
        self.files = self.directories = self.others = self.file_bytes = 0
        self.visited.clear()
        self.must_repeat = False


class Actors(Protocol):
    """Who did it; all paths are absolute, and nothing waits."""

    @property
    def asks(self) -> bool:
        """Whether anybody is there who may answer."""

    def note(self, path: bytes, process: Process | None, since_ns: int, file: str = "") -> None:
        """A hint about *path* has come; what it is about happened after *since_ns*. *file*: see `Question`."""

    def ask(self) -> None:
        """Send the questions that have come together."""

    def take(self, payloads: Sequence[bytes]) -> None:
        """Take answers to them."""

    def actor_of(self, path: bytes, processes: Sequence[Process]) -> Mapping[str, Any] | None:
        """Return who changed *path*, as documents have it; *processes* were named by hints, the last one last."""

    def renew(self, path: bytes) -> None:
        """What was told of *path* has been recorded, and since then something else was."""

    def forget(self, path: bytes) -> None:
        """What was told of *path* has been recorded, or was nothing."""


class NoActors:
    """Knows nobody. An `Actors`."""

    asks = False

    def note(self, path: bytes, process: Process | None, since_ns: int, file: str = "") -> None:
        """See `Actors`."""

    def ask(self) -> None:
        """See `Actors`."""

    def take(self, payloads: Sequence[bytes]) -> None:
        """See `Actors`."""

    def actor_of(self, path: bytes, processes: Sequence[Process]) -> Mapping[str, Any] | None:  # noqa: ARG002
        """See `Actors`."""
        return None

    def renew(self, path: bytes) -> None:
        """See `Actors`."""

    def forget(self, path: bytes) -> None:
        """See `Actors`."""


@dataclass(slots=True, kw_only=True)
class Watch:
    """One watched path, and what is known and waits to be known of it."""

    scope: Scope
    settings: FimSettings
    counters: CounterPage
    backend: Backend
    baseline: Baseline
    pool: Pool
    dirty: Dirty
    gaps: Gaps
    mounts: Mounts = field(default_factory=Mounts)
    actors: Actors = field(default_factory=NoActors)
    root: Root | None = None
    """The watched directory; None: it is not there."""
    scan: Scan | None = None
    """The one that goes on."""

    @property
    def path(self) -> bytes:
        """What is watched, absolute."""
        return self.scope.path

    @property
    def adopts(self) -> bool:
        """Whether what is not known is merely found."""
        return self.scan is not None and self.scan.adopts

    def knows_directory(self, path: bytes, known: FileState | None) -> bool:
        """Say whether *path*, of which *known* is known, was a directory; if that is nothing, what it holds tells."""
        if known is not None:
            return known.is_directory
        if self.baseline.has_directory(path):
            return True
        # Where all is reported, nothing is known beneath what is not.
        return not self.scope.reports_alike() and self.baseline.has_beneath(path)

    def find(self, path: bytes) -> os.stat_result | None:
        """Return what `lstat` says of *path*; None: nothing is there, as far as can be told."""
        try:
            return None if self.root is None else self.root.lstat(path)
        except OSError:
            return None
