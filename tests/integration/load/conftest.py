"""The service under load: who opens numbered names, who reads the lines, and what the lines say."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from auditline.workers.common.counters import read_pages
from auditline.workers.control.compile import comparable
from auditline.workers.control.kernel import AuditControl

CLOSED = "closed"
"""The folder that nobody may enter, whose names are opened."""
OPENER = Path(__file__).parent / "opener.py"
STATUS_FIELDS = ("enabled", "failure", "pid", "rate_limit", "backlog_limit", "backlog_wait_time")
SEGMENTS_TABLE = '[outputs.segments]\nenabled = true\ndirectory = "{directory}"\n'
NO_STDOUT_TABLE = "[outputs.stdout]\nenabled = false\n"
QUIET_SECONDS = 3.0
"""Longer than the silence after which the reader writes its mark, at which holes in the serials are settled."""
BATCH_RECORDS = 256


class Events:
    """What lines of the service say, taken together."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.broken: list[bytes] = []
        self.lines_by_id: dict[str, bytes] = {}
        self.repeated: list[str] = []
        self.conflicting: list[str] = []
        self.names: Counter[str] = Counter()
        """What complete events about our openers' names are about; somebody else may be uid 65534, too."""
        self.incomplete = 0
        self.health: dict[str, Any] = {}
        """The last health event's object."""
        self.detail: dict[str, Any] = {}
        """What it says beside that."""
        self.reasons: set[str] = set()
        for line in lines:
            self._take(line)

    @property
    def losses(self) -> dict[str, int]:
        """The kinds of loss that the ledger knows of."""
        return {kind: count for kind, count in self.health["loss"].items() if count}

    @property
    def records(self) -> dict[str, int]:
        balance: dict[str, int] = self.health["balance"]["records"]
        return balance

    def assert_well_formed(self, *, may_repeat: bool = False) -> None:
        """Every line is whole, and an id stands for one line; on a pipe that line may come again after a kill."""
        assert self.broken == []
        assert self.conflicting == []
        assert may_repeat or self.repeated == []

    def assert_ledger(self, names: set[str], *, killed_readers: int = 0) -> None:
        """Every one of *names* is there once, or is among what the ledger says was lost: a batch per killed reader."""
        assert {name: count for name, count in self.names.items() if count > 1} == {}
        missing = names - self.names.keys()
        said = self.health["loss"]["serial_gaps"] + self.incomplete
        assert len(missing) <= said <= BATCH_RECORDS * killed_readers
        self.assert_balance()
        assert self.records["dropped"] <= BATCH_RECORDS * killed_readers
        assert self.losses.keys() <= {"serial_gaps", "incomplete"}

    def assert_balance(self) -> None:
        """Of every record that was received it is known what became of it, and of every serial that never came."""
        records = self.records
        assert records["received"] == records["written"] + records["filtered"] + records["dropped"]
        assert records["open"] == 0
        gaps = self.detail.get("gaps", [])
        assert sum(gap["count"] for gap in gaps) == self.health["loss"]["serial_gaps"]
        assert all(gap["since"] <= gap["until"] for gap in gaps)

    def _take(self, line: bytes) -> None:
        try:
            document = json.loads(line)
        except ValueError:
            self.broken.append(line)
            return
        identity = document["event"]["id"]
        if identity in self.lines_by_id:
            into = self.repeated if self.lines_by_id[identity] == line else self.conflicting
            into.append(identity)
            return
        self.lines_by_id[identity] = line
        self._take_audit(document["audit"], document["auditline"])

    def _take_audit(self, audit: dict[str, Any], ours: dict[str, Any]) -> None:
        if "health" in audit:
            self.health, self.detail = audit["health"], ours.get("detail", {})
            self.reasons.add(self.health["reason"])
        elif not ours["complete"]:
            self.incomplete += 1
        elif (name := audit["kernel"].get("thing", {}).get("primary", "")).rpartition("/")[0].endswith(CLOSED):
            self.names[name] += 1


class Opener:
    """A process of uid 65534 that tries to open numbered names, which nobody may."""

    def __init__(self, directory: Path, tag: str, per_second: float, seconds: float) -> None:
        count = int(per_second * seconds)
        self.names = {f"{directory}/{tag}-{number}" for number in range(count)}
        command = [sys.executable, "-S", str(OPENER), str(directory), tag, str(per_second), str(count)]
        self.process = subprocess.Popen(command, start_new_session=True)

    def wait(self) -> None:
        """Wait until all names have been tried."""
        assert self.process.wait(120) == 0


class PipeReader:
    """Reads the pipe that is the service's stdout; may pause, and may go away."""

    def __init__(self) -> None:
        self._read_fd, self.write_fd = os.pipe()
        self._data = bytearray()
        self._is_paused, self._is_closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def lines(self) -> list[bytes]:
        """The whole lines that have come so far."""
        return bytes(self._data).split(b"\n")[:-1]

    @property
    def events(self) -> Events:
        """What they say."""
        return Events(self.lines)

    def wait_for_end(self) -> None:
        """Wait until nobody has the write end any more."""
        self._thread.join(5)
        assert not self._thread.is_alive()

    def pause(self) -> None:
        """Stop reading."""
        self._is_paused.set()

    def resume(self) -> None:
        """Read on."""
        self._is_paused.clear()

    def give_away(self) -> None:
        """Close the write end: the service alone has it now."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def close(self) -> None:
        """Go away."""
        self._is_closed.set()
        self._thread.join()
        self.give_away()
        if self._read_fd >= 0:
            os.close(self._read_fd)
            self._read_fd = -1

    def _read(self) -> None:
        poller = select.poll()
        poller.register(self._read_fd, select.POLLIN)
        while not self._is_closed.is_set():
            if self._is_paused.is_set():
                time.sleep(0.01)
            elif poller.poll(50):
                data = os.read(self._read_fd, 65536)
                if not data:
                    return
                self._data += data


class Loaded:
    """The service of one test and its load, over several starts."""

    def __init__(self, folder: Path, start_run: Callable[..., Any], wait_until: Callable[..., None]) -> None:
        self.folder = folder
        self.segments_directory = folder / "segments"
        self._closed = folder / CLOSED
        self._closed.mkdir(mode=0o700)
        self._start_run = start_run
        self._wait_until = wait_until
        self._killed: set[int] = set()
        self.openers: list[Opener] = []
        self.run: Any = None

    @property
    def names(self) -> set[str]:
        """All that is opened."""
        return set().union(*(opener.names for opener in self.openers))

    @property
    def segments(self) -> Events:
        """What the segments say; a line that a kill left torn at the end of one is skipped, as its readers do."""
        files = sorted(self.segments_directory.glob("*.jsonl"))
        return Events(line for file in files for line in file.read_bytes().split(b"\n")[:-1])

    def start(self, *, segments: bool = False, pipe: PipeReader | None = None, audit: str = "") -> Any:
        """Start the service with these outputs and wait for its rules."""
        tables = SEGMENTS_TABLE.format(directory=self.segments_directory) if segments else ""
        if pipe is None:
            return self.start_into(subprocess.DEVNULL, audit=audit, tables=tables + NO_STDOUT_TABLE)
        self.start_into(pipe.write_fd, audit=audit, tables=tables)
        pipe.give_away()
        return self.run

    def start_into(self, stdout: int, **choices: str) -> Any:
        """Start the service with that stdout and wait for its rules."""
        self.run = self._start_run(stdout=stdout, **choices)
        self._wait_until(lambda: "audit rules of ours are loaded" in self.run.stderr)
        return self.run

    def open_names(self, tag: str, *, per_second: float, seconds: float) -> Opener:
        """Start a process that opens names with that tag."""
        self.openers.append(Opener(self._closed, tag, per_second, seconds))
        return self.openers[-1]

    def worker(self, title: str) -> psutil.Process:
        """Wait for a living process of that title that has not been killed."""
        found: list[psutil.Process] = []

        def find() -> bool:
            worker = self.run.worker(title)
            if worker is not None and worker.pid not in self._killed:
                found.append(worker)
            return bool(found)

        self._wait_until(find)
        return found[-1]

    def kill(self, *titles: str) -> None:
        """Kill those workers at the same moment."""
        workers = [self.worker(title) for title in titles]
        for worker in workers:
            self._killed.add(worker.pid)
            worker.kill()

    def kill_everything(self) -> None:
        """Kill the supervisor and all workers."""
        supervisor, *workers = self.run.family()
        # Its death would let control put the kernel back, and it would start again whoever dies first.
        supervisor.suspend()
        for process in (*workers, supervisor):
            process.kill()
        self.run.wait()

    def counters(self, process: str) -> dict[str, int]:
        """What that process has counted so far."""
        return read_pages(self.run.folder / "run" / "counters").get(process, {})

    def wait_until_done(self) -> None:
        """Wait until all names have been tried and every record that the reader received has come out."""
        self._wait_for_openers()
        self._wait_until(self._is_balanced, 60)

    def wait_until_quiet(self) -> None:
        """Wait until all names have been tried and so long no record has come out that all losses have been told."""
        self._wait_for_openers()
        seen, since = -1, time.monotonic()

        def is_quiet() -> bool:
            nonlocal seen, since
            finished = self._finished_records()
            if finished != seen:
                seen, since = finished, time.monotonic()
            return time.monotonic() - since > QUIET_SECONDS

        self._wait_until(is_quiet, 60)

    def _wait_for_openers(self) -> None:
        for opener in self.openers:
            opener.wait()

    def _finished_records(self) -> int:
        router = self.counters("router")
        return router.get("records_written_total", 0) + router.get("records_filtered_total", 0)

    def _is_balanced(self) -> bool:
        reader = self.counters("audit")
        taken = reader.get("records_received_total", 0) + reader.get("records_carried_total", 0)
        return self._finished_records() == taken - reader.get("records_overflow_total", 0)

    def stop(self) -> None:
        """End the service, which it must do well."""
        self.run.process.send_signal(signal.SIGTERM)
        assert self.run.wait(5) == 0, self.run.stderr


@pytest.fixture
def loaded(kernel_audit: AuditControl, tmp_path: Path, start_run, wait_until) -> Iterator[Loaded]:
    """A service to start and to load; the kernel is this test's alone."""
    loaded = Loaded(tmp_path, start_run, wait_until)
    yield loaded
    for opener in loaded.openers:
        opener.process.kill()
        opener.process.wait()
    if loaded.run is not None:
        # Shown when the test fails.
        sys.stdout.write(loaded.run.stderr)


@pytest.fixture
def make_pipe() -> Iterator[Callable[[], PipeReader]]:
    """Make a pipe with a reader."""
    pipes: list[PipeReader] = []

    def make() -> PipeReader:
        pipes.append(PipeReader())
        return pipes[-1]

    yield make
    for pipe in pipes:
        pipe.close()


@pytest.fixture
def kernel_state(kernel_audit: AuditControl) -> Callable[[], object]:
    """Return what must be the same before and after a run."""

    def state() -> object:
        status = kernel_audit.status()
        return {name: getattr(status, name) for name in STATUS_FIELDS}, sorted(
            map(comparable, kernel_audit.list_rules())
        )

    return state
