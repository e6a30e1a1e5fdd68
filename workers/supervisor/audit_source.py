"""Opens the kernel's audit socket in the way that is configured, or that is possible here."""

import errno
import logging
from dataclasses import dataclass

from auditline.workers.audit.netlink import DEFAULT_RECEIVE_BUFFER_BYTES, DataSocket, open_data_socket
from auditline.workers.common.errors import BusyError, KernelError
from auditline.workers.common.privileges import Capability, held_capabilities
from auditline.workers.common.settings import AuditSettings
from auditline.workers.control.kernel import LOCKED, AuditControl, claim_pid, release_pid
from auditline.workers.control.refusals import explain

_RESUMING = "the audit configuration is locked until the next boot: going on with the rules that are loaded"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AuditSource:
    """The data socket, which the supervisor keeps open and never reads, and what there is to say about it."""

    data: DataSocket
    notices: tuple[str, ...]

    @property
    def is_multicast(self) -> bool:
        """Whether we listen beside the kernel's audit daemon instead of being it."""
        return self.data.is_multicast

    @property
    def fd(self) -> int:
        """The socket's descriptor."""
        return self.data.socket.fileno()

    def close(self) -> None:
        """Unregister, if we are registered, and close the socket."""
        if not self.is_multicast:
            try:
                release_pid()
            except KernelError as error:
                # The kernel notices by itself, with the next record that it cannot deliver.
                logger.warning("%s", error)
        self.data.socket.close()


def open_audit_source(settings: AuditSettings) -> AuditSource:
    """Open the socket as *settings* want it and be the kernel's audit daemon, or listen beside it.

    Raises:
        BusyError: unicast is asked for by name and another daemon is registered.
        KernelError: the kernel permits neither, or is locked and has not the rules that are asked for.
    """
    wanted = settings.socket
    if wanted == "multicast":
        return _described(open_data_socket(multicast=True), _multicast_notices(settings))
    if _is_locked():
        refusal = refuse_locked(settings)
        if refusal is not None and wanted == "unicast":
            raise refusal
        return _described(_open_unicast(), (_RESUMING,)) if refusal is None else _open_second_best(refusal)
    try:
        return _described(_open_unicast(), ())
    except KernelError as refusal:
        if wanted == "auto":
            return _open_second_best(refusal)
        if refusal.errno == errno.EEXIST:
            raise BusyError(f'{refusal}; stop it, or set audit.socket to "auto" to listen beside it') from refusal
        raise


def refuse_locked(settings: AuditSettings) -> KernelError | None:
    """Return why we are not the audit daemon of a locked kernel; None: we are, and leave its rules and status alone."""
    if settings.immutable or not (settings.rules or settings.rules_files):
        return None
    text = (
        f"{explain(0, errno.EPERM, is_locked=True)}, so the configured rules cannot be loaded; set audit.immutable to"
        " go on with those that are loaded"
    )
    return KernelError("load audit rules", errno.EPERM, text)


def _multicast_notices(settings: AuditSettings) -> tuple[str, ...]:
    return ("audit.immutable has no effect with multicast: only the audit daemon locks",) if settings.immutable else ()


def _is_locked() -> bool:
    try:
        with AuditControl() as control:
            return control.status().enabled == LOCKED
    except KernelError:
        # Opening the socket will tell.
        return False


def _open_unicast() -> DataSocket:
    data = open_data_socket(multicast=False)
    try:
        claim_pid(data.socket)
    except BaseException:
        data.socket.close()
        raise
    return data


def _open_second_best(refusal: KernelError) -> AuditSource:
    try:
        data = open_data_socket(multicast=True)
    except KernelError as error:
        text = f"{refusal}; and listening beside an audit daemon needs CAP_AUDIT_READ"
        raise KernelError("kernel audit events cannot be read", error.errno, text) from error
    return _described(data, (_explain_listening(refusal),))


def _explain_listening(refusal: KernelError) -> str:
    doing = "listening by multicast, where overload loses records, and leaving the rules alone"
    if refusal.errno == errno.EEXIST:
        remedy = "stop it (such as systemctl stop auditd) to let auditline load its own rules"
        return f"{_describe_holder()} owns the kernel's audit: {doing}; {remedy}"
    return f"{refusal}; {doing}"


def _describe_holder() -> str:
    try:
        with AuditControl() as control:
            pid = control.status().pid
    except KernelError:
        return "another audit daemon"
    return f"another audit daemon ({_name_of(pid)}, pid {pid})" if pid else "another audit daemon"


def _name_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="backslashreplace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return "in another namespace"


def _described(data: DataSocket, notices: tuple[str, ...]) -> AuditSource:
    granted, wanted = data.receive_buffer_bytes, DEFAULT_RECEIVE_BUFFER_BYTES
    if granted >= wanted:
        return AuditSource(data, notices)
    cause = "net.core.rmem_max is less" if Capability.NET_ADMIN in held_capabilities() else "CAP_NET_ADMIN is missing"
    small = (
        f"the kernel's socket got a buffer of {granted} instead of {wanted} bytes, because {cause}:"
        " bursts of events may be lost; grant the capability or raise net.core.rmem_max"
    )
    return AuditSource(data, (*notices, small))
