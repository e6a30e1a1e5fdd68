"""Changes as inotify tells them, and polling for the directories that it does not reach.

Source of all numbers: linux/inotify.h, linux/magic.h; of what the kernel does: inotify(7), fs/notify/.
"""

import ctypes
import errno
import os
import struct
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.backend import Backend, Hint, HintKind
from auditline.workers.fim.file_systems import remote_kind
from auditline.workers.fim.path_tree import PathTree
from auditline.workers.fim.polling import Polling

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
IN_EXCL_UNLINK = 0x4000000
IN_ISDIR = 0x40000000

READ_BYTES = 64 * 1024
MOST_READ_BYTES = 1024 * 1024
"""What one `read` takes: more than the kernel's default queue of 16,384 events with names of usual length."""

_COMES = IN_CREATE | IN_MOVED_TO
_GOES = IN_DELETE | IN_MOVED_FROM
_WRITTEN = IN_MODIFY | IN_CLOSE_WRITE
_MASK = _COMES | _GOES | _WRITTEN | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK
_IS_GONE = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT

_HEADER = struct.Struct("@iIII")  # struct inotify_event: wd, mask, cookie, len
_NO_WATCH_LEFT = (errno.ENOSPC, errno.ENOMEM)

_libc = ctypes.CDLL(None, use_errno=True)


def open_backend(settings: FimSettings) -> Backend:
    """Return inotify, with polling beside it; polling alone where the kernel grants no inotify instance."""
    fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd >= 0:
        return InotifyBackend(fd, settings.poll_seconds)
    error_number = ctypes.get_errno()
    trouble = f"inotify cannot be used: {os.strerror(error_number)}"
    if error_number == errno.EMFILE:
        trouble = f"no inotify instance is left: raise {_show_limit('max_user_instances')}, or RLIMIT_NOFILE"
    return Polling(settings.poll_seconds, trouble=trouble)


def parse_events(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (watch descriptor, mask, name) of what the kernel wrote; the name is empty for the directory itself."""
    position, end = 0, len(data) - _HEADER.size
    unpack, header_bytes = _HEADER.unpack_from, _HEADER.size
    while position <= end:
        watch, mask, _, name_bytes = unpack(data, position)
        position += header_bytes
        # The kernel fills up with NUL to a multiple of 16 bytes.
        yield watch, mask, data[position : position + name_bytes].rstrip(b"\0")
        position += name_bytes


class InotifyBackend:
    """A watch per directory. A `Backend`."""

    name = "inotify"

    def __init__(
        self,
        fd: int,
        poll_seconds: float,
        *,
        read_bytes: int = READ_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*fd* is of `inotify_init1`, and closed with this."""
        self.fd = fd
        self.trouble = ""
        self._read_bytes = read_bytes
        self._polling = Polling(poll_seconds, clock=clock)
        self._watches: dict[bytes, int] = {}
        self._paths: dict[int, bytes] = {}
        # Further paths of a directory: mounted twice, or moved without having been told yet.
        self._other_paths: dict[int, list[bytes]] = {}
        self._tree = PathTree()
        self._lacking: set[bytes] = set()  # polled for want of a watch

    @property
    def watched(self) -> int:
        """See `Backend`."""
        return len(self._paths)

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
        return self._polling.seconds_until_due

    def watch(self, relative: bytes, directory_fd: int) -> bool:
        """See `Backend`."""
        # By its descriptor: the path may lead elsewhere by now.
        watch = _libc.inotify_add_watch(self.fd, b"/proc/self/fd/%d" % directory_fd, _MASK)
        if watch < 0:
            self._poll_instead(relative, ctypes.get_errno())
            return False
        self._lacking.discard(relative)
        if self._watches.get(relative) != watch:
            self._unlink(relative)
            self._link(relative, watch)
        remote = remote_kind(directory_fd)
        if remote:
            self.trouble = f"{remote}: changes made on other hosts are not told"
            self._polling.add(relative)
            return False
        self._polling.remove(relative)
        return True

    def forget(self, relative: bytes) -> None:
        """See `Backend`."""
        for path in self._tree.take(relative):
            self._unlink(path)
            self._lacking.discard(path)
        self._polling.forget(relative)

    def read(self) -> list[Hint]:
        """See `Backend`."""
        in_order: list[Hint] = []
        looks: dict[bytes, int] = {}
        left = MOST_READ_BYTES
        while left > 0 and (data := self._read_some()):
            self._take(data, in_order, looks)
            left -= len(data)
        for path, mask in looks.items():
            in_order.append(Hint(_kind(mask), path, bool(mask & IN_ISDIR), bool(mask & ~(IN_ATTRIB | IN_ISDIR))))
        return in_order + self._polling.read()

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
                    raise
                self._read_bytes *= 2

    def _take(self, data: bytes, in_order: list[Hint], looks: dict[bytes, int]) -> None:
        """Put what came, went or moved as a directory in *in_order*, and the masks of all else by path in *looks*."""
        paths, other_paths = self._paths, self._other_paths
        for watch, mask, name in parse_events(data):
            directory = paths.get(watch)
            if directory is None:
                # Events of a watch that was removed meanwhile are of no use.
                if mask & IN_Q_OVERFLOW:
                    in_order.append(Hint(HintKind.OVERFLOW, b"", is_directory=True))
            elif not name:
                in_order += self._take_own(watch, mask, looks)
            elif watch in other_paths:
                for path in (directory, *other_paths[watch]):
                    _take_entry(_join(path, name), mask, in_order, looks)
            elif mask & IN_ISDIR:
                _take_entry(_join(directory, name), mask, in_order, looks)
            else:
                path = directory + b"/" + name if directory else name
                looks[path] = looks.get(path, 0) | mask

    def _take_own(self, watch: int, mask: int, looks: dict[bytes, int]) -> Iterator[Hint]:
        """Yield what an event of a watched directory itself says, about all its paths."""
        paths = [self._paths[watch], *self._other_paths.get(watch, ())]
        if mask & IN_IGNORED:
            # The kernel has removed the watch.
            for path in paths:
                del self._watches[path]
            del self._paths[watch]
            self._other_paths.pop(watch, None)
        for path in paths:
            if mask & IN_ATTRIB:
                looks[path] = looks.get(path, 0) | mask
            elif not path:
                yield Hint(HintKind.ROOT_GONE, path, is_directory=True)
            elif mask & IN_UNMOUNT or (mask & _IS_GONE and not self._tells_parent(path)):
                yield Hint(HintKind.GONE, path, is_directory=True)

    def _tells_parent(self, path: bytes) -> bool:
        """Whether the directory that holds *path* is watched, so that what happens to *path* is told there as well."""
        return path.rpartition(b"/")[0] in self._watches

    def _poll_instead(self, relative: bytes, error_number: int) -> None:
        self._unlink(relative)
        self._polling.add(relative)
        if error_number in _NO_WATCH_LEFT:
            self._lacking.add(relative)
            self._tree.add(relative)
            self.trouble = f"no inotify watch is left: raise {_show_limit('max_user_watches')}"
        else:
            self.trouble = f"inotify refused a watch: {os.strerror(error_number)}"

    def _link(self, path: bytes, watch: int) -> None:
        self._watches[path] = watch
        self._tree.add(path)
        if watch in self._paths:
            self._other_paths.setdefault(watch, []).append(path)
        else:
            self._paths[watch] = path

    def _unlink(self, path: bytes) -> None:
        """Let the watch of *path* be that of its other paths only; without one it is removed."""
        watch = self._watches.pop(path, None)
        if watch is None:
            return
        others = self._other_paths.pop(watch, [])
        paths = [other for other in (self._paths[watch], *others) if other != path]
        if not paths:
            del self._paths[watch]
            # It may fail, because the directory is gone and its watch with it.
            _libc.inotify_rm_watch(self.fd, watch)
            return
        self._paths[watch] = paths[0]
        if len(paths) > 1:
            self._other_paths[watch] = paths[1:]


def _take_entry(path: bytes, mask: int, in_order: list[Hint], looks: dict[bytes, int]) -> None:
    if mask & IN_ISDIR and mask & (_COMES | _GOES):
        in_order.append(Hint(_kind(mask), path, is_directory=True, is_content=True))
    else:
        looks[path] = looks.get(path, 0) | mask


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


@lru_cache
def _kind(mask: int) -> HintKind:
    if mask & _COMES:
        return HintKind.CREATED
    if mask & _GOES:
        return HintKind.GONE
    return HintKind.CHANGED if mask & _WRITTEN else HintKind.ATTRIBUTES


def _show_limit(name: str) -> str:
    try:
        value = Path("/proc/sys/fs/inotify", name).read_text(encoding="ascii").strip()
    except OSError:
        value = "unknown"
    return f"fs.inotify.{name} (now {value})"
