"""How the records are read that fanotify gives."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.fim.fanotify_calls import FAN_CREATE, FAN_Q_OVERFLOW, FAN_RENAME
from auditline.workers.fim.fanotify_records import NO_PIDFD, Record, parse_records

DFID_NAME, DFID, PIDFD, ERROR, OLD, NEW = 2, 3, 4, 5, 10, 12
FSID = b"fsid-of8"
METADATA_BYTES = 24


def record(*infos: bytes, mask: int = FAN_CREATE, pid: int = 42, version: int = 3, more_bytes: int = 0) -> bytes:
    body = b"".join(infos)
    length = METADATA_BYTES + len(body) + more_bytes
    return struct.pack("=IBBHQii", length, version, 0, METADATA_BYTES, mask, -1, pid) + body


def info(kind: int, body: bytes, more_bytes: int = 0) -> bytes:
    return struct.pack("=BxH", kind, 4 + len(body) + more_bytes) + body


def place(kind: int, handle: bytes, name: bytes, padding: int = 1) -> bytes:
    return info(kind, key(handle) + name + bytes(padding))


def key(handle: bytes) -> bytes:
    return FSID + struct.pack("=Ii", len(handle), 1) + handle


def pidfd(number: int) -> bytes:
    return info(PIDFD, struct.pack("=i", number))


def test_a_record_tells_who_did_what_to_which_entry():
    data = record(place(DFID_NAME, b"handle", b"name", padding=3), pidfd(7))

    assert list(parse_records(data)) == [Record(FAN_CREATE, 42, 7, key(b"handle"), b"name", None, b"")]


def test_a_rename_tells_of_both_places():
    data = record(place(OLD, b"from", b"a"), place(NEW, b"to", b"b"), mask=FAN_RENAME)

    assert list(parse_records(data)) == [Record(FAN_RENAME, 42, NO_PIDFD, key(b"from"), b"a", key(b"to"), b"b")]


def test_half_a_rename_tells_of_one():
    data = record(place(NEW, b"to", b"b"), mask=FAN_RENAME)

    assert list(parse_records(data)) == [Record(FAN_RENAME, 42, NO_PIDFD, None, b"", key(b"to"), b"b")]


def test_an_overflow_has_neither_name_nor_handle():
    """Pitfall 4."""
    data = record(mask=FAN_Q_OVERFLOW, pid=0)

    assert list(parse_records(data)) == [Record(FAN_Q_OVERFLOW, 0, NO_PIDFD, None, b"", None, b"")]


def test_information_of_an_unknown_kind_is_skipped():
    data = record(info(99, b"whatever"), place(DFID_NAME, b"handle", b"name"), info(ERROR, bytes(8)), pidfd(7))

    assert list(parse_records(data)) == [Record(FAN_CREATE, 42, 7, key(b"handle"), b"name", None, b"")]


def test_a_directory_alone_has_no_name():
    data = record(info(DFID, key(b"handle")))

    assert list(parse_records(data)) == [Record(FAN_CREATE, 42, NO_PIDFD, key(b"handle"), b"", None, b"")]


def test_a_record_of_another_version_is_skipped():
    data = record(place(DFID_NAME, b"handle", b"a"), version=4) + record(place(DFID_NAME, b"handle", b"b"))

    assert [found.name for found in parse_records(data)] == [b"b"]


def test_information_that_reaches_beyond_its_record_is_left_out():
    data = record(info(DFID_NAME, key(b"handle"), more_bytes=4)) + record(place(DFID_NAME, b"handle", b"b"))

    assert [found.directory for found in parse_records(data)] == [None, key(b"handle")]


def test_a_handle_that_reaches_beyond_its_information_is_left_out():
    too_long = FSID + struct.pack("=Ii", 200, 1) + b"handle"
    data = record(info(DFID_NAME, too_long), pidfd(7))

    assert list(parse_records(data)) == [Record(FAN_CREATE, 42, 7, None, b"", None, b"")]


def test_a_record_that_is_cut_off_ends_the_reading():
    whole = record(place(DFID_NAME, b"handle", b"a"))

    assert [found.name for found in parse_records(whole + record(more_bytes=8))] == [b"a"]


INFOS = st.builds(info, st.integers(0, 255), st.binary(max_size=60), st.integers(-4, 60))
RECORDS = st.builds(
    record,
    INFOS,
    INFOS,
    mask=st.integers(0, 2**64 - 1),
    pid=st.integers(0, 2**31 - 1),
    version=st.just(3),
    more_bytes=st.integers(-24, 60),
)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_error(data):
    assert len(list(parse_records(data))) <= len(data) // METADATA_BYTES


@given(st.lists(RECORDS, max_size=5).map(b"".join))
def test_records_with_any_lengths_are_read_within_their_bounds(data):
    assert all(len(found.name) + len(found.new_name) <= len(data) for found in parse_records(data))


@given(handle=st.binary(max_size=128), name=st.binary(max_size=255).map(lambda name: name.replace(b"\0", b"")))
def test_any_handle_and_any_name_are_read_as_they_were_written(handle, name):
    (found,) = parse_records(record(place(DFID_NAME, handle, name)))

    assert (found.directory, found.name) == (key(handle), name)
