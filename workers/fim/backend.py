"""What a watcher asks of the kernel interface that tells of changes: fanotify, inotify, polling.

Hints say where to look, never what happened: they may be late, merged, repeated or out of date. All paths are
relative to the root of the watch, without a slash at either end; the root itself is `b""`.
"""

from enum import Enum
from typing import NamedTuple, Protocol

from auditline.workers.common.errors import AuditlineError
from auditline.workers.common.process_info import Process

MOST_WATCHED_FILES = 10_000
"""Watched by themselves; beyond this only scans find what is written to one of them by a name that lies elsewhere."""


class BackendError(AuditlineError):
    """A backend cannot be opened, or has stopped working: another one is to be opened."""


class BackendRuledOut(BackendError):
    """It will never work in this process: it lacks the right, or the kernel is too old."""


class HintKind(Enum):
    """Why to look."""

    CREATED = "created"
    """An entry appeared or was moved here. A directory: watch it, list it, compare."""
    CHANGED = "changed"
    """Its content may have changed, or several things happened to it."""
    ATTRIBUTES = "attributes"
    """Its attributes alone may have changed."""
    MOVED = "moved"
    """An entry was renamed within what is watched, from `moved_from`. A directory: `move` it, then list it and all that
    is beneath it: what happened there may have been told under its old path. Nothing is left of what was there."""
    EXCHANGED = "exchanged"
    """Two directories have changed places, this one and `moved_from`. List both, and all that is beneath them."""
    GONE = "gone"
    """An entry was removed or moved away; another may be there by now. A directory: `forget` it first."""
    POLL = "poll"
    """It is a polled directory's turn: watch it (there may be room by now), list it, compare."""
    OVERFLOW = "overflow"
    """Hints were lost, anywhere beneath the root: look at everything."""
    RESTARTED = "restarted"
    """The backend stopped working and another one took its place: watch everything anew, and look at it."""
    ROOT_GONE = "root_gone"
    """The root was removed, moved or unmounted; nothing is watched any more. It is not certain to be told."""


class Hint(NamedTuple):
    """One place to look at."""

    kind: HintKind
    path: bytes
    is_directory: bool = False
    """The kernel says that it is, or was, a directory."""
    is_content: bool = False
    """The content of a file may have changed: it was written to, or another file has its name."""
    moved_from: bytes | None = None
    """Its name before, with MOVED."""
    process: Process | None = None
    """Who did it, if the kernel tells."""


class Backend(Protocol):
    """Tells of changes in directories; each is watched, or polled where that is not possible."""

    @property
    def name(self) -> str:
        """`fanotify`, `fanotify-filesystem`, `inotify` or `polling`."""

    @property
    def reason(self) -> str:
        """Why it is this backend and no other one, for people."""

    @property
    def fd(self) -> int | None:
        """Readable when there are hints; None: nothing but time brings them."""

    @property
    def watched(self) -> int:
        """How many directories' changes are told by the kernel."""

    @property
    def polled(self) -> int:
        """How many directories are looked at from time to time instead, or besides (network file systems)."""

    @property
    def limit_reached(self) -> bool:
        """Whether there are directories that are polled because the kernel grants no more watches."""

    @property
    def trouble(self) -> str:
        """Why the last directory that is polled is polled, with the remedy; empty: none is, or that was asked for."""

    @property
    def seconds_until_due(self) -> float | None:
        """When `read` will have hints though `fd` is not readable, 0 if it has; None: nothing but `fd` brings some."""

    def watch(self, relative: bytes, directory_fd: int) -> bool:
        """Watch the directory that *directory_fd* is; call it before listing, so that nothing falls in between.

        Returns whether events will come; if not, it is polled. Watching it again is cheap and right: under the same
        path it changes nothing but that one that is polled, or was unmounted, is watched again; under another one (a
        second mount of the same directory, or a move that no hint has told yet) both paths get hints until `forget`.
        """

    def forget(self, relative: bytes) -> None:
        """Neither watch nor poll that directory and all beneath it any more; unknown ones are no error."""

    def move(self, old: bytes, new: bytes) -> None:
        """Take note that the directory *old* is *new* now, and with it all beneath; unknown ones are no error.

        After a hint that says so there is nothing left to do: something else may be at *old* by now.
        """

    def watch_file(self, relative: bytes, parent_fd: int) -> None:
        """Watch a file that has several names by itself, so that a write through a name elsewhere is told, too.

        *parent_fd* is the directory that it lies in. Where that is not possible, only scans find such a write. Call it
        also for a directory that is reported but not watched: some backends tell of its attributes in no other way.
        """

    @property
    def early_fd(self) -> int | None:
        """Readable when somebody has done something who may be gone soon; None: nobody is ever told."""

    def gather(self) -> None:
        """Take in what has come, for `read` to return it: more can be said now of who did it than later."""

    def read(self) -> list[Hint]:
        """Return what has come, without waiting.

        Directories that came or went, and what was renamed, first, in order; then what else is to be looked at, once
        each.

        Raises:
            BackendError: no hints will come any more. What `choosing.open_backend` returns opens another one instead.
        """

    def polling_took(self, seconds: float) -> None:
        """Say how long it took to look at the last polled directories: that is kept to a tenth of the time."""

    def close(self) -> None:
        """Watch nothing any more."""
