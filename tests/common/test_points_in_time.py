"""What a person may type for a point in time."""

import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.points_in_time import parse_moment

NOW = datetime(2026, 11, 26, 14, 19, 8, 250_000)  # noqa: DTZ001
"""In Berlin, where the tests are: an hour ahead of UTC in winter, two in summer."""


@pytest.fixture(autouse=True)
def _in_berlin(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


def first_of(text):
    milliseconds = parse_moment(text, NOW).first_ms
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(milliseconds // 1000))}.{milliseconds % 1000:03d}Z"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00.000Z"),
        ("2026-07-01t12:00:00z", "2026-07-01T12:00:00.000Z"),
        ("2026-07-01T12:00:00.123456Z", "2026-07-01T12:00:00.123Z"),
        ("2026-07-01T12:00:00,5+05:30", "2026-07-01T06:30:00.500Z"),
        ("2026-07-01 12:00:00 -0800", "2026-07-01T20:00:00.000Z"),
        ("2026-07-01 12:00:00 UTC", "2026-07-01T12:00:00.000Z"),
        ("2026-07-01 12:00:00", "2026-07-01T10:00:00.000Z"),
        ("2026-12-01T12:00", "2026-12-01T11:00:00.000Z"),
        ("2026-12-01", "2026-11-30T23:00:00.000Z"),
        (" 2026-12-01 ", "2026-11-30T23:00:00.000Z"),
        ("14:30", "2026-11-26T13:30:00.000Z"),
        ("00:00:01", "2026-11-25T23:00:01.000Z"),
        ("now", "2026-11-26T13:19:08.250Z"),
        ("today", "2026-11-25T23:00:00.000Z"),
        ("yesterday", "2026-11-24T23:00:00.000Z"),
        ("tomorrow", "2026-11-26T23:00:00.000Z"),
        ("-90s", "2026-11-26T13:17:38.250Z"),
        ("-15m", "2026-11-26T13:04:08.250Z"),
        ("-15min", "2026-11-26T13:04:08.250Z"),
        ("-2h", "2026-11-26T11:19:08.250Z"),
        ("-1d12h", "2026-11-25T01:19:08.250Z"),
        ("-1w 1d", "2026-11-18T13:19:08.250Z"),
        ("1700000000", "2023-11-14T22:13:20.000Z"),
        ("1700000000.001", "2023-11-14T22:13:20.001Z"),
        ("@1700000000", "2023-11-14T22:13:20.000Z"),
        ("@0", "1970-01-01T00:00:00.000Z"),
    ],
)
def test_a_point_in_time_is_understood(text, meant):
    assert first_of(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024",
        "20240131",
        "01/31/2024",
        "2024-1-31",
        "2024-02-30",
        "2024-01-31T",
        "2024-01-31T25:00",
        "2024-01-31 12",
        "2024-01-31 12:00:60",
        "12:00:00 and more",
        "-2",
        "-h",
        "2h",
        "-2y",
        "@",
        "Thursday",
        "0000-01-01",
        "9999-12-31T23:59:59-24:00",
    ],
)
def test_what_names_no_point_in_time_is_refused_with_what_was_wanted(text):
    with pytest.raises(ValueError, match=r"is no time: ") as refused:
        parse_moment(text, NOW)

    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("12:00:00", 999), ("2026-12-01", 999), ("@1700000000", 999), ("@1700000000.5", 0), ("12:00:00.5", 0), ("-2h", 0)],
)
def test_what_is_named_to_the_second_lasts_to_its_end(text, milliseconds):
    moment = parse_moment(text, NOW)

    assert moment.last_ms - moment.first_ms == milliseconds


@given(st.text(st.sampled_from("0123456789-:T.,Z+ @whdms"), max_size=30))
def test_any_text_is_understood_or_refused(text):
    try:
        moment = parse_moment(text, NOW)
    except ValueError as error:
        assert "is no time" in str(error)  # noqa: PT017
    else:
        assert moment.first_ms <= moment.last_ms
