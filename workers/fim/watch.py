"""What the parts of one watcher share."""

from dataclasses import dataclass, field

from auditline.workers.common.beneath import Root
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.backend import Backend
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.dirty import Dirty
from auditline.workers.fim.gaps import Gaps
from auditline.workers.fim.pool import Pool
from auditline.workers.fim.scope import Scope


@dataclass(slots=True)
class Scan:
    """One comparison of the whole tree with what is known; it may take several rounds."""

    began: float
    """By the monotonic clock."""
    adopts: bool
    """What is not known is not new, but merely found: nobody has looked at all of it before."""
    must_hash_all: bool
    """Files are hashed again though they seem unchanged: with other algorithms than last time."""
    jobs: int = 0
    """Files at the hashers that it waits for."""
    files: int = 0
    directories: int = 0
    others: int = 0
    file_bytes: int = 0
    changes: int = 0
    visited: set[bytes] = field(default_factory=set)
    must_repeat: bool = False
    """What it was made for happened again."""

    def begin_round(self) -> None:
        """Count anew."""
        self.jobs = self.files = self.directories = self.others = self.file_bytes = 0
        self.visited.clear()
        self.must_repeat = False


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
