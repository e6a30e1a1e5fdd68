"""What kind of file system a directory is on, as far as watching it depends on that.

Numbers: linux/magic.h, and statfs(2) of kernels that know more of them.
"""

import ctypes
import os
import struct
from typing import NamedTuple

_REMOTE = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFE534D42: "SMB",
    0xFF534D42: "CIFS",
    0x01021997: "9P",
    0x65735546: "FUSE",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x00C36400: "Ceph",
    0x73757245: "Coda",
    0x564C: "NCP",
    0x0BD00BD0: "Lustre",
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
    0x19830326: "BeeGFS",
    0x47504653: "GPFS",
    0x786F4256: "VirtualBox shared folder",
    0xBACBACBC: "VMware shared folder",
}
_MAKES_UP_INODES = frozenset(
    {
        0x65735546,  # FUSE
        0x517B, 0xFE534D42, 0xFF534D42,  # SMB
        0x01021997,  # 9P
        0x786F4256,  # VirtualBox
        0xBACBACBC,  # VMware
        0x4D44,  # FAT
        0x2011BAB0,  # exFAT
    }
)  # fmt: skip
_PSEUDO = {
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0xCAFE4A11: "bpf",
    0x27E0EB: "cgroup",
    0x63677270: "cgroup2",
    0x1CD1: "devpts",
    0x958458F6: "hugetlbfs",
    0x19800202: "mqueue",
    0x6165676C: "pstore",
    0xDE5E81E4: "efivarfs",
    0xF97CFF8C: "selinuxfs",
    0x42494E4D: "binfmt_misc",
    0x62656570: "configfs",
}

FSID_BYTES = 8

_libc = ctypes.CDLL(None, use_errno=True)
_fstatfs = _libc.fstatfs
_statfs = ctypes.create_string_buffer(256)  # struct statfs has 120 bytes on 64-bit machines
_FIELDS = struct.Struct(f"@L48x{FSID_BYTES}s")  # f_type, then, after six other numbers, f_fsid


class FileSystem(NamedTuple):
    """The file system that a directory is on."""

    magic: int
    fsid: bytes
    """As fanotify's records have it."""

    @property
    def remote_kind(self) -> str | None:
        """Name it if it is a network file system: nothing tells what other hosts change there."""
        return _REMOTE.get(self.magic)


def file_system_of(directory_fd: int) -> FileSystem:
    """Return the file system that a directory is on.

    Raises:
        OSError: it cannot be asked.
    """
    if _fstatfs(directory_fd, _statfs) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    magic, fsid = _FIELDS.unpack_from(_statfs)
    return FileSystem(magic & 0xFFFFFFFF, fsid)


def remote_kind(directory_fd: int) -> str | None:
    """Name the network file system that a directory is on: inotify tells of none of what other hosts change there."""
    return _REMOTE.get(_magic(directory_fd))


def may_make_up_inodes(directory_fd: int) -> bool:
    """Say whether a directory is on a file system of a kind that may keep no inode numbers of its own.

    On no other kind is it to be believed of a file that it has got another number by itself.
    """
    return _magic(directory_fd) in _MAKES_UP_INODES


def pseudo_kind(directory_fd: int) -> str | None:
    """Name the file system of the kernel's own that a directory is on: its files are not kept anywhere."""
    return _PSEUDO.get(_magic(directory_fd))


def _magic(directory_fd: int) -> int:
    """Return `f_type`; 0 if it cannot be asked."""
    try:
        return file_system_of(directory_fd).magic
    except OSError:
        return 0
