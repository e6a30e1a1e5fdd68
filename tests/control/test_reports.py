"""What the control process hands over, with the router's end of a real bus."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditline.workers.common.batch import BatchKind
from auditline.workers.common.bus import Arrival, Hello, Hub, endpoint
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.drift_entry import Drift, decode_drift
from auditline.workers.common.settings import RunSettings, Settings, StateSettings
from auditline.workers.control import reports as reports_module
from auditline.workers.control.drift import COUNTERS, DRIFTS, DRIFTS_DROPPED, DRIFTS_REPAIRED
from auditline.workers.control.outbox import MOST_ENTRIES, OUTBOX_FILE, Outbox
from auditline.workers.control.reports import Reports

DRIFT = Drift(what="enabled", wanted=1, found=0, since_ns=1, time_ns=2, repaired=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=StateSettings(directory=tmp_path), run=RunSettings(directory=tmp_path))


@pytest.fixture
def counters() -> CounterPage:
    return CounterPage.unshared(COUNTERS)


@pytest.fixture
def reports(settings: Settings, counters: CounterPage) -> Iterator[Reports]:
    made = Reports(settings, counters)
    yield made
    made.close()


@pytest.fixture
def hub(settings: Settings) -> Iterator[Hub]:
    made = Hub(endpoint(settings.run.directory))
    yield made
    made.close()


@pytest.fixture
def is_hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be held back for long."""
    monkeypatch.setattr(reports_module, "HOLD_SECONDS", 0.05)


@pytest.mark.usefixtures("is_hasty")
def test_a_drift_reaches_the_router_and_goes_when_it_is_done(
    settings: Settings, reports: Reports, hub: Hub, wait_until: Callable[..., None]
) -> None:
    arrivals: list[Arrival] = []

    def turn() -> int:
        """Take a turn at both ends; return which batch is stored as done."""
        reports.wait((), time.monotonic() + 0.01)
        message = hub.receive()
        if isinstance(message, Hello):
            hub.resume(message, message.done_number + 1)
        elif isinstance(message, Arrival):
            arrivals.append(message)
            hub.done(message.peer, message.epoch, message.batch.number, b"")
        return Outbox(settings.state.directory / OUTBOX_FILE).done_number

    reports.add(DRIFT)
    wait_until(turn)

    (arrival,) = arrivals
    assert (arrival.source, arrival.batch.kind) == ("control", BatchKind.DRIFT)
    assert decode_drift(arrival.batch.payload) == DRIFT


def test_a_drift_is_held_back_for_the_record_of_who_did_it(settings: Settings, reports: Reports) -> None:
    reports.add(DRIFT)
    reports.wait((), time.monotonic())

    assert Outbox(settings.state.directory / OUTBOX_FILE).last_number == 0


def test_what_is_held_back_at_the_end_is_kept_for_the_next_start(settings: Settings, counters: CounterPage) -> None:
    reports = Reports(settings, counters)
    reports.add(DRIFT)

    reports.close()

    kept = Outbox(settings.state.directory / OUTBOX_FILE)
    assert decode_drift(kept.read(1).payload) == DRIFT
    assert (counters.get(DRIFTS), counters.get(DRIFTS_REPAIRED), counters.get(DRIFTS_DROPPED)) == (1, 1, 0)


@pytest.mark.usefixtures("is_hasty")
def test_what_does_not_fit_any_more_is_counted(
    reports: Reports, counters: CounterPage, wait_until: Callable[..., None]
) -> None:
    reports._outbox._entries = dict.fromkeys(range(1, MOST_ENTRIES + 1), b"{}")
    reports.add(DRIFT)

    wait_until(lambda: (reports.wait((), time.monotonic() + 0.1), counters.get(DRIFTS_DROPPED))[1])

    assert reports._outbox.last_number == MOST_ENTRIES
