"""How a baseline's database is opened: the one that is there if it can be used, or else a new one."""

import logging
import os
import secrets
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path

from auditline.workers.common.errors import BusyError, StorageError
from auditline.workers.common.host import boot_id
from auditline.workers.common.text import make_safe
from auditline.workers.fim.aside import put_aside
from auditline.workers.fim.claim import Claim
from auditline.workers.fim.database import PRIMARY_CODE, SQLITE_ERRORS, connect, is_damage, let_write
from auditline.workers.fim.schema import Meta, Unusable, check_database, make_database, read_meta

logger = logging.getLogger(__name__)


def open_or_make(path: Path, root: bytes, claim: Claim) -> tuple[sqlite3.Connection, Meta]:
    """Open the database at *path*, of what lies beneath *root*; one that cannot be used is put aside before.

    Raises:
        BusyError: another program holds a lock on it.
        StorageError: it cannot be opened or made.
    """
    try:
        reason = claim.damage
        if not reason:
            try:
                return _open_found(path, root)
            except FileNotFoundError:
                reason = "has been deleted" if claim.epoch else ""
            except Unusable as error:
                reason = make_safe(str(error))
            # First, so that the reason is known also if there is no room for a new one now.
            claim.tell_damage(reason)
        return _replace(path, root, reason, claim)
    except sqlite3.Error as error:
        if error.sqlite_errorcode & PRIMARY_CODE == sqlite3.SQLITE_BUSY:
            raise BusyError(f"baseline {path} is locked by another program") from error
        raise StorageError(f"baseline {path}: cannot be opened: {error}") from error
    except OSError as error:
        raise StorageError(f"baseline {path}: cannot be opened: {error.strerror}") from error


def _open_found(path: Path, root: bytes) -> tuple[sqlite3.Connection, Meta]:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise Unusable("is no regular file")
    try:
        connection = connect(path)
        try:
            check_database(connection)
            meta = read_meta(connection)
            _check_meta(meta, root)
            _check_numbers(connection, meta)
            let_write(connection)
        except BaseException:
            connection.close()
            raise
    except SQLITE_ERRORS as error:
        if is_damage(error):
            raise Unusable(f"is damaged: {error}") from error
        raise
    return connection, meta


def _replace(path: Path, root: bytes, reason: str, claim: Claim) -> tuple[sqlite3.Connection, Meta]:
    """Make a new database; put aside what is there, for *reason*."""
    if reason:
        logger.error("baseline %s %s; a new one is made", path, reason)
    if os.path.lexists(path):
        put_aside(path)
    for companion in ("-wal", "-shm", "-journal"):
        # Left by a kill in the middle of putting aside; sqlite would take them for the new database's.
        with suppress(FileNotFoundError):
            os.unlink(f"{path}{companion}")
    meta: Meta = {
        "root": root,
        "epoch": secrets.token_hex(8),
        "boot": boot_id(),
        "walked": 0,
        "rebuilt": reason,
        "done_number": 0,
        "done_entry": 0,
        "done_state": b"",
        "transactions": 0,
    }
    make_database(path, meta)
    claim.begin(str(meta["epoch"]))
    connection = connect(path)
    let_write(connection)
    return connection, meta


def _check_meta(meta: Meta, root: bytes) -> None:
    for name, kind in _META_TYPES.items():
        if type(meta.get(name)) is not kind:
            raise Unusable(f"is damaged: {name} is {meta.get(name)!r}")
    if meta["root"] != root:
        raise Unusable(f"belongs to {meta['root']!r}, not to {root!r}")


_META_TYPES = {
    "root": bytes,
    "epoch": str,
    "boot": str,
    "walked": int,
    "rebuilt": str,
    "done_number": int,
    "done_entry": int,
    "done_state": bytes,
    "transactions": int,
}


def _check_numbers(connection: sqlite3.Connection, meta: Meta) -> None:
    """Look whether the outbox holds all batches from the one behind the last that is done to the last one."""
    [(count, first, last)] = connection.execute("SELECT count(*), min(id), max(id) FROM outbox")
    given = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone() or (0,)
    done = int(meta["done_number"])
    if (first or done + 1, last or done, given[0]) != (done + 1, done + count, done + count):
        raise Unusable(f"is damaged: {done} batches are done, {count} kept, from {first} to {last} of {given[0]}")
    last_entry = int(meta["done_entry"])
    for number, entry in connection.execute("SELECT id, last_entry FROM outbox ORDER BY id"):
        if not isinstance(entry, int) or entry <= last_entry:
            raise Unusable(f"is damaged: batch {number} ends with entry {entry}, the one before with {last_entry}")
        last_entry = entry
