"""Looking at the files of a lease, each reached beneath the watch's root."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from auditline.workers.common.beneath import Root
from auditline.workers.common.jobs import Lease, Outcome, Result
from auditline.workers.hasher.snapshot import Order, Slices, look_at, look_in_slices, refusal


def look_at_all(lease: Lease) -> list[Result]:
    """Return what the files of a small lease are, in their order."""
    with _open_root(lease) as root:
        if root is None:
            return [Result(Outcome.GONE)] * len(lease.paths)
        folder, order = _Folder(root), Order.of(lease)
        try:
            return [_look(folder, path, order) for path in lease.paths]
        finally:
            folder.close()


def look_at_large(lease: Lease) -> Slices:
    """Look at the one file of a large lease, a slice at a time."""
    directory, _, name = lease.paths[0].rpartition(b"/")
    with _open_root(lease) as root:
        if root is None:
            return Result(Outcome.GONE)
        try:
            directory_fd = root.open_for_lookup(directory)
        except OSError as error:
            return refusal(error)
    try:
        return (yield from look_in_slices(name, directory_fd, Order.of(lease)))
    finally:
        os.close(directory_fd)


@contextmanager
def _open_root(lease: Lease) -> Iterator[Root | None]:
    """Hold the lease's root, None if it is another now; no longer than needed: it cannot be unmounted meanwhile."""
    try:
        root = Root.open(lease.root)
    except OSError:
        yield None
        return
    try:
        yield root if root.identity == lease.identity else None
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
