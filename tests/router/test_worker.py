"""The router's loop with a real bus, and an output that is done when the test says so."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from auditline.plugins.outputs.api import Line
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import WINDOW_BATCHES, Hub, Producer, endpoint
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import RunSettings, Settings, StateSettings
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

    def append(self, *records: str) -> Batch:
        self.last_number += 1
        payload = "\0".join(records).encode()
        types = (1300).to_bytes(2, "little") * (len(records) - 1) + (1320).to_bytes(2, "little")
        self.batches[self.last_number] = Batch(self.last_number, BatchKind.RECORDS, types, payload)
        return self.batches[self.last_number]

    def read(self, number: int) -> Batch:
        return self.batches[number]

    def forget(self, number: int, state: bytes) -> None:
        self.done_number, self.done_state = number, state


@dataclass
class HeldOutput:
    """An output that is done with what the test says."""

    name: str = "held"
    schema: str = "audit"
    others_attached: bool = False
    done_sequence: int = 0
    pending_bytes: int = 0
    is_blocked: bool = False
    is_attached: bool = True
    is_gone: bool = False
    write_fd: int | None = None
    lines: list[Line] = field(default_factory=list)

    def write(self, lines: Sequence[Line]) -> None:
        self.lines.extend(lines)

    def pump(self) -> None:
        """Nothing waits."""

    def confirm(self, sequence: int) -> None:
        """Nothing is stored."""

    def end_resends(self) -> None:
        """Nothing is remembered."""

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


@contextmanager
def router_with(settings: Settings, output: HeldOutput) -> Iterator[Router]:
    read_fd, write_fd = os.pipe()
    life = Life("router", CounterPage.unshared(()))
    hub = Hub(endpoint(settings.run.directory))
    renderers = Renderers(NoNames(), NoNames())
    yield Router(life, settings, hub, Destinations([output]), ProcessFeed(read_fd), renderers, ["audit"])
    hub.close()
    life.close()
    os.close(read_fd)
    os.close(write_fd)


def event(serial: int) -> tuple[str, str]:
    header = f"audit(1700000000.001:{serial}): "
    return header + 'arch=c000003e syscall=2 success=yes exit=3 comm="cat" exe="/bin/cat"', header


def turn_until(router: Router, producer: Producer, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        producer.pump()
        router._turn(0.001)


def test_producer_with_a_full_window_goes_on_though_older_batches_are_done_in_the_same_turn(settings: Settings) -> None:
    output, store = HeldOutput(), KeptBatches()
    with router_with(settings, output) as router:
        producer = Producer(endpoint(settings.run.directory), store)
        for serial in range(WINDOW_BATCHES):
            store.append(*event(serial))
        turn_until(router, producer, lambda: len(output.lines) == WINDOW_BATCHES)
        producer.pump()
        for serial in range(WINDOW_BATCHES, 4 * WINDOW_BATCHES):
            store.append(*event(serial))
        for _ in range(100):
            producer.pump()
            producer.wait([], 0.001)

        output.done_sequence = 1
        turn_until(router, producer, lambda: len(output.lines) == 4 * WINDOW_BATCHES)

        turn_until(router, producer, lambda: store.done_number == 1)
        producer.close()
