"""Whether the workers can read their own code once they are without privileges."""

import os
import signal
from pathlib import Path

from auditline.workers.common.privileges import Account, Capability, PrivilegeError, lower_privileges

PACKAGE_FOLDER = Path(__file__).parent.parent
_PROBE = "reach.py"


def capabilities_to_read(
    account: Account | None, folder: Path = PACKAGE_FOLDER / "supervisor"
) -> frozenset[Capability]:
    """Return what workers must keep to go on importing: nothing, unless *folder* is in somebody's private home.

    Workers import in their own process and read tables when they first need them, as *account* or as root without
    its capabilities: to that root a folder of mode 0700 of another user is closed.
    """
    return frozenset() if _can_read(folder / _PROBE, account) else frozenset({Capability.DAC_READ_SEARCH})


def _can_read(file: Path, account: Account | None) -> bool:
    """Try it in a child with a worker's rights: what modes, lists and mounts allow, the kernel alone knows."""
    parent_pid, pid = os.getpid(), os.fork()
    if pid == 0:
        code = 1
        try:
            lower_privileges((), account=account, death_signal=signal.SIGKILL, parent_pid=parent_pid)
            os.close(os.open(file, os.O_RDONLY))
            code = 0
        except (OSError, PrivilegeError):
            pass
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
