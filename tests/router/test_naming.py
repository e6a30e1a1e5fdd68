"""The mapping tables are sound, cover what there is, and an event that they do not cover is still of use."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.tables.lookup import (
    architecture_word,
    record_type_names,
    record_type_number,
    syscall_names,
)
from auditline.workers.router.decode import types
from auditline.workers.router.event import Facts
from auditline.workers.router.naming.engine import (
    called,
    category_of,
    choose_path,
    default_how,
    file_kind,
    find_meaning,
    system_call_row,
)

TABLES = files("auditline.workers.router.naming")
ARCHITECTURES = ["x86_64", "x32", "i386", "aarch64", "arm", "ppc64", "ppc", "s390x", "s390", "riscv64"]
CALL = (
    "arch={:x} syscall={} success=yes exit=3 a0=1 a1=2 a2=3 a3=4 items=0 ppid=1 pid=2 auid=1000 uid=0 gid=0 euid=0"
    ' suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=1 comm="x" exe="/bin/x" key="k"'
)

REFERENCE = Path(__file__).parents[1] / "data" / "go-libaudit" / "aucoalesce" / "normalizations.tsv"
MISSPELT = frozenset({"AUDIT_ANOM_LOGIN_ACCT", "ANOM_MK_EXE", "fstatat", "futimens", "seteuid", "setegid"})
BETTER = {"TRUSTED_APP": "sent-message"}
"""Their word for it is `unknown`."""
UNNAMED_BY_AUDITBEAT = (
    "openat2", "io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "ptrace", "memfd_create",
    "memfd_secret", "clone", "clone3", "fork", "vfork", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "setns",
    "unshare", "chroot", "pivot_root", "fsopen", "fsconfig", "fsmount", "fspick", "move_mount", "open_tree",
    "mount_setattr", "kexec_load", "kexec_file_load", "perf_event_open", "landlock_create_ruleset",
    "landlock_add_rule", "landlock_restrict_self", "socket", "socketpair", "process_vm_readv", "process_vm_writev",
    "process_madvise", "seccomp", "prctl", "setsid", "open_by_handle_at", "name_to_handle_at", "userfaultfd",
    "keyctl", "add_key", "request_key", "fanotify_init", "fanotify_mark", "inotify_init", "inotify_add_watch",
    "inotify_rm_watch", "epoll_create", "epoll_create1", "epoll_ctl", "signalfd", "signalfd4", "fchmodat2",
    "capset", "acct", "swapon", "quotactl", "reboot", "ioctl", "iopl", "ioperm", "mprotect", "pkey_mprotect",
    "syslog", "rt_sigqueueinfo", "setgroups", "prlimit64",
)  # fmt: skip

ECS_CATEGORIES = frozenset(
    {
        "authentication", "configuration", "driver", "file", "host", "iam", "intrusion_detection", "network", "package",
        "process", "session",
    }
)  # fmt: skip
ECS_TYPES = frozenset(
    {
        "access", "change", "connection", "creation", "deletion", "denied", "end", "group", "info", "start", "user",
    }
)  # fmt: skip
"""Source: Elastic Common Schema 8.0, allowed values of event.category and event.type."""

ReplayText = Callable[..., list[dict[str, Any]]]


def rows(table: str) -> list[list[str]]:
    lines = TABLES.joinpath(table).read_text("utf-8").splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def names_in(table: str) -> list[str]:
    return [name for row in rows(table) for name in row[0].split(",")]


def doubles(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def as_words(column: str) -> tuple[str, ...]:
    return () if column == "-" else tuple(column.split(","))


def test_every_system_call_of_the_table_is_one_somewhere():
    known = {name for architecture in ARCHITECTURES for name in syscall_names(architecture).values()}

    assert [name for name in names_in("syscalls.tsv") if name not in known] == []


def test_no_system_call_is_in_the_table_twice():
    assert doubles(names_in("syscalls.tsv")) == []


def test_every_record_type_of_the_table_has_a_number():
    assert [name for name in names_in("records.tsv") if record_type_number(name) is None] == []


def test_no_record_type_is_in_the_table_twice_but_for_different_conditions():
    assert doubles(f"{name} {row[1]}" for row in rows("records.tsv") for name in row[0].split(",")) == []


def test_a_row_without_a_condition_is_a_type_s_last():
    seen_without: set[str] = set()
    for row in rows("records.tsv"):
        for name in row[0].split(","):
            assert name not in seen_without, name
            if row[1] == "-":
                seen_without.add(name)


def test_every_row_has_all_its_columns():
    assert {len(row) for row in rows("syscalls.tsv")} == {8}
    assert {len(row) for row in rows("records.tsv")} == {13}
    assert {len(row) for row in rows("categories.tsv")} == {3}


def test_categories_and_types_are_words_of_the_elastic_common_schema():
    columns = [row[-2:] for row in rows("syscalls.tsv")] + [row[9:11] for row in rows("records.tsv")]

    assert {word for column in columns for word in as_words(column[0])} <= ECS_CATEGORIES
    assert {word for column in columns for word in as_words(column[1])} <= ECS_TYPES
    assert [column for column in columns if (column[0] == "-") != (column[1] == "-")] == []


def test_people_come_from_what_there_is():
    people = {name for name, *_ in rows("people.tsv")}
    places = {pair.partition("=")[0] for _, *pairs in rows("people.tsv") for pair in pairs}

    assert {row[11] for row in rows("records.tsv")} - {"-"} == people
    assert places <= {"user", "user.effective", "user.target", "user.changes", "group"}


def test_actions_are_words_with_hyphens():
    actions = [row[1] for row in rows("syscalls.tsv")] + [row[2] for row in rows("records.tsv")]

    assert [action for action in actions if not action.replace("-", "").isalnum() or not action.islower()] == []


def reference_names() -> list[list[str]]:
    """What go-libaudit names, but for names that it misspells and names that are no system calls anywhere."""
    lines = REFERENCE.read_text("utf-8").splitlines()
    found = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return [row for row in found if row[0] not in MISSPELT]


@pytest.mark.parametrize("row", [row for row in reference_names() if row[0].isupper()], ids=lambda row: row[0])
def test_record_type_is_named_as_by_auditbeat(row: list[str]):
    name, condition, action, categories, kinds, actor_secondary, how = row
    record_type = record_type_number(name)
    assert record_type is not None
    data: dict[str, str | list[str]] = {field: field for field in ("acct", "exe", "terminal", "comm", "sig")}
    data |= {} if condition == "-" else {condition: "x"}
    facts = Facts(record_type=record_type, ids={"auid": "1", "uid": "2"}, data=data)

    meaning = find_meaning(facts)

    assert meaning.action == BETTER.get(name, action)
    assert (meaning.categories, meaning.types) == (as_words(categories), as_words(kinds))
    assert meaning.how == (how.split(",")[0] if how != "-" else "exe")
    assert meaning.actor_secondary == (("acct", "acct") if actor_secondary.startswith("acct") else ("uid", "2"))


@pytest.mark.parametrize("row", [row for row in reference_names() if row[0].islower()], ids=lambda row: row[0])
def test_system_call_is_named_as_by_auditbeat(row: list[str]):
    name, _, action, categories, kinds, _, how = row
    facts = Facts(record_type=types.SYSCALL, data={"syscall": name, "exe": "/bin/x", "comm": "x"})

    meaning = find_meaning(facts)

    assert meaning.action == action
    assert (meaning.categories, meaning.types) == (as_words(categories), as_words(kinds))
    assert meaning.how == (name if how == "syscall" else "/bin/x")


@pytest.mark.parametrize("name", UNNAMED_BY_AUDITBEAT)
def test_system_call_that_is_of_interest_has_a_better_word_than_its_name(name: str):
    facts = Facts(record_type=types.SYSCALL, data={"syscall": name})

    meaning = find_meaning(facts)

    assert meaning.action != name
    assert meaning.what is not None


def test_every_record_type_has_a_row_but_for_parts_of_a_system_call():
    named = {record_type_number(name) for name in names_in("records.tsv")}

    without = {number for number in record_type_names() if number not in named}

    assert without - types.OF_SYSTEM_CALLS == set()


@pytest.mark.parametrize(
    ("first", "name"), [("3", "connect"), ("2", "bind"), ("14", "sendmmsg"), ("0", "socketcall"), ("99", "socketcall")]
)
def test_first_argument_of_socketcall_says_which_call_it_is(first: str, name: str):
    facts = Facts(record_type=types.SYSCALL, data={"syscall": "socketcall", "a0": first})

    assert called(facts) == name
    assert find_meaning(facts).action == system_call_row(name).action


@pytest.mark.parametrize(
    ("operation", "action", "kind"),
    [
        ("18", "opened-file", "file"),
        ("36", "deleted", "file"),
        ("16", "connected-to", "socket"),
        ("0", "used-io-uring", "process"),
        ("x", "used-io-uring", "process"),
    ],
)
def test_operation_of_io_uring_is_what_the_system_call_of_its_name_is(operation: str, action: str, kind: str):
    facts = Facts(record_type=types.URINGOP, data={"uring_op": operation})

    meaning = find_meaning(facts)

    assert (meaning.action, meaning.what) == (action, kind)


def test_record_says_once_what_its_system_call_says_too():
    facts = Facts(record_type=types.TIME_ADJNTPVAL, data={"syscall": "adjtimex"})

    meaning = find_meaning(facts)

    assert (meaning.action, meaning.categories, meaning.types) == ("changed-system-time", ("host",), ("change",))


def test_record_says_beside_its_own_what_its_system_call_says():
    facts = Facts(record_type=record_type_number("ANOM_PROMISCUOUS") or 0, data={"syscall": "ioctl"})

    meaning = find_meaning(facts)

    assert meaning.categories == ("intrusion_detection", "process")
    assert meaning.types == ("info", "change", "info")


@pytest.mark.parametrize(("first", "named"), [(types.TIME_ADJNTPVAL, "time_adjntpval"), (types.SYSCALL, "syscall")])
def test_change_of_time_names_the_event_where_the_kernel_wrote_it_first(
    replay_text: ReplayText, first: int, named: str
):
    records = {
        types.TIME_ADJNTPVAL: "type=TIME_ADJNTPVAL msg=audit(1700000000.001:7): op=freq old=1 new=2\n",
        types.SYSCALL: f"type=SYSCALL msg=audit(1700000000.001:7): {CALL.format(0xC000003E, 159)}\n",
    }
    log = records.pop(first) + "".join(records.values())

    (document,) = replay_text(log)

    assert document["audit"]["kernel"]["record_type"] == named
    assert document["audit"]["kernel"]["action"] == "changed-system-time"


def test_categories_do_not_overlap_and_cover_every_type_but_the_old_commands():
    ranges = sorted((int(first), int(last)) for first, last, _ in rows("categories.tsv"))

    assert all(first <= last for first, last in ranges)
    assert all(one[1] < other[0] for one, other in pairwise(ranges))
    assert [
        name for number, name in record_type_names().items() if number >= 1100 and category_of(number) == "unknown"
    ] == []


def test_every_record_type_that_names_events_has_a_row_or_its_name_as_the_action():
    for number, name in record_type_names().items():
        meaning = find_meaning(Facts(record_type=number))

        assert meaning.action or number == types.SYSCALL, name


@pytest.mark.parametrize("architecture", ["x86_64", "i386", "aarch64", "s390x"])
def test_a_system_call_without_a_row_still_gives_a_useful_event(replay_text: ReplayText, architecture: str):
    word = architecture_word(architecture)
    mapped = set(names_in("syscalls.tsv"))
    unmapped = [number for number, name in syscall_names(architecture).items() if name not in mapped]
    numbers = [*unmapped[:40], 9999]
    log = "".join(
        f"type=SYSCALL msg=audit(1700000000.001:{serial}): {CALL.format(word, number)}\n"
        for serial, number in enumerate(numbers)
    )

    documents = replay_text(log)

    assert len(documents) == len(numbers)
    for document, number in zip(documents, numbers, strict=True):
        kernel = document["audit"]["kernel"]
        assert kernel["action"] == syscall_names(architecture).get(number, str(number))
        assert (kernel["actor"]["primary"], kernel["how"], kernel["result"], kernel["key"]) == (
            "1000",
            "/bin/x",
            "success",
            "k",
        )
        assert document["auditline"]["complete"] is True


def test_every_system_call_of_the_table_gives_its_action(replay_text: ReplayText):
    numbers = {name: number for number, name in syscall_names("x86_64").items()}
    wanted = {numbers[name]: row[1] for row in rows("syscalls.tsv") for name in row[0].split(",") if name in numbers}
    log = "".join(
        f"type=SYSCALL msg=audit(1700000000.001:{number}): {CALL.format(0xC000003E, number)}\n" for number in wanted
    )

    documents = replay_text(log)

    assert {d["audit"]["kernel"]["sequence"]: d["audit"]["kernel"]["action"] for d in documents} == wanted


def test_every_record_type_gives_an_event(replay_text: ReplayText):
    log = "".join(
        f"type={name.upper()} msg=audit(1700000000.001:{number}): pid=7 uid=1000 auid=1000 ses=1 thing=it res=1\n"
        for number, name in record_type_names().items()
    )

    documents = replay_text(log)

    assert len(documents) == len(record_type_names())
    for document in documents:
        kernel = document["audit"]["kernel"]
        assert kernel["record_type"] == record_type_names()[kernel["sequence"]]
        assert kernel.get("action") or kernel["record_type"] == "syscall"
        assert "7" in json.dumps(kernel) or kernel["record_type"] in ("eoe", "path", "execve", "sockaddr"), kernel


@pytest.mark.parametrize(
    ("types_in_order", "chosen"),
    [
        (["PARENT", "CREATE"], 1),
        (["PARENT", "PARENT", "DELETE", "CREATE"], 2),
        (["NORMAL", "NORMAL"], 0),
        (["PARENT"], 0),
        (["PARENT", "UNKNOWN"], 1),
        (["UNKNOWN", "NORMAL"], 1),
        ([], None),
    ],
)
def test_the_path_that_was_acted_on_is_chosen(types_in_order: list[str], chosen: int | None):
    for key in ("nametype", "objtype"):
        paths = [{"item": str(item), key: name} for item, name in enumerate(types_in_order)]

        path = choose_path(paths, "open")

        assert path == (None if chosen is None else paths[chosen])


def test_thing_that_was_mounted_is_the_path_behind_the_directory():
    directory = {"item": "0", "name": "/mnt", "nametype": "NORMAL", "mode": "040755"}
    device = {"item": "1", "name": "/dev/vdb", "nametype": "NORMAL", "mode": "060660"}
    data: dict[str, str | list[str]] = {"syscall": "mount"}

    both = find_meaning(Facts(record_type=types.SYSCALL, data=data, paths=[directory, device]))
    only = find_meaning(Facts(record_type=types.SYSCALL, data=data, paths=[directory]))

    assert (both.what, both.primary) == ("block-device", "/dev/vdb")
    assert (only.what, only.primary) == ("directory", "/mnt")


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("0100644", "file"),
        ("040755", "directory"),
        ("020666", "character-device"),
        ("060660", "block-device"),
        ("010644", "named-pipe"),
        ("0120777", "symlink"),
        ("0140777", "socket"),
        *((mode, None) for mode in ("0", "", "x", "99", "-0100644", "0o100644", "7" * 5000, "٠١٠٠٦٤٤", "0100_644")),
    ],
)
def test_a_mode_says_what_kind_of_file_it_is(mode: str, kind: str | None):
    assert file_kind(mode) == kind


@pytest.mark.parametrize(
    ("exe", "comm", "how"),
    [
        ("/usr/bin/cat", "cat", "/usr/bin/cat"),
        ("/usr/bin/python3.11", "script", "script"),
        ("/bin/bash", "backup.sh", "backup.sh"),
        ("/usr/bin/perl", "x", "x"),
        ("/usr/bin/pythonista", "x", "/usr/bin/pythonista"),
        ("/usr/bin/python3.11 (deleted)", "script", "script"),
        ("/usr/bin/python2.7;58d1ccfb (deleted)", "script", "script"),
        ("/opt/bash;58d1ccfb (deleted)", "bash", "/opt/bash;58d1ccfb (deleted)"),
        ("/usr/bin/python3 (x)", "script", "/usr/bin/python3 (x)"),
        (None, "x", "x"),
        ("/bin/sh", None, "/bin/sh"),
        ("/bin/sh", "", "/bin/sh"),
        (None, None, None),
        ("", "", None),
    ],
)
def test_by_which_means_is_the_program_or_the_script(exe: str | None, comm: str | None, how: str | None):
    assert default_how(exe, comm) == how
