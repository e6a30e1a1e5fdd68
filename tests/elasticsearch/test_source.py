"""How far a sender has come is written down so that whoever follows it looks up all that may have been sent."""

from functools import partial

import pytest

from auditline.plugins.outputs.cursor import Cursor
from auditline.workers.elasticsearch.documents import documents_of
from auditline.workers.elasticsearch.source import Source

MANY = 10**6


@pytest.fixture
def open_source(series, cursor):
    """Open the series in place of whoever followed it before."""
    opened: list[Source] = []

    def make():
        while opened:
            opened.pop().close()
        opened.append(Source(series.directory, Cursor.open(cursor, "host"), partial(documents_of, "logs-x")))
        return opened[-1]

    yield make
    for source in opened:
        source.close()


def test_what_was_noted_and_not_answered_is_in_doubt_for_the_next_sender(series, open_source):
    series.write(1, *range(5))
    first = open_source()
    first.note_sent(first.take(2, MANY)[-1].end)
    end = first.take(2, MANY)[-1].end
    first.note_sent(end)

    second = open_source()

    assert second.doubt_end == end
    assert len(second.take(10, MANY)) == 5


def test_what_is_answered_is_written_down_with_the_next_note(series, open_source):
    series.write(1, *range(5))
    first = open_source()
    answered = first.take(2, MANY)[-1].end
    first.note_sent(answered)
    first.note_answered(answered)
    end = first.take(2, MANY)[-1].end
    first.note_sent(end)

    second = open_source()

    assert second.doubt_end == end
    assert [document.event_id for document in second.take(10, MANY)] == [b"h-2", b"h-3", b"h-4"]


def test_the_doubt_that_a_predecessor_left_outlives_one_who_was_killed_within_it(series, open_source):
    series.write(1, *range(5))
    first = open_source()
    end = first.take(4, MANY)[-1].end
    first.note_sent(end)
    second = open_source()
    second.note_sent(second.take(1, MANY)[-1].end)

    third = open_source()

    assert third.doubt_end == end


def test_nothing_is_in_doubt_after_all_was_answered(series, open_source):
    series.write(1, *range(5))
    first = open_source()
    end = first.take(5, MANY)[-1].end
    first.note_sent(end)
    first.commit(end)

    second = open_source()

    assert second.doubt_end is None
    assert second.take(10, MANY) == []


def test_a_note_about_a_series_that_was_made_anew_says_nothing_about_the_new_one(series, open_source):
    series.write(7, 1, 2)
    first = open_source()
    end = first.take(2, MANY)[-1].end
    first.note_sent(end)
    first.commit(end)
    series.path(7).unlink()
    series.write(1, 3, 4)
    second = open_source()
    new_end = second.take(2, MANY)[-1].end
    was_noted = second.is_noted(new_end)
    second.note_sent(new_end)

    third = open_source()

    assert not was_noted
    assert third.doubt_end == new_end
    assert [document.event_id for document in third.take(10, MANY)] == [b"h-3", b"h-4"]


def test_a_document_that_is_larger_than_a_request_may_be_comes_alone(series, open_source):
    series.write(1, 1, 2)
    series.write(1, 3, pad=5000)
    series.write(1, 4)
    source = open_source()

    taken = [source.take(10, 1000) for _ in range(4)]

    assert [[document.event_id for document in batch] for batch in taken] == [[b"h-1", b"h-2"], [b"h-3"], [b"h-4"], []]
