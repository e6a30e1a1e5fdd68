"""Small files, looked at with one call where that could be built: nearly every file is one."""

from collections.abc import Sequence

from auditline.workers.common.attributes import KEPT_FLAGS, read_xattrs
from auditline.workers.common.beneath import own_descriptors
from auditline.workers.common.file_state import STABLE, FileState
from auditline.workers.common.hashes import hash_whole
from auditline.workers.hasher.compiling import COMPILED
from auditline.workers.hasher.content import BUFFER, BUFFER_BYTES


def look_at_small(
    name: bytes, directory_fd: int, hashes: Sequence[str], most_bytes: int, checked_ns: int
) -> FileState | None:
    """Return what the file *name* in a directory is, if it is small and does not change meanwhile; None: look properly.

    Only for kernels with which a file that was written to has another time afterwards.
    """
    if COMPILED is None:
        return None
    read = COMPILED.read_whole(
        directory_fd, name, own_descriptors(), min(most_bytes, BUFFER_BYTES - 1), BUFFER, read_xattrs
    )
    if read is None:
        return None
    *numbers, xattrs, attributes = read
    packed = hash_whole(hashes, BUFFER[: numbers[3]])
    return FileState._make((*numbers, None, packed, STABLE, checked_ns, xattrs, attributes & KEPT_FLAGS))
