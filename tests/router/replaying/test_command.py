"""The command `replay` as a process: its options, signals, terminal and pipes."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

DATA = Path(__file__).parents[2] / "data"
SEED = DATA / "seed" / "open-eacces.log"
COMMAND = [str(Path(sys.executable).with_name("auditline")), "replay"]
LOGIN = "type=USER_LOGIN msg=audit({}.123:{}): pid=1 uid=0 auid=0 ses=1 msg='op=login acct=\"root\" res=success'\n"
WaitUntil = Callable[..., None]


def run(*arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([*COMMAND, *arguments], input=stdin, capture_output=True, timeout=60, check=False)


def serials(output: bytes) -> list[int]:
    return [json.loads(line)["audit"]["kernel"]["sequence"] for line in output.splitlines()]


class Followed:
    """A running `replay --follow`, its log and what it has written so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, out: Path) -> None:
        self.process = process
        self.log = log
        self._out = out

    def write(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)

    def serials(self) -> list[int]:
        return serials(self._out.read_bytes())

    def end(self, number: int) -> tuple[int, bytes]:
        self.process.send_signal(number)
        _, told = self.process.communicate(timeout=20)
        return self.process.returncode, told


@pytest.fixture
def follow(tmp_path) -> Iterator[Callable[..., Followed]]:
    """Start following a log in a folder of its own."""
    processes = []

    def start(*arguments: str) -> Followed:
        log, out = tmp_path / "audit.log", tmp_path / "out"
        with out.open("wb") as stdout:
            process = subprocess.Popen(
                [*COMMAND, "--follow", *arguments, str(log)], stdout=stdout, stderr=subprocess.PIPE
            )
        processes.append(process)
        return Followed(process, log, out)

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_log_is_followed_through_its_rotation(follow, wait_until: WaitUntil):
    followed = follow()
    followed.write(LOGIN.format(1700000000, 1))
    wait_until(lambda: followed.serials() == [1])

    followed.log.rename(f"{followed.log}.1")
    followed.write(LOGIN.format(1700000001, 2))
    wait_until(lambda: followed.serials() == [1, 2])
    os.truncate(followed.log, 0)
    wait_until(lambda: followed.process.poll() is None)

    assert followed.end(signal.SIGTERM)[0] == 0


def test_an_event_without_an_end_comes_when_nothing_more_has_come_for_a_while(follow, wait_until: WaitUntil):
    followed = follow()
    followed.write(SEED.read_text().replace("type=EOE", "type=CWD"))

    wait_until(lambda: followed.serials() == [32796540])

    assert followed.end(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_following_with_all_that_is_in_the_log_written(follow, wait_until: WaitUntil, number):
    followed = follow()
    followed.write(LOGIN.format(1700000000, 1))
    wait_until(lambda: followed.serials() == [1])
    followed.write(LOGIN.format(1700000001, 2) + SEED.read_text().rstrip("\n"))

    code, told = followed.end(number)

    assert followed.serials() == [1, 2, 32796540]
    assert (code, told.count(b"\n")) == (0, told.count(b"waiting for it"))


def test_older_parts_are_read_before_the_log_that_is_followed(follow, wait_until: WaitUntil, tmp_path):
    (tmp_path / "audit.log.1").write_text(LOGIN.format(1700000000, 1))
    (tmp_path / "audit.log").write_text(LOGIN.format(1700000001, 2))

    followed = follow(str(tmp_path / "audit.log.1"))

    wait_until(lambda: followed.serials() == [1, 2])
    assert followed.end(signal.SIGTERM) == (0, b"")


def test_a_reader_that_goes_away_ends_following(tmp_path, wait_until: WaitUntil):
    log = tmp_path / "audit.log"
    log.write_text(LOGIN.format(1700000000, 1))
    with subprocess.Popen([*COMMAND, "--follow", str(log)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()

        process.stdout.close()

        assert (process.wait(10), process.stderr.read()) == (0, b"")


def test_what_a_reader_has_not_taken_some_seconds_after_the_signal_is_given_up_and_said(
    tmp_path, wait_until: WaitUntil
):
    log = tmp_path / "audit.log"
    log.write_text("".join(LOGIN.format(1700000000, number) for number in range(2000)))
    with subprocess.Popen([*COMMAND, "--follow", str(log)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        stat = Path(f"/proc/{process.pid}/wchan")
        wait_until(lambda: "pipe_write" in stat.read_text() or process.poll() is not None)

        process.terminate()

        assert process.wait(20) == 1
        assert process.stderr.read() == (
            b"auditline: stdout did not take all events within 5 s: the last ones are not written\n"
        )


def test_a_reader_that_takes_nothing_does_not_keep_us_when_asked_twice(tmp_path, wait_until: WaitUntil):
    log = tmp_path / "audit.log"
    log.write_text("".join(LOGIN.format(1700000000, number) for number in range(2000)))
    with subprocess.Popen([*COMMAND, "--follow", str(log)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        stat = Path(f"/proc/{process.pid}/wchan")
        wait_until(lambda: "pipe_write" in stat.read_text() or process.poll() is not None)
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)

        process.terminate()

        assert process.wait(10) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--follow"], b"auditline: --follow: wanted a file; standard input is read until it ends in any case\n"),
        (["--follow", "a.log.gz"], b"auditline: --follow: a.log.gz is compressed, nobody writes on in it\n"),
        (["--since", "soon"], b"auditline: --since: 'soon' is no time: wanted YYYY-MM-DD"),
        (["--type", "SYSCAL"], b"auditline: --type: 'SYSCAL' is no record type; did you mean SYSCALL?\n"),
    ],
)
def test_what_cannot_be_done_is_told(arguments, problem):
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(problem)


def test_a_time_back_is_taken_as_a_word_of_its_own(tmp_path):
    log = LOGIN.format(1700000000, 1) + LOGIN.format(4102444800, 2)

    done = run("--since", "-2h", stdin=log.encode())

    assert (serials(done.stdout), done.stderr) == ([2], b"")


def test_events_are_selected_by_key_and_type():
    log = SEED.read_text() + LOGIN.format(1700000000, 1)

    by_type, by_key = run("--type", "user_login", stdin=log.encode()), run("--key", "open", stdin=log.encode())

    assert (serials(by_type.stdout), serials(by_key.stdout)) == ([1], [32796540])


def test_records_are_kept_where_asked():
    lines = SEED.read_text().splitlines()

    plain, raw = run(str(SEED)), run("--raw", str(SEED))

    assert "messages" not in json.loads(plain.stdout)["audit"]["kernel"]
    assert json.loads(raw.stdout)["audit"]["kernel"]["messages"] == lines


def test_the_other_schema_has_its_own_shape():
    document = json.loads(run("--schema", "ecs", "--raw", str(SEED)).stdout)

    assert document["event"]["module"] == "auditd"
    assert document["event"]["original"] == SEED.read_text().splitlines()
    assert "audit" not in document


def test_what_is_no_record_keeps_to_the_schema():
    document = json.loads(run("--schema", "ecs", stdin=b"garbage\n").stdout)

    assert (document["event"]["original"], document["auditd"]) == (["garbage"], {"message_type": "unparsed"})


def test_a_directory_is_replayed_oldest_part_first(tmp_path):
    for name, serial in (("audit.log", 3), ("audit.log.1", 2), ("audit.log.10", 1)):
        (tmp_path / name).write_text(LOGIN.format(1700000000 + serial, serial))

    done = run(str(tmp_path))

    assert (done.returncode, serials(done.stdout)) == (0, [1, 2, 3])


def test_skipped_lines_are_told_at_the_end():
    log = (
        "Jan  1 00:00:00 web1 sshd[1]: bye\n" * 3
        + f"Jan  1 00:00:00 web1 audispd: {LOGIN.format(1700000000, 1)}"
        + "Jan  1 00:00:00 web1 kernel: kauditd_printk_skb: 27 callbacks suppressed\n"
    )

    done = run(stdin=log.encode())

    assert (done.returncode, serials(done.stdout)) == (0, [1])
    assert done.stderr.splitlines() == [
        b"auditline: 3 lines of other programs, without an audit record, were skipped",
        b"auditline: 27 records were left out of its log by the kernel itself",
    ]


@contextmanager
def on_terminal(*arguments: str) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    """Replay with standard error on a terminal; yield the process and the terminal's screen."""
    screen, terminal = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=terminal
    )
    os.close(terminal)
    try:
        yield process, screen
    finally:
        process.kill()
        process.communicate()
        os.close(screen)


def in_of(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


def read_screen(screen: int) -> str:
    """Return what is shown until the terminal's last user has gone."""
    shown = b""
    try:
        while some := os.read(screen, 4096):
            shown += some
    except OSError:
        # EIO: nobody has the terminal open any more.
        return shown.decode()
    return shown.decode()


def feed_until(process: "subprocess.Popen[bytes]", screen: int, wait_until: WaitUntil) -> None:
    """Write records until there is something on the screen."""

    def write() -> bool:
        in_of(process).write(LOGIN.format(1700000000, 1).encode())
        in_of(process).flush()
        return bool(select.select([screen], [], [], 0.1)[0])

    wait_until(write)


def test_a_terminal_shows_progress_and_nothing_of_it_at_the_end(wait_until: WaitUntil):
    with on_terminal() as (process, screen):
        feed_until(process, screen, wait_until)
        in_of(process).close()
        shown = read_screen(screen)

        assert process.wait(10) == 0
    assert " kB  " in shown or " B  " in shown
    assert shown.rsplit("\r", 2)[1:] == [" " * len(shown.rsplit("\r", 3)[1]), ""]


def test_an_interrupt_leaves_a_clean_terminal(wait_until: WaitUntil):
    with on_terminal() as (process, screen):
        feed_until(process, screen, wait_until)
        process.send_signal(signal.SIGINT)
        # Python sees a signal that comes just before a system call after it only.
        with suppress(BrokenPipeError):
            in_of(process).write(LOGIN.format(1700000000, 1).encode())
            in_of(process).flush()
        shown = read_screen(screen)

        assert process.wait(10) == -signal.SIGINT
    assert shown.endswith(" \r")
    assert "Traceback" not in shown
