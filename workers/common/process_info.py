"""A process as /proc shows it, for saying who did something."""

from typing import NamedTuple


class Process(NamedTuple):
    """Who did something, as far as /proc told while the process was there."""

    pid: int
    start_ticks: int = 0
    """When it started, in clock ticks since boot, as in /proc/PID/stat; 0: it was gone already."""
    executable: bytes | None = None
    arguments: tuple[bytes, ...] = ()
    name: bytes = b""
    """`comm`."""
    parent_pid: int = 0
    uid: int | None = None
    """The effective one."""
    gid: int | None = None
    login_uid: int | None = None
    """Who logged in; None: nobody, or unknown."""
    session: int | None = None
    container_id: str = ""
    is_certain: bool = False
    """It still ran after all this was read, so nothing here is of another process with the same pid."""
