"""Dead letters are listed and given back, whatever happens to whom meanwhile: none is lost on the way."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from auditline.plugins.outputs.cursor import Cursor
from auditline.plugins.outputs.elasticsearch import cursor_path, dead_letter_directory, resend_directory
from auditline.plugins.outputs.following import Follower
from auditline.plugins.outputs.positions import Position
from auditline.plugins.outputs.segment_files import DirectoryLock, list_segments
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.errors import BusyError
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.dead_letters import DELETED, DeadLetters
from auditline.workers.elasticsearch.documents import Document, dead_letter, documents_in_letters
from auditline.workers.elasticsearch.resending import GivenBack, give_back, list_letters
from auditline.workers.elasticsearch.source import Source

SETTINGS = ElasticsearchSettings(name="es", dead_letter_bytes=1024**2)
STREAM = "logs-auditline.audit-default"


@dataclass
class Letters:
    """The dead letters of one output, as its sender writes them."""

    state: Path
    counters: CounterPage
    writer: DeadLetters

    def add(self, first: int, last: int, size: int = 10) -> None:
        self.writer.append(letter(number, size) for number in range(first, last))

    def ids(self, *, is_waiting: bool) -> list[str]:
        return [kept.letter.event_id for kept in list_letters(self.state, "es") if kept.is_waiting is is_waiting]


def letter(number, size=10, event_id=None):
    identity = f"h-{number}" if event_id is None else event_id
    line = b'{"@timestamp":"2026-01-01T00:00:00.000Z","event":{"id":"%b"},"n":"%b"}\n' % (
        identity.encode(),
        b"x" * size,
    )
    document = Document(STREAM, identity.encode(), line, Position("", 0))
    return dead_letter(document, 400, f'failed to parse "n" ,"document": {number}', "2026-01-02T00:00:00.000Z")


@pytest.fixture
def letters(tmp_path):
    counters = CounterPage.unshared((DELETED,))
    folders = dead_letter_directory(tmp_path, "es"), resend_directory(tmp_path, "es")
    made = Letters(tmp_path, counters, DeadLetters(folders[0], 1024**2, counters, beside=folders[1]))
    yield made
    made.writer.close()


@pytest.fixture
def open_source(tmp_path):
    """Open what the sender follows to send dead letters again, in place of the one before."""
    opened: list[Source] = []

    def make():
        while opened:
            opened.pop().close()
        resend_directory(tmp_path, "es").mkdir(parents=True, exist_ok=True)
        cursor = Cursor.open(cursor_path(tmp_path, "es", "resend"), "host")
        opened.append(Source(resend_directory(tmp_path, "es"), cursor, documents_in_letters, is_resend=True))
        return opened[-1]

    yield make
    for source in opened:
        source.close()


def test_dead_letters_are_listed_with_what_the_server_said(letters):
    letters.add(0, 2)

    first, second = list_letters(letters.state, "es")

    assert (first.letter.event_id, second.letter.event_id) == ("h-0", "h-1")
    assert (first.letter.stream, first.letter.status) == (STREAM, 400)
    assert first.letter.reason == 'failed to parse "n" ,"document": 0'
    assert json.loads(first.letter.document)["n"] == "x" * 10
    assert not first.is_waiting


def test_what_is_given_back_is_followed_as_the_documents_that_it_was(letters, open_source):
    letters.add(0, 3)

    given_back = give_back(letters.state, SETTINGS)

    documents = open_source().take(10, 10**6)
    assert given_back == GivenBack(3, 0)
    assert [(document.stream, document.event_id) for document in documents] == [
        (STREAM, f"h-{number}".encode()) for number in range(3)
    ]
    assert json.loads(documents[0].line)["event"] == {"id": "h-0"}
    assert letters.ids(is_waiting=True) == ["h-0", "h-1", "h-2"]
    assert letters.ids(is_waiting=False) == []


def test_what_was_answered_is_neither_listed_nor_there(letters, open_source):
    letters.add(0, 4)
    give_back(letters.state, SETTINGS)
    source = open_source()

    source.commit(source.take(3, 10**6)[-1].end)
    half = letters.ids(is_waiting=True)
    source.commit(source.take(3, 10**6)[-1].end)

    assert half == ["h-3"]
    assert letters.ids(is_waiting=True) == []
    assert list_segments(resend_directory(letters.state, "es")) == []


def test_a_sender_goes_on_with_what_is_given_back_after_all_was_answered(letters, open_source):
    source = open_source()
    for number in range(3):
        letters.add(number, number + 1)
        give_back(letters.state, SETTINGS)

        [document] = source.take(10, 10**6)
        source.commit(document.end)

        assert document.event_id == f"h-{number}".encode()


def test_a_sender_that_starts_anew_goes_on_behind_what_was_answered(letters, open_source):
    letters.add(0, 3)
    give_back(letters.state, SETTINGS)
    first = open_source()
    first.commit(first.take(2, 10**6)[-1].end)
    letters.add(3, 4)
    give_back(letters.state, SETTINGS)

    documents = open_source().take(10, 10**6)

    assert [document.event_id for document in documents] == [b"h-2", b"h-3"]


def test_a_letter_that_is_written_while_others_are_given_back_begins_a_segment_of_its_own(letters):
    letters.add(0, 1)
    give_back(letters.state, SETTINGS)

    letters.add(1, 2)

    assert letters.ids(is_waiting=True) == ["h-0"]
    assert letters.ids(is_waiting=False) == ["h-1"]


def test_half_of_the_room_at_most_is_given_back_at_a_time_and_nothing_is_deleted(letters, open_source):
    letters.add(0, 90, size=10_000)

    first = give_back(letters.state, SETTINGS)
    second = give_back(letters.state, SETTINGS)
    source = open_source()
    while documents := source.take(100, 10**7):
        source.commit(documents[-1].end)
    third = give_back(letters.state, SETTINGS)

    assert first.left == 90 - first.documents
    assert second == GivenBack(0, first.left)
    assert third.documents == first.documents > 30
    assert first.documents + third.documents + third.left == 90
    assert letters.counters.get(DELETED) == 0


def test_with_what_waits_dead_letters_keep_to_their_room(letters):
    letters.add(0, 45, size=10_000)
    give_back(letters.state, SETTINGS)

    letters.add(100, 300, size=10_000)

    folders = (dead_letter_directory(letters.state, "es"), resend_directory(letters.state, "es"))
    held_bytes = sum(segment.size for folder in folders for segment in list_segments(folder))
    assert held_bytes < 1024**2 + 20_000
    assert len(letters.ids(is_waiting=True)) == 45
    assert len(letters.ids(is_waiting=False)) + letters.counters.get(DELETED) == 200


def test_what_waits_behind_what_was_taken_is_kept_as_well(letters, open_source):
    letters.add(0, 3)
    give_back(letters.state, SETTINGS)
    letters.add(3, 4)
    [*_, taken] = open_source().take(2, 10**6)

    assert letters.writer.keys(taken.end) == {(STREAM, b"h-2"), (STREAM, b"h-3")}


def test_two_commands_do_not_give_back_at_once(letters):
    letters.add(0, 1)
    lock = DirectoryLock(resend_directory(letters.state, "es"))

    with pytest.raises(BusyError, match=r"outputs\.es: dead letters are given back by another command now"):
        give_back(letters.state, SETTINGS)

    lock.release()
    assert letters.ids(is_waiting=False) == ["h-0"]


def test_a_line_that_is_no_dead_letter_is_told_and_passed_over(letters, open_source, caplog):
    letters.writer.append([letter(0), b"{}\n", b'{"document":1}\n', letter(1), letter(2, event_id="")])
    give_back(letters.state, SETTINGS)

    documents = open_source().take(10, 10**6)

    assert [document.event_id for document in documents] == [b"h-0", b"h-1", b""]
    assert "no dead letter" in caplog.text
    assert letters.writer.keys(documents[-1].end) == set()


def test_a_torn_letter_harms_no_other(letters, tmp_path):
    letters.add(0, 1)
    [segment] = list_segments(dead_letter_directory(tmp_path, "es"))
    with segment.path.open("ab") as file:
        file.write(letter(1)[:50])
    letters.add(2, 3)

    found = letters.ids(is_waiting=False)
    give_back(letters.state, SETTINGS)

    follower = Follower(resend_directory(tmp_path, "es"), None, lambda _: None)
    chunks = [follower.next(), follower.next()]
    follower.close()
    assert found == ["h-0", "h-2"]
    documents = [document for chunk in chunks if chunk for document in documents_in_letters(chunk)]
    assert [document.event_id for document in documents] == [b"h-0", b"h-2"]


@pytest.fixture
def run_command(tmp_path):
    """Run `auditline dead-letters` with a configuration of two outputs."""
    configuration = tmp_path / "auditline.toml"
    output = 'type = "elasticsearch"\nhosts = ["http://localhost:9200"]\n'
    text = f'[state]\ndirectory = "{tmp_path}"\n[outputs.es]\n{output}[outputs.other]\n{output}'
    configuration.write_text(text)
    configuration.chmod(0o600)

    def run(*arguments):
        command = [sys.executable, "-m", "auditline.workers.supervisor", "dead-letters", *arguments]
        return subprocess.run(
            [*command, "--config", str(configuration)], capture_output=True, text=True, check=False, timeout=60
        )

    return run


def test_the_command_lists_letters_as_json_and_for_people(letters, run_command):
    letters.add(0, 1)
    give_back(letters.state, SETTINGS)
    letters.writer.append([dead_letter(Document(STREAM, b"", b"{}\n", Position("", 0)), 413, "\x1b[2J", "no time")])

    as_json, for_people = run_command("list", "--json"), run_command("list")

    first, second = map(json.loads, as_json.stdout.splitlines())
    assert first.pop("age_seconds") > 0
    assert first == {
        "output": "es", "id": "h-0", "data_stream": STREAM, "status": 400,
        "reason": 'failed to parse "n" ,"document": 0', "timestamp": "2026-01-02T00:00:00.000Z", "is_sent_again": True,
    }  # fmt: skip
    assert (second["status"], second["is_sent_again"], second["age_seconds"]) == (413, False, 0)
    line = for_people.stdout.splitlines()[0]
    assert line.endswith(f'  es  {STREAM}  h-0  sent again: 400 failed to parse "n" ,"document": 0')
    assert "\x1b" not in for_people.stdout


def test_the_command_gives_letters_back_and_says_when_they_are_sent(letters, run_command, open_source):
    letters.add(0, 3)
    nobody_runs = run_command("resend")
    letters.add(3, 5)
    open_source()

    somebody_runs = run_command("resend", "--output", "es")

    assert nobody_runs.stdout.splitlines() == [
        "es: 3 documents are sent again when the service runs",
        "other: there are no dead letters",
    ]
    assert somebody_runs.stdout == "es: 2 documents are sent again now\n"


def test_the_command_says_that_there_is_no_such_output(run_command):
    answer = run_command("list", "--output", "nobody")

    assert answer.returncode == 2
    assert "no output of type elasticsearch is nobody" in answer.stderr
