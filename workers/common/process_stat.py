"""What /proc/PID/stat says of a process, as far as it is wanted here. Source: proc(5)."""

import os
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_MOST_BYTES = 4096
"""More than fifty numbers and a name."""


class ProcessStat(NamedTuple):
    """Some of its values."""

    name: bytes
    """`comm`."""
    state: bytes
    """One letter."""
    parent_pid: int
    start_ticks: int
    """When it started, in clock ticks since boot."""

    @property
    def is_stopped(self) -> bool:
        """Whether a signal or a debugger has stopped it, and not the kernel or its own doing."""
        return self.state in (b"T", b"t")

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left of it but its pid."""
        return self.state in (b"Z", b"X")


def read_stat(pid: int, proc: Path = PROC) -> ProcessStat | None:
    """Return what is said of the process that has this pid now; None: there is none, or it may not be looked at."""
    try:
        fd = os.open(f"{proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return parse_stat(os.read(fd, _MOST_BYTES))
    except (OSError, ValueError, IndexError):
        return None
    finally:
        os.close(fd)


def parse_stat(line: bytes) -> ProcessStat:
    """Return what the file's line says. The name may hold anything, so the last parenthesis ends it.

    Raises:
        ValueError, IndexError: it is no such line.
    """
    begin, end = line.index(b"("), line.rindex(b")")
    fields = line[end + 2 :].split()
    return ProcessStat(line[begin + 1 : end], fields[0], int(fields[1]), int(fields[19]))
