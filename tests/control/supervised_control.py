"""A small supervisor for tests: registers its pid, runs the real control process, and does what stdin says.

Arguments: a directory for state, counters and the configuration file `auditline.toml`, which is written from the rest:
`rules_files` patterns and, after `--`, `rules` lines. Prints
`ready <pid of control>` after each start and `ended <exit code>` after each end.
Commands, one a line: go, hup, term, kill, start, started-again (with the go-ahead in the pipe).
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.privileges import die_with_parent
from auditline.workers.common.settings import (
    AuditSettings,
    RunSettings,
    Settings,
    StateSettings,
    show_settings,
)
from auditline.workers.common.settings_loading import load_settings
from auditline.workers.control.kernel import NETLINK_AUDIT, claim_pid, release_pid
from auditline.workers.control.worker import run


def main(directory: Path, patterns: tuple[str, ...], lines: tuple[str, ...]) -> None:
    """Supervise until stdin ends; then leave as a good supervisor does."""
    is_multicast = "MULTICAST" in os.environ
    data_socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT)
    data_socket.bind((0, 0))
    if not is_multicast:
        claim_pid(data_socket)
    audit = AuditSettings(rules_files=patterns, rules=lines, backlog_limit=8193)
    file = directory / "auditline.toml"
    file.write_text(
        show_settings(
            Settings(
                state=StateSettings(directory=directory), run=RunSettings(directory=directory / "run"), audit=audit
            )
        )
    )
    settings = load_settings(file, is_root=True, environment={})
    pid, go_fd = start(settings, is_multicast=is_multicast)
    for command in map(str.strip, sys.stdin):
        if command == "go":
            os.write(go_fd, b"g")
        elif command == "hup":
            os.kill(pid, signal.SIGHUP)
        elif command in ("term", "kill"):
            os.kill(pid, signal.SIGTERM if command == "term" else signal.SIGKILL)
            say("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        elif command in ("start", "started-again"):
            pid, go_fd = start(settings, is_multicast=is_multicast)
            if command == "started-again":
                os.write(go_fd, b"g")
    end_control(pid)
    if not is_multicast:
        release_pid()


def end_control(pid: int) -> None:
    """Stop control, unless it has ended: what it puts back in the end must not meet the next test."""
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


def start(settings: Settings, *, is_multicast: bool) -> tuple[int, int]:
    """Start control and wait until it is ready; return its pid and where the go-ahead goes."""
    supervisor_pid = os.getpid()
    go_read_fd, go_fd = os.pipe()
    ready_read_fd, ready_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_fd)
        os.close(ready_read_fd)
        be_control(settings, supervisor_pid, ready_fd, go_read_fd, is_multicast=is_multicast)
    os.close(go_read_fd)
    os.close(ready_fd)
    os.read(ready_read_fd, 1)
    os.close(ready_read_fd)
    say("ready", pid)
    return pid, go_fd


def be_control(settings: Settings, supervisor_pid: int, ready_fd: int, go_fd: int, *, is_multicast: bool) -> NoReturn:
    """Be the control process; the data socket stays with the supervisor."""
    code = 1
    try:
        os.closerange(ready_fd + 1, 64)
        os.closerange(3, min(ready_fd, go_fd))
        die_with_parent(signal.SIGTERM, supervisor_pid)
        counters = CounterPage.open(settings.state.directory / "control.page", ())
        life = Life("control", counters, ready_fd=ready_fd)
        life.take_signals()
        run(life, settings, supervisor_pid, is_multicast, go_fd)
        code = 0
    except BaseException:  # noqa: BLE001  # it must not run on as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def say(word: str, number: int) -> None:
    """Tell the test."""
    sys.stdout.write(f"{word} {number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    arguments = sys.argv[2:]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    main(Path(sys.argv[1]), tuple(arguments[:at]), tuple(arguments[at + 1 :]))
