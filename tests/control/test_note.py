"""The note of how the kernel was found: on the disk, and put back."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.errors import StorageError
from auditline.workers.common.host import boot_id
from auditline.workers.control import hurry
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.hurry import RCU_EXPEDITED
from auditline.workers.control.kernel import NETLINK_AUDIT, AuditControl, claim_pid
from auditline.workers.control.language import parse_rules
from auditline.workers.control.messages import add_rule
from auditline.workers.control.note import (
    NOTE_FILE,
    KernelNote,
    calm_down,
    note_of,
    read_note,
    remove_note,
    restore,
    restore_leftovers,
    write_note,
)

RULES = st.lists(st.binary(min_size=1040, max_size=1100), max_size=3).map(tuple)
FIELDS = st.dictionaries(st.sampled_from(["enabled", "backlog_limit"]), st.integers(0, 2**32 - 1))


def compiled(text: str) -> bytes:
    (rule,) = parse_rules(text, "test").rules
    return comparable(compile_rule(rule))


OURS = compiled("-a always,exit -F arch=b64 -S swapoff -F uid=65534 -k test-ours")
FOREIGN = compiled("-a always,exit -F arch=b64 -S swapon -F uid=65534 -k test-foreign")


def list_of(rule: bytes) -> bytes:
    return rule[:4]


def some_note(**changes: object) -> KernelNote:
    content = {"boot_id": boot_id(), "supervisor_pid": 1, "fields": {"enabled": 0}, **changes}
    return KernelNote(**content)  # type: ignore[arg-type]  # the test names the fields


@given(rules=RULES, removed_rules=RULES, found_rules=RULES, fields=FIELDS, switch=st.sampled_from([None, "0", "1"]))
def test_note_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    rules: tuple[bytes, ...],
    removed_rules: tuple[bytes, ...],
    found_rules: tuple[bytes, ...],
    fields: dict[str, int],
    switch: str | None,
) -> None:
    path = tmp_path_factory.getbasetemp() / NOTE_FILE
    note = some_note(
        rules=rules, removed_rules=removed_rules, found_rules=found_rules, fields=fields, rcu_expedited=switch
    )

    write_note(path, note)

    assert read_note(path) == note
    assert path.stat().st_mode & 0o777 == 0o640


@given(st.one_of(st.binary(max_size=50), st.from_type(dict).map(str).map(str.encode), st.just(b"[" * 100_000)))
def test_damaged_note_is_told_by_name(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / NOTE_FILE
    path.write_bytes(content)

    with pytest.raises(StorageError, match=NOTE_FILE):
        read_note(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 2),
        ("fields", {"enabled": -1}),
        ("fields", []),
        ("rules", ["AAAA"]),
        ("rules", 1),
        ("boot_id", None),
        ("rcu_expedited", 1),
    ],
)
def test_note_with_a_wrong_value_is_damaged_or_of_another_boot(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / NOTE_FILE
    write_note(path, some_note())
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))

    try:
        note = read_note(path)
    except StorageError:
        note = None

    assert note is None


def test_note_of_another_boot_is_removed_and_nothing_else_is_done(tmp_path: Path) -> None:
    write_note(tmp_path / NOTE_FILE, some_note(boot_id="another", fields={"enabled": 7}, rules=(OURS,)))

    assert restore_leftovers(tmp_path) == ()

    assert list(tmp_path.iterdir()) == []


def test_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"missing/kernel-state.json: .* cannot be saved: No such file"):
        write_note(tmp_path / "missing" / NOTE_FILE, some_note())


def test_absent_note_is_no_mistake(tmp_path: Path) -> None:
    remove_note(tmp_path / NOTE_FILE)

    assert read_note(tmp_path / NOTE_FILE) is None
    assert restore_leftovers(tmp_path) == ()


@pytest.mark.kernel
def test_restoring_takes_out_only_our_rules_and_puts_the_fields_back(
    kernel_audit: AuditControl, tmp_path: Path
) -> None:
    found = kernel_audit.status()
    kernel_audit.add_rule(FOREIGN)
    before = kernel_audit.list_rules()
    note = note_of(found, os.getpid())
    write_note(tmp_path / NOTE_FILE, replace(note, rules=(OURS,)))
    kernel_audit.add_rule(OURS)
    kernel_audit.set_status(enabled=1, failure=0, rate_limit=99, backlog_limit=999, backlog_wait_time=99)

    problems = restore(tmp_path / NOTE_FILE, kernel_audit, living_supervisor_pid=None)

    status = kernel_audit.status()
    assert problems == ()
    assert kernel_audit.list_rules() == before
    assert note_of(status, os.getpid()) == note
    assert list(tmp_path.iterdir()) == []


@pytest.mark.kernel
@pytest.mark.skipif(not os.access(RCU_EXPEDITED, os.W_OK), reason=f"{RCU_EXPEDITED} cannot be written")
def test_as_many_rules_as_a_security_standard_has_are_gone_within_two_seconds(
    kernel_audit: AuditControl, tmp_path: Path
) -> None:
    before = kernel_audit.list_rules()
    ours = tuple(compiled(f"-a always,exit -F arch=b64 -S swapoff -F uid=65534 -F a0={n}") for n in range(300))
    write_note(tmp_path / NOTE_FILE, replace(note_of(kernel_audit.status(), os.getpid()), rules=ours))
    kernel_audit.change([add_rule(rule) for rule in ours])
    start = time.monotonic()

    problems = restore(tmp_path / NOTE_FILE, kernel_audit, living_supervisor_pid=None)

    assert time.monotonic() - start < 2
    assert problems == ()
    assert kernel_audit.list_rules() == before
    assert RCU_EXPEDITED.read_text() == "0\n"


def test_a_setting_of_the_host_that_a_killed_process_left_on_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = tmp_path / "rcu_expedited"
    switch.write_text("1")
    monkeypatch.setattr(hurry, "RCU_EXPEDITED", switch)
    path = tmp_path / NOTE_FILE
    write_note(path, some_note(rcu_expedited="0"))
    note = read_note(path)
    assert note is not None

    note = calm_down(note)

    assert switch.read_text() == "0"
    assert note == some_note()


@pytest.mark.kernel
def test_rules_of_others_that_were_taken_out_come_back(kernel_audit: AuditControl, tmp_path: Path) -> None:
    note = note_of(kernel_audit.status(), os.getpid())
    write_note(tmp_path / NOTE_FILE, replace(note, removed_rules=(FOREIGN,)))

    problems = restore(tmp_path / NOTE_FILE, kernel_audit, living_supervisor_pid=None)

    assert problems == ()
    assert FOREIGN in map(comparable, kernel_audit.list_rules())


OTHERS = tuple(
    compiled(f"-a {action},exit -F arch=b64 -S swapon -F uid=65534 -F exit={number}")
    for number, action in enumerate(("always", "never", "always", "always"))
)
OF_ANOTHER_LIST = tuple(compiled(f"-a always,exclude -F msgtype={number} -F uid=65534") for number in (1400, 1401))


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("kept", "added"),
    [((), ()), ((0,), ()), ((1,), ()), ((3,), ()), ((1, 3), ()), ((3, 1), ()), ((0, 1, 2), ()), ((1,), (3,))],
    ids=str,
)
def test_rules_of_others_come_back_in_their_order(
    kernel_audit: AuditControl, tmp_path: Path, kept: tuple[int, ...], added: tuple[int, ...]
) -> None:
    found = tuple(rule for number, rule in enumerate(OTHERS) if number not in added)
    before = list(map(comparable, kernel_audit.list_rules()))
    for rule in (*(OTHERS[number] for number in kept), OURS, *(OTHERS[number] for number in added), *OF_ANOTHER_LIST):
        kernel_audit.add_rule(rule)
    note = replace(
        note_of(kernel_audit.status(), os.getpid()),
        rules=(OURS,),
        removed_rules=tuple(rule for number, rule in enumerate(OTHERS) if number not in (*kept, *added)),
        found_rules=(*before, *found, *OF_ANOTHER_LIST),
    )
    write_note(tmp_path / NOTE_FILE, note)

    problems = restore(tmp_path / NOTE_FILE, kernel_audit, living_supervisor_pid=None)

    ours = {*OTHERS, *OF_ANOTHER_LIST, OURS}
    after = [rule for rule in map(comparable, kernel_audit.list_rules()) if rule in ours]
    assert problems == ()
    assert after == sorted((*found, *(OTHERS[number] for number in added), *OF_ANOTHER_LIST), key=list_of)


@pytest.mark.kernel
def test_rule_of_others_that_became_ours_stays(kernel_audit: AuditControl, tmp_path: Path) -> None:
    note = note_of(kernel_audit.status(), os.getpid())
    write_note(tmp_path / NOTE_FILE, replace(note, rules=(OURS, FOREIGN), removed_rules=(FOREIGN,)))
    kernel_audit.add_rule(OURS)
    kernel_audit.add_rule(FOREIGN)

    restore(tmp_path / NOTE_FILE, kernel_audit, living_supervisor_pid=None)

    loaded = list(map(comparable, kernel_audit.list_rules()))
    assert (FOREIGN in loaded, OURS in loaded) == (True, False)


@pytest.mark.kernel
def test_note_that_vanished_is_known_from_memory(
    kernel_audit: AuditControl, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note = replace(note_of(kernel_audit.status(), os.getpid()), rules=(OURS,))
    kernel_audit.add_rule(OURS)
    kernel_audit.set_status(rate_limit=99)

    problems = restore(tmp_path / "gone" / NOTE_FILE, kernel_audit, living_supervisor_pid=None, known=note)

    assert problems == ()
    assert OURS not in map(comparable, kernel_audit.list_rules())
    assert note_of(kernel_audit.status(), os.getpid()).fields == note.fields
    assert "kernel-state.json is gone; the kernel is put back from memory" in caplog.text


def register_and(wait: Callable[[], None]) -> NoReturn:
    """Be an audit daemon until *wait* returns, in a process of its own."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as data_socket:
            data_socket.bind((0, 0))
            claim_pid(data_socket)
            wait()
    finally:
        os._exit(0)


@pytest.fixture
def other_daemon(kernel_audit: AuditControl, wait_until: Callable[..., None]) -> Iterator[int]:
    pid = os.fork()
    if pid == 0:
        register_and(signal.pause)
    wait_until(lambda: kernel_audit.status().pid == pid)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.kernel
def test_pid_of_a_dead_supervisor_is_cleared(kernel_audit: AuditControl, tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        register_and(lambda: None)
    os.waitpid(pid, 0)
    assert kernel_audit.status().pid == pid
    write_note(tmp_path / NOTE_FILE, note_of(kernel_audit.status(), pid))

    problems = restore(tmp_path / NOTE_FILE, kernel_audit, living_supervisor_pid=None)

    assert problems == ()
    assert kernel_audit.status().pid == 0


@pytest.mark.kernel
def test_fields_are_left_to_another_daemon_that_lives(
    kernel_audit: AuditControl, other_daemon: int, tmp_path: Path
) -> None:
    note = note_of(kernel_audit.status(), 1)
    write_note(tmp_path / NOTE_FILE, replace(note, rules=(OURS,)))
    kernel_audit.add_rule(OURS)
    kernel_audit.set_status(enabled=1, rate_limit=99)

    (problem,) = restore(tmp_path / NOTE_FILE, kernel_audit, living_supervisor_pid=None)

    assert "another audit daemon is registered" in problem
    assert (kernel_audit.status().pid, kernel_audit.status().rate_limit) == (other_daemon, 99)
    assert OURS not in map(comparable, kernel_audit.list_rules())
    assert list(tmp_path.iterdir()) == []
