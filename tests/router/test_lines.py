"""What every line has in common: its time, its text, its identity."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.timestamps import timestamp_of_second
from auditline.workers.router.event import Event
from auditline.workers.router.render.lines import event_id, printable_records, raw_records, to_json


def make_event(*records: tuple[int, str], node: str | None = None) -> Event:
    header = f"{'' if node is None else f'node={node} '}audit(1700000000.123:7"
    event = Event(header, node, "1700000000", "123", 7)
    for kind, body in records:
        event.types.append(kind)
        event.bodies.append(body)
    return event


@pytest.mark.parametrize(
    ("second", "text"),
    [
        ("0", "1970-01-01T00:00:00"),
        ("1501619655", "2017-08-01T20:34:15"),
        ("4294967296", "2106-02-07T06:28:16"),
        ("253402300799", "9999-12-31T23:59:59"),
        ("253402300800", "9999-12-31T23:59:59"),
        ("999999999999999", "9999-12-31T23:59:59"),
        ("0001", "1970-01-01T00:00:01"),
    ],
)
def test_a_second_is_written_in_utc(second: str, text: str):
    assert timestamp_of_second(second) == text


@given(text=st.text(st.characters(blacklist_categories=["Cs"])))
def test_text_comes_back_and_no_control_character_goes_out_raw(text: str):
    written = to_json({"key": text, text: [text]})

    assert json.loads(written) == {"key": text, text: [text]}
    assert not any(unicodedata.category(character) == "Cc" for character in written)
    assert not {"\u2028", "\u2029"} & set(written)


def test_text_is_as_readable_as_it_can_be():
    assert to_json({"a": "é/日本 😀"}) == '{"a":"é/日本 😀"}'


@given(raw=st.binary())
def test_bytes_that_are_not_utf_8_become_printable(raw: bytes):
    (record,) = printable_records(make_event((1300, raw.decode("utf-8", "surrogateescape"))))

    assert record.encode("utf-8")


def test_a_whole_event_has_the_kernel_s_identity():
    assert event_id("0" * 16, make_event((1300, "a=1")), is_complete=True) == "0" * 16 + "-1700000000.123-7"


def test_a_part_has_an_identity_that_its_records_make():
    one, same = make_event((1300, "a=1")), make_event((1300, "a=1"))
    other, kind = make_event((1300, "a=2")), make_event((1302, "a=1"))

    ids = [event_id("0" * 16, event, is_complete=False) for event in (one, same, other, kind)]

    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert ids[0].startswith("0" * 16 + "-1700000000.123-7-p")


def test_an_amendment_is_a_part_even_if_it_lacks_nothing():
    event = make_event((1400, "a=1"))
    event.amends = True

    assert "-p" in event_id("0" * 16, event, is_complete=True)


def test_an_amendment_with_the_records_of_the_part_that_it_amends_has_another_identity():
    part, amendment = make_event((1302, "a=1")), make_event((1302, "a=1"))
    amendment.amends = True

    ids = [event_id("0" * 16, event, is_complete=False) for event in (part, amendment)]

    assert ids[0] != ids[1]


def test_raw_records_are_as_auditd_writes_them():
    event = make_event((1300, "a=1"), (1302, " b=2"), (1999, "c"), node="web1")

    assert raw_records(event) == [
        "type=SYSCALL msg=audit(1700000000.123:7): a=1",
        "type=PATH msg=audit(1700000000.123:7):  b=2",
        "type=UNKNOWN[1999] msg=audit(1700000000.123:7): c",
    ]
