"""The configurations that come with us, run by the real daemons: every event arrives byte for byte, come what may."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

EVENTS = 10_000
MANY = pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(1000)])
SHIPPERS = Path(str(files("auditline.plugins"))) / "shippers"


class Shipper:
    """A daemon with a folder of its own, which copies what comes to a file."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.segments = folder / "segments"
        self.copy = folder / "copy.jsonl"
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.segments.mkdir()
        self.copy.touch()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self, number: int = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(timeout=30)

    def write(self, first: int, last: int, *, counter: int) -> None:
        """Append events to a segment, some of them long, some with odd characters."""
        with (self.segments / f"auditline-{counter:012}-{counter:08x}.jsonl").open("ab") as file:
            file.writelines(event(number) for number in range(first, last))

    def missing(self, last: int) -> set[bytes]:
        return {event(number) for number in range(last)} - set(self.copy.read_bytes().splitlines(keepends=True))


def event(number: int) -> bytes:
    pad = "x" * (20_000 if number % 1000 == 999 else 300)
    text = f'"{number} \\u001b[31m % \\\\ \\" Ü €"'
    return (
        f'{{"@timestamp":"2026-01-01T00:00:00.000Z","event":{{"id":"h-{number}"}},"n":{number},"t":{text},"p":"{pad}"}}\n'
    ).encode()


def settings_of(shipper: str, folder: Path, *changes: tuple[str, str]) -> Path:
    text = (SHIPPERS / shipper / "auditline.conf").read_text(encoding="utf-8")
    for old, new in (("/var/log/auditline-copy", f"{folder}/copy"), *changes):
        assert old in text
        text = text.replace(old, new)
    path = folder / "shipper.conf"
    path.write_text(text, encoding="utf-8")
    return path


def program(variable: str) -> str:
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} names no program: .ci/run unpacks one")
    return path


@pytest.fixture
def syslog_ng(tmp_path) -> Shipper:
    daemon = program("AUDITLINE_SYSLOG_NG")
    command = f"{sys.executable} -m auditline.workers.supervisor stream"
    cursor = f"{tmp_path}/cursor"
    settings = settings_of(
        "syslog-ng",
        tmp_path,
        ("auditline stream", command),
        ("/var/lib/syslog-ng/auditline.cursor", f"{cursor} {tmp_path}/segments"),
    )
    state = [f"--{name}={tmp_path}/{name}" for name in ("persist-file", "control", "pidfile")]
    return Shipper(tmp_path, [daemon, "--foreground", "--no-caps", f"--cfgfile={settings}", *state])


@pytest.fixture
def rsyslog(tmp_path) -> Shipper:
    daemon = program("AUDITLINE_RSYSLOGD")
    (tmp_path / "spool").mkdir()
    settings = settings_of(
        "rsyslog",
        tmp_path,
        ("/var/spool/rsyslog", f"{tmp_path}/spool"),
        ("/var/log/auditline/", f"{tmp_path}/segments/"),
    )
    return Shipper(tmp_path, [daemon, "-n", "-f", str(settings), "-i", f"{tmp_path}/pid"])


@pytest.fixture(params=["syslog_ng", "rsyslog"])
def shipper(request) -> Iterator[Shipper]:
    made: Shipper = request.getfixturevalue(request.param)
    made.start()
    yield made
    made.stop(signal.SIGKILL)


def test_every_event_arrives_byte_for_byte(shipper, wait_until):
    shipper.write(0, 2000, counter=1)
    shipper.write(2000, 4000, counter=2)

    wait_until(lambda: not shipper.missing(4000), 60)

    assert len(shipper.copy.read_bytes().splitlines()) == 4000


@pytest.mark.parametrize("events", [EVENTS, MANY])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_no_event_is_lost_when_the_daemon_ends_in_the_middle(shipper, wait_until, number, events):
    chance = random.Random(3)
    for part in range(4):
        shipper.write(part * events // 4, (part + 1) * events // 4, counter=part + 1)
        # The moment is the point of it: anywhere in what the daemon does then.
        time.sleep(chance.uniform(0.05, 0.6))
        shipper.stop(number)
        shipper.start()

    wait_until(lambda: not shipper.missing(events), 90 * events / EVENTS)
