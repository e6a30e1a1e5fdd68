"""Looking at the files of a lease, each reached beneath the watch's root."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from auditline.workers.common.beneath import Root
from auditline.workers.common.jobs import Lease, Result
from auditline.workers.hasher.snapshot import Order, Slices, look_at, look_in_slices, refusal


def look_at_all(lease: Lease) -> list[Result]:
    """Return what the files of a small lease are, in their order."""
    try:
        with _open_root(lease) as root:
            folder, order = _Folder(root), Order.of(lease)
            try:
                return [_look(folder, path, order) for path in lease.paths]
            finally:
                folder.close()
    except OSError as error:
        return [refusal(error)] * len(lease.paths)


def look_at_large(lease: Lease) -> Slices:
    """Look at the one file of a large lease, a slice at a time."""
    directory, _, name = lease.paths[0].rpartition(b"/")
    try:
        with _open_root(lease) as root:
            directory_fd = root.open_for_lookup(directory)
    except OSError as error:
        return refusal(error)
    try:
        return (yield from look_in_slices(name, directory_fd, Order.of(lease)))
    finally:
        os.close(directory_fd)


@contextmanager
def _open_root(lease: Lease) -> Iterator[Root]:
    """Hold the lease's root, no longer than needed: its file system cannot be unmounted meanwhile.

    Raises:
        OSError: it cannot be opened; ESTALE: it is another directory now.
    """
    root = Root.open(lease.root)
    try:
        if root.identity != lease.identity:
            raise OSError(errno.ESTALE, "another directory is in its place")
        yield root
    finally:
        root.close()


class _Folder:
    """The directory of the last file, because the next one is often in the same."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._path: bytes | None = None
        self._fd = -1

    def open(self, path: bytes) -> int:
        """Return a descriptor of the directory *path*, good until the next call."""
        if path != self._path:
            self.close()
            self._fd = self._root.open_for_lookup(path)
            self._path = path
        return self._fd

    def close(self) -> None:
        """Let go of the directory."""
        if self._path is not None:
            self._path = None
            os.close(self._fd)


def _look(folder: _Folder, path: bytes, order: Order) -> Result:
    directory, _, name = path.rpartition(b"/")
    try:
        directory_fd = folder.open(directory)
    except OSError as error:
        return refusal(error)
    return look_at(name, directory_fd, order)
