"""What is in a directory, a bounded part at a time."""

import itertools
import os

Entries = list[tuple[bytes, os.stat_result]]


class Listing:
    """An open directory; close it."""

    most_at_once = 1000
    """Entries; a directory may have millions."""

    def __init__(self, descriptor: int, status: os.stat_result) -> None:
        """List the directory that *descriptor* stands for, which is closed with this; *status* is its own.

        Raises:
            OSError: it cannot be listed.
        """
        # What was made after the directory was opened, and before it was watched, may be left out otherwise: btrfs
        # does that.
        os.lseek(descriptor, 0, os.SEEK_SET)
        self._descriptor = descriptor
        self.status = status
        self._entries = os.scandir(descriptor)
        self.is_at_end = False

    def read(self) -> Entries:
        """Return the next entries with their status; what goes away meanwhile is left out.

        Raises:
            OSError: it cannot be listed any more.
        """
        entries: Entries = []
        count = 0
        for entry in itertools.islice(self._entries, self.most_at_once):
            count += 1
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            entries.append((os.fsencode(entry.name), status))
        self.is_at_end = count < self.most_at_once
        return entries

    def close(self) -> None:
        """Let go of it: as long as it is held its file system cannot be unmounted."""
        self._entries.close()
        os.close(self._descriptor)
