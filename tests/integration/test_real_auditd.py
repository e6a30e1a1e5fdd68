"""`auditline run`, started by a real auditd as its plugin."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
import pytest

from auditline.workers.control.compile import compile_rule
from auditline.workers.control.language import parse_rules

pytestmark = pytest.mark.kernel

RULE = "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -k open"
AUDITD = """
local_events = yes
write_logs = yes
log_file = {folder}/audit.log
log_format = ENRICHED
flush = NONE
name_format = NONE
priority_boost = 0
max_log_file_action = IGNORE
space_left = 2
admin_space_left = 1
space_left_action = IGNORE
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
q_depth = 2000
overflow_action = SYSLOG
max_restarts = 10
plugin_dir = {folder}/plugins.d
"""
CONFIGURATION = """
[state]
directory = "{folder}/state"
[run]
directory = "{folder}/run"
[audit]
socket = "stdin"
[fim]
watch = []
[outputs.stdout]
enabled = false
[outputs.segments]
enabled = true
directory = "{folder}/log"
"""


class Auditd:
    """An auditd in the foreground, with a folder of its own for all that it reads and writes."""

    def __init__(self, program: str, folder: Path) -> None:
        self.folder = folder
        self._write("auditd.conf", AUDITD.format(folder=folder))
        self._write("auditline.toml", CONFIGURATION.format(folder=folder))
        # auditd clears the environment, and takes a program only if root owns it.
        command = f"PYTHONPATH='{os.environ.get('PYTHONPATH', '')}' exec {sys.executable}"
        self._write("auditline", f'#!/bin/sh\n{command} -m auditline.workers.supervisor "$@" 2>>{folder}/stderr\n')
        (folder / "auditline").chmod(0o755)
        plugin = files("auditline.conf").joinpath("audit-plugin.conf").read_text(encoding="utf-8")
        plugin = plugin.replace("/opt/auditline/bin/auditline", f"{folder}/auditline")
        self._write("plugins.d/auditline.conf", plugin.replace("/etc/auditline/", f"{folder}/"))
        self._process = subprocess.Popen(
            [program, "-n", "-c", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.pid = self._process.pid

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o640)

    @property
    def plugin(self) -> psutil.Process | None:
        """The plugin's supervisor, if it lives."""
        for child in psutil.Process(self.pid).children():
            if child.cmdline()[:1] == ["auditline: supervisor"]:
                return child
        return None

    @property
    def stderr(self) -> str:
        """What the plugins have said so far."""
        path = self.folder / "stderr"
        return path.read_text() if path.exists() else ""

    @property
    def lines(self) -> str:
        """What is in the segments."""
        return "".join(path.read_text() for path in sorted((self.folder / "log").glob("*.jsonl")))

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(10)

    def end(self) -> None:
        """Kill what is left."""
        plugin = self.plugin if self._process.poll() is None else None
        for process in [plugin, *plugin.children()] if plugin else []:
            process.kill()
        self._process.kill()
        self._process.wait()


@pytest.fixture
def start_auditd(kernel_audit: Any, public_folder: Path) -> Iterator[Callable[[], Auditd]]:
    program = os.environ.get("AUDITLINE_AUDITD") or shutil.which("auditd")
    if program is None:
        pytest.skip("no auditd: AUDITLINE_AUDITD does not name one, and PATH has none")
    if Path("/run/auditd.pid").exists():
        pytest.skip("there is an auditd already, or what is left of one: /run/auditd.pid")
    started: list[Auditd] = []

    def start() -> Auditd:
        started.append(Auditd(program, public_folder))
        return started[-1]

    (rule,) = parse_rules(RULE, "test").rules
    kernel_audit.add_rule(compile_rule(rule))
    yield start
    for auditd in started:
        auditd.end()
    Path("/run/auditd.pid").unlink(missing_ok=True)
    Path("/run/auditd.state").unlink(missing_ok=True)


def test_events_come_by_way_of_auditd(start_auditd: Any, open_denied: Any, wait_until: Any, are_gone: Any) -> None:
    auditd = start_auditd()
    wait_until(lambda: "reading events from standard input" in auditd.stderr, 20)

    open_denied("/root/first")
    wait_until(lambda: '"primary":"/root/first"' in auditd.lines)
    os.kill(auditd.pid, signal.SIGHUP)
    open_denied("/root/second")
    wait_until(lambda: '"primary":"/root/second"' in auditd.lines)
    plugin = auditd.plugin
    code = auditd.stop()

    assert code == 0
    assert plugin is not None
    wait_until(lambda: are_gone([plugin]))
    assert "is killed" not in auditd.stderr


def test_a_killed_plugin_is_started_anew_and_can_be_stopped(
    start_auditd: Any, open_denied: Any, wait_until: Any, are_gone: Any
) -> None:
    auditd = start_auditd()
    wait_until(lambda: "reading events from standard input" in auditd.stderr, 20)

    open_denied("/root/first")
    wait_until(lambda: '"primary":"/root/first"' in auditd.lines)
    auditd.plugin.kill()

    def second_has_come() -> bool:
        # auditd notices with a record that it cannot write, and gives that to the next plugin; what it writes while
        # the killed one's reader has not yet ended is lost.
        open_denied("/root/second")
        return '"primary":"/root/second"' in auditd.lines

    wait_until(second_has_come, 20)
    plugin = auditd.plugin
    os.kill(plugin.pid, signal.SIGTERM)

    wait_until(lambda: are_gone([plugin]))
