"""The directories of a run: made, given to the service's user, locked against a second instance, cleaned up."""

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from auditline.workers.common.counters import PAGE_SUFFIX
from auditline.workers.common.errors import AuditlineError, BusyError, StorageError
from auditline.workers.common.privileges import Account
from auditline.workers.common.process_stat import read_stat
from auditline.workers.common.segment_names import SEGMENTS_GLOB
from auditline.workers.common.settings import Settings

LOCK_FILE = "lock"
"""In the state and in the run directory; holds the supervisor's pid."""
COUNTERS_DIRECTORY = "counters"
LEAST_ROOM_BYTES = 64 * 1024
"""What must fit into the state directory at the start."""

_PRIVATE_MODE = 0o700
_PASSABLE_MODE = 0o710
_STATE_MODE = 0o750
_PROBE = ".room"
# A control process that outlives its supervisor keeps the lock until it has put the kernel back: normally at once, but
# some kernels need seconds for hundreds of rules.
_PREDECESSOR_SECONDS = 8.0
_PAUSE_SECONDS = 0.02


def make_directories(settings: Settings, account: Account | None) -> None:
    """Make what is missing of the state and the run directory, and give them to *account*.

    Raises:
        StorageError: one cannot be made or used, or belongs to somebody else.
    """
    owner = _owner(account)
    make_kept_directory(settings.state.directory, account)
    with _told(settings.run.directory):
        _make(settings.run.directory, _PRIVATE_MODE)
        # Whoever is in the group of the service's own user may pass, to ask for the status, and do nothing else there.
        mode = _PRIVATE_MODE if account is None else _PASSABLE_MODE
        _make_private(settings.run.directory, {owner[0], os.geteuid()}, mode)
        _make(settings.run.directory / COUNTERS_DIRECTORY, _PRIVATE_MODE)
        _give(settings.run.directory, *owner)


def make_kept_directory(path: Path, account: Account | None) -> None:
    """Make a directory that outlives the run, if it is missing, and give it to *account*.

    Raises:
        StorageError: it cannot be made or used, belongs to somebody else, or all may write to it.
    """
    with _told(path):
        _make(path, _STATE_MODE)
        _check_not_shared(path)
        _give(path, *_owner(account))


def lock_directory(directory: Path, patience_seconds: float = 0.0) -> int:
    """Return a descriptor that holds the lock of *directory* while it is open, in whichever process.

    A dead predecessor's control process is waited for, and, *patience_seconds*, a living predecessor.

    Raises:
        BusyError: another instance runs.
        StorageError: the lock cannot be written: the file system is full or read-only.
    """
    with _told(directory):
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            _take_lock(descriptor, directory, patience_seconds)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except (OSError, AuditlineError):
            os.close(descriptor)
            raise
    return descriptor


def check_room(directory: Path) -> None:
    """Let no run begin that could not note how it found the kernel, nor keep an event; call it under the lock.

    Raises:
        StorageError: the file system is full.
    """
    probe = directory / _PROBE
    with _told(directory):
        probe.unlink(missing_ok=True)
        # Never through a link: the directory may belong to a user with fewer rights than ours.
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, bytes(LEAST_ROOM_BYTES)) < LEAST_ROOM_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
            probe.unlink(missing_ok=True)


def remove_sockets(run_directory: Path) -> None:
    """Remove the sockets of a run that has ended; call it under the lock."""
    _remove(path for path in _entries(run_directory) if _is_socket(path))


def remove_counters(run_directory: Path) -> None:
    """Remove the counter pages of a run that has ended; call it under the lock.

    A run that was killed keeps them, and the next one goes on counting: there may be losses in them that no health
    event has told yet.
    """
    counters = _entries(run_directory / COUNTERS_DIRECTORY)
    _remove(path for path in counters if path.suffix in (PAGE_SUFFIX, ".new"))


def _owner(account: Account | None) -> tuple[int, int]:
    return (account.user_id, account.group_id) if account else (os.geteuid(), os.getegid())


@contextlib.contextmanager
def _told(directory: Path) -> Iterator[None]:
    """Name the directory in what goes wrong there."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{directory} cannot be used: {error.strerror}") from error


def _make(path: Path, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StorageError(f"{path} cannot be made: {path.parent} is not a directory") from error
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode)
    # A symbolic link to a directory is the administrator's way to put it elsewhere; what it must not be is a file.
    if not path.is_dir():
        raise StorageError(f"{path} must be a directory")


def _check_not_shared(path: Path) -> None:
    if path.stat().st_mode & stat.S_IWOTH:
        raise StorageError(f"{path} must not be a directory that all users may write to")


def _make_private(path: Path, owner_ids: set[int], mode: int) -> None:
    """Let nobody else look into the run directory; one that somebody else made, or uses for more, is refused."""
    found = path.lstat()
    # Where others cannot make a directory, another owner was the user of an earlier run.
    is_trusted = found.st_uid in owner_ids or _is_closed_to_others(path.parent)
    if not stat.S_ISDIR(found.st_mode) or not is_trusted:
        raise StorageError(f"{path} must be a directory of uid {os.geteuid()}, not one of uid {found.st_uid}")
    found_mode = stat.S_IMODE(found.st_mode)
    if found_mode == mode:
        return
    foreign = [entry.name for entry in _entries(path) if not _is_ours(entry)]
    if foreign and found_mode not in (_PRIVATE_MODE, _PASSABLE_MODE):
        raise StorageError(
            f"{path} must have mode 0700 or be empty, but others may enter it and it holds {foreign[0]!r}"
        )
    path.chmod(mode)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _is_ours(path: Path) -> bool:
    return path.name in (LOCK_FILE, COUNTERS_DIRECTORY) or _is_socket(path)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []


def _is_closed_to_others(directory: Path) -> bool:
    found = directory.stat()
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _give(directory: Path, user_id: int, group_id: int) -> None:
    """Make a user the owner of the directory and of all in it, if it is not: earlier runs may have been another's."""
    found_id = directory.stat().st_uid
    if found_id == user_id or os.geteuid() != 0:
        return
    if not _is_of_a_run(directory):
        raise StorageError(
            f"{directory} belongs to uid {found_id} and holds what is not auditline's: name a directory of its own, or"
            f" give this one to uid {user_id}"
        )
    try:
        # From the leaves: that the directory itself is theirs says that all in it is.
        for _, _, names, descriptor in os.fwalk(directory, topdown=False):
            for name in (*names, "."):
                _give_entry(name, descriptor, user_id, group_id)
    except PermissionError as error:
        raise StorageError(f"{directory} belongs to uid {found_id} and cannot be given to uid {user_id}") from error


def _is_of_a_run(directory: Path) -> bool:
    names = {path.name for path in _entries(directory)}
    return LOCK_FILE in names or any(directory.glob(SEGMENTS_GLOB)) or names <= {COUNTERS_DIRECTORY, "lost+found"}


def _give_entry(name: str, descriptor: int, user_id: int, group_id: int) -> None:
    found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    # A second name of a file may have been put here by whoever wants to own it.
    if stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1):
        os.chown(name, user_id, group_id, dir_fd=descriptor, follow_symlinks=False)


def _take_lock(descriptor: int, directory: Path, patience_seconds: float) -> None:
    start = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise
        else:
            return
        holder = os.pread(descriptor, 20, 0).strip().decode(errors="replace")
        is_dead = holder.isdecimal() and not _is_running(int(holder))
        if time.monotonic() > start + max(patience_seconds, _PREDECESSOR_SECONDS if is_dead else 0.0):
            raise BusyError(f"{directory} is in use by another instance of auditline, pid {holder or 'unknown'}")
        time.sleep(_PAUSE_SECONDS)


def _is_running(pid: int) -> bool:
    process = read_stat(pid)
    return process is not None and not process.has_ended
