"""All outputs as one: which of them may do without the events, because another has them."""

from dataclasses import dataclass
from typing import Any

import pytest

from auditline.workers.router.destinations import Destinations


@dataclass
class Told:
    """An output that is told whether others take the events."""

    takes_all: bool = True
    is_attached: bool = True
    is_gone: bool = False
    others_attached: bool | None = None

    def pump(self) -> None:
        """Nothing is due."""


def pump(*outputs: Any) -> None:
    Destinations(outputs).pump()


@pytest.mark.parametrize(
    ("other", "is_taken"),
    [
        (Told(), True),
        (Told(is_attached=False), False),
        (Told(takes_all=False), False),
    ],
)
def test_an_output_may_do_without_events_that_another_has_all_of(other, is_taken):
    output = Told()

    pump(output, other)

    assert output.others_attached is is_taken


def test_where_each_output_takes_some_events_none_may_do_without_its_own():
    outputs = [Told(takes_all=False), Told(takes_all=False)]

    pump(*outputs)

    assert [output.others_attached for output in outputs] == [False, False]


def test_of_one_whose_reader_has_gone_the_others_need_not_take_all():
    gone, other = Told(is_attached=False, is_gone=True), Told(takes_all=False)

    pump(gone, other)

    assert gone.others_attached
