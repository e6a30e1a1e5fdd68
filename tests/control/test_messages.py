"""Audit requests and answers as bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.control import messages
from auditline.workers.control.messages import NLMSG_ERROR, Reply, pack_request, parse_listed_rule, parse_replies

STATUS_WORDS = tuple(range(100, 115))
HEADER = struct.Struct("=IHHII")


def status_of(length: int) -> messages.KernelStatus | None:
    return messages.parse_status(struct.pack("=15I", *STATUS_WORDS)[:length])


@pytest.mark.parametrize(
    ("length", "features", "wait_time", "wait_time_actual"),
    [(32, 0, None, None), (36, 108, None, None), (40, 108, 109, None), (44, 108, 109, 110), (60, 108, 109, 110)],
)
def test_status_of_every_kernel_is_read_as_far_as_it_goes(
    length: int, features: int, wait_time: int | None, wait_time_actual: int | None
) -> None:
    status = status_of(length)

    assert status is not None
    assert (status.pid, status.backlog) == (103, 107)
    assert (status.features, status.backlog_wait_time, status.backlog_wait_time_actual) == (
        features,
        wait_time,
        wait_time_actual,
    )


def test_status_that_is_too_short_is_none() -> None:
    assert status_of(31) is None


def test_fields_to_set_are_named_in_the_mask() -> None:
    words = struct.unpack("=11I", messages.set_status(enabled=1, backlog_wait_time=15000).payload)

    assert words == (0x21, 1, 0, 0, 0, 0, 0, 0, 0, 15000, 0)


def test_deletion_never_asks_for_a_prepended_rule() -> None:
    prepended = struct.pack("=I", 0x14) + bytes(1036)

    assert messages.delete_rule(prepended).payload[0] == 0x04


def test_requests_in_one_datagram_are_aligned() -> None:
    request = messages.Request(1011, b"12345", "")

    message = pack_request(request, 7, is_acknowledged=True)

    assert len(message) == 24
    assert HEADER.unpack_from(message) == (21, 1011, 5, 7, 0)


def test_padding_of_a_listed_rule_is_dropped() -> None:
    rule = bytes(1036) + struct.pack("=I", 3) + b"key"

    assert parse_listed_rule(rule + b"\0") == rule
    assert parse_listed_rule(rule[:-1]) is None


@given(st.lists(st.tuples(st.integers(3, 65535), st.integers(0, 2**32 - 1), st.binary(max_size=50)), max_size=5))
def test_replies_are_what_was_sent(sent: list[tuple[int, int, bytes]]) -> None:
    datagram = b"".join(
        HEADER.pack(16 + len(payload), kind, 0, sequence, 0) + payload + bytes(-len(payload) % 4)
        for kind, sequence, payload in sent
    )

    assert parse_replies(datagram) == [Reply(kind, sequence, 0, payload) for kind, sequence, payload in sent]


@given(st.integers(-4095, 2**31 - 1))
def test_codes_of_acknowledgements_are_signed(code: int) -> None:
    (reply,) = parse_replies(HEADER.pack(20, NLMSG_ERROR, 0, 1, 0) + struct.pack("=i", code))

    assert reply.code == code


@given(st.binary(max_size=200))
def test_damaged_replies_are_survived(datagram: bytes) -> None:
    for reply in parse_replies(datagram):
        messages.parse_status(reply.payload)
        parse_listed_rule(reply.payload)


@given(st.data())
def test_cut_replies_lose_only_what_was_cut(data: st.DataObject) -> None:
    messages_of = [HEADER.pack(20, 1000 + index, 0, index, 0) + b"four" for index in range(3)]
    cut = data.draw(st.integers(0, 60))

    replies = parse_replies(b"".join(messages_of)[:cut])

    assert [reply.sequence for reply in replies] == list(range(cut // 20))
