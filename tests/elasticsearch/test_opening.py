"""What a sender reads may be unusable at its start: it says so and waits, as the router does."""

from contextlib import ExitStack

import pytest

from auditline.plugins.outputs.cursor import Cursor
from auditline.plugins.outputs.elasticsearch import cursor_path
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.errors import BusyError
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.opening import open_sources

OUTPUT = ElasticsearchSettings(name="es")


@pytest.fixture
def life():
    made = Life("sender-es", CounterPage.unshared(()))
    yield made
    made.close()


@pytest.fixture
def opened():
    """What is opened is closed at the end."""
    with ExitStack() as stack:
        yield stack


def test_each_series_is_opened_and_made_where_it_is_missing(tmp_path, life, opened):
    sources = open_sources(life, tmp_path, OUTPUT, opened)

    assert [source.is_resend for source in sources] == [False, False, False, True]
    assert sorted(path.name for path in (tmp_path / "outputs" / "es").iterdir() if path.is_dir()) == [
        "audit", "fim", "health", "resend",
    ]  # fmt: skip


def test_a_file_in_the_way_is_told_and_waited_for(tmp_path, life, opened, monkeypatch, caplog):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "es").touch()
    monkeypatch.setattr(life, "wait", lambda _: (tmp_path / "outputs" / "es").unlink())

    sources = open_sources(life, tmp_path, OUTPUT, opened)

    assert len(sources) == 4
    [message] = caplog.messages
    told = (
        f"outputs.es: its events cannot be sent before they can be read: {tmp_path}/outputs/es/audit: Not a directory"
    )
    assert message.startswith(told)


def test_who_is_told_to_stop_waits_no_longer(tmp_path, life, opened):
    (tmp_path / "outputs").touch()
    life.request_stop()

    assert open_sources(life, tmp_path, OUTPUT, opened) == []


def test_what_was_opened_is_let_go_where_another_sends(tmp_path, life, opened):
    path = cursor_path(tmp_path, "es", "health")
    path.parent.mkdir(parents=True)

    with Cursor.open(path, "host"), pytest.raises(BusyError):
        open_sources(life, tmp_path, OUTPUT, opened)

    Cursor.open(cursor_path(tmp_path, "es", "audit"), "host").close()
