"""Which events say that a file was changed, and which one."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.router.decode import types
from auditline.workers.router.event import Event
from auditline.workers.router.file_calls import (
    Kind,
    call_of,
    changed_paths,
    registers_of,
    text_of,
    time_ns_of,
)

Make = Callable[..., Event]
CWD = 'CWD cwd="/watched/sub"'


def paths_of(event: Event) -> list[str]:
    call, registers = call_of(event), registers_of(event)
    assert call is not None
    assert registers is not None
    return changed_paths(event, call, registers)


def test_a_file_that_was_made_is_told_by_its_whole_path(make_write: Make) -> None:
    assert paths_of(make_write('"f"', cwd="/watched")) == ["/watched/f"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ('"/etc/x"', "/etc/x"),
        ('"./x"', "/watched/x"),
        ('"../x"', "/x"),
        ('"a//./x"', "/watched/a/x"),
        ("2F6120622FFF", "/a b/\udcff"),
        ("C3A4", "/watched/ä"),
    ],
)
def test_a_name_has_many_forms(make_write: Make, name: str, path: str) -> None:
    assert paths_of(make_write(name, cwd="/watched")) == [path]


def test_a_name_that_is_relative_to_a_descriptor_is_a_name_alone(make_write: Make) -> None:
    assert paths_of(make_write('"sub/f"', given=("5", "7ffe", "241", "1b6"))) == ["f"]


def test_a_working_directory_in_hex_is_read(make_call: Make, make_path: Callable[..., str]) -> None:
    event = make_call("openat", "CWD cwd=2F61C3A4", make_path('"f"', "CREATE"))

    assert paths_of(event) == ["/aä/f"]


@pytest.mark.parametrize(
    ("flags", "changed"), [("0", []), ("80000", []), ("1", ["f"]), ("80002", ["f"]), ("200", ["f"])]
)
def test_an_open_file_is_changed_if_it_may_be_written_to(
    make_call: Make, make_path: Callable[..., str], flags: str, changed: list[str]
) -> None:
    event = make_call("openat", CWD, make_path('"f"', "NORMAL"), given=("ffffff9c", "7ffe", flags, "0"))

    assert paths_of(event) == [f"/watched/sub/{name}" for name in changed]


def test_both_names_of_a_rename_are_changed_and_not_their_directories(
    make_call: Make, make_path: Callable[..., str]
) -> None:
    names = (("/watched", "PARENT"), ("/watched", "PARENT"), ("h", "DELETE"), ("i", "DELETE"), ("i", "CREATE"))
    records = [make_path(f'"{name}"', name_type, item) for item, (name, name_type) in enumerate(names)]
    event = make_call("renameat2", CWD, *records, returned=0, given=("ffffff9c", "7ff", "ffffff9c", "7ff"))

    assert paths_of(event) == ["/watched/sub/h", "/watched/sub/i", "/watched/sub/i"]


def test_what_has_no_name_is_left_out(make_call: Make, make_path: Callable[..., str]) -> None:
    event = make_call("fchmodat", CWD, make_path("(null)", "NORMAL"), returned=0)

    assert paths_of(event) == []


@pytest.mark.parametrize("call", ["openat", "execve", "renameat2"])
def test_what_failed_says_nothing(make_call: Make, make_path: Callable[..., str], call: str) -> None:
    assert call_of(make_call(call, CWD, make_path('"f"', "NORMAL"), returned=-13)) is None


def test_other_calls_say_nothing(make_call: Make) -> None:
    assert call_of(make_call("connect", returned=0)) is None


@pytest.mark.parametrize(("call", "kind"), [("execve", Kind.EXECUTES), ("clone", Kind.FORKS), ("openat", Kind.OPENS)])
def test_calls_are_known_by_architecture_and_number(make_call: Make, call: str, kind: Kind) -> None:
    found = call_of(make_call(call))

    assert found is not None
    assert (found.name, found.kind) == (call, kind)


def test_registers_say_who_it_was(make_call: Make) -> None:
    registers = registers_of(make_call("clone", returned=4712, pid=4711, ppid=1))

    assert registers is not None
    assert (registers.returned, registers.pid, registers.parent_pid) == (4712, 4711, 1)


def test_time_is_in_nanoseconds(make_call: Make) -> None:
    assert time_ns_of(make_call("clone", time_ns=1_700_000_000_123_456_789)) == 1_700_000_000_123_000_000


@given(st.binary(min_size=1, max_size=60))
def test_every_name_comes_back_from_hex(name: bytes) -> None:
    assert text_of(name.hex().upper()).encode("utf-8", "surrogateescape") == name


@given(st.lists(st.tuples(st.sampled_from([1300, 1302, 1307, 1309, 1337]), st.text(max_size=80)), min_size=1))
def test_whatever_records_hold_is_no_error(records: list[tuple[int, str]]) -> None:
    event = Event("audit(1.000:1", None, "1", "000", 1)
    event.types, event.bodies = [kind for kind, _ in records], [body for _, body in records]
    event.types[0] = types.SYSCALL

    call_of(event)
    registers_of(event)
