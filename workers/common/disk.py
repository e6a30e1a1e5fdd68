"""What is on the disk for good."""

import os
from pathlib import Path

_FILE_MODE = 0o640


def replace_file(path: Path, content: bytes) -> None:
    """Put *content* at *path* in one step: after a kill or a power cut all of it is there, or what was there before.

    Raises:
        OSError: it cannot be written.
    """
    new_path = path.with_name(f"{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(new_path, flags, _FILE_MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new_path.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Return when the names in *directory* are on the disk.

    Raises:
        OSError: the disk failed.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
