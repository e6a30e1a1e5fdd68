"""Numbers of the record types that the router treats in a way of their own.

Source: include/uapi/linux/audit.h; tests compare them with the generated table.
"""

USER = 1005
LOGIN = 1006
USER_FIRST, USER_LAST = 1100, 1299
USER_FIRST2 = 2100
DAEMON_START = 1200
USER_TTY = 1124

SYSCALL = 1300
PATH = 1302
IPC = 1303
SOCKETCALL = 1304
CONFIG_CHANGE = 1305
SOCKADDR = 1306
CWD = 1307
EXECVE = 1309
IPC_SET_PERM = 1311
MQ_OPEN = 1312
MQ_SENDRECV = 1313
MQ_NOTIFY = 1314
MQ_GETSETATTR = 1315
KERNEL_OTHER = 1316
FD_PAIR = 1317
OBJ_PID = 1318
TTY = 1319
EOE = 1320
BPRM_FCAPS = 1321
CAPSET = 1322
MMAP = 1323
SECCOMP = 1326
PROCTITLE = 1327
KERN_MODULE = 1330
TIME_INJOFFSET = 1332
TIME_ADJNTPVAL = 1333
URINGOP = 1336
OPENAT2 = 1337
AVC = 1400
IPE_ACCESS = 1420
LANDLOCK_ACCESS = 1423
MAC_TASK_CONTEXTS = 1425
MAC_OBJ_CONTEXTS = 1426
ANOM_ABEND = 1701

AUXILIARY = frozenset(
    {
        PATH, IPC, SOCKETCALL, SOCKADDR, CWD, EXECVE, IPC_SET_PERM, MQ_OPEN, MQ_SENDRECV, MQ_NOTIFY, MQ_GETSETATTR,
        KERNEL_OTHER, FD_PAIR, OBJ_PID, EOE, BPRM_FCAPS, CAPSET, MMAP, PROCTITLE, KERN_MODULE, TIME_INJOFFSET,
        TIME_ADJNTPVAL, OPENAT2, MAC_TASK_CONTEXTS, MAC_OBJ_CONTEXTS,
    }
)  # fmt: skip
"""What the kernel adds to a SYSCALL when it ends (kernel/auditsc.c, audit_log_exit()): never names the event."""

OF_SYSTEM_CALLS = AUXILIARY | {SYSCALL}
"""All that the kernel writes at the end of a system call, in forms that nobody else has a say in."""


CHANGES_OF_TIME = frozenset({TIME_INJOFFSET, TIME_ADJNTPVAL})
"""Linux before 5.18 wrote them before the SYSCALL, and where no rule asked for one: then they name the event."""


def is_complete_alone(record_type: int) -> bool:
    """True for what user space sends, one record an event: 1100-1299 and from 2100 on."""
    return USER_FIRST <= record_type <= USER_LAST or record_type >= USER_FIRST2


def is_from_daemon(record_type: int) -> bool:
    """True for what auditd says of itself, with serials of its own: 1200-1299."""
    return DAEMON_START <= record_type <= USER_LAST


def is_from_user_space(record_type: int) -> bool:
    """True for what a process sent, with text of its own choice; also for types that no table knows (negative)."""
    return is_complete_alone(record_type) or record_type == USER or record_type < 0
