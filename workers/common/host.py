"""Which host this is: its id, its name and the id of its present boot."""

import hashlib
import os
from pathlib import Path

from auditline.workers.common.errors import StorageError

MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
OWN_ID_FILE = "host-id"
"""Made once in the state directory of a host that has no machine id."""

_ID_DIGITS = 16


def host_id(state_directory: Path | None) -> str:
    """Return this host's 16 hex digits: of its machine id, or of an id that is made once in *state_directory*.

    Without either, those of its name.

    Raises:
        StorageError: the id that was made once cannot be read or written.
    """
    for path in MACHINE_ID_FILES:
        machine_id = _read_text(path)
        # systemd's word for an image that has not had its first boot, machine-id(5).
        if machine_id and machine_id != "uninitialized":
            return host_id_of(machine_id)
    if state_directory is None:
        return host_id_of(host_name())
    return _own_id(state_directory / OWN_ID_FILE)


def host_id_of(name: str) -> str:
    """Return the 16 hex digits that stand for a node's *name* (or a machine id)."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_ID_DIGITS]


def host_name() -> str:
    """Return the name that the kernel knows this host by."""
    return os.uname().nodename


def boot_id() -> str:
    """Return the random id of the present boot; "" where the kernel tells none."""
    return _read_text(BOOT_ID_FILE) or ""


def _own_id(path: Path) -> str:
    known = _read_text(path)
    if known is None:
        return _make_own_id(path)
    if len(known) != _ID_DIGITS or not set(known) <= set("0123456789abcdef"):
        raise StorageError(f"{path} must hold {_ID_DIGITS} hex digits, not {known[:40]!r}")
    return known


def _make_own_id(path: Path) -> str:
    """Make the id in a file of its own first, so that nobody ever reads half of it."""
    new_path = path.with_suffix(f".{os.getpid()}")
    made = os.urandom(_ID_DIGITS // 2).hex()
    try:
        new_path.write_text(f"{made}\n")
        try:
            os.link(new_path, path)
        except FileExistsError:
            return _own_id(path)
        finally:
            new_path.unlink()
    except OSError as error:
        raise StorageError(f"{path}: the host's id cannot be written: {error.strerror}") from error
    return made


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
