"""Registers become the words of the manual page; what is not known for sure is not said."""

import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.tables.lookup import call_flags, syscall_names
from auditline.workers.router.decode import types
from auditline.workers.router.decode.calls import (
    calls_of,
    decode_call,
    decode_registers,
    find_call,
    used_registers,
)
from auditline.workers.router.event import Facts

NO_FILE = "ffffff9c"
TABLE = files("auditline.workers.router.decode").joinpath("calls.tsv").read_text("ascii")


@pytest.mark.parametrize(
    ("call", "registers", "wanted"),
    [
        ("open", ("7f00", "80241", "1a4", "0"),
         {"flags": ["O_WRONLY", "O_CREAT", "O_TRUNC", "O_CLOEXEC"], "mode": "0644"}),
        ("open", ("7f00", "0", "1a4", "0"), {"flags": ["O_RDONLY"]}),
        ("openat", ("ffffff9c", "7f00", "80000", "0"), {"dirfd": "AT_FDCWD", "flags": ["O_RDONLY", "O_CLOEXEC"]}),
        ("openat", ("ffffffffffffff9c", "7f00", "101002", "0"), {"dirfd": "AT_FDCWD", "flags": ["O_RDWR", "O_SYNC"]}),
        ("openat", ("5", "7f00", "1002", "0"), {"dirfd": "5", "flags": ["O_RDWR", "O_DSYNC"]}),
        ("openat", ("5", "7f00", "490002", "180"),
         {"dirfd": "5", "flags": ["O_RDWR", "O_CLOEXEC", "O_TMPFILE"], "mode": "0600"}),
        ("openat", ("5", "7f00", "8000003", "0"), {"dirfd": "5", "flags": ["0x8000003"]}),
        ("mkdir", ("7f00", "1ff", "0", "0"), {"mode": "0777"}),
        ("chmod", ("7f00", "9ed", "0", "0"), {"mode": "04755"}),
        ("mknodat", (NO_FILE, "7f00", "2180", "103"),
         {"dirfd": "AT_FDCWD", "mode": ["S_IFCHR", "0600"], "dev": "1:3"}),
        ("mknodat", (NO_FILE, "7f00", "11b6", "0"), {"dirfd": "AT_FDCWD", "mode": ["S_IFIFO", "0666"]}),
        ("access", ("7f00", "0", "0", "0"), {"mode": ["F_OK"]}),
        ("access", ("7f00", "6", "0", "0"), {"mode": ["W_OK", "R_OK"]}),
        ("fchownat", (NO_FILE, "7f00", "ffffffff", "3e8"), {"dirfd": "AT_FDCWD", "owner": "-1", "group": "1000"}),
        ("unlinkat", ("3", "7f00", "200", "0"), {"dirfd": "3", "flags": ["AT_REMOVEDIR"]}),
        ("fcntl", ("3", "4", "802", "0"), {"fd": "3", "op": "F_SETFL", "arg": ["O_RDWR", "O_NONBLOCK"]}),
        ("fcntl", ("3", "3", "802", "0"), {"fd": "3", "op": "F_GETFL"}),
        ("mmap", ("0", "1000", "7", "22"),
         {"length": "4096", "prot": ["PROT_READ", "PROT_WRITE", "PROT_EXEC"],
          "flags": ["MAP_PRIVATE", "MAP_ANONYMOUS"]}),
        ("mprotect", ("7f00", "1000", "0", "0"), {"length": "4096", "prot": ["PROT_NONE"]}),
        ("clone", ("1200011", "0", "0", "7f00"),
         {"flags": ["SIGCHLD", "CLONE_CHILD_CLEARTID", "CLONE_CHILD_SETTID"]}),
        ("unshare", ("10000000", "0", "0", "0"), {"flags": ["CLONE_NEWUSER"]}),
        ("socket", ("2", "80801", "6", "0"),
         {"domain": "AF_INET", "type": ["SOCK_STREAM", "SOCK_NONBLOCK", "SOCK_CLOEXEC"], "protocol": "IPPROTO_TCP"}),
        ("socket", ("10", "80003", "9", "0"),
         {"domain": "AF_NETLINK", "type": ["SOCK_RAW", "SOCK_CLOEXEC"], "protocol": "NETLINK_AUDIT"}),
        ("socket", ("11", "3", "300", "0"), {"domain": "AF_PACKET", "type": ["SOCK_RAW"], "protocol": "768"}),
        ("setsockopt", ("3", "1", "2", "7f00"), {"sockfd": "3", "level": "SOL_SOCKET", "optname": "SO_REUSEADDR"}),
        ("setsockopt", ("3", "1", "14", "7f00"), {"sockfd": "3", "level": "SOL_SOCKET", "optname": "SO_RCVTIMEO"}),
        ("sendto", ("3", "7f00", "10", "4000"), {"sockfd": "3", "size": "16", "flags": ["MSG_NOSIGNAL"]}),
        ("kill", ("ffffffffffffffff", "9", "0", "0"), {"pid": "-1", "sig": "SIGKILL"}),
        ("kill", ("64", "0", "0", "0"), {"pid": "100", "sig": "0"}),
        ("mount", ("7f00", "7f00", "7f00", "c0ed0021"),
         {"mountflags": ["MS_RDONLY", "MS_REMOUNT", "MS_MGC_VAL"]}),
        ("mount", ("7f00", "7f00", "7f00", "44000"), {"mountflags": ["MS_REC", "MS_PRIVATE"]}),
        ("ptrace", ("10", "64", "0", "0"), {"op": "PTRACE_ATTACH", "pid": "100"}),
        ("ptrace", ("4206", "64", "0", "100001"),
         {"op": "PTRACE_SEIZE", "pid": "100", "data": ["PTRACE_O_TRACESYSGOOD", "PTRACE_O_EXITKILL"]}),
        ("prctl", ("1", "9", "0", "0"), {"op": "PR_SET_PDEATHSIG", "arg2": "SIGKILL"}),
        ("prctl", ("18", "15", "0", "0"), {"op": "PR_CAPBSET_DROP", "arg2": "CAP_SYS_ADMIN"}),
        ("prctl", ("2f", "2", "15", "0"),
         {"op": "PR_CAP_AMBIENT", "arg2": "PR_CAP_AMBIENT_RAISE", "arg3": "CAP_SYS_ADMIN"}),
        ("prctl", ("f", "7f00", "0", "0"), {"op": "PR_SET_NAME"}),
        ("prctl", ("7fffffff", "1", "0", "0"), {"op": "2147483647"}),
        ("bpf", ("5", "7f00", "90", "0"), {"cmd": "BPF_PROG_LOAD", "size": "144"}),
        ("memfd_create", ("7f00", "3", "0", "0"), {"flags": ["MFD_CLOEXEC", "MFD_ALLOW_SEALING"]}),
        ("personality", ("40000", "0", "0", "0"), {"persona": ["PER_LINUX", "ADDR_NO_RANDOMIZE"]}),
        ("personality", ("ffffffff", "0", "0", "0"), {"persona": ["0xffffffff"]}),
        ("reboot", ("fee1dead", "28121969", "1234567", "0"),
         {"magic": "LINUX_REBOOT_MAGIC1", "magic2": "LINUX_REBOOT_MAGIC2", "op": "LINUX_REBOOT_CMD_RESTART"}),
        ("quotactl", ("80000200", "7f00", "0", "0"), {"op": ["USRQUOTA", "Q_QUOTAON"], "id": "0"}),
        ("keyctl", ("b", "1", "0", "0"), {"operation": "KEYCTL_READ"}),
        ("ioctl", ("0", "5412", "7f00", "0"), {"fd": "0", "op": "0x5412"}),
        ("sched_setscheduler", ("0", "40000001", "7f00", "0"),
         {"pid": "0", "policy": ["SCHED_FIFO", "SCHED_RESET_ON_FORK"]}),
        ("sched_setscheduler", ("0", "0", "7f00", "0"), {"pid": "0", "policy": ["SCHED_OTHER"]}),
        ("ioctl", ("0", "ffffffffc0045401", "7f00", "0"), {"fd": "0", "op": "0xc0045401"}),
        ("io_uring_register", ("0", "80000002", "7f00", "1"),
         {"fd": "0", "op": ["IORING_REGISTER_FILES", "IORING_REGISTER_USE_REGISTERED_RING"], "nr_args": "1"}),
        ("socket", ("a", "2", "3a", "0"), {"domain": "AF_INET6", "type": ["SOCK_DGRAM"], "protocol": "IPPROTO_ICMPV6"}),
        ("socket", ("2", "1", "0", "0"), {"domain": "AF_INET", "type": ["SOCK_STREAM"], "protocol": "IPPROTO_IP"}),
        ("setsockopt", ("3", "29", "2a", "0"), {"sockfd": "3", "level": "SOL_IPV6", "optname": "MCAST_JOIN_GROUP"}),
        ("setsockopt", ("3", "84", "9", "0"), {"sockfd": "3", "level": "SOL_SCTP", "optname": "9"}),
        ("setsockopt", ("3", "65", "1", "0"), {"sockfd": "3", "level": "SOL_CAN_RAW", "optname": "1"}),
        ("prctl", ("22", "0", "0", "0"), {"op": "PR_MCE_KILL_GET"}),
        ("prctl", ("32", "0", "0", "0"), {"op": "PR_SVE_SET_VL"}),
        ("prctl", ("3f", "0", "0", "0"), {"op": "PR_SME_SET_VL"}),
        ("madvise", ("7f00", "1000", "4", "0"), {"length": "4096", "advice": "MADV_DONTNEED"}),
        ("process_madvise", ("3", "7f00", "1", "15"), {"pidfd": "3", "vlen": "1", "advice": "MADV_PAGEOUT"}),
        ("setxattrat", ("5", "7f00", "1100", "7f00"),
         {"dirfd": "5", "at_flags": ["AT_SYMLINK_NOFOLLOW", "AT_EMPTY_PATH"]}),
        ("getpid", ("1", "2", "3", "4"), {}),
        ("no_such_call", ("1", "2", "3", "4"), {}),
    ],
)  # fmt: skip
def test_registers_are_named(call: str, registers: tuple[str, str, str, str], wanted: dict[str, object]):
    assert decode_registers("x86_64", call, registers) == wanted


@pytest.mark.parametrize(
    ("architecture", "call", "registers", "wanted"),
    [
        ("aarch64", "openat", ("3", "0", "c000", "0"),
         {"dirfd": "3", "flags": ["O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW"]}),
        ("arm", "open", ("0", "30000", "0", "0"), {"flags": ["O_RDONLY", "O_DIRECT", "O_LARGEFILE"]}),
        ("ppc64le", "open", ("0", "20000", "0", "0"), {"flags": ["O_RDONLY", "O_DIRECT"]}),
        ("s390x", "open", ("0", "30000", "0", "0"), {"flags": ["O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW"]}),
        ("s390x", "clone", ("0", "11", "0", "0"), {"flags": ["SIGCHLD"]}),
        ("i386", "mmap", ("ff00", "0", "0", "0"), {}),
        ("i386", "mmap2", ("0", "1000", "1", "2"),
         {"length": "4096", "prot": ["PROT_READ"], "flags": ["MAP_PRIVATE"]}),
        ("i386", "fcntl64", ("3", "d", "ff00", "0"), {"fd": "3", "op": "F_SETLK64"}),
        ("i386", "setuid", ("ffff", "0", "0", "0"), {"uid": "-1"}),
        ("i386", "setuid32", ("ffffffff", "0", "0", "0"), {"uid": "-1"}),
        ("ppc", "mlockall", ("2000", "0", "0", "0"), {"flags": ["MCL_CURRENT"]}),
        ("ppc64", "setsockopt", ("3", "1", "10", "0"),
         {"sockfd": "3", "level": "SOL_SOCKET", "optname": "SO_RCVLOWAT"}),
        ("riscv64", "openat", ("3", "0", "4000", "0"), {"dirfd": "3", "flags": ["O_RDONLY", "O_DIRECT"]}),
        ("i386", "ipc", ("10015", "0", "0", "0"), {"call": "SHMAT"}),
        ("mars", "openat", ("3", "0", "410000", "0"), {}),
    ],
)  # fmt: skip
def test_numbers_are_those_of_the_architecture(
    architecture: str, call: str, registers: tuple[str, str, str, str], wanted: dict[str, object]
):
    assert decode_registers(architecture, call, registers) == wanted


def test_pointers_are_no_part_of_what_is_used():
    assert used_registers("x86_64", "openat") == (0, 2, 3)
    assert used_registers("x86_64", "execve") == ()
    assert used_registers("x86_64", "no_such_call") == ()


def test_words_of_a_sender_are_no_registers():
    facts = Facts(record_type=1112, data={"arch": "x86_64", "syscall": "kill", "a0": "1", "a1": "9"})

    assert decode_call(facts).members == {}


def from_records(call: str, data: dict[str, str | list[str]], architecture: str = "x86_64") -> dict[str, object]:
    facts = Facts(record_type=types.SYSCALL, data={**data, "arch": architecture, "syscall": call})
    return decode_call(facts).members["arguments"]  # type: ignore[no-any-return]


def test_openat2_has_its_flags_in_a_record_of_its_own():
    arguments = from_records(
        "openat2", {"a0": "ffffff9c", "a3": "18", "oflag": "02000102", "mode": "0644", "resolve": "0x8"}
    )

    assert arguments == {
        "dirfd": "AT_FDCWD",
        "size": "24",
        "flags": ["O_RDWR", "O_CREAT", "O_CLOEXEC"],
        "mode": "0644",
        "resolve": ["RESOLVE_BENEATH"],
    }


def test_mapping_of_a_file_has_its_descriptor():
    arguments = from_records("mmap", {"a1": "1000", "a2": "5", "a3": "812", "fd": "3", "flags": "0x812"})

    assert arguments["fd"] == "3"
    assert arguments["flags"] == ["MAP_PRIVATE", "MAP_FIXED", "MAP_DENYWRITE"]


def test_old_mapping_call_has_its_flags_in_the_record_alone():
    assert from_records("mmap", {"a0": "ffb0", "fd": "3", "flags": "0x2"}, "i386") == {
        "fd": "3",
        "flags": ["MAP_PRIVATE"],
    }


def test_socketcall_has_the_parameters_of_the_call_behind_it():
    arguments = from_records(
        "socketcall", {"a0": ["1", "2"], "a1": ["ffb0", "1"], "a2": "0", "a3": "0", "nargs": "3"}, "i386"
    )

    assert arguments == {
        "call": "SYS_SOCKET",
        "domain": "AF_INET",
        "type": ["SOCK_STREAM"],
        "protocol": "IPPROTO_IP",
    }


def test_sets_of_capabilities_are_named():
    arguments = from_records("capset", {"cap_pi": "0", "cap_pp": "200001", "cap_pe": "80000000000", "cap_pa": "0"})

    assert arguments == {"permitted": ["CAP_CHOWN", "CAP_SYS_ADMIN"], "effective": ["CAP_43"]}


@given(st.lists(st.text(max_size=20), max_size=5))
def test_registers_of_any_text_are_read(registers: list[str]):
    found = decode_registers("x86_64", "openat", registers)

    assert isinstance(found, dict)


_TEXT = st.one_of(st.text(max_size=12), st.sampled_from(["/", "/a", "a", "..", "ffffff9c", "(null)"]))
_KEYS = ["arch", "syscall", "a0", "a1", "a2", "a3", "cwd", "resolve", "oflag", "mode", "flags", "fd", "nargs"]
_CALLS = ["openat", "openat2", "renameat2", "link", "symlinkat", "mmap", "socketcall", "capset", "execve"]


@given(
    data=st.dictionaries(st.sampled_from(_KEYS), st.one_of(_TEXT, st.lists(_TEXT, min_size=1, max_size=3))),
    call=st.sampled_from(_CALLS),
    paths=st.lists(
        st.dictionaries(
            st.sampled_from(["name", "nametype", "objtype"]),
            st.one_of(_TEXT, st.sampled_from(["PARENT", "CREATE", "DELETE", "NORMAL", "UNKNOWN"])),
        ),
        max_size=5,
    ),
)
def test_facts_of_any_text_are_decoded(data: dict[str, str | list[str]], call: str, paths: list[dict[str, str]]):
    facts = Facts(record_type=types.SYSCALL, data=data | {"arch": "x86_64", "syscall": call}, paths=paths)

    decoded = decode_call(facts)

    assert isinstance(decoded.members, dict)


ARCHITECTURES = ("x86_64", "i386", "aarch64", "arm", "riscv64", "ppc64le", "ppc", "s390x", "s390")
NAMES_WITHOUT_DIRECTORY = {
    "cachestat", "creat", "fstat", "fstat64", "lstat", "lstat64", "oldfstat", "oldlstat", "oldstat", "shmat", "stat",
    "stat64", "ustat",
}  # fmt: skip
"""Calls that end like those with a directory's descriptor and have none."""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_call_relative_to_a_directory_is_known_as_such(architecture: str):
    calls = {name for name in syscall_names(architecture).values() if re.search("[^_]at2?(_time)?(64)?$", name)}

    unknown = {call for call in calls - NAMES_WITHOUT_DIRECTORY if not find_call(architecture, call).directories}

    assert unknown <= {"open_by_handle_at"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_row_is_of_a_call_that_exists_somewhere(architecture: str):
    everywhere = {name for one in ARCHITECTURES for name in syscall_names(one).values()}

    assert calls_of(architecture).keys() <= everywhere


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_is_in_a_register_that_records_have(architecture: str):
    registers = {one.register for call in calls_of(architecture).values() for one in call.parameters}

    assert registers == {0, 1, 2, 3}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", sorted(set(re.findall(r":enum\.(\w+)", TABLE))))
def test_value_of_an_enumeration_has_one_name(architecture: str, name: str):
    numbers = [number for _, number, _ in call_flags(name, architecture)]

    assert sorted(numbers) == sorted(set(numbers))
