"""Who did something: read once while it is there, and never taken for another process of the same pid."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common import process_info
from auditline.workers.common.process_info import (
    Process,
    ProcessCache,
    boot_ns,
    entity_id,
    read_start_ticks,
    started_ns,
)

GONE = -1
ABSENT = process_info._NOBODY
SLEEP = shutil.which("sleep") or "/bin/sleep"


@pytest.fixture
def pidfd() -> Iterator[int]:
    """A descriptor of a process that runs: our own."""
    fd = os.pidfd_open(os.getpid())
    yield fd
    os.close(fd)


def put(proc: Path, pid: int, *, start: int = 500, exe: str | None = "/usr/bin/touch", comm: str = "touch") -> Path:
    """Write what a process has in /proc."""
    folder = proc / str(pid)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    fields = ["S", "77", *["0"] * 17, str(start), *["0"] * 30]
    (folder / "stat").write_text(f"{pid} ({comm}) {' '.join(fields)}\n")
    (folder / "status").write_text("Name:\tx\nUid:\t1000\t1001\t1002\t1003\nGid:\t100\t101\t102\t103\nGroups:\t\n")
    (folder / "cmdline").write_bytes(b"touch\0a b\0")
    (folder / "loginuid").write_text("1000")
    (folder / "sessionid").write_text("3")
    (folder / "cgroup").write_text("0::/lxc/web\n")
    if exe is not None:
        (folder / "exe").symlink_to(exe)
    return folder


@contextmanager
def running(*command: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Run a program, and give a descriptor of it with it."""
    with ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        stack.callback(process.kill)
        fd = os.pidfd_open(process.pid)
        stack.callback(os.close, fd)
        yield process, fd


def write_end(process: "subprocess.Popen[bytes]") -> int:
    """Return what the program's standard input is fed by."""
    assert process.stdin is not None
    return process.stdin.fileno()


def test_a_running_process_is_told_with_all_that_proc_has_of_it(wait_until: Callable[..., None]) -> None:
    with running(SLEEP, "60") as (process, fd):
        # A program has none until it has been loaded.
        wait_until(Path(f"/proc/{process.pid}/cmdline").read_bytes)
        seen = ProcessCache().see(process.pid, fd)

    assert seen.is_certain
    assert seen.executable == os.fsencode(os.path.realpath(SLEEP))
    assert seen.arguments == (os.fsencode(SLEEP), b"60")
    assert (seen.name, seen.parent_pid, seen.uid, seen.gid) == (b"sleep", os.getpid(), os.geteuid(), os.getegid())
    assert seen.start_ticks > 0


def test_what_stands_in_proc_is_read_field_by_field(proc: Path, pidfd: int) -> None:
    put(proc, 4711)

    seen = ProcessCache(proc).see(4711, pidfd)

    assert seen == Process(
        pid=4711,
        start_ticks=500,
        executable=b"/usr/bin/touch",
        arguments=(b"touch", b"a b"),
        name=b"touch",
        parent_pid=77,
        uid=1001,
        gid=101,
        login_uid=1000,
        session=3,
        container_id="web",
        is_certain=True,
    )


def test_a_name_may_look_like_the_fields_behind_it(proc: Path, pidfd: int) -> None:
    put(proc, 4711, comm="x) R 1 2 (")

    seen = ProcessCache(proc).see(4711, pidfd)

    assert (seen.name, seen.parent_pid, seen.start_ticks) == (b"x) R 1 2 (", 77, 500)


def test_nobody_logged_in_where_the_kernel_says_unset(proc: Path, pidfd: int) -> None:
    folder = put(proc, 4711)
    (folder / "loginuid").write_text(str(ABSENT))
    (folder / "sessionid").write_text(str(ABSENT))

    seen = ProcessCache(proc).see(4711, pidfd)

    assert (seen.login_uid, seen.session) == (None, None)


def test_of_long_arguments_the_first_4096_bytes_are_kept(proc: Path, pidfd: int) -> None:
    (put(proc, 4711) / "cmdline").write_bytes(b"echo\0" + b"x" * 100_000 + b"\0")

    seen = ProcessCache(proc).see(4711, pidfd)

    assert len(b"\0".join(seen.arguments)) == 4096


def test_what_may_not_be_read_is_left_out_and_the_rest_is_told(proc: Path, pidfd: int) -> None:
    folder = put(proc, 4711, exe=None)
    (folder / "loginuid").unlink()
    (folder / "sessionid").unlink()

    seen = ProcessCache(proc).see(4711, pidfd)

    assert (seen.executable, seen.login_uid, seen.session) == (None, None, None)
    assert (seen.name, seen.uid, seen.is_certain) == (b"touch", 1001, True)


def test_a_hidden_process_has_a_pid_and_nothing_else(proc: Path, pidfd: int) -> None:
    assert ProcessCache(proc).see(4711, pidfd) == Process(4711)


def test_of_a_process_outside_of_our_namespace_nothing_is_read(proc: Path, pidfd: int) -> None:
    put(proc, 0)

    assert ProcessCache(proc).see(0, pidfd) == Process(0)


def test_a_process_that_was_gone_before_it_was_ever_seen_has_a_pid_only() -> None:
    with running(SLEEP, "0") as (process, _):
        process.wait()
        seen = ProcessCache().see(process.pid, GONE)

    assert seen == Process(process.pid)


def test_one_that_was_gone_is_not_named_after_who_has_its_pid_now(proc: Path) -> None:
    """Pitfall 47."""
    put(proc, 4711)

    assert ProcessCache(proc).see(4711, GONE) == Process(4711)


def test_who_came_to_the_pid_while_it_was_looked_up_is_not_taken_for_who_had_it(proc: Path) -> None:
    """Pitfall 47."""
    put(proc, 4711)
    with running(SLEEP, "0") as (process, fd):
        process.wait()
        seen = ProcessCache(proc).see(4711, fd)

    assert seen == Process(4711)


def test_a_process_that_nobody_has_waited_for_is_still_itself(proc: Path) -> None:
    put(proc, 4711, exe=None)
    with running(SLEEP, "0") as (process, fd):
        os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOWAIT)
        seen = ProcessCache(proc).see(4711, fd)
        process.wait()

    assert (seen.name, seen.is_certain) == (b"touch", True)


def test_a_process_is_not_read_again_for_each_of_its_records(proc: Path, pidfd: int, clock: Any) -> None:
    cache = ProcessCache(proc, clock)
    put(proc, 4711)
    first = cache.see(4711, pidfd)
    shutil.rmtree(proc / "4711")

    again = cache.see(4711, pidfd)

    assert again is first


def test_one_that_runs_on_is_looked_at_in_short_and_stays_certain(proc: Path, pidfd: int, clock: Any) -> None:
    cache = ProcessCache(proc, clock)
    folder = put(proc, 4711)
    first = cache.see(4711, pidfd)
    (folder / "cmdline").unlink()
    clock.now += 1

    again = cache.see(4711, pidfd)

    assert again == first


def test_one_that_has_ended_since_is_remembered_but_not_certain(proc: Path, pidfd: int, clock: Any) -> None:
    cache = ProcessCache(proc, clock)
    put(proc, 4711)
    first = cache.see(4711, pidfd)
    shutil.rmtree(proc / "4711")
    clock.now += 1

    after = cache.see(4711, GONE)

    assert after == first._replace(is_certain=False)


@pytest.mark.parametrize(
    ("pid_max", "seconds"), [("4194304", 41), ("194400", 0.005)], ids=["many-pids-in-a-while", "few-pids-at-once"]
)
def test_it_is_forgotten_once_the_pid_may_be_anothers(
    proc: Path, pidfd: int, clock: Any, pid_max: str, seconds: float
) -> None:
    (proc / "sys" / "kernel" / "pid_max").write_text(f"{pid_max}\n")
    cache = ProcessCache(proc, clock)
    put(proc, 4711)
    cache.see(4711, pidfd)
    shutil.rmtree(proc / "4711")
    clock.now += seconds

    after = cache.see(4711, GONE)

    assert after == Process(4711)


def test_another_process_of_the_same_pid_is_read_anew(proc: Path, pidfd: int, clock: Any) -> None:
    cache = ProcessCache(proc, clock)
    put(proc, 4711)
    cache.see(4711, pidfd)
    put(proc, 4711, start=900, exe="/usr/bin/cp", comm="cp")
    clock.now += 1

    other = cache.see(4711, pidfd)

    assert (other.start_ticks, other.executable, other.is_certain) == (900, b"/usr/bin/cp", True)


def test_the_program_that_a_process_has_just_executed_is_not_certain_to_have_done_it(
    clock: Any, wait_until: Callable[..., None]
) -> None:
    with running("/bin/sh", "-c", 'read x; exec "$0" 60', SLEEP) as (process, fd):
        wait_until(lambda: os.readlink(f"/proc/{process.pid}/exe") == os.path.realpath("/bin/sh"))
        cache = ProcessCache(clock=clock)
        shell = cache.see(process.pid, fd)
        os.write(write_end(process), b"\n")
        wait_until(lambda: os.readlink(f"/proc/{process.pid}/exe") == os.path.realpath(SLEEP))
        clock.now += 1
        just_executed = cache.see(process.pid, fd)
        clock.now += 1
        later = cache.see(process.pid, fd)

    assert (shell.executable, shell.is_certain) == (os.fsencode(os.path.realpath("/bin/sh")), True)
    assert (just_executed.executable, just_executed.is_certain) == (os.fsencode(os.path.realpath(SLEEP)), False)
    assert (later.executable, later.is_certain) == (os.fsencode(os.path.realpath(SLEEP)), True)


def test_without_a_descriptor_an_old_process_is_named_but_not_certain(proc: Path) -> None:
    put(proc, 4711, start=0)

    seen = ProcessCache(proc).see(4711, None)

    assert (seen.executable, seen.is_certain) == (b"/usr/bin/touch", False)


def test_without_a_descriptor_a_young_process_may_be_another_one(proc: Path) -> None:
    put(proc, 4711, start=1 << 40)

    assert ProcessCache(proc).see(4711, None) == Process(4711)


def test_the_processes_last_seen_are_remembered(
    proc: Path, pidfd: int, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_info, "MOST_PROCESSES", 2)
    cache = ProcessCache(proc, clock)
    for pid in (1, 2):
        put(proc, pid)
        cache.see(pid, pidfd)
    clock.now += 1
    cache.see(1, pidfd)
    put(proc, 3)
    cache.see(3, pidfd)
    for pid in (1, 2, 3):
        shutil.rmtree(proc / str(pid))

    named = [cache.see(pid, GONE).executable is not None for pid in (1, 2, 3)]

    assert named == [True, False, True]


def test_the_parent_is_told_by_its_executable(proc: Path, pidfd: int) -> None:
    put(proc, 77, start=400, exe="/usr/bin/bash")
    put(proc, 4711, start=500)

    assert ProcessCache(proc).see(4711, pidfd).parent_executable == b"/usr/bin/bash"


def test_a_younger_process_is_not_the_parent(proc: Path, pidfd: int) -> None:
    put(proc, 77, start=600, exe="/usr/bin/bash")
    put(proc, 4711, start=500)

    seen = ProcessCache(proc).see(4711, pidfd)

    assert (seen.parent_pid, seen.parent_executable) == (77, None)


def test_where_no_descriptor_could_be_opened_it_is_as_if_none_were_told(proc: Path) -> None:
    put(proc, 4711, start=0)

    seen = ProcessCache(proc).see(4711, -2)

    assert (seen.executable, seen.is_certain) == (b"/usr/bin/touch", False)


def test_start_ticks_are_those_that_the_whole_look_has() -> None:
    with running(SLEEP, "60") as (process, fd):
        ticks, seen = read_start_ticks(process.pid), ProcessCache().see(process.pid, fd)

    assert ticks == seen.start_ticks > 0


def test_there_are_no_start_ticks_of_who_is_not_there(proc: Path) -> None:
    assert read_start_ticks(4711, proc) == 0


def test_a_process_has_a_name_that_no_other_one_has() -> None:
    boots = ("5a37a3c8-86e3-4d0e-9d7c-9d0d6c0a3a57", "00000000-86e3-4d0e-9d7c-9d0d6c0a3a57")

    names = {entity_id(boot, pid, start) for boot in boots for pid in (1, 11) for start in (1, 11)}

    assert len(names) == 8
    assert {len(name) for name in names} == {16}


def test_the_name_is_the_same_in_every_process() -> None:
    assert entity_id("5a37a3c8-86e3-4d0e-9d7c-9d0d6c0a3a57", 4711, 500) == "N2HGVVeqY2RXa6I0"


def test_a_start_is_told_in_the_clock_of_the_host() -> None:
    with running(SLEEP, "60") as (process, _):
        age_ns = time.time_ns() - started_ns(read_start_ticks(process.pid), boot_ns())

    assert 0 <= age_ns < 5_000_000_000


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_stands_in_proc_is_no_error(
    tmp_path_factory: pytest.TempPathFactory, stat: bytes, status: bytes, loginuid: bytes
) -> None:
    folder = tmp_path_factory.mktemp("proc") / "4711"
    folder.mkdir()
    (folder / "stat").write_bytes(stat)
    (folder / "status").write_bytes(status)
    (folder / "loginuid").write_bytes(loginuid)

    assert ProcessCache(folder.parent).see(4711, None).pid == 4711
