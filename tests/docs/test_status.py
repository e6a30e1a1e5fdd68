"""docs/status.md has every key of the JSON and the limits that the code has."""

from collections.abc import Callable
from typing import Any

import pytest

from auditline.workers.common.status_slots import OUTPUT_STATES, WATCH_STATES
from auditline.workers.status import judging
from auditline.workers.status.commands import ORDER
from auditline.workers.status.shipper import LIMITS
from auditline.workers.supervisor.restarts import RECENT_SECONDS


@pytest.fixture
def document(read_document: Callable[[str], Any]) -> Any:
    return read_document("docs/status.md")


def test_keys_are_those_of_the_json(document: Any, codes_of: Callable[[str], list[str]]) -> None:
    documented = [key.partition(".")[0] for row in document.table("As JSON") for key in codes_of(row["key"])]

    assert list(dict.fromkeys(documented)) == list(ORDER)


@pytest.mark.parametrize(
    ("words", "states"), [("outputs.<name>.state", OUTPUT_STATES), ("watches.<path>.state", WATCH_STATES)]
)
def test_states_are_those_of_the_code(
    document: Any, codes_of: Callable[[str], list[str]], words: str, states: tuple[str, ...]
) -> None:
    [row] = [row for row in document.table("As JSON") if codes_of(row["key"]) == [words]]

    assert set(states) <= set(codes_of(row["meaning"]))


def test_limits_are_those_of_the_code(document: Any) -> None:
    when = " ".join(row["when"] for row in document.table("When it is degraded"))

    assert f"more than {judging.BEHIND_SECONDS} s behind" in when
    assert f"not moved for {judging.READER_IDLE_SECONDS // 60} minutes" in when
    assert f"not told for {judging.KERNEL_SILENT_SECONDS} s" in when
    assert (judging.RESTARTS_TOO_MANY, judging.RECENT_LOSS_SECONDS, RECENT_SECONDS) == (3, 600, 600)
    assert "died three times within ten minutes" in when
    assert "was told within the last ten minutes" in when


def test_the_limits_of_shippers_are_shown(document: Any) -> None:
    shown = "\n".join(example.text for example in document.examples)

    assert [limit.setting for limit in LIMITS if f"{limit.setting:15}  {limit.bytes:>6,}  " not in shown] == []
