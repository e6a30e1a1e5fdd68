"""What the parts of one watcher share."""

from dataclasses import dataclass

from auditline.workers.common.beneath import Root
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.backend import Backend
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.coverage import CoverageNotes
from auditline.workers.fim.dirty import Dirty
from auditline.workers.fim.pool import Pool
from auditline.workers.fim.scope import Scope


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
    notes: CoverageNotes
    root: Root | None = None
    """The watched directory; None: it is not there."""

    @property
    def path(self) -> bytes:
        """What is watched, absolute."""
        return self.scope.path

    def note(
        self,
        reason: str,
        path: bytes,
        action: str,
        start_ns: int,
        end_ns: int | None = None,
        **detail: float | str,
    ) -> None:
        """Record an entry on coverage, see `CoverageNotes.entry`; within a transaction of the baseline."""
        self.baseline.append(self.notes.entry(reason, path, action, start_ns, end_ns, **detail), None, None)
