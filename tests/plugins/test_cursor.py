import json
import os

import pytest

from auditline.plugins.outputs.cursor import Cursor
from auditline.plugins.outputs.positions import Position
from auditline.workers.common.errors import BusyError, StorageError

HOST = "0123456789abcdef"
POSITION = Position("auditline-000000000007-0badcafe.jsonl", 4096)


def test_a_committed_position_is_there_again(cursor):
    with Cursor.open(cursor, HOST) as first:
        first.commit(POSITION)

    with Cursor.open(cursor, HOST) as second:
        assert second.position == POSITION
        assert second.note == ""


def test_a_cursor_that_is_not_there_begins_with_the_oldest_event(cursor):
    with Cursor.open(cursor, HOST) as opened:
        assert opened.position is None
        assert opened.note == ""


def test_a_second_reader_is_refused_while_the_first_one_has_it(cursor):
    with Cursor.open(cursor, HOST), pytest.raises(BusyError, match="another reader"):
        Cursor.open(cursor, HOST)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\0" * 100, b'{"segment": "x", "offset": 1}'])
def test_a_damaged_cursor_is_put_aside_and_told(cursor, content):
    cursor.write_bytes(content)

    with Cursor.open(cursor, HOST) as opened:
        assert opened.position is None
        assert "begins with the oldest event" in opened.note
    assert cursor.with_name("cursor.damaged").read_bytes() == content


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_file_in_the_place_of_a_cursor_is_refused_at_once_and_left(cursor, make):
    make(cursor)
    found = cursor.lstat()

    with pytest.raises(StorageError, match="is no regular file, and is left as it is"):
        Cursor.open(cursor, "host-a")

    assert cursor.lstat() == found


def test_a_cursor_of_another_host_is_not_followed(cursor):
    with Cursor.open(cursor, "f" * 16) as other:
        other.commit(POSITION)

    with Cursor.open(cursor, HOST) as opened:
        assert opened.position is None
        assert "another host" in opened.note


def test_a_cursor_that_somebody_wrote_by_hand_is_taken(cursor):
    cursor.write_text(json.dumps(POSITION._asdict()))

    with Cursor.open(cursor, HOST) as opened:
        assert opened.position == POSITION


def test_a_cursor_in_a_missing_directory_is_named(tmp_path):
    with pytest.raises(StorageError, match="missing/cursor"):
        Cursor.open(tmp_path / "missing" / "cursor", HOST)


def test_how_many_segments_were_missed_is_kept(cursor):
    with Cursor.open(cursor, HOST) as first:
        first.missed_segments = 3
        first.commit(POSITION)

    with Cursor.open(cursor, HOST) as second:
        second.commit(POSITION._replace(offset=5000))
    with Cursor.open(cursor, HOST) as third:
        assert third.missed_segments == 3
