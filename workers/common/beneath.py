"""A directory, and access to what is beneath it that no symbolic link can lead astray.

Paths are bytes relative to the directory, without a slash at either end; b"" is the directory itself.
"""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

_SYS_OPENAT2 = 437  # asm-generic/unistd.h, the same on all architectures
# linux/openat2.h
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08

_LONGEST_PATH = 4000
"""The kernel takes 4,096 bytes at once (PATH_MAX); longer paths are opened piece by piece."""
_MOST_PARENTS = 64
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_TRY_THE_OTHER_WAY = (errno.ENOSYS, errno.EPERM, errno.EAGAIN, errno.EINTR)
"""No openat2 (before Linux 5.6), refused by a container's filter, or disturbed by a rename or a signal."""

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)


class NotRegularError(OSError):
    """What should be read is no regular file; it was not opened."""


class Root:
    """A directory that stays the same one, whatever its path comes to name."""

    def __init__(self, path: bytes, fd: int) -> None:
        self._path = path
        self._held: int | None = fd
        self._parents: dict[bytes, int] | None = None
        """Directories that are held open to look names up in; None: none is to be."""
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        """Its device and inode."""

    @classmethod
    def open(cls, path: bytes) -> "Root":
        """Take hold of the directory at *path*.

        Raises:
            OSError: there is none, or the last part of its path is a symbolic link.
        """
        return cls(path, os.open(path, _PLACE | os.O_DIRECTORY))

    def is_current(self) -> bool:
        """Say whether the path still names this directory."""
        try:
            status = os.lstat(self._path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self.identity

    def release(self) -> None:
        """Let go of it until it is needed again: as long as it is held its file system cannot be unmounted."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    @property
    def _fd(self) -> int:
        """A descriptor of it.

        Raises:
            OSError: the path names nothing any more; ESTALE: something else.
        """
        if self._held is None:
            held = os.open(self._path, _PLACE | os.O_DIRECTORY)
            status = os.fstat(held)
            if (status.st_dev, status.st_ino) != self.identity:
                os.close(held)
                raise OSError(errno.ESTALE, "another directory is in its place")
            self._held = held
        return self._held

    def open_directory(self, relative: bytes) -> int:
        """Return a descriptor to list a directory with, its access time left as it is; the caller closes it.

        Raises:
            OSError: ENOENT, ENOTDIR, ELOOP (there is a symbolic link on the way), EACCES and so on.
        """
        try:
            return self._open(relative, os.O_RDONLY | os.O_NOATIME | _DIRECTORY)
        except PermissionError:
            # Only the owner or CAP_FOWNER may keep the access time.
            return self._open(relative, os.O_RDONLY | _DIRECTORY)

    def open_for_lookup(self, relative: bytes) -> int:
        """Return a descriptor to look names up in a directory with; needs no permission to list it.

        Raises:
            OSError: as `open_directory`.
        """
        return self._open(relative, os.O_PATH | _DIRECTORY)

    def open_parent(self, relative: bytes) -> tuple[int, bytes]:
        """Return a descriptor to look names up in the directory that holds it, which the caller closes, and its name.

        Raises:
            OSError: as `open_directory`.
        """
        parent, _, name = relative.rpartition(b"/")
        if self._parents is not None:
            return os.dup(self._hold(parent, self._parents)), name
        return self.open_for_lookup(parent), name

    @contextlib.contextmanager
    def holding_parents(self) -> Iterator[None]:
        """Within the block `lstat` and `open_parent` look each directory up only once, until `release_parents`.

        These directories stay the same ones meanwhile, whatever their paths come to name.
        """
        self._parents = {}
        try:
            yield
        finally:
            self.release_parents()
            self._parents = None

    def release_parents(self) -> None:
        """Look directories up anew: a path has come to name another one."""
        while self._parents:
            os.close(self._parents.popitem()[1])

    def lstat(self, relative: bytes) -> os.stat_result:
        """Return what is there; of a symbolic link, the link itself.

        Raises:
            OSError: as `open_directory`.
        """
        if not relative:
            return os.fstat(self._fd)
        if self._parents is not None:
            parent, _, name = relative.rpartition(b"/")
            return os.lstat(name, dir_fd=self._hold(parent, self._parents))
        parent_fd, name = self.open_parent(relative)
        try:
            return os.lstat(name, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)

    def _hold(self, directory: bytes, parents: dict[bytes, int]) -> int:
        """Return a descriptor to look names up in a directory with, which is closed when *parents* are released."""
        directory_fd = parents.get(directory)
        if directory_fd is None:
            if len(parents) >= _MOST_PARENTS:
                self.release_parents()
            directory_fd = parents[directory] = self.open_for_lookup(directory)
        return directory_fd

    def readlink(self, relative: bytes) -> bytes:
        """Return what a symbolic link holds.

        Raises:
            OSError: as `open_directory`; EINVAL: it is no symbolic link.
        """
        parent_fd, name = self.open_parent(relative)
        try:
            return os.readlink(name, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)

    def close(self) -> None:
        """Let go of the directory."""
        self.release()

    def _open(self, relative: bytes, flags: int) -> int:
        """Return a descriptor of the directory at *relative*; no part of the way may be a symbolic link."""
        if len(relative) <= _LONGEST_PATH:
            return _open_beneath(self._fd, relative or b".", flags)
        *longer, last = _pieces(relative)
        fd = self._fd
        for piece in longer:
            fd = self._step(fd, piece, os.O_PATH | _DIRECTORY)
        return self._step(fd, last, flags)

    def _step(self, fd: int, piece: bytes, flags: int) -> int:
        """Open *piece* beneath *fd*, which is closed unless it is ours."""
        try:
            return _open_beneath(fd, piece or b".", flags)
        finally:
            if fd != self._fd:
                os.close(fd)


def open_regular(name: bytes, directory_fd: int) -> tuple[int, os.stat_result]:
    """Return a descriptor to read the file *name* with, and its attributes from before it was opened.

    Nothing but a regular file is ever opened, whatever is swapped in meanwhile: to open a device may set it to work,
    to open a FIFO lets its writer go on. So first a descriptor that opens nothing (O_PATH), then what it stands for.

    Raises:
        NotRegularError: it is something else.
        OSError: it is gone, or may not be read.
    """
    place = os.open(name, _PLACE, dir_fd=directory_fd)
    try:
        status = os.fstat(place)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegularError(errno.EINVAL, f"not a regular file but of mode {status.st_mode:o}")
        return _reopen(place), status
    finally:
        os.close(place)


def _reopen(place: int) -> int:
    name, own_fd = b"%d" % place, own_descriptors()
    try:
        return os.open(name, _READ | os.O_NOATIME, dir_fd=own_fd)
    except PermissionError:
        # Only the owner or CAP_FOWNER may keep the access time.
        return os.open(name, _READ, dir_fd=own_fd)


def own_descriptors() -> int:
    """Return a descriptor of /proc/self/fd, opened once in each process: to look it up each time costs as much again.

    Raises:
        OSError: /proc is not mounted.
    """
    return _own_descriptors_of(os.getpid())


@lru_cache(maxsize=1)
def _own_descriptors_of(_pid: int) -> int:
    try:
        return os.open("/proc/self/fd", os.O_PATH | _DIRECTORY)
    except FileNotFoundError as error:
        # ENOENT would mean that the file is gone.
        raise OSError(errno.ENOSYS, "files cannot be opened without /proc") from error


def _pieces(relative: bytes) -> Iterator[bytes]:
    """Yield *relative* in pieces that the kernel takes."""
    while len(relative) > _LONGEST_PATH:
        end = relative.rindex(b"/", 0, _LONGEST_PATH)
        yield relative[:end]
        relative = relative[end + 1 :]
    yield relative


def _open_beneath(fd: int, relative: bytes, flags: int) -> int:
    opened = _syscall(_SYS_OPENAT2, fd, relative, _how(flags), _HOW_BYTES)
    if opened >= 0:
        return int(opened)
    number = ctypes.get_errno()
    if number in _TRY_THE_OTHER_WAY:
        return _open_by_components(fd, relative, flags)
    raise OSError(number, os.strerror(number), relative)


class _How(ctypes.Structure):
    """`struct open_how` of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW_BYTES = ctypes.sizeof(_How)
_RESOLVE = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS


@lru_cache
def _how(flags: int) -> Any:
    return ctypes.byref(_How(flags, 0, _RESOLVE))


def _open_by_components(fd: int, relative: bytes, flags: int) -> int:
    """Do what openat2 does, one directory after the other."""
    *way, last = relative.split(b"/")
    if b".." in (*way, last):
        raise OSError(errno.EXDEV, "leads out of the directory", relative)
    at = fd
    try:
        for name in way:
            below = os.open(name, _PLACE | os.O_DIRECTORY, dir_fd=at)
            if at != fd:
                os.close(at)
            at = below
        return os.open(last, flags | os.O_NOFOLLOW, dir_fd=at)
    finally:
        if at != fd:
            os.close(at)
