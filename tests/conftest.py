"""What tests of several folders share; the real kernel's audit among it, lent to one test at a time."""

import ctypes
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings

from auditline.workers.common.errors import KernelError
from auditline.workers.control.compile import comparable
from auditline.workers.control.kernel import LOCKED, AuditControl
from auditline.workers.control.messages import KernelStatus
from auditline.workers.control.refusals import has_audit_control

LOCK_FILE = Path(tempfile.gettempdir()) / "auditline-kernel.lock"
STATUS_FIELDS = ("enabled", "failure", "rate_limit", "backlog_limit", "backlog_wait_time")
RENAME_EXCHANGE = 2
HERE = -100
WaitUntil = Callable[..., None]
_folders = count()

# How long one example takes says more about the machine's other work than about us.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side: those of a file share its processes, and no two want the kernel's audit at once.

    Those of Elasticsearch share one server, which takes half a minute to start.
    """
    for item in items:
        group = "kernel" if item.get_closest_marker("kernel") else str(item.path)
        if "elasticsearch_home" in getattr(item, "fixturenames", ()):
            group = "elasticsearch"
            # Whoever comes first waits for it, on a busy machine for minutes.
            item.add_marker(pytest.mark.timeout(360))
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Let one process have all tests of Elasticsearch: each of several would start a server of its own.

    xdist 3.8 puts a group into an item's `_nodeid`, which pytest 9.2 does not read any more.
    """
    from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]

    class Scheduling(LoadGroupScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            is_of_server = nodeid.startswith("tests/elasticsearch/")
            return "elasticsearch" if is_of_server else super()._split_scope(nodeid)

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def wait_until() -> WaitUntil:
    """Wait until a condition holds, at most ten seconds."""

    def wait(condition: Callable[[], object], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def are_gone() -> Callable[[Iterable[psutil.Process]], bool]:
    """Whether all of some processes have ended, also those that nobody has asked how."""

    def has_ended(process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
        return True

    return lambda processes: all(map(has_ended, processes))


@dataclass
class Clock:
    """Stands still until the test moves it."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def make_clock() -> type[Clock]:
    """Make a clock: for a test with several examples, each of which begins anew."""
    return Clock


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short path: that of a socket in it may have 107 bytes, and pytest's own has the test's name."""
    folder = tmp_path_factory.getbasetemp() / f"t{next(_folders)}"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="session")
def exchange() -> Callable[[Path, Path], None]:
    """Let two paths change places in one step. Source: renameat2(2), linux/fs.h, linux/fcntl.h."""
    libc = ctypes.CDLL(None, use_errno=True)

    def exchange(one: Path, other: Path) -> None:
        if libc.renameat2(HERE, os.fsencode(one), HERE, os.fsencode(other), RENAME_EXCHANGE):
            raise OSError(ctypes.get_errno(), f"it cannot change places with {other}", os.fspath(one))

    return exchange


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of the test's own, with pids for 40 seconds before one comes again."""
    (tmp_path / "sys" / "kernel").mkdir(parents=True)
    (tmp_path / "sys" / "kernel" / "pid_max").write_text("4194304\n")
    (tmp_path / "loadavg").write_text("0.00 0.01 0.05 1/194304 4711\n")
    return tmp_path


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users reach: pytest's own lie below one that they may not enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def kernel_audit() -> Iterator[AuditControl]:
    """The kernel's audit, this test's alone until its end, when rules, status and pid are put back.

    Yields a socket for requests. Scope each rule with `-F uid=65534` or the like: the kernel is the host's.
    """
    with _lend_kernel_audit() as control:
        yield control


@pytest.fixture(scope="module")
def kernel_audit_of_module() -> Iterator[AuditControl]:
    """The same for all tests of a module, none of which may ask for `kernel_audit`."""
    with _lend_kernel_audit() as control:
        yield control


@contextmanager
def _lend_kernel_audit() -> Iterator[AuditControl]:
    if not has_audit_control():
        pytest.skip("CAP_AUDIT_CONTROL is missing")
    with _lock(), _open_control() as control:
        before, rules = _status_to_lend(control), control.list_rules()
        try:
            yield control
        finally:
            _put_back(control, before, rules)


@contextmanager
def _lock() -> Iterator[None]:
    descriptor = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open_control() -> AuditControl:
    try:
        return AuditControl()
    except KernelError as error:
        pytest.skip(str(error))


def _status_to_lend(control: AuditControl) -> KernelStatus:
    try:
        status = control.status()
    except KernelError as error:
        pytest.skip(str(error))
    if status.enabled == LOCKED:
        pytest.skip("the audit configuration is locked until the next boot")
    if status.pid and not control.clear_dead_pid():
        pytest.skip(f"another audit daemon, pid {status.pid}, is registered")
    return status


def _put_back(control: AuditControl, before: KernelStatus, rules: list[bytes]) -> None:
    known = set(map(comparable, rules))
    for rule in control.list_rules():
        if comparable(rule) not in known:
            control.delete_rule(rule)
    present = set(map(comparable, control.list_rules()))
    for rule in rules:
        if comparable(rule) not in present:
            control.add_rule(rule)
    control.set_status(**{name: getattr(before, name) for name in STATUS_FIELDS if getattr(before, name) is not None})
    deadline = time.monotonic() + 2
    while control.status().pid and not control.clear_dead_pid():
        assert time.monotonic() < deadline, "a process of the test is still registered as the audit daemon"
        time.sleep(0.02)


class Series:
    """Segments that a test writes, as the output does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def path(self, counter: int) -> Path:
        """Where segment *counter* is."""
        return self.directory / f"auditline-{counter:012}-{counter:08x}.jsonl"

    def write(self, counter: int, *ids: int, pad: int = 0, end: bytes = b"") -> Path:
        """Append an event for each of *ids* to a segment, then *end*."""
        with self.path(counter).open("ab") as file:
            file.write(b"".join(event(number, pad) for number in ids) + end)
        return self.path(counter)


def event(number: int, pad: int = 0) -> bytes:
    """Return the line of an event."""
    head = f'{{"@timestamp":"2026-01-01T00:00:00.000Z","event":{{"id":"h-{number}"}},"host":{{"name":"n"}}'
    return (head + f',"pad":"{"x" * pad}"}}\n').encode()


@pytest.fixture
def numbers_in() -> Callable[[bytes], list[int]]:
    """Return the numbers of the events in some output, each line of which must be whole."""

    def read(output: bytes) -> list[int]:
        return [int(json.loads(line)["event"]["id"][2:]) for line in output.splitlines()]

    return read


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return Series(tmp_path / "segments")


@pytest.fixture
def cursor(tmp_path: Path) -> Path:
    return tmp_path / "cursor"
