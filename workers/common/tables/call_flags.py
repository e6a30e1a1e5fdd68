"""Which names of flags, modes and commands call_flags.tsv holds, and where each set of them comes from."""

import re
from dataclasses import dataclass, field

TIMED_OPTIONS = ("SO_RCVTIMEO", "SO_SNDTIMEO", "SO_TIMESTAMP", "SO_TIMESTAMPNS", "SO_TIMESTAMPING")
"""Their macros depend on the size of time_t; the numbers that nearly all programs use have names that end in _OLD."""

MASK_TYPE, MASK_ALL = 0xF, 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSet:
    """Names of one parameter's values: macros or enumerators of the headers that match *names*."""

    name: str
    headers: tuple[str, ...]
    names: str
    """Regular expression for whole names."""
    without: str = ""
    """Regular expression for those that are masks, bounds or other spellings."""
    masks: dict[str, int] = field(default_factory=dict)
    """Names (regular expression) that are one value of several bits, and these bits."""
    expression: str = "{}"
    """What the call has of a name: `QCMD({}, 0)`."""
    enumeration: str = ""
    """Take only the members of this enumeration."""
    is_from_library: bool = False
    """Defined by the C library alone: the kernel has the same numbers on all architectures that we know."""
    has_newer: bool = True
    """Later kernels' names are taken from Go's module."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Names that callers write otherwise than the headers."""

    def has(self, name: str) -> bool:
        """Return whether a macro or enumerator is one of the names."""
        return bool(re.fullmatch(self.names, name)) and not (self.without and re.fullmatch(self.without, name))

    def mask(self, name: str) -> int | None:
        """Return the bits of which a name is one value; None: it is its bits."""
        return next((mask for names, mask in self.masks.items() if re.fullmatch(names, name)), None)

    def spelling(self, name: str) -> str:
        """Return the name that callers write."""
        return self.renamed.get(name, name)


def library(name: str, header: str, names: str, without: str = "", masks: dict[str, int] | None = None) -> FlagSet:
    """Return a set of the C library's."""
    return FlagSet(
        name=name, headers=(header,), names=names, without=without, masks=masks or {}, is_from_library=True,
        has_newer=False,
    )  # fmt: skip


def kernel(name: str, header: str, names: str, without: str = "", masks: dict[str, int] | None = None) -> FlagSet:
    """Return a set of the kernel's, with the names of later ones."""
    return FlagSet(name=name, headers=(header,), names=names, without=without, masks=masks or {})


def exactly(name: str, header: str, names: str, masks: dict[str, int] | None = None) -> FlagSet:
    """Return a set of the kernel's in which later names would be something else."""
    return FlagSet(name=name, headers=(header,), names=names, masks=masks or {}, has_newer=False)


FILES = (
    FlagSet(
        name="open", headers=("linux/fcntl.h",), names=r"O_\w+|FASYNC", without="O_NDELAY|O_ACCMODE|O_TMPFILE_MASK",
        masks={"O_RDONLY|O_WRONLY|O_RDWR": 3}, has_newer=False, renamed={"FASYNC": "O_ASYNC"},
    ),
    exactly("delete_module", "linux/fcntl.h", "O_NONBLOCK|O_TRUNC"),
    exactly("descriptor", "linux/fcntl.h", "O_NONBLOCK|O_CLOEXEC|O_DIRECT"),
    kernel("resolve", "linux/openat2.h", r"RESOLVE_\w+"),
    exactly("at", "linux/fcntl.h", r"AT_(SYMLINK_NOFOLLOW|SYMLINK_FOLLOW|NO_AUTOMOUNT|EMPTY_PATH|RECURSIVE)"),
    exactly(
        "at_stat", "linux/fcntl.h", r"AT_(SYMLINK_NOFOLLOW|NO_AUTOMOUNT|EMPTY_PATH|STATX_FORCE_SYNC|STATX_DONT_SYNC)"
    ),
    exactly("at_unlink", "linux/fcntl.h", "AT_REMOVEDIR"),
    exactly("at_access", "linux/fcntl.h", "AT_(EACCESS|SYMLINK_NOFOLLOW|EMPTY_PATH)"),
    library("access", "unistd.h", "[FRWX]_OK", masks={"F_OK": MASK_ALL}),
    exactly("file_mode", "linux/stat.h", r"S_IF(?!MT)\w+", masks={r"S_IF\w+": 0o170000}),
    kernel("rename", "linux/fs.h", r"RENAME_\w+"),
    kernel("fallocate", "linux/falloc.h", r"FALLOC_FL_\w+", "FALLOC_FL_ALLOCATE_RANGE"),
    exactly("flock", "asm/fcntl.h", "LOCK_(SH|EX|NB|UN)"),
    kernel(
        "fcntl", "linux/fcntl.h", r"F_\w+",
        r"F_(RDLCK|WRLCK|UNLCK|EXLCK|SHLCK|OWNER_\w+|SEAL_\w+|LINUX_SPECIFIC_BASE|OK|LOCK|T?LOCK|TEST|ULOCK)",
    ),
    exactly("lease", "linux/fcntl.h", "F_(RDLCK|WRLCK|UNLCK)"),
    kernel("seal", "linux/fcntl.h", r"F_SEAL_\w+"),
    exactly("fd", "linux/fcntl.h", "FD_CLOEXEC"),
    exactly("notify", "linux/fcntl.h", r"DN_\w+"),
    kernel(
        "inotify", "linux/inotify.h", r"IN_\w+",
        r"IN_(CLOSE|MOVE|ALL_EVENTS|CLOEXEC|NONBLOCK|LOOPBACK|CLASS\w+|IGNORED|Q_OVERFLOW|UNMOUNT)",
    ),
    kernel(
        "fanotify_init", "linux/fanotify.h", r"FAN_(CLOEXEC|NONBLOCK|CLASS_\w+|UNLIMITED_\w+|ENABLE_AUDIT|REPORT_\w+)",
        "FAN_REPORT_(DFID_NAME|DFID_NAME_TARGET)", {r"FAN_CLASS_\w+": 0xC},
    ),
    kernel("fanotify_flags", "linux/fanotify.h", r"FAN_MARK_\w+", "FAN_MARK_(INODE|IGNORE_SURV)"),
    kernel(
        "fanotify_mask", "linux/fanotify.h",
        r"FAN_(ACCESS|MODIFY|ATTRIB|CLOSE_\w+|OPEN|OPEN_\w+|MOVED_\w+|CREATE|DELETE|DELETE_SELF|MOVE_SELF|RENAME"
        r"|FS_ERROR|ACCESS_PERM|EVENT_ON_CHILD|ONDIR|PRE_ACCESS|MNT_ATTACH|MNT_DETACH)",
    ),
    kernel("memfd", "linux/memfd.h", r"MFD_\w+", r"MFD_HUGE_(MASK|SHIFT)", {r"MFD_HUGE_\w+": 0xFC000000}),
)  # fmt: skip

MEMORY = (
    FlagSet(
        name="protection", headers=("linux/mman.h",), names=r"PROT_\w+", masks={"PROT_NONE": MASK_ALL},
        has_newer=False,
    ),
    FlagSet(
        name="mmap", headers=("linux/mman.h",), names=r"MAP_\w+", without="MAP_(TYPE|FILE|RENAME|HUGE_MASK|HUGE_SHIFT)",
        masks={"MAP_(SHARED|PRIVATE|SHARED_VALIDATE|DROPPABLE)": MASK_TYPE, r"MAP_HUGE_\w+": 0xFC000000},
        has_newer=False,
    ),
    kernel("mremap", "linux/mman.h", r"MREMAP_\w+"),
    exactly("mlockall", "linux/mman.h", r"MCL_\w+"),
    exactly("mlock2", "linux/mman.h", r"MLOCK_\w+"),
    kernel("advice", "linux/mman.h", r"MADV_\w+"),
    FlagSet(
        name="userfaultfd",
        headers=("linux/fcntl.h", "linux/userfaultfd.h"),
        names="O_NONBLOCK|O_CLOEXEC|UFFD_USER_MODE_ONLY",
        has_newer=False,
    ),
)  # fmt: skip

PROCESSES = (
    exactly("clone", "linux/sched.h", r"CLONE_(?!NEWTIME|CLEAR_SIGHAND|INTO_CGROUP)\w+"),
    exactly("namespace", "linux/sched.h", r"CLONE_(NEW\w+|VM|FS|FILES|SIGHAND|THREAD|SYSVSEM)"),
    kernel(
        "ptrace", "linux/ptrace.h", r"PTRACE_\w+",
        r"PTRACE_(O_\w+|EVENT_\w+|EVENTMSG_\w+|PEEKSIGINFO_SHARED|SYSCALL_INFO_\w+|SEIZE_DEVEL|GETFDPIC_\w+|PROT)",
    ),
    kernel("ptrace_options", "linux/ptrace.h", r"PTRACE_O_\w+", "PTRACE_O_MASK"),
    kernel(
        "prctl", "linux/prctl.h", r"PR_\w+",
        r"PR_(SET_MM_\w+|(FP|TSC|ENDIAN|TIMING|UNALIGN|FPEMU|SPEC|SYS_DISPATCH|MTE|TAGGED|PAC_AP\w*|FP_MODE)_\w+"
        r"|PAC_AP\w+KEY|MCE_KILL_(?!GET)\w+|CAP_AMBIENT_\w+|S[VM]E_(VL|SET_VL)_\w+|SET_PTRACER_ANY"
        r"|SCHED_CORE_\w+|SET_VMA_\w+|MDWE_\w+|RISCV_(V_VSTATE|CTX|SCOPE)_\w+|PPC_DEXCR_\w+|RSEQ_\w+|FUTEX_HASH_\w+"
        r"|THP_\w+|PMLEN_\w+|SHADOW_STACK_\w+|TIMER_CREATE_\w+|CFI_\w+|SPEC_\w+|RISCV_V_\w*VSTATE_\w+)",
    ),
    exactly("prctl_mm", "linux/prctl.h", r"PR_SET_MM_\w+"),
    exactly("prctl_ambient", "linux/prctl.h", r"PR_CAP_AMBIENT_\w+"),
    exactly("prctl_speculation", "linux/prctl.h", "PR_SPEC_(STORE_BYPASS|INDIRECT_BRANCH|L1D_FLUSH)"),
    exactly("prctl_tsc", "linux/prctl.h", r"PR_TSC_\w+"),
    kernel("prctl_mdwe", "linux/prctl.h", r"PR_MDWE_\w+"),
    kernel("securebits", "linux/securebits.h", r"SECBIT_\w+"),
    exactly("seccomp_mode", "linux/seccomp.h", r"SECCOMP_MODE_\w+"),
    kernel("seccomp", "linux/seccomp.h", r"SECCOMP_(SET_MODE_\w+|GET_\w+)"),
    kernel("seccomp_flags", "linux/seccomp.h", r"SECCOMP_FILTER_FLAG_\w+"),
    kernel("capability", "linux/capability.h", r"CAP_\w+", "CAP_LAST_CAP"),
    exactly(
        "personality", "linux/personality.h",
        "UNAME26|ADDR_NO_RANDOMIZE|FDPIC_FUNCPTRS|MMAP_PAGE_ZERO|ADDR_COMPAT_LAYOUT|READ_IMPLIES_EXEC|ADDR_LIMIT_32BIT"
        "|SHORT_INODE|WHOLE_SECONDS|STICKY_TIMEOUTS|ADDR_LIMIT_3GB|PER_(LINUX|LINUX32|BSD|HPUX)",
        {r"PER_\w+": 0xFF},
    ),
    FlagSet(
        name="scheduler", headers=("linux/sched.h",), has_newer=False, renamed={"SCHED_NORMAL": "SCHED_OTHER"},
        names="SCHED_(NORMAL|FIFO|RR|BATCH|IDLE|DEADLINE|EXT|RESET_ON_FORK)",
        masks={"SCHED_(?!RESET_ON_FORK).*": 0x3FFFFFFF},
    ),
    exactly("priority", "linux/resource.h", "PRIO_(PROCESS|PGRP|USER)"),
    exactly("resource", "asm/resource.h", r"RLIMIT_\w+"),
    exactly("io_priority", "linux/ioprio.h", r"IOPRIO_WHO_\w+"),
    kernel("pidfd_open", "linux/pidfd.h", r"PIDFD_(NONBLOCK|THREAD)"),
    kernel("pidfd_signal", "linux/pidfd.h", r"PIDFD_SIGNAL_\w+"),
    exactly("clock", "linux/time.h", r"CLOCK_(?!DEFAULT|EXT|INT|TXINT|TXFROMRX)\w+"),
)  # fmt: skip

SOCKETS = (
    library("family", "sys/socket.h", r"AF_\w+", "AF_(MAX|LOCAL|FILE|ROUTE)"),
    library(
        "socket_type", "sys/socket.h", r"SOCK_\w+", masks={"SOCK_(?!CLOEXEC|NONBLOCK).*": MASK_TYPE}
    ),
    library("socket_flags", "sys/socket.h", "SOCK_(CLOEXEC|NONBLOCK)"),
    FlagSet(
        name="protocol", headers=("linux/in.h", "linux/in6.h"), names=r"IPPROTO_(?!MAX|HOPOPTS)\w+", has_newer=False,
    ),
    exactly("netlink", "linux/netlink.h", r"NETLINK_(ROUTE|USERSOCK|FIREWALL|SOCK_DIAG|NFLOG|XFRM|SELINUX|ISCSI|AUDIT"
            r"|FIB_LOOKUP|CONNECTOR|NETFILTER|IP6_FW|DNRTMSG|KOBJECT_UEVENT|GENERIC|SCSITRANSPORT|ECRYPTFS|RDMA|CRYPTO"
            r"|SMC)"),
    library("message", "sys/socket.h", r"MSG_\w+", "MSG_TRYHARD"),
    library("shutdown", "sys/socket.h", "SHUT_(RD|WR|RDWR)"),
    FlagSet(
        name="socket_level",
        headers=(
            "sys/socket.h", "netinet/in.h", "netinet/tcp.h", "netinet/udp.h", "linux/vm_sockets.h",
            "linux/can/raw.h", "linux/can/isotp.h", "linux/can/j1939.h",
        ),
        names=r"SOL_\w+", without="SOL_CAN_BASE", is_from_library=True, has_newer=False,
    ),
    FlagSet(
        name="socket_option", headers=("asm/socket.h",), names=r"SO_\w+",
        without="SO_(GET_FILTER|DETACH_BPF|RCVTIMEO|SNDTIMEO|TIMESTAMP|TIMESTAMPNS|TIMESTAMPING)", has_newer=False,
        renamed={f"{name}_OLD": name for name in TIMED_OPTIONS},
    ),
    exactly("ip_option", "linux/in.h", r"IP_(?!DEFAULT|MAX|PMTUDISC|ORIGDSTADDR|RETOPTS$)\w+|MCAST_(?!EX|IN)\w+"),
    FlagSet(
        name="ipv6_option", headers=("linux/in.h", "linux/in6.h"), has_newer=False,
        names=r"IPV6_(?!FL_|PREFER|PRIORITY|PMTUDISC|TLV|ORIGDSTADDR)\w+|MCAST_(?!EX|IN)\w+",
    ),
    exactly(
        "tcp_option", "linux/tcp.h",
        r"TCP_(NODELAY|MAXSEG|CORK|KEEP\w+|SYNCNT|LINGER2|DEFER_ACCEPT|WINDOW_CLAMP|INFO|QUICKACK|CONGESTION|MD5SIG"
        r"|THIN_\w+|USER_TIMEOUT|REPAIR|REPAIR_QUEUE|QUEUE_SEQ|REPAIR_OPTIONS|FASTOPEN|TIMESTAMP|NOTSENT_LOWAT|CC_INFO"
        r"|SAVE_SYN|SAVED_SYN|REPAIR_WINDOW|FASTOPEN_CONNECT|ULP|MD5SIG_EXT|FASTOPEN_KEY|FASTOPEN_NO_COOKIE"
        r"|ZEROCOPY_RECEIVE|INQ|TX_DELAY)",
    ),
    exactly("packet_option", "linux/if_packet.h", r"PACKET_(ADD_MEMBERSHIP|DROP_MEMBERSHIP|RX_RING|TX_RING|FANOUT"
            r"|VERSION|STATISTICS|COPY_THRESH|AUXDATA|ORIGDEV|HDRLEN|RESERVE|LOSS|VNET_HDR|TX_TIMESTAMP|TIMESTAMP"
            r"|TX_HAS_OFF|QDISC_BYPASS|ROLLOVER_STATS|FANOUT_DATA|IGNORE_OUTGOING|VNET_HDR_SZ|RECV_OUTPUT)"),
    exactly("netlink_option", "linux/netlink.h", r"NETLINK_(ADD_MEMBERSHIP|DROP_MEMBERSHIP|PKTINFO|BROADCAST_ERROR"
            r"|NO_ENOBUFS|RX_RING|TX_RING|LISTEN_ALL_NSID|LIST_MEMBERSHIPS|CAP_ACK|EXT_ACK|GET_STRICT_CHK)"),
    exactly("socketcall", "linux/net.h", r"SYS_\w+"),
)  # fmt: skip

SYSTEM = (
    kernel(
        "mount", "linux/mount.h", r"MS_\w+", "MS_(RMT_MASK|MGC_MSK|VERBOSE|ASYNC|INVALIDATE|SYNC)|MS_SYNC",
        {"MS_MGC_VAL": 0xFFFF0000},
    ),
    library("umount", "sys/mount.h", r"MNT_(FORCE|DETACH|EXPIRE)|UMOUNT_NOFOLLOW"),
    kernel("fsopen", "linux/mount.h", r"FSOPEN_\w+"),
    kernel("fsmount", "linux/mount.h", r"FSMOUNT_\w+"),
    kernel("fspick", "linux/mount.h", r"FSPICK_\w+"),
    FlagSet(
        name="fsconfig", headers=("linux/mount.h",), names=r"FSCONFIG_\w+", enumeration="fsconfig_command",
    ),
    kernel(
        "mount_attributes", "linux/mount.h", r"MOUNT_ATTR_\w+", r"MOUNT_ATTR_(_ATIME|RELATIME|SIZE_\w+)",
        {"MOUNT_ATTR_(NOATIME|STRICTATIME)": 0x70},
    ),
    kernel("move_mount", "linux/mount.h", r"MOVE_MOUNT_\w+", "MOVE_MOUNT__MASK"),
    FlagSet(
        name="open_tree", headers=("linux/fcntl.h", "linux/mount.h"), has_newer=False,
        names=r"OPEN_TREE_\w+|AT_(SYMLINK_NOFOLLOW|NO_AUTOMOUNT|EMPTY_PATH|RECURSIVE)",
    ),
    FlagSet(name="bpf", headers=("linux/bpf.h",), names=r"BPF_\w+", enumeration="bpf_cmd", has_newer=False,
            without="BPF_PROG_RUN"),
    kernel("perf", "linux/perf_event.h", r"PERF_FLAG_\w+"),
    kernel(
        "keyctl", "linux/keyctl.h", r"KEYCTL_\w+", r"KEYCTL_(SUPPORTS_\w+|CAPS\d_\w+|MOVE_EXCL)",
    ),
    kernel(
        "kexec", "linux/kexec.h", r"KEXEC_\w+", r"KEXEC_(ARCH_MASK|FILE_\w+|SEGMENT_MAX|ARCH_DEFAULT)",
        {r"KEXEC_ARCH_\w+": 0xFFFF0000},
    ),
    kernel("module", "linux/module.h", r"MODULE_INIT_\w+"),
    exactly("reboot", "linux/reboot.h", r"LINUX_REBOOT_CMD_\w+"),
    exactly("reboot_magic", "linux/reboot.h", r"LINUX_REBOOT_MAGIC\w+"),
    FlagSet(
        name="quota", headers=("linux/quota.h", "linux/dqblk_xfs.h"), names=r"Q_\w+", expression="QCMD({}, 0)",
        has_newer=False, masks={".*": 0xFFFFFF00},
    ),
    exactly("quota", "linux/quota.h", "(USR|GRP|PRJ)QUOTA", {".*": 0xFF}),
    library("swap", "sys/swap.h", r"SWAP_FLAG_\w+", r"SWAP_FLAG_PRIO_\w+"),
    kernel("random", "linux/random.h", r"GRND_\w+"),
    kernel("io_uring_enter", "linux/io_uring.h", r"IORING_ENTER_\w+"),
    FlagSet(
        name="io_uring_register", headers=("linux/io_uring.h",), names=r"IORING_(UN)?REGISTER_\w+",
        without="IORING_REGISTER_(LAST|FILES_SKIP)", has_newer=False,
        masks={r"IORING_(UN)?REGISTER_(?!USE_REGISTERED_RING)\w+": 0x7FFFFFFF},
    ),
    kernel("landlock_ruleset", "linux/landlock.h", r"LANDLOCK_CREATE_RULESET_\w+"),
    kernel("landlock_rule", "linux/landlock.h", r"LANDLOCK_RULE_\w+"),
    kernel("landlock_restrict", "linux/landlock.h", r"LANDLOCK_RESTRICT_SELF_\w+"),
    exactly("ipc", "linux/ipc.h", "(SEM(OP|GET|CTL|TIMEDOP)|MSG(SND|RCV|GET|CTL)|SHM(AT|DT|GET|CTL))"),
    exactly("arch_prctl", "asm/prctl.h", r"ARCH_\w+"),
)  # fmt: skip

FLAG_SETS = (*FILES, *MEMORY, *PROCESSES, *SOCKETS, *SYSTEM)
