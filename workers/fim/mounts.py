"""Which file systems are mounted at and beneath a watched directory, by `/proc/self/mountinfo`.

Source of its form: proc(5), Documentation/filesystems/proc.rst section 3.5, fs/proc_namespace.c.
"""

import contextlib
import os
import re
import select
from collections.abc import Iterable
from typing import NamedTuple

from auditline.workers.common.host import boot_id
from auditline.workers.common.text import make_safe
from auditline.workers.common.watch_plan import is_within

_MOUNTINFO = "/proc/self/mountinfo"
_READ_BYTES = 1 << 16
_MOST_REREADS = 20
"""Where mounts come and go without end, what was read last is taken."""
_ESCAPE = re.compile(rb"\\([0-7]{3})")
_UNTOUCHED = frozenset(
    b"nfs nfs4 cifs smb3 9p virtiofs ceph afs coda lustre ocfs2 gfs2 beegfs gpfs vboxsf vmhgfs autofs proc sysfs"
    b" cgroup cgroup2 devpts debugfs tracefs securityfs bpf mqueue pstore efivarfs binfmt_misc configfs hugetlbfs"
    b" selinuxfs nsfs".split()
)
"""Types of file systems that may not answer, or in whose place another is mounted when they are touched, and those of
the kernel's own: where they come from says what they are."""
_VOLATILE = frozenset((b"tmpfs", b"ramfs", b"devtmpfs"))


class Mount(NamedTuple):
    """One line of mountinfo."""

    identity: int
    """Of the mount, not of the file system; the kernel gives the numbers again."""
    parent: int
    device: bytes
    """`major:minor`."""
    root: bytes
    """The directory or file within the file system that is mounted."""
    point: bytes
    """Where."""
    type: bytes
    source: bytes


class Mounted(NamedTuple):
    """What stands at a place."""

    key: str
    """Which file system, and which part of it: the same when it is mounted anew, also by another boot."""
    shown: str
    """For people: its type and where it comes from."""
    is_point: bool = True
    """It is mounted there, and not above."""
    is_stacked: bool = False
    """What was mounted there before is still there, hidden."""
    is_volatile: bool = False
    """What it holds is gone when it is unmounted."""


Places = dict[bytes, Mounted]
"""What is mounted at and beneath a root, by absolute path; the root itself lies on something in any case."""


def parse_mounts(text: bytes) -> list[Mount]:
    """Return the mounts of *text*, in order; lines of another form are left out."""
    return [mount for line in text.split(b"\n") if (mount := _parse_line(line)) is not None]


class MountTree:
    """The mounts of one moment, each on the one that it is mounted on."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._by_identity = {mount.identity: mount for mount in mounts}
        self._children: dict[int | None, list[Mount]] = {}
        for mount in self._by_identity.values():
            # Of a process with another root directory, what lies above it is not listed.
            parent = mount.parent if mount.parent in self._by_identity and mount.parent != mount.identity else None
            self._children.setdefault(parent, []).append(mount)

    def over(self, path: bytes) -> Mount | None:
        """Return the mount that *path* (absolute) is on; None: it is not listed."""
        found: Mount | None = None
        for _ in range(len(self._by_identity)):
            over = [mount for mount in self._on(found) if is_within(path, mount.point)]
            if not over:
                break
            # It hides those that are mounted beneath it; of two at one place the later one is on top.
            found = min(reversed(over), key=lambda mount: len(mount.point))
        return found

    def beneath(self, path: bytes) -> list[Mount]:
        """Return the mounts that are visible beneath *path*, in no order; *path* itself is not among the places."""
        visible: list[Mount] = []
        waiting = [self.over(path)]
        while waiting and len(visible) <= len(self._by_identity):
            children = {mount.point: mount for mount in self._on(waiting.pop()) if mount.point != path}
            for point, mount in children.items():
                if is_within(point, path) and not _has_any_above(point, children, path):
                    top = self._top(mount)
                    visible.append(top)
                    waiting.append(top)
        return visible

    def origin(self, mount: Mount) -> Mount:
        """Return *mount*, or, if it shows again what would be there without it, what that is a part of."""
        for _ in range(len(self._by_identity)):
            parent = self._by_identity.get(mount.parent)
            if parent is None or not _is_part(mount, parent):
                break
            mount = parent
        return mount

    def is_stacked(self, mount: Mount) -> bool:
        """Say whether it is mounted on another one at the same place."""
        parent = self._by_identity.get(mount.parent)
        return parent is not None and parent is not mount and parent.point == mount.point

    def _top(self, mount: Mount) -> Mount:
        """Return what is mounted last where *mount* is."""
        for _ in range(len(self._by_identity)):
            over = [other for other in self._on(mount) if other.point == mount.point]
            if not over:
                break
            mount = over[-1]
        return mount

    def _on(self, mount: Mount | None) -> list[Mount]:
        return self._children.get(None if mount is None else mount.identity, [])


class Mounts:
    """The mounts that this process sees, and whether they have changed."""

    def __init__(self) -> None:
        self._waited_for = _open_mountinfo()
        # What one descriptor has told of a change it does not tell again.
        self._read_from = _open_mountinfo()
        self._poller = select.poll()
        if self._read_from is not None:
            self._poller.register(self._read_from, select.POLLPRI)
        self._tree = MountTree(())
        self._is_known = False

    @property
    def fd(self) -> int | None:
        """Has a condition of priority (POLLPRI) when something was mounted or unmounted; None: /proc is missing."""
        return self._waited_for

    def have_changed(self) -> bool:
        """Say whether anything was mounted or unmounted since `places` was called."""
        if self._is_known and self._read_from is not None and self._poller.poll(0):
            self._is_known = False
        return not self._is_known

    def places(self, root: bytes) -> Places:
        """Return what is mounted now at and beneath *root*, an absolute path."""
        for _ in range(_MOST_REREADS):
            self._is_known = True
            if self._read_from is not None:
                self._poller.poll(0)
                self._tree = MountTree(parse_mounts(_read_all(self._read_from)))
            found = self._find(root)
            if not self.have_changed():
                break
        return found

    def close(self) -> None:
        """Tell of nothing any more."""
        for descriptor in (self._waited_for, self._read_from):
            if descriptor is not None:
                os.close(descriptor)

    def _find(self, root: bytes) -> Places:
        tree = self._tree
        over = tree.over(root)
        if over is None:
            return {root: Mounted("", "", is_point=False)}
        origin = tree.origin(over)
        places = {root: _describe(origin, is_point=origin.point == root, is_stacked=tree.is_stacked(origin))}
        for mount in tree.beneath(root):
            if tree.origin(mount) is mount:
                places[mount.point] = _describe(mount, is_point=True, is_stacked=tree.is_stacked(mount))
        return places


def _parse_line(line: bytes) -> Mount | None:
    fields = line.split(b" ")
    try:
        end = fields.index(b"-", 6)
        type_, source = fields[end + 1 : end + 3]
        identity, parent, device, root, point = fields[:5]
        return Mount(
            int(identity), int(parent), device, _unescape(root), _unescape(point), _unescape(type_), _unescape(source)
        )
    except ValueError:
        return None


def _unescape(field: bytes) -> bytes:
    """Return a field as it is; mountinfo has blank, tab, newline, backslash and others as three octal digits."""
    if b"\\" not in field:
        return field
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field)


def _is_part(mount: Mount, parent: Mount) -> bool:
    """Say whether *mount* is what lies there in *parent* anyway: a directory mounted onto itself."""
    if (parent.device, parent.type) != (mount.device, mount.type) or not is_within(mount.point, parent.point):
        return False
    way = mount.point[len(parent.point.rstrip(b"/")) :].rstrip(b"/")
    return parent.root.rstrip(b"/") + way == mount.root.rstrip(b"/")


def _has_any_above(point: bytes, children: dict[bytes, Mount], path: bytes) -> bool:
    """Say whether one of *children* is mounted on the way from *path* to *point*."""
    above = point.rpartition(b"/")[0]
    while len(above) > len(path):
        if above in children:
            return True
        above = above.rpartition(b"/")[0]
    return False


def _describe(mount: Mount, *, is_point: bool, is_stacked: bool) -> Mounted:
    shown = make_safe(os.fsdecode(mount.type + b" " + mount.source))
    return Mounted(_key(mount), shown, is_point, is_stacked, mount.type in _VOLATILE)


def _key(mount: Mount) -> str:
    """Return what tells the mounted directory or file from all others."""
    kind = os.fsdecode(mount.type)
    by_source = f"{kind} {os.fsdecode(mount.source)} {os.fsdecode(mount.root)}"
    if mount.type in _UNTOUCHED or mount.type.startswith(b"fuse"):
        return by_source
    try:
        # Without O_DIRECTORY nothing is mounted in its place by that.
        place = os.open(mount.point, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return by_source
    try:
        inode, fsid = os.fstat(place).st_ino, os.fstatvfs(place).f_fsid
    except OSError:
        return by_source
    finally:
        os.close(place)
    if fsid and fsid != _fsid_of_device(mount.device):
        return f"{kind} {fsid:016x} {inode}"
    if not mount.device.startswith(b"0:"):
        return by_source
    # Numbers of devices that do not exist are given anew by each boot.
    return f"{kind} {mount.device.decode('ascii', 'replace')} {boot_id()} {inode}"


def _fsid_of_device(device: bytes) -> int:
    """Return what many file systems give as `f_fsid` for want of anything better. Source: huge_encode_dev()."""
    major, _, minor = device.partition(b":")
    with contextlib.suppress(ValueError):
        return (int(minor) & 0xFF) | (int(major) << 8) | ((int(minor) & ~0xFF) << 12)
    return 0


def _open_mountinfo() -> int | None:
    try:
        return os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _read_all(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    while part := os.read(descriptor, _READ_BYTES):
        parts.append(part)
    return b"".join(parts)
