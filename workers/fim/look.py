"""Why a path is looked at, and what was known of it then."""

import errno
from dataclasses import dataclass
from typing import NamedTuple

from auditline.workers.common.file_entry import DetectedBy
from auditline.workers.common.file_state import FileState
from auditline.workers.common.process_info import Process
from auditline.workers.fim.dirty import DirtyPath

VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""The last one: a directory on the way has become a symbolic link; nothing that we watch is behind it."""
FORBIDDEN = (errno.EACCES, errno.EPERM)
"""That rights are given is an event of its own: such a path need not be tried again by itself."""


class Entrance(NamedTuple):
    """What led to a directory."""

    is_new: bool
    """An event said that its name was made."""
    has_other_rights: bool
    """Who may read it has changed: perhaps we."""


@dataclass(slots=True)
class Look:
    """How it came that a path is looked at, and what was known of it then; kept while a hasher has the file."""

    known: FileState | None
    detected_by: DetectedBy
    is_new: bool = False
    """An event said that the name was made, or that of a directory on its way."""
    is_content: bool = False
    """An event said that it was written to."""
    is_found: bool = False
    """Nobody could have looked at it before: if it is not known, it is not new for that."""
    in_scan: bool = False
    """The scan of the whole tree waits for it."""
    processes: tuple[Process, ...] = ()
    """Who touched it, the last one at the end."""
    is_plain: bool = False
    """A first walk has found it: see `FirstWalk`."""
    is_void: bool = False
    """What it was about has another name now: the answer says nothing about this one."""
    again: DirtyPath | None = None
    """What came meanwhile."""

    def come_again(self, dirty: DirtyPath) -> None:
        """Note a hint that came meanwhile."""
        self.again = dirty.merged(self.again)

    def as_dirty(self, path: bytes) -> DirtyPath:
        """Return what is to be done again for *path*."""
        dirty = DirtyPath(path, self.is_new, self.detected_by, self.is_content, None, self.processes)
        return dirty if self.again is None else self.again.merged(dirty)
