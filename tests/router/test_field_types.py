"""Hexadecimal is decoded where the kernel or a tool encodes, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.tables.lookup import field_rows, record_type_names, record_type_number
from auditline.workers.router.decode.field_types import field_types
from auditline.workers.router.decode.records import decode_record

KINDS = {
    "architecture", "capabilities", "capability", "encoded", "exit", "fanotify_response", "netfilter_family",
    "personality", "seccomp_action", "signal", "system_call", "title", "unset_id",
}  # fmt: skip
ENCODED = "612062"
"""As the kernel writes `a b`."""


def type_number(name: str) -> int:
    number = record_type_number(name)
    assert number is not None
    return number


def text_of(record_type: str, key: str, value: str, *, is_said_by_sender: bool = False) -> str | None:
    body = f"pid=1 msg='{key}={value}'" if is_said_by_sender else f"{key}={value}"
    return decode_record(type_number(record_type), body).text.get(key)


@pytest.mark.parametrize(
    ("record_type", "keys"),
    [
        ("SYSCALL", ["comm", "exe", "key"]),
        ("PATH", ["name"]),
        ("CWD", ["cwd"]),
        ("EXECVE", ["a0", "a1", "a10", "a2048"]),
        ("OBJ_PID", ["ocomm"]),
        ("KERN_MODULE", ["name"]),
        ("CONFIG_CHANGE", ["path", "dir", "key", "watch"]),
        ("TTY", ["comm", "data"]),
        ("SECCOMP", ["comm", "exe"]),
        ("ANOM_ABEND", ["comm", "exe"]),
        ("ANOM_LINK", ["comm", "exe", "name", "path", "dev"]),
        ("NETFILTER_CFG", ["comm"]),
        ("EVENT_LISTENER", ["comm", "exe"]),
        ("FEATURE_CHANGE", ["comm", "exe"]),
        ("URINGOP", ["key"]),
        ("AVC", ["comm", "name", "path", "dev", "ocomm", "kmod", "key_desc", "anonclass", "srawcon", "trawcon"]),
        (
            "AVC",
            ["profile", "peer", "target", "info", "namespace", "label", "srcname", "fstype", "options", "execpath"],
        ),
        ("APPARMOR_DENIED", ["profile", "name", "comm", "peer"]),
        ("SELINUX_ERR", ["invalid_context"]),
        ("LANDLOCK_ACCESS", ["path", "dev", "ocomm"]),
        ("LANDLOCK_DOMAIN", ["exe", "comm"]),
        ("IPE_ACCESS", ["path", "comm", "dev"]),
        ("INTEGRITY_DATA", ["comm", "name", "dev"]),
        ("INTEGRITY_RULE", ["file", "comm", "exe"]),
        ("INTEGRITY_EVM_XATTR", ["xattr"]),
        ("DM_CTRL", ["comm", "exe"]),
    ],
)
def test_what_the_kernel_encodes_is_decoded(record_type: str, keys: list[str]):
    assert [text_of(record_type, key, ENCODED) for key in keys] == ["a b"] * len(keys)


@pytest.mark.parametrize(
    ("record_type", "keys"),
    [
        ("USER_CMD", ["cmd", "cwd", "exe", "acct"]),
        ("USER_LOGIN", ["acct", "exe"]),
        ("USER_AUTH", ["acct"]),
        ("USER_ACCT", ["acct"]),
        ("CRED_ACQ", ["acct"]),
        ("USER_START", ["acct"]),
        ("ADD_USER", ["acct"]),
        ("ADD_GROUP", ["grp"]),
        ("USER_MGMT", ["acct", "grp", "new_group"]),
        ("SERVICE_START", ["comm", "exe"]),
        ("SOFTWARE_UPDATE", ["sw", "root_dir", "comm", "exe"]),
        ("USER_TTY", ["data"]),
        ("VIRT_CONTROL", ["vm", "exe"]),
        ("VIRT_RESOURCE", ["vm", "old-disk", "new-disk", "old-net", "new-net", "new-fs", "new-rng", "new-chardev"]),
        ("VIRT_RESOURCE", ["cgroup", "path", "device"]),
        ("ANOM_LOGIN_FAILURES", ["acct"]),
        ("USER_DEVICE", ["device", "device_rule"]),
        ("USER_MAC_CONFIG_CHANGE", ["sglob", "tglob"]),
        ("CRYPTO_IKE_SA", ["conn-name"]),
        ("TRUSTED_APP", ["acct", "cmd"]),
    ],
)
def test_what_tools_encode_is_decoded(record_type: str, keys: list[str]):
    assert [text_of(record_type, key, ENCODED, is_said_by_sender=True) for key in keys] == ["a b"] * len(keys)


@pytest.mark.parametrize(
    ("record_type", "key", "value"),
    [
        ("ADD_USER", "id", "1000"),
        ("USER_MGMT", "id", "1001"),
        ("CRYPTO_SESSION", "lport", "22"),
        ("CRYPTO_SESSION", "rport", "5022"),
        ("CRYPTO_SESSION", "ksize", "2048"),
        ("CRYPTO_KEY_USER", "spid", "2048"),
        ("CRYPTO_KEY_USER", "suid", "74"),
        ("CRYPTO_KEY_USER", "fp", "CAFE"),
        ("SERVICE_START", "unit", "cafe"),
        ("SERVICE_START", "unit", "CAFE"),
        ("USER_LOGIN", "hostname", "CAFE"),
        ("USER_LOGIN", "addr", "10"),
        ("USER_LOGIN", "terminal", "ABBA"),
        ("USER_AUTH", "grantors", "DEAD"),
        ("SYSTEM_RUNLEVEL", "new-level", "10"),
        ("VIRT_RESOURCE", "old-vcpu", "10"),
        ("VIRT_RESOURCE", "new-mem", "1048"),
        ("VIRT_CONTROL", "uuid", "CAFE"),
        ("DAEMON_START", "ver", "10"),
        ("USER_AVC", "spid", "1000"),
        ("USER_AVC", "interface", "CAFE"),
        ("TRUSTED_APP", "number", "1234"),
        ("USER_CMD", "data", "6C73"),
        ("USER_ROLE_CHANGE", "vm", "CAFE"),
    ],
)
def test_what_a_tool_writes_plainly_stays_as_it_is(record_type: str, key: str, value: str):
    assert text_of(record_type, key, value, is_said_by_sender=True) == value


@pytest.mark.parametrize(
    ("record_type", "key", "value"),
    [
        ("CONFIG_CHANGE", "old", "64"),
        ("CONFIG_CHANGE", "audit_backlog_limit", "8192"),
        ("CONFIG_CHANGE", "list", "10"),
        ("OPENAT2", "resolve", "10"),
        ("MQ_OPEN", "mq_maxmsg", "10"),
        ("FD_PAIR", "fd0", "10"),
        ("SOCKETCALL", "a2", "10"),
        ("SYSCALL", "a0", "10"),
        ("SYSCALL", "tty", "ABBA"),
        ("SYSCALL", "per", "40"),
        ("SYSCALL", "pid", "1000"),
        ("PATH", "inode", "1000"),
        ("PATH", "cap_fp", "20"),
        ("PATH", "dev", "CAFE"),
        ("EXECVE", "argc", "10"),
        ("EXECVE", "a1_len", "16"),
        ("MMAP", "flags", "22"),
        ("CAPSET", "pid", "1000"),
        ("BPF", "prog-id", "75"),
        ("SECCOMP", "code", "50"),
        ("SECCOMP", "compat", "00"),
        ("NETFILTER_CFG", "table", "CAFE"),
        ("NETFILTER_CFG", "entries", "10"),
        ("NETFILTER_PKT", "saddr", "10"),
        ("ANOM_PROMISCUOUS", "dev", "CAFE"),
        ("ANOM_PROMISCUOUS", "prom", "256"),
        ("AVC", "ino", "1000"),
        ("AVC", "dest", "5432"),
        ("AVC", "capability", "21"),
        ("LANDLOCK_DOMAIN", "domain", "195BA459B0"),
        ("IPE_POLICY_LOAD", "policy_digest", "ABCD"),
        ("DM_CTRL", "sector", "10"),
        ("INTEGRITY_DATA", "ino", "1000"),
        ("MAC_IPSEC_EVENT", "spi", "1234"),
        ("FANOTIFY", "fan_info", "3137"),
        ("TIME_INJOFFSET", "sec", "10"),
    ],
)
def test_what_the_kernel_writes_plainly_stays_as_it_is(record_type: str, key: str, value: str):
    assert text_of(record_type, key, value) == value


def test_the_number_of_an_ipc_object_is_no_key_of_a_rule():
    fields = decode_record(type_number("AVC"), "avc:  denied  { read } for  pid=1 key=1234 scontext=a:b:c").text

    assert fields["ipc_key"] == "1234"
    assert "key" not in fields


@given(key=st.from_regex(r"[a-z_-]{1,12}", fullmatch=True), value=st.from_regex(r"([0-9A-F]{2}){1,4}", fullmatch=True))
def test_a_field_that_no_row_names_is_never_decoded(key: str, value: str):
    known = {field for _, fields, _, _ in field_rows() for field in fields.split(",")}
    fields = decode_record(type_number("KERNEL_OTHER") + 5000, f"pid=1 msg='{key}={value}'").text

    assert key in known or fields.get(key, value) == value


def test_every_row_of_the_table_is_of_types_and_kinds_that_exist():
    names = {name.upper() for name in record_type_names().values()}
    patterns = {pattern for row in field_rows() for pattern in row[0].split(",")}
    unknown = {
        pattern
        for pattern in patterns - {"*", "user"}
        if not any(name == pattern or (pattern[-1] == "*" and name.startswith(pattern[:-1])) for name in names)
    }

    assert unknown == set()
    assert {row[2] for row in field_rows()} == KINDS


def test_a_later_row_counts_more_than_an_earlier_one():
    assert field_types(type_number("EXECVE")).look_up("a12[3]") == "encoded"
    assert field_types(type_number("SYSCALL")).look_up("a1") is None
    assert field_types(99_999).look_up("comm") == "encoded"
