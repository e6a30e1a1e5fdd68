"""The kernel's names and numbers: known ones are right, unknown ones have none, and no input makes a lookup fail."""

from collections.abc import Callable, Mapping
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.tables import lookup

SYSCALL_ARCHITECTURES = (
    "x86_64",
    "i386",
    "x32",
    "aarch64",
    "arm",
    "riscv64",
    "ppc64le",
    "ppc64",
    "ppc",
    "s390x",
    "s390",
)
NAME_OF: Mapping[str, Callable[[int], str | None]] = {
    "architectures": lookup.architecture_name,
    "errno": lookup.errno_name,
    "filesystems": lookup.filesystem_name,
    "filetypes": lookup.filetype_name,
    "record_types": lookup.record_type_name,
    "rule_actions": lookup.rule_action_name,
    "rule_fields": lookup.rule_field_name,
    "rule_lists": lookup.rule_list_name,
    "rule_operators": lookup.rule_operator_symbol,
    "signals": lookup.signal_name,
    "socket_families": lookup.socket_family_name,
    "uring_operations": lookup.uring_operation_name,
}
NUMBER_OF: Mapping[str, Callable[[str], int | None]] = {
    "architectures": lookup.architecture_word,
    "errno": lookup.errno_number,
    "filesystems": lookup.filesystem_number,
    "filetypes": lookup.filetype_number,
    "record_types": lookup.record_type_number,
    "rule_actions": lookup.rule_action_number,
    "rule_fields": lookup.rule_field_number,
    "rule_lists": lookup.rule_list_number,
    "rule_operators": lookup.rule_operator_number,
    "rule_permissions": lookup.rule_permission_bit,
    "socket_families": lookup.socket_family_number,
    "uring_operations": lookup.uring_operation_number,
}


def table_rows(name: str) -> list[list[str]]:
    table = files("auditline.workers.common.tables").joinpath(f"{name}.tsv")
    return [line.split("\t") for line in table.read_text(encoding="ascii").splitlines()[1:]]


# Known numbers. Sources: linux/audit.h and asm/unistd*.h of Linux 6.1; audit-userspace 4.2.2, lib/audit-records.h;
# Linux 6.18, include/uapi/linux/audit.h (1420 on), scripts/syscall.tbl (451 on).


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (1005, "user"),
        (1006, "login"),
        (1112, "user_login"),
        (1124, "user_tty"),
        (1138, "software_update"),
        (1204, "daemon_reconfig"),
        (1300, "syscall"),
        (1329, "replace"),
        (1334, "bpf"),
        (1335, "event_listener"),
        (1336, "uringop"),
        (1337, "openat2"),
        (1338, "dm_ctrl"),
        (1339, "dm_event"),
        (1400, "avc"),
        (1420, "ipe_access"),
        (1423, "landlock_access"),
        (1424, "landlock_domain"),
        (1425, "mac_task_contexts"),
        (1426, "mac_obj_contexts"),
        (1503, "apparmor_denied"),
        (1703, "anom_creat"),
        (1807, "integrity_policy_rule"),
        (2000, "kernel"),
        (2313, "user_mac_status"),
        (2507, "virt_migrate_out"),
    ],
)
def test_record_type_is_named(number: int, name: str) -> None:
    assert lookup.record_type_name(number) == name
    assert lookup.record_type_number(name.upper()) == number


@pytest.mark.parametrize("number", [0, 999, 1199, 1399, 1999, 2199, 65535, -1])
def test_unknown_record_type_prints_as_a_number(number: int) -> None:
    assert lookup.record_type_name(number) == f"unknown[{number}]"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("UNKNOWN[1999]", 1999),
        ("unknown[1420]", 1420),
        ("UNKNOWN[]", None),
        ("UNKNOWN[-1]", None),
        ("UNKNOWN[1 ]", None),
        ("UNKNOWN[٣]", None),
        ("UNKNOWN[1999", None),
        ("XUNKNOWN[1999]", None),
        ("UNKNOWN[" + "9" * 5000 + "]", None),
        ("", None),
        ("SYSCALLS", None),
    ],
)
def test_record_type_number_reads_the_form_of_unknown_types(name: str, number: int | None) -> None:
    assert lookup.record_type_number(name) == number


@pytest.mark.parametrize(
    ("word", "name"),
    [
        (0xC000003E, "x86_64"),
        (0x40000003, "i386"),
        (0xC00000B7, "aarch64"),
        (0x40000028, "arm"),
        (0xC00000F3, "riscv64"),
        (0xC0000015, "ppc64le"),
        (0x80000015, "ppc64"),
        (0x80000016, "s390x"),
        (0xC0000102, "loongarch64"),
    ],
)
def test_architecture_word_is_named(word: int, name: str) -> None:
    assert lookup.architecture_name(word) == name
    assert lookup.architecture_word(name) == word


def test_unknown_architecture_has_no_name() -> None:
    assert lookup.architecture_name(0xC000FFFF) is None
    assert lookup.architecture_word("pdp11") is None


@pytest.mark.parametrize(
    ("machine", "b64", "b32"),
    [
        ("x86_64", "x86_64", "i386"),
        ("aarch64", "aarch64", "arm"),
        ("ppc64", "ppc64", "ppc"),
        ("s390x", "s390x", "s390"),
        ("riscv64", "riscv64", "riscv32"),
    ],
)
def test_b64_and_b32_are_the_sides_of_the_machine(machine: str, b64: str, b32: str) -> None:
    assert lookup.architecture_word("b64", machine) == lookup.architecture_word(b64)
    assert lookup.architecture_word("b32", machine) == lookup.architecture_word(b32)


@pytest.mark.parametrize(("side", "machine"), [("b64", "i686"), ("b32", "ppc64le"), ("b64", "pdp11")])
def test_a_side_that_the_machine_lacks_has_no_word(side: str, machine: str) -> None:
    assert lookup.architecture_word(side, machine) is None


def test_machine_names_are_understood_as_architectures() -> None:
    assert lookup.architecture_word("i686") == 0x40000003
    assert lookup.architecture_word("armv7l") == 0x40000028
    assert lookup.architecture_word("armv8l") == 0xC00000B7


@pytest.mark.parametrize(
    ("architecture", "number", "name"),
    [
        ("x86_64", 2, "open"),
        ("x86_64", 59, "execve"),
        ("x86_64", 257, "openat"),
        ("x86_64", 335, "uretprobe"),
        ("i386", 5, "open"),
        ("i386", 11, "execve"),
        ("i386", 102, "socketcall"),
        ("aarch64", 56, "openat"),
        ("aarch64", 61, "getdents64"),
        ("arm", 322, "openat"),
        ("arm", 270, "arm_fadvise64_64"),
        ("riscv64", 56, "openat"),
        ("riscv64", 62, "lseek"),
        ("riscv64", 258, "riscv_hwprobe"),
        ("ppc64le", 286, "openat"),
        ("ppc64", 286, "openat"),
        ("ppc", 286, "openat"),
        ("s390x", 288, "openat"),
        ("s390", 288, "openat"),
        ("s390", 447, "memfd_secret"),
    ],
)
def test_system_call_is_named(architecture: str, number: int, name: str) -> None:
    assert lookup.syscall_names(architecture)[number] == name
    assert lookup.syscall_numbers(architecture)[name] == number
    assert lookup.syscall_name(architecture, number) == name


@pytest.mark.parametrize("architecture", [name for name in SYSCALL_ARCHITECTURES if name != "x32"])
@pytest.mark.parametrize(
    ("number", "name"),
    [
        (451, "cachestat"),
        (452, "fchmodat2"),
        (453, "map_shadow_stack"),
        (454, "futex_wake"),
        (455, "futex_wait"),
        (456, "futex_requeue"),
        (457, "statmount"),
        (458, "listmount"),
        (459, "lsm_get_self_attr"),
        (460, "lsm_set_self_attr"),
        (461, "lsm_list_modules"),
        (462, "mseal"),
        (463, "setxattrat"),
        (464, "getxattrat"),
        (465, "listxattrat"),
        (466, "removexattrat"),
        (467, "open_tree_attr"),
        (468, "file_getattr"),
        (469, "file_setattr"),
    ],
)
def test_later_system_calls_are_the_same_everywhere(architecture: str, number: int, name: str) -> None:
    assert lookup.syscall_names(architecture)[number] == name


@pytest.mark.parametrize("architecture", SYSCALL_ARCHITECTURES)
def test_no_system_call_has_two_numbers(architecture: str) -> None:
    numbers = lookup.syscall_numbers(architecture)

    assert {numbers[name]: name for name in lookup.syscall_names(architecture).values()} == dict(
        lookup.syscall_names(architecture)
    )


@pytest.mark.parametrize("architecture", SYSCALL_ARCHITECTURES)
def test_tables_of_system_calls_are_complete(architecture: str) -> None:
    names = set(lookup.syscall_numbers(architecture))

    assert len(lookup.syscall_names(architecture)) > 320
    assert {"execve", "openat", "openat2", "connect", "setuid", "finit_module", "bpf", "io_uring_setup"} <= names


def test_x32_calls_are_known_by_their_bit() -> None:
    assert lookup.syscall_name("x86_64", lookup.X32_BIT | 1) == "write"
    assert lookup.syscall_name("x86_64", lookup.X32_BIT | 520) == "execve"
    assert lookup.syscall_name("x86_64", lookup.X32_BIT | 452) == "fchmodat2"
    assert lookup.syscall_name("x86_64", 520) is None


@pytest.mark.parametrize("architecture", ["sparc", "", "b64", "../rule_fields", "machines"])
def test_architecture_without_a_table_has_no_system_calls(architecture: str) -> None:
    assert lookup.syscall_names(architecture) == {}
    assert lookup.syscall_numbers(architecture) == {}
    assert lookup.syscall_name(architecture, 1) is None


def test_spellings_of_auditctl_are_understood_and_the_kernels_shown() -> None:
    assert lookup.syscall_numbers("x86_64")["pread"] == lookup.syscall_numbers("x86_64")["pread64"] == 17
    assert lookup.syscall_names("x86_64")[17] == "pread64"


def test_errors_signals_and_families_are_named() -> None:
    assert lookup.errno_name(13) == "EACCES"
    assert lookup.errno_name(11) == "EAGAIN"
    assert lookup.errno_number("EWOULDBLOCK") == 11
    assert lookup.errno_number("EHWPOISON") == 133
    assert lookup.signal_name(9) == "SIGKILL"
    assert lookup.signal_name(29) == "SIGIO"
    assert lookup.socket_family_name(2) == "inet"
    assert lookup.socket_family_name(1) == "unix"
    assert lookup.socket_family_number("local") == 1
    assert lookup.socket_family_name(16) == "netlink"


@pytest.mark.parametrize(
    ("name", "number"),
    [("pid", 0), ("auid", 9), ("loginuid", 9), ("arch", 11), ("path", 105), ("perm", 106), ("dir", 107), ("key", 210)],
)
def test_rule_field_has_its_number(name: str, number: int) -> None:
    assert lookup.rule_field_number(name) == number


@pytest.mark.parametrize(
    ("left", "right", "number"),
    [("uid", "obj_uid", 1), ("euid", "obj_uid", 3), ("uid", "auid", 10), ("uid", "euid", 11), ("sgid", "fsgid", 25)],
)
def test_rule_comparison_has_its_number_in_either_order(left: str, right: str, number: int) -> None:
    assert lookup.rule_comparison_number(left, right) == number
    assert lookup.rule_comparison_number(right, left) == number
    assert lookup.rule_comparison_names()[number] == (left, right)


def test_what_cannot_be_compared_has_no_number() -> None:
    assert lookup.rule_comparison_number("uid", "gid") is None
    assert lookup.rule_comparison_number("uid", "uid") is None
    assert lookup.rule_comparison_number("loginuid", "uid") == 10


def test_the_other_words_of_rules_have_their_numbers() -> None:
    assert lookup.rule_list_number("exit") == 4
    assert lookup.rule_list_number("io_uring") == 7
    assert lookup.rule_action_number("always") == 2
    assert lookup.rule_operator_number("=") == 0x40000000
    assert lookup.rule_operator_number("&=") == 0x48000000
    assert lookup.filetype_number("dir") == 0o40000
    assert lookup.filesystem_number("tracefs") == 0x74726163
    assert [lookup.rule_permission_bit(letter) for letter in "xwra"] == [1, 2, 4, 8]
    assert lookup.uring_operation_number("openat") == 18


@pytest.mark.parametrize("table", sorted(NAME_OF.keys() & NUMBER_OF.keys()))
def test_every_name_leads_back_to_its_number(table: str) -> None:
    numbers = {int(row[0], 0) for row in table_rows(table)}

    assert {NUMBER_OF[table](NAME_OF[table](number) or "") for number in numbers} == numbers


@pytest.mark.parametrize("table", sorted(NUMBER_OF))
def test_every_spelling_is_understood(table: str) -> None:
    assert [NUMBER_OF[table](row[1]) for row in table_rows(table)] == [int(row[0], 0) for row in table_rows(table)]


@given(number=st.integers())
def test_any_number_can_be_looked_up(number: int) -> None:
    answers = [name_of(number) for name_of in NAME_OF.values()]
    calls = [lookup.syscall_name(architecture, number) for architecture in SYSCALL_ARCHITECTURES]

    assert all(answer is None or isinstance(answer, str) for answer in answers + calls)


@given(name=st.text() | st.from_regex(r"(?i)unknown\[\w*\]"), other=st.text())
def test_any_text_can_be_looked_up(name: str, other: str) -> None:
    answers = [number_of(name) for number_of in NUMBER_OF.values()]
    answers += [lookup.rule_comparison_number(name, other), lookup.architecture_word("b64", name)]

    assert all(answer is None or isinstance(answer, int) for answer in answers)
    assert lookup.syscall_names(name) == {} or name in SYSCALL_ARCHITECTURES
