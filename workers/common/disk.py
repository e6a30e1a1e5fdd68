"""What is on the disk for good."""

import os
from pathlib import Path


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
