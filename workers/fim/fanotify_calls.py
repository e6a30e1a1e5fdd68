"""The system calls of fanotify, and the numbers that they take.

Source: linux/fanotify.h, linux/fcntl.h; fanotify_init(2), fanotify_mark(2), name_to_handle_at(2).
"""

import ctypes
import errno
import os
import struct

from auditline.workers.fim.file_systems import FSID_BYTES

FAN_CLOEXEC = 0x1
FAN_NONBLOCK = 0x2
FAN_CLASS_NOTIF = 0x0
FAN_UNLIMITED_QUEUE = 0x10
FAN_UNLIMITED_MARKS = 0x20
FAN_REPORT_PIDFD = 0x80
FAN_REPORT_FID = 0x200
FAN_REPORT_DIR_FID = 0x400
FAN_REPORT_NAME = 0x800
FAN_REPORT_DFID_NAME = FAN_REPORT_DIR_FID | FAN_REPORT_NAME

FAN_MARK_ADD = 0x1
FAN_MARK_REMOVE = 0x2
FAN_MARK_DONT_FOLLOW = 0x4
FAN_MARK_ONLYDIR = 0x8
FAN_MARK_FLUSH = 0x80
FAN_MARK_FILESYSTEM = 0x100

FAN_MODIFY = 0x2
FAN_ATTRIB = 0x4
FAN_CLOSE_WRITE = 0x8
FAN_CREATE = 0x100
FAN_DELETE = 0x200
FAN_DELETE_SELF = 0x400
FAN_MOVE_SELF = 0x800
FAN_Q_OVERFLOW = 0x4000
FAN_EVENT_ON_CHILD = 0x08000000
FAN_RENAME = 0x10000000
FAN_ONDIR = 0x40000000

AT_FDCWD = -100

_AT_EMPTY_PATH = 0x1000
_AT_HANDLE_FID = 0x200
_MAX_HANDLE_BYTES = 128
_HANDLE_BYTES = struct.Struct("=I")
_MOST = struct.pack("=Ii", _MAX_HANDLE_BYTES, 0)  # handle_bytes, handle_type; then comes the handle itself
_HEAD_BYTES = FSID_BYTES + len(_MOST)

_libc = ctypes.CDLL(None, use_errno=True)
_fanotify_mark = _libc.fanotify_mark
_fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)
_name_to_handle_at = _libc.name_to_handle_at
_mount_id = ctypes.byref(ctypes.c_int())


def open_group(flags: int) -> int:
    """Return the descriptor of a new group that reports by file handles, and never blocks.

    Raises:
        OSError: the kernel refuses.
    """
    always = FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC
    fd: int = _libc.fanotify_init(always | flags, os.O_RDONLY | os.O_CLOEXEC)
    if fd < 0:
        raise _last_error()
    return fd


def mark(group_fd: int, flags: int, mask: int, directory_fd: int, name: bytes | None = None) -> int:
    """Change a mark of what *directory_fd* is, or of the entry *name* in it; return the error's number, or 0."""
    return 0 if _fanotify_mark(group_fd, flags, mask, directory_fd, name) == 0 else ctypes.get_errno()


class Handles:
    """Asks the kernel by which key records will name a file: the id of its file system, and its handle."""

    def __init__(self) -> None:
        self._flags = _AT_HANDLE_FID
        # As records have it: the id, then struct file_handle.
        self._buffer = bytearray(_HEAD_BYTES + _MAX_HANDLE_BYTES)
        self._handle = (ctypes.c_char * (len(_MOST) + _MAX_HANDLE_BYTES)).from_buffer(self._buffer, FSID_BYTES)

    def key_of(self, fsid: bytes, directory_fd: int, name: bytes = b"") -> bytes:
        """Return the key of what *directory_fd* is, or of the entry *name* in it, on the file system *fsid*.

        Raises:
            OSError: the file system gives no handles, or the entry is not there.
        """
        buffer, flags = self._buffer, self._flags if name else self._flags | _AT_EMPTY_PATH
        buffer[:_HEAD_BYTES] = fsid + _MOST
        if _name_to_handle_at(directory_fd, name, self._handle, _mount_id, flags) == 0:
            (handle_bytes,) = _HANDLE_BYTES.unpack_from(buffer, FSID_BYTES)
            return bytes(buffer[: _HEAD_BYTES + handle_bytes])
        if ctypes.get_errno() != errno.EINVAL or not self._flags:
            raise _last_error()
        # A kernel before 6.5 gives only such handles as can be opened.
        self._flags = 0
        return self.key_of(fsid, directory_fd, name)


def unmark(group_fd: int, mask: int, mount_fd: int, key: bytes) -> None:
    """Take a mark from a file that no descriptor is at hand of, but *mount_fd* of its file system.

    That fails if the file is gone, if the file system cannot find it, or without CAP_DAC_READ_SEARCH; all of that is
    no error: events of a file that nobody knows are not told.
    """
    handle = ctypes.create_string_buffer(key[FSID_BYTES:])
    # O_PATH: nothing is opened that could do something by that.
    fd: int = _libc.open_by_handle_at(mount_fd, handle, os.O_PATH | os.O_CLOEXEC)
    if fd >= 0:
        mark(group_fd, FAN_MARK_REMOVE, mask, AT_FDCWD, b"/proc/self/fd/%d" % fd)
        os.close(fd)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
