"""Counter pages: kept over a kill, carried over by name, hostile pages left out."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.counters import CounterPage, read_facts, read_pages
from auditline.workers.common.errors import StorageError


def test_counts_are_seen_by_another_reader_at_once(tmp_path: Path) -> None:
    page = CounterPage.open(tmp_path / "audit.page", ["received_total", "lost_total"])

    page.add("received_total", 5)
    page.add("received_total")
    page.set("lost_total", 2**64 - 1)

    assert read_pages(tmp_path) == {"audit": {"received_total": 6, "lost_total": 2**64 - 1}}


def test_counts_outlive_a_kill_of_the_process_that_made_them(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        page = CounterPage.open(tmp_path / "audit.page", ["received_total"])
        page.add("received_total", 41)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)

    page = CounterPage.open(tmp_path / "audit.page", ["received_total"])
    page.add("received_total")

    assert page.as_dict() == {"received_total": 42}


def test_other_names_keep_what_was_counted_by_name(tmp_path: Path) -> None:
    CounterPage.open(tmp_path / "audit.page", ["old_total", "both_total"]).set("both_total", 7)

    page = CounterPage.open(tmp_path / "audit.page", ["new_total", "both_total"])

    assert page.as_dict() == {"old_total": 0, "both_total": 7, "new_total": 0}


def test_extending_a_page_keeps_its_counts(tmp_path: Path) -> None:
    page = CounterPage.open(tmp_path / "router.page", ["first_total"])
    page.add("first_total", 3)

    page.extend(["second_total", "first_total"])
    page.add("second_total")

    assert read_pages(tmp_path)["router"] == page.as_dict() == {"first_total": 3, "second_total": 1}


def test_facts_are_read_beside_the_counts(tmp_path: Path) -> None:
    page = CounterPage.open(tmp_path / "fim-etc.page", ["received_total"])
    page.add("received_total", 3)

    page.tell(backend="inotify", reason="CAP_X = missing")
    page.extend(["more_total"])

    assert read_facts(tmp_path, "fim-etc") == {"backend": "inotify", "reason": "CAP_X = missing"}
    assert read_pages(tmp_path)["fim-etc"] == {"received_total": 3, "more_total": 0}


def test_a_fact_is_one_line_and_not_long(tmp_path: Path) -> None:
    page = CounterPage.open(tmp_path / "fim-etc.page", ["received_total"])

    page.tell(backend="in\notify\r\nfalse_total", reason="x" * 5000)

    assert read_facts(tmp_path, "fim-etc") == {"backend": "in otify false_total", "reason": "x" * 1000}
    assert read_pages(tmp_path)["fim-etc"] == {"received_total": 0}


def test_the_next_process_has_no_facts_of_the_last_one(tmp_path: Path) -> None:
    CounterPage.open(tmp_path / "fim-etc.page", ["received_total"]).tell(backend="inotify")

    CounterPage.open(tmp_path / "fim-etc.page", ["received_total"])

    assert read_facts(tmp_path, "fim-etc") == {}


def test_a_page_goes_on_counting_where_a_fact_cannot_be_told(tmp_path: Path) -> None:
    page = CounterPage.open(tmp_path / "fim-etc.page", ["received_total"])
    (tmp_path / "fim-etc.new").mkdir()

    with pytest.raises(StorageError):
        page.tell(backend="inotify")
    page.add("received_total")

    assert read_pages(tmp_path)["fim-etc"] == {"received_total": 1}


def test_what_has_no_page_has_no_facts(tmp_path: Path) -> None:
    assert read_facts(tmp_path, "fim-etc") == {}


def test_an_unshared_page_counts_without_a_file() -> None:
    page = CounterPage.unshared(["events_total"])

    page.extend(["more_total"])
    page.add("more_total", 2)

    assert page.as_dict() == {"events_total": 0, "more_total": 2}


def test_an_unknown_counter_is_a_mistake_of_ours() -> None:
    page = CounterPage.unshared(["events_total"])

    with pytest.raises(KeyError):
        page.add("evnets_total")


def test_a_closed_page_leaves_its_file(tmp_path: Path) -> None:
    page = CounterPage.open(tmp_path / "audit.page", ["a_total"])

    page.close()

    assert read_pages(tmp_path) == {"audit": {"a_total": 0}}


def test_a_page_that_cannot_be_written_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"counters page .*/nowhere/audit\.page"):
        CounterPage.open(tmp_path / "nowhere" / "audit.page", ["a_total"])


def test_a_missing_directory_has_no_pages(tmp_path: Path) -> None:
    assert read_pages(tmp_path / "nowhere") == {}


@given(data=st.binary(max_size=200))
def test_a_damaged_page_is_left_out_and_made_anew(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("pages")
    (directory / "bad.page").write_bytes(data)

    pages = read_pages(directory)
    page = CounterPage.open(directory / "bad.page", ["a_total"])

    assert pages == {}
    assert page.as_dict() == {"a_total": 0}


@given(cut=st.integers(min_value=0, max_value=55), flipped=st.integers(min_value=0, max_value=39))
def test_a_torn_or_altered_page_never_raises(cut: int, flipped: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("pages")
    CounterPage.open(directory / "audit.page", ["a_total", "b_total"]).close()
    whole = bytearray((directory / "audit.page").read_bytes())
    whole[flipped] ^= 0xFF
    (directory / "cut.page").write_bytes(whole[:cut])
    (directory / "flipped.page").write_bytes(whole)

    pages = read_pages(directory)

    assert "cut" not in pages or cut >= len(whole)
    assert pages["audit"] == {"a_total": 0, "b_total": 0}
