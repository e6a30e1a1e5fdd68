"""The mapping tables are sound, cover what there is, and an event that they do not cover is still of use."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.resources import files
from itertools import pairwise
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
from auditline.workers.router.naming.engine import category_of, choose_path, default_how, file_kind, find_meaning

TABLES = files("auditline.workers.router.naming")
ARCHITECTURES = ["x86_64", "x32", "i386", "aarch64", "arm", "ppc64", "ppc", "s390x", "s390", "riscv64"]
CALL = (
    "arch={:x} syscall={} success=yes exit=3 a0=1 a1=2 a2=3 a3=4 items=0 ppid=1 pid=2 auid=1000 uid=0 gid=0 euid=0"
    ' suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=1 comm="x" exe="/bin/x" key="k"'
)

ReplayText = Callable[..., list[dict[str, Any]]]


def rows(table: str) -> list[list[str]]:
    lines = TABLES.joinpath(table).read_text("utf-8").splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def names_in(table: str) -> list[str]:
    return [name for row in rows(table) for name in row[0].split(",")]


def doubles(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


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


def test_actions_are_words_with_hyphens():
    actions = [row[1] for row in rows("syscalls.tsv")] + [row[2] for row in rows("records.tsv")]

    assert [action for action in actions if not action.replace("-", "").isalnum() or not action.islower()] == []


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
        assert document["auditline"] == {"complete": True}


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

        path = choose_path(paths)

        assert path == (None if chosen is None else paths[chosen])


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
        (None, "x", "x"),
        ("/bin/sh", None, "/bin/sh"),
        ("/bin/sh", "", "/bin/sh"),
        (None, None, None),
        ("", "", None),
    ],
)
def test_by_which_means_is_the_program_or_the_script(exe: str | None, comm: str | None, how: str | None):
    assert default_how(exe, comm) == how
