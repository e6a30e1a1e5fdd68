"""Which watcher watches what: the plan that the supervisor makes of the settings, known to watchers and hashers."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from auditline.workers.common.profiles import OverrideSettings, ProfileName
from auditline.workers.common.resolving import RESOLVE_SECONDS, resolve_paths
from auditline.workers.common.settings import BackendName, WatchSettings
from auditline.workers.common.text import make_safe

_LONGEST_NAME = 48

Resolve = Callable[[Iterable[bytes]], Mapping[bytes, bytes | None]]
"""Tells where absolute paths lead, with None for one where that cannot be found out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPlan:
    """One watcher's part."""

    path: bytes
    """As configured, symbolic links resolved, absolute; a directory, or a single file."""
    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    inner: tuple[tuple[bytes, int], ...] = ()
    """Paths within it that other watchers own, and the depth to which they do, as `depth` says it."""
    backend: BackendName = "auto"
    rescan_seconds: float = 0.0
    """0: never."""
    max_depth: int = 0
    """0: no limit."""
    one_filesystem: bool = False
    profile: ProfileName = "static"
    override: tuple[OverrideSettings, ...] = ()

    @property
    def name(self) -> str:
        """The name of its process, its source on the bus, its counters and its baseline: `fim-usr-bin`."""
        return watch_name(self.path)

    @property
    def depth(self) -> int:
        """So many steps below the path things are reported, 1: what lies directly in it; 0: all."""
        return self.max_depth if self.recursive else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWatches:
    """Who watches what."""

    plans: tuple[WatchPlan, ...]
    """Each path once, in the settings' order."""
    notes: tuple[str, ...]
    """What a reader of the settings would not expect, for the log."""


def plan_watches(watches: Sequence[WatchSettings], resolve: Resolve = resolve_paths) -> PlannedWatches:
    """Resolve symbolic links, drop what is named twice, and leave each path to the most specific watch.

    A path that does not exist is planned as the others are: it may come. So is one on a file system that does not
    answer; its links are not followed. Forks: see `resolve_paths`.
    """
    resolved = resolve(os.fsencode(watch.path) for watch in watches)
    notes = [
        f"{_show(path)} is watched as written: where it leads was not found out within {RESOLVE_SECONDS:.0f} seconds"
        for path, target in resolved.items()
        if target is None
    ]
    named: dict[bytes, list[WatchSettings]] = {}
    for watch in watches:
        path = os.fsencode(watch.path)
        named.setdefault(resolved[path] or os.path.normpath(path), []).append(watch)
    plans = [_plan(path, watches_of_it[0]) for path, watches_of_it in named.items()]
    notes += [note for path, watches_of_it in named.items() for note in _note_names(path, watches_of_it)]
    finished = [replace(plan, inner=_find_inner(plan, plans)) for plan in plans]
    notes += [
        f"{_show(path)} is left to its own watch by that of {_show(plan.path)}"
        for plan in finished
        for path, _ in plan.inner
    ]
    return PlannedWatches(plans=tuple(finished), notes=tuple(notes))


def is_within(path: bytes, directory: bytes) -> bool:
    """Whether *path* is *directory* or beneath it; both absolute."""
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def steps_below(path: bytes, directory: bytes) -> int:
    """Return how deep *path* is beneath *directory*, in which it lies; 0: it is that."""
    return path[len(directory.rstrip(b"/")) :].count(b"/") if path != directory else 0


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


def _plan(path: bytes, watch: WatchSettings) -> WatchPlan:
    return WatchPlan(
        path=path,
        recursive=watch.recursive,
        include=watch.include,
        exclude=watch.exclude,
        backend=watch.backend,
        rescan_seconds=watch.rescan_seconds,
        max_depth=watch.max_depth,
        one_filesystem=watch.one_filesystem,
        profile=watch.profile,
        override=watch.override,
    )


def _note_names(path: bytes, watches: Sequence[WatchSettings]) -> Iterator[str]:
    """Say under which name a path is watched that was given another one, or several."""
    how = "watched once" if len(watches) > 1 else "watched under that name"
    for name in dict.fromkeys(os.fsencode(watch.path) for watch in watches):
        if name != path:
            yield f"{_show(name)} is {_show(path)}: {how}"
    if any(_plan(path, watch) != _plan(path, watches[0]) for watch in watches):
        first = _show(os.fsencode(watches[0].path))
        yield f"{_show(path)} is named {len(watches)} times with different settings: those of {first} hold"


def _find_inner(plan: WatchPlan, plans: Sequence[WatchPlan]) -> tuple[tuple[bytes, int], ...]:
    """Return what *plan* would cover, but is left to others; not what lies in one of these."""
    covered = [other for other in plans if other is not plan and _covers(plan, other.path)]
    wholes = [other for other in covered if not other.depth]
    return tuple(
        (other.path, other.depth)
        for other in covered
        if not any(whole is not other and is_within(other.path, whole.path) for whole in wholes)
    )


def _covers(plan: WatchPlan, path: bytes) -> bool:
    return is_within(path, plan.path) and (not plan.depth or steps_below(path, plan.path) <= plan.depth)


def _show(path: bytes) -> str:
    return make_safe(os.fsdecode(path))
