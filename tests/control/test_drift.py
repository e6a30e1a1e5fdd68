from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.drift_entry import Drift, Trace, decode_drift, encode_drift
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.drift import MOST_REPAIRS, REPAIR_SECONDS, DriftWatch, RepairLimit
from auditline.workers.control.language import parse_rules
from auditline.workers.control.messages import KernelStatus

FIRST, SECOND, THIRD = (f"-a always,exit -F arch=b64 -S {call} -F key=k-{call}" for call in ("open", "close", "read"))
SILENCER = "-a never,exit -S all -F uid=65534"
STATUS = KernelStatus(
    enabled=1,
    failure=1,
    pid=7,
    rate_limit=0,
    backlog_limit=64,
    lost=0,
    backlog=0,
    features=127,
    backlog_wait_time=15000,
    backlog_wait_time_actual=0,
)


def rules(*texts: str) -> list[bytes]:
    found = parse_rules("\n".join(texts), "a.rules", "x86_64")
    assert found.problems == ()
    return [comparable(compile_rule(rule)) for rule in found.rules]


def watch_of(*texts: str) -> DriftWatch:
    watch = DriftWatch()
    watch.expect_rules(rules(*texts))
    return watch


def drift_of(wanted: Sequence[str], found: Sequence[str]) -> Drift:
    watch = watch_of(*wanted)
    difference = watch.compare_rules(rules(*found))
    assert difference is not None
    return watch.describe_rules(difference, repaired=False)


def test_rules_that_are_as_wanted_are_no_drift() -> None:
    assert watch_of(FIRST, SECOND).compare_rules(rules(FIRST, SECOND)) is None


def test_nothing_is_drift_before_something_is_wanted() -> None:
    watch = DriftWatch()

    assert watch.compare_rules(rules(FIRST)) is None
    assert watch.compare_status(STATUS) == {}


def test_a_missing_rule_is_told_with_the_record_that_its_removal_leaves() -> None:
    drift = drift_of([FIRST, SECOND], [FIRST])

    assert (drift.what, drift.wanted, drift.found) == ("rules", (SECOND,), ())
    assert drift.traces == (Trace(operation="remove_rule", rule_list=4, key="k-close"),)
    assert drift.since_ns <= drift.time_ns


def test_a_new_rule_of_somebody_else_is_told() -> None:
    drift = drift_of([FIRST], [SILENCER, FIRST])

    assert (drift.what, drift.wanted, drift.found) == ("rules", (), (SILENCER,))
    assert drift.traces == (Trace(operation="add_rule", rule_list=4),)


def test_rules_in_another_order_are_told_by_the_places_that_differ() -> None:
    drift = drift_of([FIRST, SECOND, THIRD], [FIRST, THIRD, SECOND])

    assert (drift.what, drift.wanted, drift.found) == ("rule_order", (SECOND, THIRD), (THIRD, SECOND))
    assert {trace.operation for trace in drift.traces} == {"add_rule"}


def test_the_order_between_two_lists_says_nothing() -> None:
    other = "-a never,user -F uid=0"

    assert watch_of(FIRST, other).compare_rules(rules(other, FIRST)) is None


def test_a_difference_is_told_once_until_it_is_another_one() -> None:
    watch = watch_of(FIRST, SECOND)

    told = [watch.compare_rules(rules(*found)) for found in ([FIRST], [FIRST], [], [FIRST, SECOND], [FIRST])]

    assert [None if difference is None else len(difference.missing) for difference in told] == [1, None, 2, None, 1]


def test_what_silences_is_told_apart_from_what_does_not() -> None:
    exclude = "-a always,exclude -F msgtype=CWD"

    difference = watch_of(FIRST).compare_rules(rules(SILENCER, FIRST, SECOND, exclude))

    assert difference is not None
    assert len(difference.unexpected) == 3
    assert sorted(difference.silencing) == sorted(rules(SILENCER, exclude))


def test_a_field_of_the_status_is_told_once_and_again_when_it_changes() -> None:
    watch = DriftWatch()
    watch.expect_status(STATUS, pid=7)

    told = [
        watch.compare_status(status)
        for status in (STATUS, replace(STATUS, enabled=0), replace(STATUS, enabled=0), replace(STATUS, enabled=2))
    ]

    assert told == [{}, {"enabled": 1}, {}, {"enabled": 1}]


def test_another_daemon_and_other_limits_are_drift_and_counters_are_not() -> None:
    watch = DriftWatch()
    watch.expect_status(STATUS, pid=7)

    told = watch.compare_status(replace(STATUS, pid=8, backlog_limit=8, lost=9, backlog=9, backlog_wait_time_actual=9))

    assert told == {"pid": 7, "backlog_limit": 64}


def test_a_field_names_the_record_that_its_change_leaves() -> None:
    drift = DriftWatch().describe_field("enabled", 1, 0, repaired=True)

    assert (drift.what, drift.wanted, drift.found, drift.repaired) == ("enabled", 1, 0, True)
    assert drift.traces == (Trace(operation="set", field="audit_enabled"),)


def test_repairs_have_a_limit_that_time_lifts() -> None:
    limit = RepairLimit()

    soon = [limit.permits(1.0) for _ in range(MOST_REPAIRS + 1)]

    assert soon == [True] * MOST_REPAIRS + [False]
    assert limit.permits(1.0 + REPAIR_SECONDS)


VALUES = st.integers(0, 2**32) | st.text(st.characters(codec="utf-8")) | st.lists(st.text(), max_size=3).map(tuple)
TRACES = st.builds(
    Trace,
    operation=st.text(),
    field=st.text(),
    rule_list=st.none() | st.integers(0, 9),
    key=st.binary().map(lambda key: key.decode("utf-8", "surrogateescape")),
)
DRIFTS = st.builds(
    Drift,
    what=st.text(),
    wanted=VALUES,
    found=VALUES,
    since_ns=st.integers(0, 2**63),
    time_ns=st.integers(0, 2**63),
    repaired=st.booleans(),
    traces=st.lists(TRACES, max_size=3).map(tuple),
)


@given(DRIFTS)
def test_a_drift_is_read_back_as_it_was_written(drift: Drift) -> None:
    assert decode_drift(encode_drift(drift)) == drift


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{}", b'{"drift":1}', b'{"drift":{"what":1}}', b"\xff", b'{"drift":{"what":"x","wanted":{}}}'],
)
def test_what_is_no_drift_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="no drift: "):
        decode_drift(payload)
