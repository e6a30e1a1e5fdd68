"""`auditline run` as a plugin of auditd: lines on standard input, its end, its signals, and deaths in between."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[1] / "data"
STDIN = 'socket = "stdin"\nresolve_ids = false'
SEGMENTS = "[outputs.stdout]\nenabled = false\n[outputs.segments]\nenabled = true\ndirectory = '{}'"
EVENT = (
    b"type=SYSCALL msg=audit(1700000%03d.%03d:%d): arch=c000003e syscall=257 success=no exit=-13 a0=0 a1=0 a2=0 a3=0"
    b' items=0 ppid=1 pid=2 auid=0 uid=0 gid=0 euid=0 tty=(none) ses=1 comm="cat" exe="/usr/bin/cat" key="k"\n'
    b"type=EOE msg=audit(1700000%03d.%03d:%d): \n"
)


def event(number: int) -> bytes:
    moment = (number // 1000, number % 1000, number)
    return EVENT % (moment + moment)


class Input:
    """The end of standard input that auditd holds."""

    def __init__(self, ours: int, theirs: int) -> None:
        self.fd, self._write_fd = ours, theirs

    def write(self, text: bytes) -> None:
        """Write all of it, as slowly as it is taken."""
        while text:
            text = text[os.write(self._write_fd, text[:65536]) :]

    def end(self) -> None:
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1

    def close(self) -> None:
        os.close(self.fd)
        self.end()


def make_pipe() -> Input:
    return Input(*os.pipe())


def make_pair() -> Input:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Input(ours.detach(), theirs.detach())


@pytest.fixture
def pair() -> Iterator[Input]:
    opened = make_pair()
    yield opened
    opened.close()


@pytest.fixture(params=[make_pipe, make_pair])
def stdin(request: Any) -> Iterator[Input]:
    opened = request.param()
    yield opened
    opened.close()


def without_names(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what a replay does not know (the host's name), and the ids of what cannot be read."""
    kernel = [document for document in documents if "kernel" in document["audit"]]
    for document in kernel:
        if document["audit"]["kernel"]["record_type"] == "unparsed":
            del document["event"]["id"]
        document.pop("host", None)
    return kernel


def replay(text: bytes) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "auditline.workers.supervisor", "replay", "--no-resolve"]
    done = subprocess.run(command, input=text, capture_output=True, check=True)
    return without_names([json.loads(line) for line in done.stdout.splitlines()])


ODD = (
    b'type=SYSCALL msg=audit(1700000000.001:1): arch=c000003e syscall=2 comm="\xff\xfe" exe="/a\x00b" key=(null)\n'
    b"type=EOE msg=audit(1700000000.001:1): \n"
    b"no record at all \xff\n"
    b"type=SYSCALL msg=audit(broken): x\n"
    b"node=web1 type=USER_LOGIN msg=audit(1700000001.002:2): pid=1 uid=0 auid=0 msg='op=login acct=\"a\" res=success'\n"
    b"type=UNKNOWN[1999] msg=audit(1700000002.002:3): a=b\n"
    b"type=OF_TOMORROW msg=audit(1700000002.003:4): a=b\n"
    b"type=DAEMON_END msg=audit(1700000002.004:9999): op=terminate\n"
    b"----\n"
    b"\n"
    b"type=EXECVE msg=audit(1700000003.002:5): argc=1 a0=" + b"41" * 50_000 + b"\n"
    b'type=CWD msg=audit(1700000003.002:5): cwd="/last line without a newline"'
)


@pytest.mark.parametrize(
    "text",
    [
        (DATA / "small.log").read_bytes(),
        (DATA / "audit" / "enriched.log").read_bytes(),
        (DATA / "audit" / "interleaved.log").read_bytes(),
        (DATA / "audit" / "nodes.log").read_bytes(),
        ODD,
    ],
    ids=["small", "enriched", "interleaved", "nodes", "odd"],
)
def test_a_log_gives_the_events_of_its_replay(start_run: Any, stdin: Input, text: bytes) -> None:
    run = start_run(stdin=stdin.fd, audit=STDIN)

    stdin.write(text)
    stdin.end()
    code = run.wait(30)

    assert code == 0
    assert without_names(run.events) == replay(text)


def test_an_event_comes_out_while_the_input_goes_on(start_run: Any, stdin: Input, wait_until: Any) -> None:
    run = start_run(stdin=stdin.fd, audit=STDIN)

    stdin.write(event(1))
    wait_until(lambda: len(without_names(run.events)) == 1)
    stdin.end()

    assert run.wait(10) == 0


def test_nothing_of_the_kernel_s_is_touched(start_run: Any, stdin: Input, wait_until: Any) -> None:
    run = start_run(stdin=stdin.fd, audit=STDIN)

    wait_until(lambda: run.has_all(["audit reader", "router"]))
    titles = [process.cmdline()[0] for process in run.family()]
    stdin.end()
    run.wait(10)

    assert "auditline: control" not in titles
    assert not (run.folder / "state" / "kernel-state.json").exists()
    assert "rules and status of the kernel's audit are auditd's" in run.stderr


def test_sigterm_takes_what_is_there_and_leaves_half_an_event_to_the_next_start(
    start_run: Any, pair: Input, stdin: Input, wait_until: Any, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    first = start_run(stdin=pair.fd, audit=STDIN, tables=SEGMENTS.format(log))
    begun, _, end = event(2).partition(b"\ntype=EOE")
    wait_until(lambda: first.has_all(["audit reader", "router"]))

    pair.write(event(1) + begun + b"\n")
    os.kill(first.pid, signal.SIGTERM)
    code = first.wait(10)
    second = start_run(stdin=stdin.fd, audit=STDIN, tables=SEGMENTS.format(log))
    stdin.write(b"type=EOE" + end)
    stdin.end()

    assert (code, second.wait(10)) == (0, 0)
    assert without_names(first.lines_of(log)) == replay(event(1) + event(2))


def test_the_end_of_the_input_and_a_sigterm_right_behind_it_are_one_stop(
    start_run: Any, pair: Input, wait_until: Any
) -> None:
    run = start_run(stdin=pair.fd, audit=STDIN)
    wait_until(lambda: run.has_all(["audit reader", "router"]))

    pair.write(b"".join(map(event, range(200))))
    pair.end()
    wait_until(lambda: run.counters("audit").get("records_received_total") == 400 or not run.worker("router"))
    os.kill(run.pid, signal.SIGTERM)

    assert run.wait(10) == 0


def test_sighup_reads_the_configuration_again_and_loses_nothing(start_run: Any, stdin: Input, wait_until: Any) -> None:
    run = start_run(stdin=stdin.fd, audit=STDIN)
    wait_until(lambda: run.has_all(["audit reader", "router"]))

    for number in range(20):
        stdin.write(event(number))
        os.kill(run.pid, signal.SIGHUP)
    stdin.end()
    code = run.wait(20)

    assert code == 0
    assert without_names(run.events) == replay(b"".join(map(event, range(20))))


def catches(pid: int, number: int) -> bool:
    """Say whether that process has a handler for that signal."""
    _, _, caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")
    return bool(int(caught.split(maxsplit=1)[0], 16) >> (number - 1) & 1)


def test_a_sighup_while_it_starts_is_taken_once_it_is_up(start_run: Any, stdin: Input, wait_until: Any) -> None:
    run = start_run(stdin=stdin.fd, audit=STDIN)
    wait_until(lambda: catches(run.pid, signal.SIGTERM))

    os.kill(run.pid, signal.SIGHUP)
    stdin.write(event(1))
    stdin.end()

    assert run.wait(20) == 0
    assert without_names(run.events) == replay(event(1))


def test_a_start_with_signals_blocked_is_stopped_all_the_same(start_run: Any, stdin: Input, wait_until: Any) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])
    try:
        run = start_run(stdin=stdin.fd, audit=STDIN)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGCHLD])
    wait_until(lambda: run.has_all(["audit reader", "router"]))

    os.kill(run.pid, signal.SIGTERM)

    assert run.wait(10) == 0


def test_a_terminal_or_dev_null_is_refused(start_run: Any) -> None:
    run = start_run(stdin=subprocess.DEVNULL, audit=STDIN)

    assert run.wait(10) == 2
    assert "standard input is a terminal or /dev/null: wanted a pipe or a socket" in run.stderr


def test_stdout_to_dev_null_is_told(start_run: Any, stdin: Input) -> None:
    run = start_run(stdin=stdin.fd, stdout=subprocess.DEVNULL, audit=STDIN)

    stdin.end()

    assert run.wait(10) == 0
    assert "stdout is /dev/null" in run.stderr


def test_lines_are_taken_while_stdout_takes_nothing(
    start_run: Any, pair: Input, tmp_path: Path, wait_until: Any
) -> None:
    read_fd, write_fd = os.pipe()
    text = b"".join(map(event, range(10_000)))
    run = start_run(stdin=pair.fd, stdout=write_fd, audit=STDIN)
    os.close(write_fd)

    pair.write(text)
    pair.end()
    wait_until(lambda: run.counters("audit").get("records_received_total") == 20_000, 30)
    with os.fdopen(read_fd, "rb") as stdout:
        lines = stdout.read().splitlines()

    assert run.wait(20) == 0
    documents = without_names([json.loads(line) for line in lines])
    assert [document["event"]["id"] for document in documents] == [found["event"]["id"] for found in replay(text)]


@pytest.mark.parametrize("title", ["audit reader", "router"])
def test_kills_cost_no_line(
    start_run: Any, stdin: Input, tmp_path: Path, at_moments: Callable[..., Iterator[Any]], title: str
) -> None:
    log = tmp_path / "log"
    text = b"".join(map(event, range(10_000)))
    run = start_run(stdin=stdin.fd, audit=STDIN, tables=SEGMENTS.format(log))
    writer = threading.Thread(target=write_in_odd_pieces, args=(stdin, text))
    writer.start()

    for _ in at_moments(range(5), 4):
        kill(run, title)
    writer.join()
    stdin.end()
    code = run.wait(60)

    assert code == 0
    assert without_names(run.lines_of(log)) == replay(text)


def kill(run: Any, title: str) -> None:
    """Kill that process, if there is one at the moment."""
    if pid := run.pid_of(title):
        os.kill(pid, signal.SIGKILL)


def write_in_odd_pieces(stdin: Input, text: bytes) -> None:
    """Spread it over some seconds, and never write a whole line alone."""
    for start in range(0, len(text), 7919):
        stdin.write(text[start : start + 7919])
        time.sleep(0.006)
