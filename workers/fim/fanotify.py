"""Changes as fanotify tells them: with who made them, renames in one piece, and without a limit that loses any.

A mark on each directory, or one for a whole file system. What the kernel refuses to mark is left to another backend.
Of what the kernel does: fanotify(7), fs/notify/fanotify/.
"""

import errno
import logging
import os
import select
from collections.abc import Callable, Container
from typing import NamedTuple

from auditline.workers.common.privileges import Capability, held_capabilities
from auditline.workers.common.process_info import Process
from auditline.workers.fim import fanotify_calls as calls
from auditline.workers.fim.backend import Backend, BackendError, Hint, HintKind
from auditline.workers.fim.fanotify_files import FileMarks
from auditline.workers.fim.fanotify_records import Record, parse_records
from auditline.workers.fim.file_systems import FSID_BYTES, file_system_of
from auditline.workers.fim.hint_batch import CREATE, DELETE, IS_DIRECTORY, HintBatch
from auditline.workers.fim.watched_paths import WatchedPaths

logger = logging.getLogger(__name__)

See = Callable[[int, int | None], Process | None]
"""Tells what is known of a process, by its pid and a pidfd, which is closed afterwards; None: nothing is known."""

READ_BYTES = 24 * 1024
"""A few hundred records: a descriptor comes with each, and a process may have a thousand."""
MOST_GATHERED = 4096
"""Records that were taken in and not told yet; what comes on top of that waits in the kernel."""
MOST_READ_BYTES = 1024 * 1024
"""What one `read` takes."""
MOST_INODE_MARKS = 50_000
"""Each keeps an inode in memory, 1 KB or more: beyond this the whole file system is marked instead."""
MOST_UNMARKED_AT_ONCE = 256
_AT_FDCWD = -100

_ENTRIES = (
    calls.FAN_CREATE
    | calls.FAN_DELETE
    | calls.FAN_RENAME
    | calls.FAN_MODIFY
    | calls.FAN_CLOSE_WRITE
    | calls.FAN_ATTRIB
    | calls.FAN_EVENT_ON_CHILD
    | calls.FAN_ONDIR
)
_ITSELF = calls.FAN_DELETE_SELF | calls.FAN_MOVE_SELF
_TOLD = _ENTRIES & ~(calls.FAN_RENAME | calls.FAN_EVENT_ON_CHILD)


class Choices(NamedTuple):
    """What fanotify is to do."""

    open_other: Callable[[], Backend]
    """Gives the backend for directories that fanotify does not reach; called when there is one."""
    see: See | None = None
    """None: nobody wants to know who did something."""
    own_pids: Callable[[], Container[int]] = frozenset
    """Gives those processes of which is not told what they do."""
    marks_file_systems: bool = False
    most_inode_marks: int = MOST_INODE_MARKS
    reason: str = ""
    """Why it is this backend."""


def open_fanotify(choices: Choices) -> "FanotifyBackend":
    """Return fanotify.

    Raises:
        BackendError: the kernel does not let us use it.
    """
    reported = calls.FAN_REPORT_PIDFD if choices.see is not None else 0
    try:
        group_fd = calls.open_group(
            calls.FAN_REPORT_DFID_NAME | calls.FAN_UNLIMITED_QUEUE | calls.FAN_UNLIMITED_MARKS | reported
        )
    except OSError as error:
        raise BackendError(_explain(error)) from error
    try:
        if calls.mark(group_fd, calls.FAN_MARK_ADD | calls.FAN_MARK_ONLYDIR, _ENTRIES, _AT_FDCWD, b"/") == errno.EINVAL:
            raise BackendError("fanotify tells of renames from Linux 5.17 on")
        calls.mark(group_fd, calls.FAN_MARK_FLUSH, 0, _AT_FDCWD)
        return FanotifyBackend(group_fd, FileMarks(reported), choices)
    except (OSError, BackendError) as error:
        os.close(group_fd)
        raise error if isinstance(error, BackendError) else BackendError(_explain(error)) from error


def _explain(error: OSError) -> str:
    if error.errno == errno.EPERM:
        is_held = Capability.SYS_ADMIN in held_capabilities()
        where = "CAP_SYS_ADMIN counts only outside of user namespaces" if is_held else "CAP_SYS_ADMIN is missing"
        return f"fanotify cannot be used: {where}"
    if error.errno == errno.EMFILE:
        return "no fanotify group is left: raise fs.fanotify.max_user_groups, or RLIMIT_NOFILE"
    return f"fanotify cannot be used: {error.strerror}"


class FanotifyBackend:
    """Marks on directories, or on file systems. A `Backend`."""

    def __init__(self, group_fd: int, files: FileMarks, choices: Choices) -> None:
        """*group_fd* and *files* are closed with this."""
        self.reason = choices.reason
        self._group_fd = group_fd
        self._files = files
        self._open_other = choices.open_other
        self._see = choices.see
        self._own_pids = choices.own_pids
        self._marks_file_systems = choices.marks_file_systems
        self._most_inode_marks = choices.most_inode_marks
        self._other: Backend | None = None
        self._trouble = ""
        self._gathered: list[tuple[Record, Process | None]] = []
        self._directories: WatchedPaths[bytes] = WatchedPaths()
        self._handles = calls.Handles()
        # Directories that are watched no more and may exist: they are unmarked when a descriptor is at hand.
        self._strays: dict[bytes, set[bytes]] = {}
        self._marked_file_systems: set[bytes] = set()
        self._poller = select.epoll(2)
        for fd in (group_fd, files.fd):
            self._poller.register(fd, select.EPOLLIN)

    @property
    def name(self) -> str:
        """See `Backend`."""
        return "fanotify-filesystem" if self._marks_file_systems else "fanotify"

    @property
    def fd(self) -> int:
        """See `Backend`."""
        return self._poller.fileno()

    @property
    def watched(self) -> int:
        """See `Backend`."""
        return len(self._directories) + (self._other.watched if self._other is not None else 0)

    @property
    def polled(self) -> int:
        """See `Backend`."""
        return self._other.polled if self._other is not None else 0

    @property
    def limit_reached(self) -> bool:
        """See `Backend`."""
        return self._other is not None and self._other.limit_reached

    @property
    def trouble(self) -> str:
        """See `Backend`."""
        other = self._other.trouble if self._other is not None else ""
        return "; ".join(filter(None, (self._trouble, other)))

    @property
    def seconds_until_due(self) -> float | None:
        """See `Backend`."""
        return self._other.seconds_until_due if self._other is not None else None

    def watch(self, relative: bytes, directory_fd: int) -> bool:
        """See `Backend`."""
        try:
            file_system = file_system_of(directory_fd)
            if file_system.remote_kind is not None:
                return self._leave_to_other(relative, directory_fd)
            key = self._handles.key_of(file_system.fsid, directory_fd)
        except OSError as error:
            return self._leave_to_other(relative, directory_fd, error.errno)
        error_number = self._mark(relative, directory_fd, key)
        if error_number:
            return self._leave_to_other(relative, directory_fd, error_number)
        if self._other is not None:
            self._other.forget(relative)
        orphan = self._directories.link(relative, key)
        if orphan is not None:
            self._let_go(orphan)
        self._unmark_strays(key, directory_fd)
        return True

    def forget(self, relative: bytes) -> None:
        """See `Backend`."""
        for key in self._directories.take(relative):
            self._let_go(key)
        self._files.forget(relative)
        if self._other is not None:
            self._other.forget(relative)

    def move(self, old: bytes, new: bytes) -> None:
        """See `Backend`."""
        if new not in self._directories:
            self._directories.move(old, new)
            self._files.move(old, new)
        if self._other is not None:
            self._other.move(old, new)

    def watch_file(self, relative: bytes, parent_fd: int) -> None:
        """See `Backend`."""
        self._files.watch(relative, parent_fd)

    @property
    def early_fd(self) -> int | None:
        """See `Backend`."""
        return None if self._see is None or len(self._gathered) >= MOST_GATHERED else self._group_fd

    def gather(self) -> None:
        """See `Backend`."""
        while len(self._gathered) < MOST_GATHERED and (data := _read_some(self._group_fd)):
            self._gathered += self._look_up(data, self._directories.first)

    def read(self) -> list[Hint]:
        """See `Backend`."""
        batch = HintBatch(self._directories, self._let_go)
        gathered, self._gathered = self._gathered, []
        self._take(gathered, batch)
        left = MOST_READ_BYTES
        while left > 0 and (data := _read_some(self._group_fd)):
            self._take(self._look_up(data, self._directories.first), batch)
            left -= len(data)
        for old, new in batch.moves:
            self._files.move(old, new)
        if len(self._files):
            self._take_files(batch)
        hints = batch.finish()
        return hints if self._other is None else hints + self._other.read()

    def _take_files(self, batch: HintBatch[bytes]) -> None:
        """Take what is told of files and directories that are marked by themselves."""
        left = MOST_READ_BYTES
        while left > 0 and (data := _read_some(self._files.fd)):
            for record, process in self._look_up(data, self._files.keys):
                self._files.tell(record, process, batch)
            left -= len(data)

    def polling_took(self, seconds: float) -> None:
        """See `Backend`."""
        if self._other is not None:
            self._other.polling_took(seconds)

    def close(self) -> None:
        """See `Backend`."""
        self._poller.close()
        self._files.close()
        os.close(self._group_fd)
        if self._other is not None:
            self._other.close()

    # Marks

    def _mark(self, relative: bytes, directory_fd: int, key: bytes) -> int:
        """Mark a directory or its file system; return the error's number, or 0."""
        if not self._marks_file_systems and len(self._directories) >= self._most_inode_marks:
            self._marks_file_systems = True
            self.reason = f"more than {self._most_inode_marks} directories are watched: whole file systems are marked"
            logger.info("watched with %s from now on: %s", self.name, self.reason)
        needs_itself = not relative or relative.rpartition(b"/")[0] not in self._directories
        if self._marks_file_systems and self._mark_file_system(key[:FSID_BYTES], directory_fd):
            return self._mark_directory(_ITSELF | calls.FAN_ONDIR, directory_fd) if needs_itself else 0
        return self._mark_directory(_ENTRIES | _ITSELF if needs_itself else _ENTRIES, directory_fd)

    def _mark_directory(self, mask: int, directory_fd: int) -> int:
        return calls.mark(self._group_fd, calls.FAN_MARK_ADD | calls.FAN_MARK_ONLYDIR, mask, directory_fd)

    def _mark_file_system(self, fsid: bytes, directory_fd: int) -> bool:
        """Mark the file system that a directory is on, each time: if it was unmounted meanwhile, its mark is gone."""
        flags = calls.FAN_MARK_ADD | calls.FAN_MARK_FILESYSTEM
        if calls.mark(self._group_fd, flags, _ENTRIES, directory_fd):
            return False
        if fsid not in self._marked_file_systems:
            self._marked_file_systems.add(fsid)
            # Those that were marked one by one need that no more.
            marked = {key for key, path in self._directories.first.items() if path and key.startswith(fsid)}
            self._strays.setdefault(fsid, set()).update(marked)
        return True

    def _let_go(self, key: bytes) -> None:
        """Unmark a directory when a descriptor of its file system is at hand; if it is removed, its mark is, too."""
        fsid = key[:FSID_BYTES]
        if fsid not in self._marked_file_systems:
            self._strays.setdefault(fsid, set()).add(key)

    def _unmark_strays(self, key: bytes, directory_fd: int) -> None:
        fsid = key[:FSID_BYTES]
        strays = self._strays.get(fsid)
        if not strays:
            return
        is_marked = fsid in self._marked_file_systems
        for _ in range(min(len(strays), MOST_UNMARKED_AT_ONCE)):
            stray = strays.pop()
            if is_marked or stray not in self._directories.first:
                calls.unmark(self._group_fd, _ENTRIES | _ITSELF, directory_fd, stray)

    def _leave_to_other(self, relative: bytes, directory_fd: int, error_number: int | None = None) -> bool:
        """Watch a directory in another way; the error says why fanotify does not."""
        orphan = self._directories.unlink(relative)
        if orphan is not None:
            self._let_go(orphan)
        if error_number:
            self._trouble = f"fanotify refused a mark: {os.strerror(error_number)}"
        if self._other is None:
            self._other = self._open_other()
            if self._other.fd is not None:
                self._poller.register(self._other.fd, select.EPOLLIN)
            logger.info("some directories are left to %s%s", self._other.name, self._trouble and f": {self._trouble}")
        return self._other.watch(relative, directory_fd)

    # Records

    def _look_up(self, data: bytes, known: Container[bytes | None]) -> list[tuple[Record, Process | None]]:
        """Return what is about those that are *known*, each with who did it."""
        own_pids = self._own_pids()
        found: list[tuple[Record, Process | None]] = []
        pidfds: list[int] = []
        try:
            for record in parse_records(data):
                if record.pidfd >= 0:
                    pidfds.append(record.pidfd)
                if record.directory in known or record.new_directory in known:
                    if record.pid not in own_pids:
                        found.append((record, self._who(record)))
                elif record.mask & calls.FAN_Q_OVERFLOW:
                    found.append((record, None))
        finally:
            for pidfd in pidfds:
                os.close(pidfd)
        return found

    def _take(self, records: list[tuple[Record, Process | None]], batch: HintBatch[bytes]) -> None:
        for record, process in records:
            if record.mask & calls.FAN_Q_OVERFLOW:
                batch.tell(HintKind.OVERFLOW)
            else:
                self._tell(record, process, batch)

    def _who(self, record: Record) -> Process | None:
        if self._see is None:
            return None
        return self._see(record.pid, record.pidfd)

    def _tell(self, record: Record, process: Process | None, batch: HintBatch[bytes]) -> None:
        mask, directory, name = record.mask, record.directory, record.name
        if mask & calls.FAN_RENAME:
            self._tell_rename(record, process, batch)
        elif directory is None or directory not in self._directories.first:
            # It has been forgotten since.
            return
        elif name in (b".", b""):
            self._tell_itself(directory, mask, process, batch)
        elif mask & IS_DIRECTORY:
            batch.entry(directory, name, mask & _TOLD, process)
        else:
            batch.look(directory, name, mask & _TOLD, process)

    def _tell_rename(self, record: Record, process: Process | None, batch: HintBatch[bytes]) -> None:
        """Of a rename into what is watched, or out of it, that half alone is told that is watched."""
        first, bit = self._directories.first, record.mask & IS_DIRECTORY
        source, target = record.directory, record.new_directory
        if source is not None and source in first:
            if target is not None and target in first:
                ends = (source, record.name), (target, record.new_name)
                batch.moved(*ends, is_directory=bool(bit), process=process)
            else:
                batch.entry(source, record.name, DELETE | bit, process)
        elif target is not None:
            batch.entry(target, record.new_name, CREATE | bit, process)

    def _tell_itself(self, directory: bytes, mask: int, process: Process | None, batch: HintBatch[bytes]) -> None:
        if mask & calls.FAN_ATTRIB:
            batch.look(directory, b"", mask & (calls.FAN_ATTRIB | IS_DIRECTORY), process)
        if not mask & _ITSELF:
            return
        paths = self._directories.paths_of(directory)
        if mask & calls.FAN_DELETE_SELF:
            self._directories.drop(directory)
            batch.forgotten(directory, paths[0])
        for path in paths:
            if not path:
                batch.tell(HintKind.ROOT_GONE)
            elif path.rpartition(b"/")[0] not in self._directories:
                batch.tell(HintKind.GONE, path)


def _read_some(fd: int) -> bytes:
    try:
        return os.read(fd, READ_BYTES)
    except BlockingIOError:
        return b""
    except OSError as error:
        raise BackendError(f"fanotify cannot be read any more: {error.strerror}") from error
