"""A log that is written on, through its rotation; files are real, the clock is not."""

import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from shutil import copyfile

import pytest

from auditline.workers.common.errors import StorageError
from auditline.workers.router.replaying.following import FollowedLog, follow
from auditline.workers.router.replaying.reading import CHUNK_BYTES


@pytest.fixture
def told():
    return []


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.log"


@pytest.fixture
def log(path, told):
    followed = FollowedLog(str(path), told.append)
    yield followed
    followed.close()


@pytest.fixture
def lines(log):
    """Return all lines that are there now."""

    def read():
        found = []
        while (new := log.read()) is not None:
            found += new
        return found

    return read


def rotate(path):
    for number in range(5, 0, -1):
        with suppress(FileNotFoundError):
            os.rename(f"{path}.{number}", f"{path}.{number + 1}")
    path.rename(f"{path}.1")


def append(path, text):
    with path.open("a") as file:
        file.write(text)


def test_what_is_there_and_what_is_written_then_is_read_once(path, lines):
    append(path, "one\n")

    first, second = lines(), lines()
    append(path, "two\nthree\n")

    assert (first, second, lines()) == (["one"], [], ["two", "three"])


def test_a_line_without_an_end_waits_for_it(path, log, lines):
    append(path, "one\ntw")

    first = lines()
    append(path, "o\nthr")

    assert (first, lines(), log.end()) == (["one"], ["two"], ["thr"])


def test_a_file_that_is_not_there_is_waited_for_and_told_once(path, lines, told):
    first, second = lines(), lines()
    append(path, "one\n")

    assert (first, second, lines()) == ([], [], ["one"])
    assert told == [f"{path}: No such file or directory; waiting for it"]


def test_a_new_file_is_read_after_the_rest_of_the_old_one(path, lines):
    append(path, "one\n")
    first = lines()
    append(path, "two\n")
    path.rename(f"{path}.1")
    append(path, "three\n")

    assert (first, lines()) == (["one"], ["two", "three"])


def test_a_writer_that_has_not_seen_the_rotation_yet_is_read_on(path, lines):
    append(path, "one\n")
    first = lines()
    old = path.rename(f"{path}.1")
    path.touch()
    second = lines()
    append(old, "two\n")
    third = lines()
    append(path, "three\n")

    assert (first, second, third, lines()) == (["one"], [], ["two"], ["three"])


def test_a_file_may_be_missing_for_a_while(path, lines):
    append(path, "one\n")
    first = lines()
    old = path.rename(f"{path}.1")
    append(old, "two\n")
    second = lines()
    append(path, "three\n")

    assert (first, second, lines()) == (["one"], ["two"], ["three"])


def test_a_file_that_was_deleted_is_followed_by_the_new_one_only(path, lines):
    Path(f"{path}.1").write_text("older\n")
    append(path, "one\n")
    os.utime(f"{path}.1", (1, 1))
    first = lines()
    path.unlink()
    append(path, "two\n")

    assert (first, lines()) == (["one"], ["two"])


def test_after_several_rotations_since_the_last_look_all_parts_are_read(path, lines):
    Path(f"{path}.1").write_text("older\n")
    append(path, "one\n")
    first = lines()
    rotate(path)
    append(path, "two\n")
    rotate(path)
    append(path, "three\n")

    assert (first, lines()) == (["one"], ["two", "three"])


def test_a_line_that_the_rotation_cut_is_a_line(path, lines):
    append(path, "one\ntw")
    first = lines()
    path.rename(f"{path}.1")
    append(path, "three\n")

    assert (first, lines()) == (["one"], ["tw", "three"])


def test_an_emptied_file_is_read_from_its_beginning_and_that_is_told(path, lines, told):
    append(path, "one, and more than what follows\ntw")
    first = lines()
    os.truncate(path, 0)
    second = lines()
    append(path, "three\n")

    assert (first, second, lines()) == (["one, and more than what follows"], ["tw"], ["three"])
    assert told == [f"{path}: it was emptied; what was written since the last look until then is not read"]


def test_a_file_that_has_grown_again_since_it_was_emptied_is_read_from_its_beginning(path, lines):
    append(path, "one\n")
    first = lines()
    path.write_text("two\nthree\n")

    assert (first, lines()) == (["one"], ["two", "three"])


def test_a_file_that_is_emptied_and_grows_again_before_its_end_was_reached_is_read_from_its_beginning(
    path, log, lines, told
):
    append(path, "old\n" * CHUNK_BYTES)
    first = log.read()
    path.write_text("new\n" * CHUNK_BYTES)

    rest = lines()

    assert (set(first), rest, len(told)) == ({"old"}, ["new"] * CHUNK_BYTES, 1)


def test_of_a_file_that_was_copied_and_emptied_the_rest_is_read_in_the_copy(path, lines, told):
    append(path, "one\ntw")
    first = lines()
    append(path, "o\nthree\n")
    copyfile(path, f"{path}.1")
    path.write_text("four\n")

    assert (first, lines(), told) == (["one"], ["two", "three", "four"], [])


def test_another_file_is_not_taken_for_a_copy(path, lines, told):
    Path(f"{path}.1").write_text("eno\nolder\n")
    append(path, "one\n")
    first = lines()
    path.write_text("two\n")

    assert (first, lines(), len(told)) == (["one"], ["two"], 1)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_cannot_be_followed(path, lines, make):
    make(path)

    with pytest.raises(StorageError, match=r"audit\.log: only a regular file can be followed"):
        lines()


def test_following_yields_lines_then_a_mark_when_nothing_comes_and_the_rest_when_it_must_stop(path, log):
    append(path, "one\n")
    seconds = count(0, 0.25)
    at_wait = {4: lambda: append(path, "two\n"), 20: lambda: append(path, "three\nfou")}
    waits = count(1)

    def wait(_):
        number = next(waits)
        at_wait.get(number, lambda: None)()
        return number == 20

    yielded = list(follow(log, wait, lambda: next(seconds)))

    assert yielded == [["one"], ["two"], None, ["three"], ["fou"]]
