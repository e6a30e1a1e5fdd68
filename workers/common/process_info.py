"""A process as /proc shows it, for saying who did something, and the name by which a process is known for good."""

import base64
import hashlib
import os
import re
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from auditline.workers.common.containers import container_id
from auditline.workers.common.process_stat import PROC, parse_stat, read_stat
from auditline.workers.common.recent import Recent

MOST_PROCESSES = 4096
"""Processes that are remembered, those last seen."""
RECHECK_SECONDS = 0.01
"""So long what was read of a process is taken as it is; then it is looked whether it has executed something else."""
MOST_ARGUMENT_BYTES = 4096
OLD_SECONDS = 10.0
"""A process that has run for so long is older than any hint that is still to be read."""
_GONE = -1
"""FAN_NOPIDFD; -2 is FAN_EPIDFD: there is one, but no descriptor for it. Source: linux/fanotify.h."""
_PIDS_PER_SECOND = 100_000
"""More processes and threads than a kernel can begin."""
_CIRCLE_SECONDS = 10.0
_NOBODY = 0xFFFFFFFF
"""A login uid, or a session, that was never set. Source: kernel/audit.c."""
_EFFECTIVE = re.compile(rb"^[UG]id:\t[0-9]+\t([0-9]+)", re.MULTILINE)
_MOST_BYTES = 8192
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """Who did something, as far as /proc told while the process was there."""

    pid: int
    start_ticks: int = 0
    """When it started, in clock ticks since boot, as in /proc/PID/stat; 0: it was gone already."""
    executable: bytes | None = None
    arguments: tuple[bytes, ...] = ()
    """At most 4 KiB of them."""
    name: bytes = b""
    """`comm`."""
    parent_pid: int = 0
    parent_executable: bytes | None = None
    uid: int | None = None
    """The effective one."""
    gid: int | None = None
    login_uid: int | None = None
    """Who logged in; None: nobody, or unknown."""
    session: int | None = None
    container_id: str = ""
    is_certain: bool = False
    """Nothing here is of another process that had the same pid, nor of a program that it executed later."""


def entity_id(boot_id: str, pid: int, start_ticks: int) -> str:
    """Return the name of a process that no other one has, in this boot or another: 16 characters of base64."""
    digest = hashlib.sha256(f"{boot_id} {pid} {start_ticks}".encode()).digest()
    return base64.b64encode(digest[:12]).decode()


def started_ns(start_ticks: int, boot_ns: int) -> int:
    """Return when a process started, in nanoseconds since 1970; *boot_ns* is when the host did, likewise."""
    return boot_ns + start_ticks * (1_000_000_000 // _TICKS_PER_SECOND)


def boot_ns() -> int:
    """Return when this host was booted, in nanoseconds since 1970, by what its clock says now."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def read_start_ticks(pid: int, proc: Path = PROC) -> int:
    """Return when the process that has this pid now started, in ticks; 0: there is none, or it is hidden from us."""
    stat = read_stat(pid, proc)
    return stat.start_ticks if stat is not None else 0


class PidCircle:
    """How soon a pid may be another process's: the kernel gives all others first. Source: kernel/pid.c, alloc_pid()."""

    def __init__(self, proc: Path = PROC, clock: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc
        self._clock = clock
        self._due = 0.0
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """For so long after it was seen to be a process's own, a pid cannot be another one's."""
        now = self._clock()
        if now >= self._due:
            self._due = now + _CIRCLE_SECONDS
            self._seconds = self._measure()
        return self._seconds

    def _measure(self) -> float:
        try:
            most = int(_slurp(f"{self._proc}/sys/kernel/pid_max"))
            # RUNNING/ALL, threads too. Source: proc(5), /proc/loadavg.
            used = int(_slurp(f"{self._proc}/loadavg").split()[3].partition(b"/")[2])
        except (OSError, ValueError, IndexError):
            return 0.0
        return max(0, most - used) / _PIDS_PER_SECOND


class _Known:
    """A process that was read, and how long that is good."""

    __slots__ = ("process", "seen", "trusted_until")

    def __init__(self, process: Process, seen: float, trusted_until: float) -> None:
        self.process = process
        self.seen = seen
        self.trusted_until = trusted_until


class ProcessCache:
    """Reads each process once, while it is there, and never takes one for another that had the same pid before."""

    def __init__(self, proc: Path = PROC, clock: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc
        self._clock = clock
        self._circle = PidCircle(proc, clock)
        self._known: Recent[int, _Known] = Recent(MOST_PROCESSES)

    @property
    def reuse_seconds(self) -> float:
        """For so long a pid that was seen has not been another process's."""
        return self._circle.seconds

    def see(self, pid: int, pidfd: int | None) -> Process:
        """Return what is known of the process that a record just read names by *pid*.

        *pidfd* is what came with the record: a descriptor of the process, which stays the caller's; -1, if the process
        was gone by then; None, or another negative number, if nothing is known of that. Call it before the descriptor
        is closed.
        """
        if pidfd is not None and pidfd < _GONE:
            pidfd = None
        now = self._clock()
        known = self._known.get(pid)
        if known is not None and now < known.trusted_until:
            return known.process
        if pid <= 0:
            # Somebody outside of our pid namespace.
            return Process(pid)
        if known is not None and pidfd != _GONE and self._is_unchanged(known.process):
            return self._confirm(known, now, is_certain=pidfd is not None)
        found = None if pidfd == _GONE else self._read(pid, pidfd)
        if found is None or (pidfd is None and not self._is_older_than_hints(found, known)):
            return self._remembered(pid, known, now)
        return self._keep(found, known, now)

    def _is_unchanged(self, process: Process) -> bool:
        """Tell whether this very process is still there, and has executed nothing else."""
        stat = read_stat(process.pid, self._proc)
        if stat is None or (stat.name, stat.start_ticks) != (process.name, process.start_ticks):
            return False
        return process.executable == _read_link(f"{self._proc}/{process.pid}/exe")

    def _confirm(self, known: _Known, now: float, *, is_certain: bool) -> Process:
        process = known.process
        if is_certain and not process.is_certain:
            process = process._replace(is_certain=True)
        return self._store(process, now)

    def _keep(self, found: Process, known: _Known | None, now: float) -> Process:
        if known is not None and known.process.start_ticks == found.start_ticks:
            was = known.process
            if found.executable is None and was.executable is not None:
                # It has ended since, and nobody has waited for it yet.
                found = was._replace(is_certain=False)
            elif found.executable != was.executable:
                # Which of the two programs it was cannot be told, until the next look.
                found = found._replace(is_certain=False)
        return self._store(found, now)

    def _store(self, process: Process, now: float) -> Process:
        known = _Known(process, now, now + min(RECHECK_SECONDS, self._circle.seconds / 2))
        self._known.put(process.pid, known)
        return process

    def _remembered(self, pid: int, known: _Known | None, now: float) -> Process:
        """Return what was read of a process that is gone, if no other one can have had its pid since."""
        if known is None or now - known.seen >= self._circle.seconds:
            return Process(pid)
        return known.process._replace(is_certain=False)

    def _is_older_than_hints(self, found: Process, known: _Known | None) -> bool:
        """Tell whether a process that may not be the one meant must be it."""
        if known is not None and known.process.start_ticks == found.start_ticks:
            return True
        age_seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - found.start_ticks / _TICKS_PER_SECOND
        return age_seconds >= OLD_SECONDS

    def _read(self, pid: int, pidfd: int | None) -> Process | None:
        """Read the process that has *pid* now; None: there is none, or it is not that of *pidfd*, or is hidden."""
        try:
            directory = os.open(f"{self._proc}/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            # What is read through the directory is of this process or not at all, also when it ends meanwhile.
            if pidfd is not None and not _is_there(pidfd):
                return None
            process = _read_process(pid, directory, is_certain=pidfd is not None)
        finally:
            os.close(directory)
        return process and process._replace(parent_executable=self._parent_executable(process))

    def _parent_executable(self, process: Process) -> bytes | None:
        parent = process.parent_pid
        executable = _read_link(f"{self._proc}/{parent}/exe") if parent else None
        # A parent is older: a younger one has got the pid since.
        if executable is None or not 0 < read_start_ticks(parent, self._proc) <= process.start_ticks:
            return None
        return executable


def _read_process(pid: int, directory: int, *, is_certain: bool) -> Process | None:
    # First what is gone as soon as it exits; the rest stays until somebody has waited for it.
    executable = _read_link("exe", directory)
    arguments = _try_slurp("cmdline", directory)[:MOST_ARGUMENT_BYTES]
    try:
        name, _, parent_pid, start_ticks = parse_stat(_slurp("stat", directory))
    except (OSError, ValueError, IndexError):
        return None
    ids = [int(number) for number in _EFFECTIVE.findall(_try_slurp("status", directory))]
    return Process(
        pid=pid,
        start_ticks=start_ticks,
        executable=executable,
        arguments=tuple(arguments.removesuffix(b"\0").split(b"\0")) if arguments else (),
        name=name,
        parent_pid=parent_pid,
        uid=ids[0] if ids else None,
        gid=ids[1] if len(ids) > 1 else None,
        login_uid=_number(_try_slurp("loginuid", directory)),
        session=_number(_try_slurp("sessionid", directory)),
        container_id=container_id(_try_slurp("cgroup", directory)),
        is_certain=is_certain,
    )


def _is_there(pidfd: int) -> bool:
    """Tell whether nobody else can have the pid of the process of *pidfd*: it runs, or was not waited for yet."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except OSError:
        return False
    return True


def _number(text: bytes) -> int | None:
    number = int(text) if text.strip().isdigit() else _NOBODY
    return None if number == _NOBODY else number


def _read_link(name: str, directory: int | None = None) -> bytes | None:
    try:
        return os.readlink(os.fsencode(name), dir_fd=directory)
    except OSError:
        return None


def _try_slurp(name: str, directory: int) -> bytes:
    try:
        return _slurp(name, directory)
    except OSError:
        return b""


def _slurp(name: str, directory: int | None = None) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(fd, _MOST_BYTES)
    finally:
        os.close(fd)
