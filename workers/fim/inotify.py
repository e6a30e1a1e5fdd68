"""Changes as inotify tells them, and polling for the directories that it does not reach.

Source of all numbers: linux/inotify.h, linux/magic.h; of what the kernel does: inotify(7), fs/notify/.
"""

import contextlib
import ctypes
import errno
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from auditline.workers.fim.backend import MOST_WATCHED_FILES, BackendError, Hint, HintKind
from auditline.workers.fim.file_systems import remote_kind
from auditline.workers.fim.hint_batch import HintBatch
from auditline.workers.fim.path_tree import moved
from auditline.workers.fim.polling import Polling
from auditline.workers.fim.watched_paths import WatchedPaths

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000
IN_DONT_FOLLOW = 0x2000000
IN_EXCL_UNLINK = 0x4000000
IN_MASK_ADD = 0x20000000
IN_ISDIR = 0x40000000

READ_BYTES = 64 * 1024
MOST_READ_BYTES = 1024 * 1024
"""What one `read` takes: more than the kernel's default queue of 16,384 events with names of usual length."""

HALF_SECONDS = 0.01
"""So long the first half of a rename waits for the second: writing both takes the kernel microseconds."""

_FILE_MASK = IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DONT_FOLLOW | IN_MASK_ADD
_MASK = (
    _FILE_MASK
    | IN_CREATE
    | IN_DELETE
    | IN_MOVED_FROM
    | IN_MOVED_TO
    | IN_DELETE_SELF
    | IN_MOVE_SELF
    | IN_ONLYDIR
    | IN_EXCL_UNLINK
) & ~(IN_DONT_FOLLOW | IN_MASK_ADD)
_IS_GONE = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT

_HEADER = struct.Struct("@iIII")  # struct inotify_event: wd, mask, cookie, len
_NO_WATCH_LEFT = (errno.ENOSPC, errno.ENOMEM)

_libc = ctypes.CDLL(None, use_errno=True)


def open_inotify(poll_seconds: float, reason: str = "") -> "InotifyBackend":
    """Return inotify, with polling beside it; *reason* says why it is this backend.

    Raises:
        BackendError: the kernel grants no inotify instance.
    """
    fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd >= 0:
        return InotifyBackend(fd, poll_seconds, reason=reason)
    error_number = ctypes.get_errno()
    if error_number == errno.EMFILE:
        limit = _show_limit("max_user_instances")
        raise BackendError(f"no inotify instance is left: raise {limit}, or RLIMIT_NOFILE")
    raise BackendError(f"inotify cannot be used: {os.strerror(error_number)}")


def parse_events(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (watch descriptor, mask, cookie, name) of what the kernel wrote; no name: the directory itself."""
    position, end = 0, len(data) - _HEADER.size
    unpack, header_bytes = _HEADER.unpack_from, _HEADER.size
    while position <= end:
        watch, mask, cookie, name_bytes = unpack(data, position)
        position += header_bytes
        # The kernel fills up with NUL to a multiple of 16 bytes.
        yield watch, mask, cookie, data[position : position + name_bytes].rstrip(b"\0")
        position += name_bytes


class _Half(NamedTuple):
    """The first half of a rename."""

    watch: int
    name: bytes
    mask: int
    due_at: float
    """It is all there is, if the second has not come by then."""


class InotifyBackend:
    """A watch per directory. A `Backend`."""

    name = "inotify"

    def __init__(
        self,
        fd: int,
        poll_seconds: float,
        *,
        reason: str = "",
        read_bytes: int = READ_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*fd* is of `inotify_init1`, and closed with this."""
        self.fd = fd
        self.reason = reason
        self.trouble = ""
        self._read_bytes = read_bytes
        self._clock = clock
        self._polling = Polling(poll_seconds, clock=clock)
        self._directories: WatchedPaths[int] = WatchedPaths()
        self._files: WatchedPaths[int] = WatchedPaths()
        self._lacking: set[bytes] = set()  # polled for want of a watch
        self._halves: dict[int, _Half] = {}  # by their cookies

    @property
    def watched(self) -> int:
        """See `Backend`."""
        return len(self._directories)

    @property
    def polled(self) -> int:
        """See `Backend`."""
        return self._polling.polled

    @property
    def limit_reached(self) -> bool:
        """See `Backend`."""
        return bool(self._lacking)

    @property
    def seconds_until_due(self) -> float | None:
        """See `Backend`."""
        due = [half.due_at - self._clock() for half in self._halves.values()]
        if self._polling.seconds_until_due is not None:
            due.append(self._polling.seconds_until_due)
        return max(0.0, min(due)) if due else None

    def watch(self, relative: bytes, directory_fd: int) -> bool:
        """See `Backend`."""
        # By its descriptor: the path may lead elsewhere by now.
        watch = _libc.inotify_add_watch(self.fd, b"/proc/self/fd/%d" % directory_fd, _MASK)
        if watch < 0:
            self._poll_instead(relative, ctypes.get_errno())
            return False
        self._lacking.discard(relative)
        self._let_go(self._directories.link(relative, watch))
        remote = remote_kind(directory_fd)
        if remote:
            self.trouble = f"{remote}: changes made on other hosts are not told"
            self._polling.add(relative)
            return False
        self._polling.remove(relative)
        return True

    def forget(self, relative: bytes) -> None:
        """See `Backend`."""
        for watch in (*self._directories.take(relative), *self._files.take(relative)):
            self._let_go(watch)
        for path in self._polling.take(relative):
            self._lacking.discard(path)

    def move(self, old: bytes, new: bytes) -> None:
        """See `Backend`."""
        if new not in self._directories:
            self._directories.move(old, new)
            self._follow(old, new)

    def watch_file(self, relative: bytes, parent_fd: int) -> None:
        """See `Backend`; a directory's attributes are told by the one that it lies in."""
        if len(self._files) >= MOST_WATCHED_FILES and relative not in self._files:
            return
        name = relative.rpartition(b"/")[2]
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
                return
        watch = _libc.inotify_add_watch(self.fd, b"/proc/self/fd/%d/%s" % (parent_fd, name), _FILE_MASK)
        if watch >= 0:
            self._let_go(self._files.link(relative, watch))

    @property
    def early_fd(self) -> None:
        """See `Backend`."""
        return

    def gather(self) -> None:
        """See `Backend`."""

    def read(self) -> list[Hint]:
        """See `Backend`."""
        batch = HintBatch(self._directories, self._let_go)
        left = MOST_READ_BYTES
        while left > 0 and (data := self._read_some()):
            self._take(data, batch)
            left -= len(data)
        now = self._clock()
        for cookie in [cookie for cookie, half in self._halves.items() if half.due_at <= now]:
            self._complete(cookie, batch)
        for old, new in batch.moves:
            self._follow(old, new)
        return batch.finish() + self._polling.read()

    def polling_took(self, seconds: float) -> None:
        """See `Backend`."""
        self._polling.polling_took(seconds)

    def close(self) -> None:
        """See `Backend`."""
        os.close(self.fd)

    def _read_some(self) -> bytes:
        while True:
            try:
                return os.read(self.fd, self._read_bytes)
            except BlockingIOError:
                return b""
            except OSError as error:
                # The next event alone is longer than the buffer.
                if error.errno != errno.EINVAL or self._read_bytes >= READ_BYTES:
                    raise BackendError(f"inotify cannot be read any more: {error.strerror}") from error
                self._read_bytes *= 2

    def _take(self, data: bytes, batch: HintBatch[int]) -> None:
        first = self._directories.first
        for watch, mask, cookie, name in parse_events(data):
            if watch not in first:
                # Events of a watch that was removed meanwhile are of no use.
                if mask & IN_Q_OVERFLOW:
                    batch.tell(HintKind.OVERFLOW)
                elif watch in self._files.first:
                    self._take_file(watch, mask, batch)
            elif not name:
                self._take_own(watch, mask, batch)
            elif mask & (IN_MOVED_FROM | IN_MOVED_TO):
                self._take_half(watch, mask, cookie, name, batch)
            elif mask & (IN_CREATE | IN_DELETE):
                self._come_or_go(watch, name, mask, batch)
            else:
                batch.look(watch, name, mask)

    def _come_or_go(self, watch: int, name: bytes, mask: int, batch: HintBatch[int]) -> None:
        if self._halves:
            # What had that name before goes first.
            for cookie in [cookie for cookie, half in self._halves.items() if (half.watch, half.name) == (watch, name)]:
                self._complete(cookie, batch)
        batch.entry(watch, name, mask)

    def _take_half(self, watch: int, mask: int, cookie: int, name: bytes, batch: HintBatch[int]) -> None:
        """Put the halves of a rename together; the second comes at once, but perhaps not in the same reading."""
        if mask & IN_MOVED_FROM:
            self._halves[cookie] = _Half(watch, name, mask, self._clock() + HALF_SECONDS)
            return
        half = self._halves.pop(cookie, None)
        if half is None or half.watch not in self._directories.first:
            self._come_or_go(watch, name, mask, batch)
        else:
            batch.moved((half.watch, half.name), (watch, name), is_directory=bool(mask & IN_ISDIR))

    def _complete(self, cookie: int, batch: HintBatch[int]) -> None:
        """Take a half for a whole: what was there has been moved out of what is watched."""
        half = self._halves.pop(cookie)
        batch.entry(half.watch, half.name, half.mask)

    def _take_own(self, watch: int, mask: int, batch: HintBatch[int]) -> None:
        """Take what an event of a watched directory itself says, about all its paths."""
        if mask & IN_ATTRIB:
            batch.look(watch, b"", mask)
            return
        paths = self._directories.paths_of(watch)
        if mask & IN_IGNORED:
            # The kernel has removed the watch.
            self._directories.drop(watch)
            batch.forgotten(watch, paths[0])
        for path in paths:
            if not path:
                batch.tell(HintKind.ROOT_GONE)
            elif mask & IN_UNMOUNT or (mask & _IS_GONE and not self._tells_parent(path)):
                batch.tell(HintKind.GONE, path)

    def _take_file(self, watch: int, mask: int, batch: HintBatch[int]) -> None:
        """Take what was done to a file that is watched by itself, by whatever name."""
        if mask & IN_IGNORED:
            self._files.drop(watch)
            return
        for path in self._files.paths_of(watch):
            batch.look_at(path, mask & (IN_ATTRIB | IN_MODIFY | IN_CLOSE_WRITE))

    def _tells_parent(self, path: bytes) -> bool:
        """Whether the directory that holds *path* is watched, so that what happens to *path* is told there as well."""
        return path.rpartition(b"/")[0] in self._directories

    def _poll_instead(self, relative: bytes, error_number: int) -> None:
        self._let_go(self._directories.unlink(relative))
        self._polling.add(relative)
        if error_number in _NO_WATCH_LEFT:
            self._lacking.add(relative)
            self.trouble = f"no inotify watch is left: raise {_show_limit('max_user_watches')}"
        else:
            self.trouble = f"inotify refused a watch: {os.strerror(error_number)}"

    def _let_go(self, watch: int | None) -> None:
        if watch is not None:
            # It may fail, because the directory is gone and its watch with it.
            _libc.inotify_rm_watch(self.fd, watch)

    def _follow(self, old: bytes, new: bytes) -> None:
        """Let what is watched in other ways lie at *new* and beneath it."""
        for watch in self._files.take(new):
            self._let_go(watch)
        self._files.move(old, new)
        self._polling.move(old, new)
        if self._lacking:
            self._lacking = moved(self._lacking, old, new)


def _show_limit(name: str) -> str:
    try:
        value = Path("/proc/sys/fs/inotify", name).read_text(encoding="ascii").strip()
    except OSError:
        value = "unknown"
    return f"fs.inotify.{name} (now {value})"
