"""Which watcher watches what: the plan that the supervisor makes of the settings, known to watchers and hashers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditline.workers.common.settings import WatchSettings

_LONGEST_NAME = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPlan:
    """One watcher's part."""

    path: bytes
    """As configured, symbolic links resolved, absolute; a directory, or a single file."""
    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    inner: tuple[tuple[bytes, bool], ...] = ()
    """Paths within it that other watchers own, and whether with all that is beneath them."""

    @property
    def name(self) -> str:
        """The name of its process, its source on the bus, its counters and its baseline: `fim-usr-bin`."""
        return watch_name(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWatches:
    """Who watches what."""

    plans: tuple[WatchPlan, ...]
    """Each path once, in the settings' order."""
    notes: tuple[str, ...]
    """What a reader of the settings would not expect, for the log."""


def plan_watches(watches: Sequence[WatchSettings]) -> PlannedWatches:
    """Resolve symbolic links, drop what is named twice, and give each path to the most specific watch."""
    plans = [WatchPlan(path=bytes(watch.path)) for watch in watches]
    return PlannedWatches(plans=tuple(plans), notes=())


def watch_name(path: bytes) -> str:
    """Return a name for a watch of *path* that differs from that of every other path."""
    words = path.strip(b"/").split(b"/")
    is_plain = all((word.isalnum() and word.isascii() and word.islower()) or word.isdigit() for word in words)
    text = "-".join(word.decode("ascii", "replace") for word in words)
    if is_plain and len(text) <= _LONGEST_NAME:
        return f"fim-{text}"
    readable = "".join(character if character.isascii() and character.isalnum() else "-" for character in text)
    # Underscore: no plain name has one.
    return f"fim-{readable[:_LONGEST_NAME].strip('-').lower()}_{_digest(path)}"


def jobs_endpoint(run_directory: Path, plan: WatchPlan) -> str:
    """Return where a watcher gives out its hash jobs; short, because a socket's path may have 107 bytes."""
    return f"ipc://{run_directory / f'jobs-{_digest(plan.path)}.sock'}"


def _digest(path: bytes) -> str:
    return hashlib.sha256(path).hexdigest()[:8]
