"""Makes the kernel take many rules out quickly.

Newer kernels wait for a grace period of RCU in every deletion (kernel/auditfilter.c, audit_del_rule(); older ones do
not), and no other audit request is answered meanwhile. Measured on 6.18 with HZ=250: 12.6 ms for a rule of whatever
kind, so 3.8 s for 300. Nothing that a process can do for itself helps, for 120 rules: one datagram 1.74 s, four sockets
at once 1.62 s, eight sockets with a datagram for each rule 1.67 s, `enabled=0` before 1.84 s, both processors kept busy
1.78 s. With /sys/kernel/rcu_expedited on it took 0.04 s.

That is a setting of the whole host: it costs other processors an interrupt per deletion. A host where that matters has
rcu_normal on, which overrules it. It is on for no longer than the deletions take, a tenth of a second, and the note
says how it was found, should we be killed meanwhile.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from auditline.workers.common.errors import StorageError

RCU_EXPEDITED = Path("/sys/kernel/rcu_expedited")
"""Source: kernel/ksysfs.c, rcu_expedited_store()."""
MANY_RULES = 40
"""So many take half a second without it."""

_OFF, _ON = "0", "1"
_log = logging.getLogger(__name__)


@contextmanager
def quick_deletions(remember: Callable[[str], None]) -> Iterator[None]:
    """Let deletions be quick meanwhile, if that is possible here; *remember* stores what `put_back` needs."""
    if _read() != _OFF:
        yield
        return
    try:
        remember(_OFF)
        RCU_EXPEDITED.write_text(_ON)
    except (OSError, StorageError):
        # Another user than root, a sandbox that keeps /sys read-only, or a full disk: then it takes longer.
        yield
        return
    try:
        yield
    finally:
        put_back(_OFF)


def put_back(found: str) -> None:
    """Give the setting the value that it had."""
    if _read() == found:
        return
    try:
        RCU_EXPEDITED.write_text(found)
    except OSError as error:
        _log.warning("%s cannot be set to %s again: %s", RCU_EXPEDITED, found, error.strerror)


def _read() -> str | None:
    try:
        return RCU_EXPEDITED.read_text().strip()
    except OSError:
        return None
