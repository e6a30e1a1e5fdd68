"""Changes as fanotify tells them: with who made them, renames in one piece, and without a limit that loses any.

A mark on each directory, or one for a whole file system. What the kernel refuses to mark is left to another backend.
Of what the kernel does: fanotify(7), fs/notify/fanotify/.
"""

import contextlib
import errno
import logging
import os
import select
import stat
from collections.abc import Callable, Container
from typing import NamedTuple

from auditline.workers.common.privileges import Capability, held_capabilities
from auditline.workers.common.process_info import Process
from auditline.workers.fim import fanotify_calls as calls
from auditline.workers.fim.backend import Backend, BackendError, BackendRuledOut, Hint, HintKind
from auditline.workers.fim.fanotify_files import FileMarks
from auditline.workers.fim.fanotify_marks import ENTRIES, ITSELF, MOST_INODE_MARKS, Marks
from auditline.workers.fim.fanotify_records import Record, parse_records
from auditline.workers.fim.file_systems import file_system_of
from auditline.workers.fim.hint_batch import CREATE, DELETE, IS_DIRECTORY, HintBatch
from auditline.workers.fim.path_tree import is_in, moved
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
MOST_APART = 100_000
"""Beyond this only scans find that the attributes of a directory have changed that is not watched."""

_TOLD = ENTRIES & ~(calls.FAN_RENAME | calls.FAN_EVENT_ON_CHILD)


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
        raise _explain(error) from error
    try:
        flags = calls.FAN_MARK_ADD | calls.FAN_MARK_ONLYDIR
        if calls.mark(group_fd, flags, ENTRIES, calls.AT_FDCWD, b"/") == errno.EINVAL:
            raise BackendRuledOut("fanotify tells of renames from Linux 5.17 on")
        calls.mark(group_fd, calls.FAN_MARK_FLUSH, 0, calls.AT_FDCWD)
        return FanotifyBackend(group_fd, FileMarks(reported), choices)
    except (OSError, BackendError) as error:
        os.close(group_fd)
        raise error if isinstance(error, BackendError) else _explain(error) from error


def _explain(error: OSError) -> BackendError:
    if error.errno == errno.EPERM:
        is_held = Capability.SYS_ADMIN in held_capabilities()
        where = "CAP_SYS_ADMIN counts only outside of user namespaces" if is_held else "CAP_SYS_ADMIN is missing"
        return BackendRuledOut(f"fanotify cannot be used: {where}")
    if error.errno == errno.EMFILE:
        return BackendError("no fanotify group is left: raise fs.fanotify.max_user_groups, or RLIMIT_NOFILE")
    is_unknown = error.errno in (errno.ENOSYS, errno.EINVAL)
    return (BackendRuledOut if is_unknown else BackendError)(f"fanotify cannot be used: {error.strerror}")


class FanotifyBackend:
    """Marks on directories, or on file systems. A `Backend`."""

    def __init__(self, group_fd: int, files: FileMarks, choices: Choices) -> None:
        """*group_fd* and *files* are closed with this."""
        self._reason = choices.reason
        self._group_fd = group_fd
        self._files = files
        self._open_other = choices.open_other
        self._see = choices.see
        self._own_pids = choices.own_pids
        self._other: Backend | None = None
        self._trouble = ""
        self._refused: set[bytes] = set()
        """Directories that are left to the other backend because fanotify may not mark them."""
        self._gathered: list[tuple[Record, Process | None]] = []
        self._directories: WatchedPaths[bytes] = WatchedPaths()
        self._apart: WatchedPaths[bytes] = WatchedPaths()
        """Directories that are not watched, but of which is told by those in which they lie."""
        self._marks = Marks(group_fd, self._directories, choices.most_inode_marks)
        self._marks.has_file_systems = choices.marks_file_systems
        self._handles = calls.Handles()
        self._poller = select.epoll(2)
        for fd in (group_fd, files.fd):
            self._poller.register(fd, select.EPOLLIN)

    @property
    def name(self) -> str:
        """See `Backend`."""
        return "fanotify-filesystem" if self._marks.has_file_systems else "fanotify"

    @property
    def reason(self) -> str:
        """See `Backend`."""
        return self._marks.reason or self._reason

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
        return "; ".join(filter(None, (self._trouble if self._refused else "", other)))

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
        error_number = self._marks.add(relative, directory_fd, key)
        if error_number:
            return self._leave_to_other(relative, directory_fd, error_number)
        if self._other is not None:
            self._other.forget(relative)
            self._refused.discard(relative)
        self._apart.unlink(relative)
        orphan = self._directories.link(relative, key)
        if orphan is not None:
            self._marks.let_go(orphan)
        self._marks.remove_strays(key, directory_fd)
        self._files.remove_strays(key, directory_fd)
        return True

    def forget(self, relative: bytes) -> None:
        """See `Backend`."""
        for key in self._directories.take(relative):
            self._marks.let_go(key)
        self._files.forget(relative)
        self._apart.take(relative)
        if self._other is not None:
            self._other.forget(relative)
            self._refused = {path for path in self._refused if not is_in(path, relative)}

    def move(self, old: bytes, new: bytes) -> None:
        """See `Backend`."""
        if new not in self._directories:
            self._directories.move(old, new)
            self._follow(old, new)
        if self._other is not None:
            self._other.move(old, new)

    def watch_file(self, relative: bytes, parent_fd: int) -> None:
        """See `Backend`."""
        name = relative.rpartition(b"/")[2]
        with contextlib.suppress(OSError):
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
                self._files.watch(relative, parent_fd)
            elif relative not in self._directories and len(self._apart) < MOST_APART:
                self._apart.link(relative, self._handles.key_of(file_system_of(parent_fd).fsid, parent_fd, name))

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
        gathered, self._gathered = self._gathered, []
        data = _read_some(self._group_fd)
        if not (gathered or data or len(self._files) or self._other is not None):
            # A walk asks after each directory.
            return []
        batch = HintBatch(self._directories, self._marks.let_go)
        self._take(gathered, batch)
        left = MOST_READ_BYTES
        while data:
            self._take(self._look_up(data, self._directories.first), batch)
            left -= len(data)
            data = _read_some(self._group_fd) if left > 0 else b""
        for old, new in batch.moves:
            self._follow(old, new)
        if len(self._files):
            self._take_files(batch)
        hints = batch.finish()
        return hints if self._other is None else hints + self._other.read()

    def _follow(self, old: bytes, new: bytes) -> None:
        """Let what is watched in other ways lie at *new* and beneath it."""
        self._files.move(old, new)
        self._apart.take(new)
        self._apart.move(old, new)
        if self._refused:
            self._refused = moved(self._refused, old, new)

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

    def _leave_to_other(self, relative: bytes, directory_fd: int, error_number: int | None = None) -> bool:
        """Watch a directory in another way; the error says why fanotify does not."""
        orphan = self._directories.unlink(relative)
        if orphan is not None:
            self._marks.let_go(orphan)
        if error_number:
            self._trouble = f"fanotify refused a mark: {os.strerror(error_number)}"
            self._refused.add(relative)
        if self._other is None:
            self._other = self._open_other()
            if self._other.fd is not None:
                self._poller.register(self._other.fd, select.EPOLLIN)
            logger.info("some directories are left to %s%s", self._other.name, self._trouble and f": {self._trouble}")
        return self._other.watch(relative, directory_fd)

    def _look_up(self, data: bytes, known: Container[bytes | None]) -> list[tuple[Record, Process | None]]:
        """Return what is about those that are *known*, each with who did it."""
        own_pids, apart = self._own_pids(), self._apart.first
        found: list[tuple[Record, Process | None]] = []
        pidfds: list[int] = []
        try:
            for record in parse_records(data):
                if record.pidfd >= 0:
                    pidfds.append(record.pidfd)
                if record.directory in known or record.new_directory in known or record.directory in apart:
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
        elif directory is None:
            return
        elif directory in self._apart.first and mask & calls.FAN_ATTRIB and name == b".":
            for path in self._apart.paths_of(directory):
                batch.look_at(path, mask & (calls.FAN_ATTRIB | IS_DIRECTORY), process)
        elif directory not in self._directories.first:
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
        if not mask & ITSELF:
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
