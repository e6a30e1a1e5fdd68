"""The control process, forked by a small supervisor, on the real kernel."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from auditline.workers.common.counters import read_pages
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.keeper import own_processes_rule
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.language import parse_rules
from auditline.workers.control.messages import KernelStatus
from auditline.workers.control.note import NOTE_FILE

pytestmark = pytest.mark.kernel
SUPERVISOR = Path(__file__).with_name("supervised_control.py")
WaitUntil = Callable[..., None]
RECORD = "-a always,exit -F arch=b64 -S swapoff -F uid=65534 -k test-record"
OTHER = "-a always,exit -F arch=b64 -S swapon -F uid=65534 -k test-other"
EXCEPT = "-a never,exit -F arch=b64 -S swapoff -F uid=65534 -F exit=-EPERM"
ANSWER_SECONDS = 10


def compiled(text: str) -> bytes:
    (rule,) = parse_rules(text, "test").rules
    return comparable(compile_rule(rule))


class Supervisor:
    """The supervisor's process, its commands and what it says."""

    def __init__(self, directory: Path, arguments: Sequence[str], *, is_multicast: bool = False) -> None:
        self.directory = directory
        environment = {**os.environ, **({"MULTICAST": "1"} if is_multicast else {})}
        self._log = (directory / "log").open("a+")
        self.process = subprocess.Popen(
            [sys.executable, str(SUPERVISOR), str(directory), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            bufsize=0,
        )
        self.control_pid = self.answer("ready")

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def say(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())

    def answer(self, word: str) -> int:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], ANSWER_SECONDS)
        assert readable, f"no {word} within {ANSWER_SECONDS} s: {self.log}"
        said, _, number = self.process.stdout.readline().decode().partition(" ")
        assert said == word, self.log
        return int(number)

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(ANSWER_SECONDS)
        self.process.stdout.close()
        self._log.close()


Start = Callable[..., Supervisor]


@pytest.fixture
def start(kernel_audit: AuditControl, tmp_path: Path) -> Iterator[Start]:
    assert kernel_audit.status().pid == 0
    started: list[Supervisor] = []

    def begin(*arguments: str, is_multicast: bool = False) -> Supervisor:
        started.append(Supervisor(tmp_path, arguments, is_multicast=is_multicast))
        return started[-1]

    yield begin
    for supervisor in started:
        supervisor.end()


@pytest.fixture
def found(kernel_audit: AuditControl) -> tuple[KernelStatus, list[bytes]]:
    """What the kernel's audit is like before anything is started."""
    return state(kernel_audit)


def state(control: AuditControl) -> tuple[KernelStatus, list[bytes]]:
    return control.status(), control.list_rules()


def loaded(control: AuditControl) -> list[bytes]:
    return [comparable(rule) for rule in control.list_rules()]


def rules_of(control: AuditControl, *texts: str) -> bool:
    """Tell whether the rules of these texts are loaded, in this order."""
    present = loaded(control)
    wanted = [compiled(text) for text in texts]
    return [rule for rule in present if rule in wanted] == wanted


Found = tuple[KernelStatus, list[bytes]]


def test_kernel_is_left_as_it_was_found(
    kernel_audit: AuditControl, found: Found, start: Start, wait_until: WaitUntil
) -> None:
    supervisor = start("--", EXCEPT, RECORD)
    before_go = loaded(kernel_audit)
    supervisor.say("go")
    wait_until(lambda: rules_of(kernel_audit, EXCEPT, RECORD))
    status = kernel_audit.status()

    supervisor.say("term")

    assert supervisor.answer("ended") == 0
    supervisor.end()
    assert comparable(own_processes_rule(supervisor.pid)) in before_go
    assert compiled(RECORD) not in before_go
    assert (status.enabled, status.pid, status.backlog_limit) == (1, supervisor.pid, 8193)
    assert state(kernel_audit) == found
    assert not (supervisor.directory / NOTE_FILE).exists()


def test_kernel_is_left_as_it_was_found_although_the_note_vanished(
    kernel_audit: AuditControl, found: Found, start: Start, wait_until: WaitUntil
) -> None:
    supervisor = start("--", RECORD)
    supervisor.say("go")
    wait_until(lambda: rules_of(kernel_audit, RECORD))
    (supervisor.directory / NOTE_FILE).unlink()

    supervisor.say("term")
    supervisor.answer("ended")
    supervisor.end()

    assert state(kernel_audit) == found


def test_what_the_kernel_loses_between_the_last_look_and_the_end_is_counted(
    kernel_audit: AuditControl, found: Found, start: Start, wait_until: WaitUntil
) -> None:
    rule = "-a always,exit -F arch=b64 -S access -S faccessat -S faccessat2 -F uid=65534"
    supervisor = start("--", rule)
    supervisor.say("go")
    wait_until(lambda: rules_of(kernel_audit, rule))
    kernel_audit.set_status(rate_limit=1)
    # It becomes the user itself: the user may not be able to reach the interpreter.
    touch = "import os\nos.setresuid(65534, 65534, 65534)\nfor _ in range(50): os.access('/', 0)"
    subprocess.run([sys.executable, "-c", touch], check=True)
    lost = kernel_audit.status().lost - found[0].lost

    supervisor.say("term")
    supervisor.answer("ended")

    assert read_pages(supervisor.directory)["control"]["kernel_lost"] >= lost > 0


def test_killed_control_leaves_the_rules_and_its_successor_puts_back_what_the_first_one_found(
    kernel_audit: AuditControl, found: Found, start: Start, wait_until: WaitUntil
) -> None:
    supervisor = start("--", RECORD)
    supervisor.say("go")
    wait_until(lambda: rules_of(kernel_audit, RECORD))
    during = state(kernel_audit)

    supervisor.say("kill")
    assert supervisor.answer("ended") == -signal.SIGKILL
    after_kill = state(kernel_audit)
    supervisor.say("started-again")
    supervisor.answer("ready")
    wait_until(lambda: read_pages(supervisor.directory)["control"]["control_rules_loaded"] == 2)
    after_restart = state(kernel_audit)
    supervisor.say("term")
    supervisor.answer("ended")
    supervisor.end()

    assert during == after_kill == after_restart
    assert state(kernel_audit) == found


def test_killed_supervisor_takes_control_with_it_and_the_kernel_is_put_back_within_two_seconds(
    kernel_audit: AuditControl, found: Found, start: Start, wait_until: WaitUntil
) -> None:
    supervisor = start("--", RECORD)
    supervisor.say("go")
    wait_until(lambda: rules_of(kernel_audit, RECORD))

    supervisor.process.kill()

    wait_until(lambda: state(kernel_audit) == found, seconds=2)
    wait_until(lambda: not Path(f"/proc/{supervisor.control_pid}/cmdline").exists())
    assert not (supervisor.directory / NOTE_FILE).exists()


def test_what_both_left_when_they_were_killed_is_undone_by_the_next_start(
    kernel_audit: AuditControl, found: Found, start: Start, wait_until: WaitUntil
) -> None:
    first = start("--", RECORD, EXCEPT)
    first.say("go")
    wait_until(lambda: rules_of(kernel_audit, RECORD, EXCEPT))
    os.kill(first.process.pid, signal.SIGSTOP)
    os.kill(first.control_pid, signal.SIGKILL)
    first.process.kill()
    first.process.wait()
    left = loaded(kernel_audit)

    second = start("--", EXCEPT)
    second.say("go")
    wait_until(lambda: not rules_of(kernel_audit, RECORD))
    present = loaded(kernel_audit)
    second.say("term")
    second.answer("ended")
    second.end()

    assert comparable(own_processes_rule(first.pid)) in left
    assert set(present) - set(map(comparable, found[1])) == {
        comparable(own_processes_rule(second.pid)),
        compiled(EXCEPT),
    }
    assert state(kernel_audit) == found


def test_reload_applies_the_difference_and_a_bad_file_changes_nothing(
    kernel_audit: AuditControl, start: Start, wait_until: WaitUntil, tmp_path: Path
) -> None:
    file = tmp_path / "site.rules"
    file.write_text(RECORD)
    supervisor = start(str(file))
    supervisor.say("go")
    wait_until(lambda: rules_of(kernel_audit, RECORD))

    file.write_text(f"{EXCEPT}\n-a always,nonsense\n")
    supervisor.say("hup")
    wait_until(lambda: f"{file}:2" in supervisor.log)
    after_bad = rules_of(kernel_audit, RECORD) and compiled(EXCEPT) not in loaded(kernel_audit)
    file.write_text(f"{EXCEPT}\n{RECORD}\n")
    supervisor.say("hup")

    wait_until(lambda: rules_of(kernel_audit, EXCEPT, RECORD))
    assert after_bad


def test_reload_takes_the_rules_that_the_configuration_has_now(
    kernel_audit: AuditControl, start: Start, wait_until: WaitUntil, tmp_path: Path
) -> None:
    supervisor = start("--", RECORD)
    supervisor.say("go")
    wait_until(lambda: rules_of(kernel_audit, RECORD))
    file = tmp_path / "auditline.toml"

    file.write_text("[audit]\nrule = []\n")
    supervisor.say("hup")
    wait_until(lambda: "audit.rule is unknown" in supervisor.log)
    after_bad = rules_of(kernel_audit, RECORD)
    (tmp_path / "site.rules").write_text(EXCEPT)
    file.write_text(f'[audit]\nrules_files = ["site.rules"]\nrules = ["{OTHER}"]\nbacklog_limit = 9000\n')
    supervisor.say("hup")

    wait_until(lambda: rules_of(kernel_audit, OTHER, EXCEPT) and compiled(RECORD) not in loaded(kernel_audit))
    assert after_bad
    assert kernel_audit.status().backlog_limit == 8193


def test_rule_that_somebody_takes_out_is_told_and_a_reload_loads_it_again(
    kernel_audit: AuditControl, start: Start, wait_until: WaitUntil
) -> None:
    supervisor = start("--", RECORD, OTHER)
    supervisor.say("go")
    wait_until(lambda: rules_of(kernel_audit, RECORD, OTHER))

    kernel_audit.delete_rule(compiled(OTHER))

    wait_until(lambda: "1 of our 3 audit rules" in supervisor.log, seconds=20)
    assert "swapon" in supervisor.log
    supervisor.say("hup")
    wait_until(lambda: rules_of(kernel_audit, RECORD, OTHER))


def test_rule_is_loaded_when_its_directory_appears(
    kernel_audit: AuditControl, start: Start, wait_until: WaitUntil, tmp_path: Path
) -> None:
    directory = tmp_path / "later"
    rule = f"-a always,exit -F path={directory}/file -F perm=wa -F uid=65534 -k test-later"
    supervisor = start("--", rule)
    supervisor.say("go")
    wait_until(lambda: f"{directory} does not exist" in supervisor.log)
    was_loaded = compiled(rule) in loaded(kernel_audit)

    directory.mkdir()

    wait_until(lambda: compiled(rule) in loaded(kernel_audit))
    assert not was_loaded
    assert supervisor.log.count("does not exist") == 1


def test_rules_of_others_go_for_delete_all_and_come_back(
    kernel_audit: AuditControl, found: Found, start: Start, wait_until: WaitUntil, tmp_path: Path
) -> None:
    first, never, last = (
        f"-a {action},exit -F arch=b64 -S swapon -F uid=65534 -F exit={number}"
        for number, action in enumerate(("always", "never", "always"))
    )
    for foreign in (first, never, last):
        kernel_audit.add_rule(compiled(foreign))
    (tmp_path / "site.rules").write_text(f"-D\n{never}\n{RECORD}\n")
    supervisor = start(str(tmp_path / "site.rules"))
    supervisor.say("go")

    wait_until(lambda: rules_of(kernel_audit, RECORD) and compiled(last) not in loaded(kernel_audit))
    during = loaded(kernel_audit)
    supervisor.say("term")
    supervisor.answer("ended")

    assert compiled(first) not in during
    assert compiled(never) in during
    assert loaded(kernel_audit) == [*map(comparable, found[1]), *map(compiled, (first, never, last))]


def test_multicast_changes_nothing_but_watches(
    kernel_audit: AuditControl, found: Found, start: Start, wait_until: WaitUntil
) -> None:
    supervisor = start("--", RECORD, is_multicast=True)
    supervisor.say("go")

    wait_until(lambda: read_pages(supervisor.directory)["control"]["kernel_lost_seen_for"] == supervisor.pid)
    assert state(kernel_audit) == found
    assert not (supervisor.directory / NOTE_FILE).exists()


def test_nothing_is_changed_where_the_note_cannot_be_written(
    kernel_audit: AuditControl, found: Found, start: Start, tmp_path: Path
) -> None:
    (tmp_path / f"{NOTE_FILE}.new").mkdir()

    supervisor = start("--", RECORD)

    assert "the kernel's state cannot be saved" in supervisor.log
    assert kernel_audit.list_rules() == found[1]
    assert kernel_audit.status().enabled == found[0].enabled


def test_damaged_note_is_set_aside(
    kernel_audit: AuditControl, start: Start, wait_until: WaitUntil, tmp_path: Path
) -> None:
    (tmp_path / NOTE_FILE).write_text("{")
    supervisor = start("--", RECORD)
    supervisor.say("go")

    wait_until(lambda: rules_of(kernel_audit, RECORD))
    assert (tmp_path / NOTE_FILE).with_suffix(".damaged").read_text() == "{"
    assert "is damaged" in supervisor.log
