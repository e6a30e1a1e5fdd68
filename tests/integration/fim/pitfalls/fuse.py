"""A file system in user space that shows the files of another directory: what changes there, nobody is told.

usage: fuse.py MOUNT_POINT DIRECTORY

As of a file server without numbers of its own, each look at a file gives it another inode number. Files whose name
begins with `bad` cannot be read. It ends when it is unmounted. Source of all structures: linux/fuse.h.
"""

import contextlib
import ctypes
import errno
import os
import struct
import sys

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 14, 15, 17, 18
INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET = 26, 27, 28, 29, 36, 38, 42
ROOT = 1
IN_HEAD, OUT_HEAD = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
FREE_PAGES = struct.pack("<QQQQQIIII24x", 1, 1, 1, 1, 1, 4096, 255, 4096, 0)
LARGEST_REQUEST = 1 << 17 | 1 << 13


class Server:
    """Answers the kernel."""

    def __init__(self, fd: int, directory: str) -> None:
        self._fd = fd
        self._directory = directory
        self._names: dict[int, str] = {ROOT: "."}
        self._inode = 1000

    def serve(self) -> None:
        """Answer until it is unmounted."""
        while True:
            try:
                request = os.read(self._fd, LARGEST_REQUEST)
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.EINVAL):
                    return
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                raise
            _, code, unique, node, *_ = IN_HEAD.unpack_from(request)
            if code in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            try:
                answer, number = self._answer(code, node, request[IN_HEAD.size :]), 0
            except OSError as error:
                answer, number = b"", -(error.errno or errno.EIO)
            # It may have been interrupted meanwhile.
            with contextlib.suppress(FileNotFoundError):
                os.write(self._fd, OUT_HEAD.pack(OUT_HEAD.size + len(answer), number, unique) + answer)

    def _answer(self, code: int, node: int, body: bytes) -> bytes:  # noqa: PLR0911 - one for each kind of request
        if code == INIT:
            return struct.pack("<IIIIHHIIHHII24x", 7, 31, 0, 0, 8, 8, 4096, 1, 1, 0, 0, 0)
        if code == LOOKUP:
            name = f"{self._names[node]}/{os.fsdecode(body.rstrip(bytes(1)))}"
            return struct.pack("<QQQQII", self._node(name), 0, 0, 0, 0, 0) + self._attributes(name)
        if code == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self._attributes(self._names[node])
        if code in (OPEN, OPENDIR):
            # Read past the page cache, which knows nothing of changes.
            return struct.pack("<QII", 0, 1, 0)
        if code == READ:
            return self._read(self._names[node], *struct.unpack_from("<8xQI", body))
        if code == READDIR:
            return self._list(self._names[node], *struct.unpack_from("<8xQI", body))
        if code == STATFS:
            return FREE_PAGES
        if code in (RELEASE, RELEASEDIR, DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "not made")

    def _node(self, name: str) -> int:
        for node, known in self._names.items():
            if known == name:
                return node
        node = len(self._names) + 1
        self._names[node] = name
        return node

    def _attributes(self, name: str) -> bytes:
        status = os.lstat(f"{self._directory}/{name}")
        self._inode += 1
        seconds, rests = zip(
            *(divmod(time, 10**9) for time in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)), strict=True
        )
        inode = ROOT if name == "." else self._inode
        owner = (status.st_mode, status.st_nlink, status.st_uid, status.st_gid)
        return ATTRIBUTES.pack(inode, status.st_size, status.st_blocks, *seconds, *rests, *owner, 0, 4096, 0)

    def _read(self, name: str, offset: int, size: int) -> bytes:
        if os.path.basename(name).startswith("bad"):
            raise OSError(errno.EIO, "bad")
        with open(f"{self._directory}/{name}", "rb") as file:
            return os.pread(file.fileno(), size, offset)

    def _list(self, directory: str, offset: int, size: int) -> bytes:
        entries = b""
        for number, name in enumerate(sorted(os.listdir(f"{self._directory}/{directory}")), 1):
            if number > offset:
                raw = os.fsencode(name)
                entry = struct.pack("<QQII", 1, number, len(raw), 8) + raw + bytes(-len(raw) % 8)
                if len(entries) + len(entry) > size:
                    break
                entries += entry
        return entries


def main() -> None:
    """Mount it and serve."""
    point, directory = sys.argv[1:]
    fd = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other"
    if libc.mount(b"auditline-test", os.fsencode(point), b"fuse", 0, options.encode()) != 0:
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    Server(fd, directory).serve()


if __name__ == "__main__":
    main()
