"""A filter before an output: what it leaves out is counted and done, and no other output feels it."""

import json
import time
from typing import Any

import pytest

from auditline.plugins.outputs.api import Line, OutputContext
from auditline.plugins.outputs.bounded_search import MOST_SECONDS, REST_SECONDS, BoundedSearch, SearchGivenUp
from auditline.plugins.outputs.filtering import FilteredOutput
from auditline.plugins.outputs.registry import open_output
from auditline.plugins.outputs.segments import SegmentsOutput
from auditline.workers.common.filter_settings import AddSettings, ConditionSettings
from auditline.workers.common.settings import ElasticsearchSettings, SegmentsSettings, StdoutSettings
from auditline.workers.router.destinations import Destinations

EVEN = (ConditionSettings(field="parity", equals="even"),)


@pytest.fixture
def context(tmp_path, counters, pipe):
    return OutputContext(stdout_fd=pipe[1], state_directory=tmp_path / "state", counters=counters)


@pytest.fixture
def segments(tmp_path):
    """Return the settings of a segments output with a filter."""

    def make(**settings):
        return SegmentsSettings(name="files", directory=tmp_path / "log", sync="never", **settings)

    return make


def events(first, last, kind=""):
    return [event(number, kind) for number in range(first, last + 1)]


def event(number, kind=""):
    parity = "odd" if number % 2 else "even"
    identity = f"0123456789abcdef-{kind}{number}"
    text = (
        f'{{"@timestamp":"2026-01-01T00:00:00.000Z","event":{{"id":"{identity}"}},"n":{number},"parity":"{parity}"}}\n'
    )
    return Line(number, identity, text.encode())


def numbers(lines):
    return [json.loads(line)["n"] for line in lines]


def test_an_output_without_a_filter_is_no_other_than_before(context, segments):
    output = open_output(segments(), context)

    assert not isinstance(output, FilteredOutput)
    output.close(0)


@pytest.mark.parametrize(
    ("settings", "written"),
    [
        ({"include": EVEN}, [2, 4]),
        ({"exclude": EVEN}, [1, 3, 5]),
        ({"include": EVEN, "exclude": (ConditionSettings(field="n", above=3),)}, [2]),
    ],
)
def test_what_is_wanted_is_written_as_the_bytes_that_it_was(context, segments, tmp_path, lines_in, settings, written):
    output = open_output(segments(**settings), context)

    output.write(events(1, 5))
    output.pump()

    assert lines_in(tmp_path / "log") == [event(number).data for number in written]
    left_out = 5 - len(written)
    assert output.counts() == {
        "events": 5, "written": len(written), "filtered": left_out, "missed": 0, "rejected": 0, "pending": 0,
    }  # fmt: skip
    assert context.counters.get("output_files_events_filtered_total") == left_out
    output.close(0)


def test_what_was_left_out_is_done_with_what_was_written_before_it(context, pipe, read_all):
    output = open_output(StdoutSettings(name="stdout", include=EVEN), context)

    output.write(events(1, 5))
    output.pump()
    done_unread = output.done_sequence
    read_all(pipe[0])
    output.pump()

    assert (done_unread, output.done_sequence) == (0, 5)
    output.close(0)


def test_events_that_nobody_wants_are_done_at_once(context, segments):
    output = open_output(segments(exclude=(ConditionSettings(field="n", exists=True),)), context)

    output.write(events(1, 5))

    assert output.done_sequence == 5
    assert output.counts()["filtered"] == 5
    output.close(0)


def test_fields_and_tags_are_added_for_this_output_alone(context, segments, tmp_path, lines_in, pipe, read_all):
    add = AddSettings(tags=("edge",), fields={"labels.site": "berlin"}, drop_fields=("parity",))
    outputs = [open_output(segments(add=add), context), open_output(StdoutSettings(name="stdout"), context)]
    destinations = Destinations(outputs)

    destinations.write({"audit": [event(1)]})

    [line] = lines_in(tmp_path / "log")
    head = b'{"@timestamp":"2026-01-01T00:00:00.000Z","event":{"id":"0123456789abcdef-1"},"n":1'
    assert line == head + b',"labels":{"site":"berlin"},"tags":["edge"]}\n'
    assert read_all(pipe[0]) == event(1).data
    destinations.close(0)


def test_an_event_that_comes_again_is_neither_written_nor_changed_twice(context, segments, tmp_path, lines_in, abandon):
    settings = segments(include=EVEN, add=AddSettings(tags=("x",)))
    dead: Any = SegmentsOutput(settings, context)
    killed = FilteredOutput(dead, settings, context.counters)
    killed.write(events(1, 6))
    killed.pump()
    abandon(dead)

    output = open_output(settings, context)
    output.write(events(1, 8))
    output.pump()
    output.confirm(8)
    output.end_resends()

    assert numbers(lines_in(tmp_path / "log")) == [2, 4, 6, 8]
    assert output.done_sequence == 8
    counts = output.counts()
    assert counts["written"] == 4
    assert counts["events"] == counts["written"] + counts["filtered"] + counts["pending"]
    output.close(0)


def test_private_segments_of_elasticsearch_hold_what_is_sent(context, tmp_path, lines_in):
    settings = ElasticsearchSettings(
        name="es", hosts=("http://localhost",), include=EVEN, add=AddSettings(fields={"labels.x": 1})
    )
    output = open_output(settings, context)

    output.write([*events(1, 4), *events(5, 8, "f-")])
    output.pump()

    found = [json.loads(line) for kind in ("audit", "fim") for line in lines_in(tmp_path / f"state/outputs/es/{kind}")]
    assert [(document["n"], document["labels"]) for document in found] == [(n, {"x": 1}) for n in (2, 4, 6, 8)]
    assert output.counts() == {
        "events": 8, "written": 4, "filtered": 4, "missed": 0, "rejected": 0, "pending": 0,
    }  # fmt: skip
    assert output.done_sequence == 8
    output.close(0)


def test_a_line_that_cannot_be_read_is_let_through(context, segments, tmp_path, lines_in, caplog):
    output = open_output(segments(include=EVEN, add=AddSettings(tags=("x",))), context)

    output.write([Line(1, "a", b'{"n" broken\n')])
    output.pump()

    assert lines_in(tmp_path / "log") == [b'{"n" broken\n']
    assert "cannot be read by its filter" in caplog.text
    output.close(0)


@pytest.mark.parametrize(
    ("settings", "takes_all"),
    [({"include": EVEN}, False), ({"exclude": EVEN}, False), ({"add": AddSettings(tags=("x",))}, True), ({}, True)],
)
def test_only_what_nothing_is_left_out_of_takes_all(context, segments, settings, takes_all):
    output = open_output(segments(**settings), context)

    assert output.takes_all is takes_all
    output.close(0)


def test_a_filter_is_the_output_in_all_else(context, segments):
    output = open_output(segments(include=EVEN), context)

    output.others_attached = True
    output.write(events(1, 2))

    assert isinstance(output, FilteredOutput)
    assert (output.name, output.schema, output.others_attached) == ("files", "audit", True)
    assert (output.is_attached, output.is_blocked, output.is_gone, output.write_fd) == (True, False, False, None)
    assert output.pending_bytes == len(event(2).data)
    output.close(0)


def test_a_pattern_that_would_take_for_ever_is_given_up_and_left_alone_for_a_while(caplog):
    search = BoundedSearch("(a+)+$")
    begin = time.process_time()

    with pytest.raises(SearchGivenUp):
        search("a" * 60 + "!")
    spent_seconds = time.process_time() - begin
    with pytest.raises(SearchGivenUp):
        search("b")

    assert MOST_SECONDS / 2 < spent_seconds < REST_SECONDS / 4
    assert "took more than" in caplog.text


def test_a_pattern_that_is_given_up_is_searched_for_again_later(monkeypatch):
    search = BoundedSearch("(a+)+$")
    with pytest.raises(SearchGivenUp):
        search("a" * 60 + "!")
    later = time.monotonic() + REST_SECONDS + 1
    monkeypatch.setattr("auditline.plugins.outputs.bounded_search.time.monotonic", lambda: later)

    assert search("aaa")
    assert not search("b")


@pytest.mark.parametrize("where", ["include", "exclude"])
def test_events_of_which_a_pattern_cannot_be_found_are_let_through(context, segments, tmp_path, lines_in, where):
    pattern = ConditionSettings(field="event.id", regex="(.*.*)*!")
    output = open_output(segments(**{where: (pattern,)}), context)

    output.write([Line(1, "a", b'{"event":{"id":"%b"},"n":1}\n' % (b"a" * 4000))])
    output.pump()

    assert numbers(lines_in(tmp_path / "log")) == [1]
    output.close(0)
