"""What the workers can reach once they are without privileges: their own code, and the directories of the run."""

import errno
import os
import signal
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from auditline.workers.common.errors import StorageError
from auditline.workers.common.privileges import Account, Capability, PrivilegeError, lower_privileges

PACKAGE_FOLDER = Path(__file__).parent.parent
_PROBE = "reach.py"
_NO_ERRNO = 255


def capabilities_to_read(
    account: Account | None, folder: Path = PACKAGE_FOLDER / "supervisor"
) -> frozenset[Capability]:
    """Return what workers must keep to go on importing: nothing, unless *folder* is in somebody's private home.

    Workers import in their own process and read tables when they first need them, as *account* or as root without
    its capabilities: to that root a folder of mode 0700 of another user is closed.
    """
    is_closed = _try_as_worker(account, lambda: os.close(os.open(folder / _PROBE, os.O_RDONLY)))
    return frozenset({Capability.DAC_READ_SEARCH}) if is_closed else frozenset()


def refuse_unreachable(directories: Iterable[Path], account: Account | None) -> None:
    """Let no run begin whose workers cannot write to *directories*, most likely because a parent is closed to them.

    Raises:
        StorageError: names the first such directory.
    """
    for directory in directories:
        code = _try_as_worker(account, partial(_check_writable, directory))
        if code:
            user = account.name if account else f"uid {os.geteuid()} without capabilities"
            reason = os.strerror(code) if code != _NO_ERRNO else "the rights of a worker cannot be taken"
            raise StorageError(f"{directory} must be a directory that the workers, as {user}, can write to: {reason}")


def _check_writable(directory: Path) -> None:
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, "")
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "")


def _try_as_worker(account: Account | None, attempt: Callable[[], None]) -> int:
    """Return the errno with which *attempt* fails with a worker's rights, 0 when it does not.

    In a child: what modes, lists and mounts allow, the kernel alone knows.
    """
    parent_pid, pid = os.getpid(), os.fork()
    if pid == 0:
        code = _NO_ERRNO
        try:
            lower_privileges((), account=account, death_signal=signal.SIGKILL, parent_pid=parent_pid)
            attempt()
            code = 0
        except OSError as error:
            code = error.errno or _NO_ERRNO
        except PrivilegeError:
            pass
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
