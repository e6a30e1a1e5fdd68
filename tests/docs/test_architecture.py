"""docs/architecture.md names files, processes, privileges, counters and figures as the code has them."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.settings import Settings
from auditline.workers.common.watch_plan import WatchPlan
from auditline.workers.fim.coverage import REASONS
from auditline.workers.router.inflow import Tally
from auditline.workers.router.ledger import Ledger
from auditline.workers.supervisor.kinds import RESTORER, Wiring
from auditline.workers.supervisor.launch import WorkerKind

ROOT = "auditline"


@pytest.fixture
def document(read_document: Callable[[str], Any]) -> Any:
    return read_document("docs/architecture.md")


@pytest.fixture
def kinds() -> Iterator[list[WorkerKind]]:
    wiring = Wiring(Settings(), (), list)
    yield [
        wiring.control,
        wiring.audit,
        wiring.watcher(WatchPlan(path=b"/etc")),
        wiring.hasher(1),
        wiring.router,
        wiring.names,
        wiring.restorer,
    ]
    wiring.close()


def number_of(place: str) -> float:
    module, _, name = place.partition(":")
    number: float = getattr(import_module(f"{ROOT}.{module}"), name)
    return number


def test_figures_are_those_of_the_code(document: Any, code_of: Callable[[str], str]) -> None:
    rows = document.table("Figures")

    documented = {row["where"]: float(row["value"]) for row in rows}

    assert documented == {row["where"]: number_of(code_of(row["where"])) for row in rows}


def test_privileges_are_those_of_the_table_of_workers(
    document: Any, codes_of: Callable[[str], list[str]], kinds: list[WorkerKind]
) -> None:
    documented = {
        f"auditline: {row['process']}": (set(codes_of(row["capabilities"])), codes_of(row["when the supervisor dies"]))
        for row in document.table("Privileges")
    }

    actual = {kind.title: ({each.name for each in kind.capabilities}, [kind.death_signal.name]) for kind in kinds}
    assert documented == actual


def test_titles_are_those_of_the_table_of_workers(
    document: Any, code_of: Callable[[str], str], kinds: list[WorkerKind]
) -> None:
    documented = {code_of(row["title in `ps`"]) for row in document.table("Processes")}

    workers = {kind.title for kind in kinds if kind.name != RESTORER}
    assert documented == {"auditline: supervisor", *workers}


def test_fields_of_loss_are_those_of_the_ledger(
    document: Any, codes_of: Callable[[str], list[str]], tmp_path: Path
) -> None:
    rows = document.table("Where an event can be lost")

    documented = {field for row in rows for field in codes_of(row["field of `loss`"])}

    assert documented == set(Ledger(CounterPage.unshared(()), tmp_path).loss(Tally(), {}))


def test_reasons_of_gaps_are_those_of_the_watchers(document: Any, code_of: Callable[[str], str]) -> None:
    rows = document.table("Where a change of a file can go unseen")

    documented = {code_of(row["`reason`"]) for row in rows}

    assert documented == REASONS - {"first_walk", "approved"}


@pytest.mark.parametrize("section", ["Where an event can be lost", "Where a change of a file can go unseen"])
def test_counters_of_losses_are_in_the_catalogue(
    section: str, document: Any, codes_of: Callable[[str], list[str]], read_document: Callable[[str], Any]
) -> None:
    catalogue = {
        counter
        for table in read_document("docs/events.md").tables("Counters")
        for row in table
        for counter in codes_of(row["counter"])
    }

    named = {counter for row in document.table(section) for counter in codes_of(row["counter"])}

    assert named <= catalogue
