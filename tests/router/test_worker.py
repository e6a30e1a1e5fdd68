"""The router's loop with a real bus, and an output that is done when the test says so."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from auditline.plugins.outputs.api import Line
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import WINDOW_BATCHES, Hub, Producer, endpoint
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.file_entry import Entry, FileChange, encode_entry
from auditline.workers.common.file_state import state_of
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import RunSettings, Settings, StateSettings
from auditline.workers.router import worker
from auditline.workers.router.destinations import Destinations
from auditline.workers.router.health import ProcessFeed
from auditline.workers.router.names import NoNames
from auditline.workers.router.renderers import Renderers
from auditline.workers.router.worker import Router


@dataclass
class KeptBatches:
    """A store in memory."""

    batches: dict[int, Batch] = field(default_factory=dict)
    source: str = "audit"
    epoch: str = "0" * 16
    done_number: int = 0
    done_state: bytes = b""
    last_number: int = 0

    def append(self, *records: str) -> None:
        payload = "\0".join(records).encode()
        types = (1300).to_bytes(2, "little") * (len(records) - 1) + (1320).to_bytes(2, "little")
        self._append(BatchKind.RECORDS, types, payload)

    def append_entry(self, entry: Entry) -> None:
        self._append(BatchKind.FILE, b"", encode_entry(entry))

    def _append(self, kind: BatchKind, types: bytes, payload: bytes) -> None:
        self.last_number += 1
        self.batches[self.last_number] = Batch(self.last_number, kind, types, payload)

    def read(self, number: int) -> Batch:
        return self.batches[number]

    def forget(self, number: int, state: bytes) -> None:
        self.done_number, self.done_state = number, state


@dataclass
class HeldOutput:
    """An output that is done with what the test says."""

    name: str = "held"
    schema: str = "audit"
    takes_all: bool = True
    others_attached: bool = False
    done_sequence: int = 0
    pending_bytes: int = 0
    is_blocked: bool = False
    is_attached: bool = True
    is_gone: bool = False
    error_number: int = 0
    write_fd: int | None = None
    lines: list[Line] = field(default_factory=list)
    confirmed: int = 0
    resends_ended: bool = False
    lines_at_pumps: list[int] = field(default_factory=list)
    """How many lines it had at each pump."""

    def write(self, lines: Sequence[Line]) -> None:
        self.lines.extend(lines)

    def pump(self) -> None:
        self.lines_at_pumps.append(len(self.lines))

    def confirm(self, sequence: int) -> None:
        self.confirmed = sequence

    def end_resends(self) -> None:
        self.resends_ended = True

    def counts(self) -> dict[str, int]:
        return {"events": len(self.lines), "written": 0, "filtered": 0, "missed": 0, "rejected": 0, "pending": 0}

    def close(self, deadline_seconds: float) -> None:
        """Nothing is open."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "state").mkdir()
    (tmp_path / "run").mkdir()
    return replace(
        Settings(),
        state=StateSettings(directory=tmp_path / "state"),
        run=RunSettings(directory=tmp_path / "run"),
    )


class Bench:
    """A router with one held output, the supervisor's end of its pipe, and producers that share its bus."""

    def __init__(self, settings: Settings, sources: Sequence[str]) -> None:
        self.output = HeldOutput()
        self.counters = CounterPage.open(settings.run.directory / "router.page", ())
        self._endpoint = endpoint(settings.run.directory)
        self._feed_fd, self._supervisor_fd = os.pipe()
        self._life = Life("router", self.counters)
        self._hub = Hub(self._endpoint)
        self._producers: list[Producer] = []
        feed, renderers = ProcessFeed(self._feed_fd), Renderers(NoNames(), NoNames())
        self.router = Router(self._life, settings, self._hub, Destinations([self.output]), feed, renderers, sources)

    def connect(self, store: KeptBatches) -> Producer:
        producer = Producer(self._endpoint, store)
        self._producers.append(producer)
        return producer

    def report(self, name: str, state: str = "started") -> None:
        """Say what the supervisor says of a process."""
        line = json.dumps({"name": name, "pid": os.getpid(), "state": state, "restarts": 0})
        os.write(self._supervisor_fd, f"{line}\n".encode())

    def turn_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it did not come true in time"
            for producer in self._producers:
                producer.pump()
            self.router._turn(0.001)

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line.data) for line in self.output.lines]

    def close(self) -> None:
        for producer in self._producers:
            producer.close()
        self._hub.close()
        self._life.close()
        self.counters.close()
        os.close(self._feed_fd)
        os.close(self._supervisor_fd)


@pytest.fixture
def make_bench(settings: Settings) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*sources: str) -> Bench:
        made.append(Bench(settings, sources))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


def event(serial: int) -> tuple[str, str]:
    header = f"audit(1700000000.001:{serial}): "
    return header + 'arch=c000003e syscall=2 success=yes exit=3 comm="cat" exe="/bin/cat"', header


def change(name: str) -> FileChange:
    state = state_of(os.stat("/"), checked_ns=1_700_000_000_000_000_000)
    return FileChange(
        action="created", path=f"/etc/{name}".encode(), before=None, after=state, detected_by="event",
        time_ns=state.checked_ns,
    )  # fmt: skip


def test_producer_with_a_full_window_goes_on_though_older_batches_are_done_in_the_same_turn(make_bench) -> None:
    bench, store = make_bench("audit"), KeptBatches()
    output = bench.output
    producer = bench.connect(store)
    for serial in range(WINDOW_BATCHES):
        store.append(*event(serial))
    bench.turn_until(lambda: len(output.lines) == WINDOW_BATCHES)
    producer.pump()
    for serial in range(WINDOW_BATCHES, 4 * WINDOW_BATCHES):
        store.append(*event(serial))
    for _ in range(100):
        producer.pump()
        producer.wait([], 0.001)

    output.done_sequence = 1
    bench.turn_until(lambda: len(output.lines) == 4 * WINDOW_BATCHES)

    bench.turn_until(lambda: store.done_number == 1)


def test_each_batch_is_written_before_the_next_is_taken_so_that_a_pipe_can_be_read_meanwhile(make_bench) -> None:
    bench, store = make_bench("audit"), KeptBatches()
    bench.connect(store)
    for serial in range(WINDOW_BATCHES):
        store.append(*event(serial))

    bench.turn_until(lambda: len(bench.output.lines) == WINDOW_BATCHES)

    assert set(range(WINDOW_BATCHES)) <= set(bench.output.lines_at_pumps)


def test_a_turn_ends_also_where_events_come_faster_than_they_can_be_written(
    make_bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "TAKE_SECONDS", 0.0)
    bench, store = make_bench("audit"), KeptBatches()
    bench.connect(store)
    for serial in range(WINDOW_BATCHES):
        store.append(*event(serial))
    counts = [0]

    def is_all_out() -> bool:
        counts.append(len(bench.output.lines))
        return counts[-1] == WINDOW_BATCHES

    bench.turn_until(is_all_out)

    assert max(later - earlier for earlier, later in pairwise(counts)) == 1


def test_events_and_changes_go_out_beside_one_another_and_each_producer_is_told_of_its_own(make_bench) -> None:
    bench = make_bench("audit", "fim-etc", "fim-usr-bin")
    audit, etc, bin_ = KeptBatches(), KeptBatches(source="fim-etc"), KeptBatches(source="fim-usr-bin")
    audit.append(*event(1))
    for store, name in ((etc, "a"), (bin_, "b"), (etc, "c")):
        store.append_entry(change(name))
    for store in (audit, etc, bin_):
        bench.connect(store)

    bench.turn_until(lambda: len(bench.output.lines) == 4)
    paths = [document["audit"].get("file", {}).get("path") for document in bench.documents()]
    bench.output.done_sequence = 4
    bench.turn_until(lambda: [store.done_number for store in (audit, etc, bin_)] == [1, 2, 1])

    assert sorted(filter(None, paths)) == ["/etc/a", "/etc/b", "/etc/c"]
    assert (etc.done_state, bin_.done_state) == (b"", b"")
    assert bench.counters.get("file_changes_written_total") == 3
    assert bench.counters.get("records_written_total") == 2


def test_a_watcher_that_is_quiet_after_its_last_change_holds_back_no_output(make_bench) -> None:
    bench = make_bench("audit", "fim-etc")
    audit, etc = KeptBatches(), KeptBatches(source="fim-etc")
    etc.append_entry(change("a"))
    bench.connect(etc)
    bench.connect(audit)
    bench.turn_until(lambda: len(bench.output.lines) == 1)

    bench.output.done_sequence = 1
    bench.turn_until(lambda: etc.done_number == 1)
    for serial in range(5):
        audit.append(*event(serial))
    bench.turn_until(lambda: len(bench.output.lines) == 6)
    bench.output.done_sequence = 6

    bench.turn_until(lambda: bench.output.confirmed == 6)


def test_a_bye_is_answered_while_the_router_goes_on_once_the_last_batch_is_done(make_bench) -> None:
    bench, store = make_bench("fim-etc"), KeptBatches(source="fim-etc")
    store.append_entry(change("a"))
    producer = bench.connect(store)
    producer.say_bye()
    bench.turn_until(lambda: bench.router._streams.is_all_in(set()) and len(bench.output.lines) == 1)
    was_finished = producer.is_finished

    bench.output.done_sequence = 1
    bench.turn_until(lambda: producer.is_finished)

    assert (was_finished, store.done_number) == (False, 1)


def test_a_producer_that_comes_again_after_its_bye_is_listened_to_as_before(make_bench) -> None:
    bench, store = make_bench("fim-etc"), KeptBatches(source="fim-etc")
    first = bench.connect(store)
    first.say_bye()
    bench.turn_until(lambda: first.is_finished)
    store.append_entry(change("a"))

    second = bench.connect(store)
    bench.turn_until(lambda: len(bench.output.lines) == 1)
    bench.output.done_sequence = 1
    bench.turn_until(lambda: store.done_number == 1)
    second.say_bye()

    bench.turn_until(lambda: second.is_finished)


def test_a_watcher_that_the_supervisor_names_later_is_listened_to_also_if_it_greets_first(make_bench) -> None:
    bench = make_bench("audit")
    new = KeptBatches(source="fim-new")
    new.append_entry(change("a"))
    producer = bench.connect(new)
    bench.turn_until(lambda: bench.router._streams._strangers != {})

    bench.report("fim-new")
    bench.turn_until(lambda: len(bench.output.lines) == 1)

    assert producer.is_greeted


def test_nobody_but_a_watcher_becomes_a_source_by_being_started(make_bench) -> None:
    bench = make_bench()
    store = KeptBatches(source="control")
    producer = bench.connect(store)
    bench.report("control")

    bench.turn_until(lambda: bench.router._streams._strangers != {})

    assert not producer.is_greeted


def test_resends_are_over_when_every_planned_producer_has_sent_what_it_had(make_bench) -> None:
    bench = make_bench("fim-etc", "fim-usr-bin")
    etc, bin_ = KeptBatches(source="fim-etc"), KeptBatches(source="fim-usr-bin")
    bin_.append_entry(change("b"))
    bench.connect(etc)
    bench.turn_until(lambda: bench.router._streams.inflows != [])
    early = bench.output.resends_ended

    bench.connect(bin_)
    bench.turn_until(lambda: len(bench.output.lines) == 1)
    bench.turn_until(lambda: bench.output.resends_ended)

    assert not early


def test_health_has_the_balance_of_changes(make_bench, settings: Settings) -> None:
    bench = make_bench("fim-etc")
    pages = settings.run.directory / "counters"
    pages.mkdir()
    page = CounterPage.open(pages / "fim-etc.page", ["entries_recorded_total", "hints_received_total"])
    page.set("entries_recorded_total", 5)
    page.close()
    etc = KeptBatches(source="fim-etc")
    etc.append_entry(change("a"))
    bench.connect(etc)
    bench.turn_until(lambda: len(bench.output.lines) == 1)
    bench.output.done_sequence = 1
    bench.turn_until(lambda: etc.done_number == 1)

    bench.report("fim-etc", "died")
    bench.turn_until(lambda: len(bench.output.lines) == 2)

    health = bench.documents()[1]["audit"]["health"]
    assert health["balance"]["changes"] == {"received": 5, "written": 1, "open": 4}
    assert health["counters"]["fim-etc_hints_received_total"] == 0
    assert [process["name"] for process in health["processes"]] == ["fim-etc"]


@pytest.mark.parametrize(
    ("sources", "pending_bytes", "is_attached", "is_quiet"),
    [
        (["fim-etc"], 0, True, True),
        (["fim-etc", "audit", "control"], 0, True, False),
        (["fim-etc"], 1, True, False),
        (["fim-etc"], 0, False, False),
    ],
    ids=["nothing to do", "the kernel may lose events", "an output has something to write", "an output is detached"],
)
def test_turns_are_long_only_where_nothing_happens_that_nobody_tells(
    make_bench, monkeypatch, sources, pending_bytes, is_attached, is_quiet
) -> None:
    bench = make_bench(*sources)
    bench.output.pending_bytes, bench.output.is_attached = pending_bytes, is_attached

    is_quiet_at_once = bench.router._is_quiet
    monkeypatch.setattr(worker, "QUIET_SECONDS", 0.0)

    assert (is_quiet_at_once, bench.router._is_quiet) == (False, is_quiet)
