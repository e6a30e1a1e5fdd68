"""Lines of files, however they come in pieces, and of compressed files."""

import importlib.util
import sys
from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from auditline.workers.common.errors import StorageError
from auditline.workers.router.replaying import reading
from auditline.workers.router.replaying.reading import (
    MAX_LINE_BYTES,
    LineSplitter,
    read_chunks,
    total_bytes,
)


def in_pieces(text: bytes, cuts: list[int]) -> list[str]:
    splitter = LineSplitter()
    ends = [0, *accumulate(cuts), len(text)]
    lines = [line for start, end in pairwise(ends) for line in splitter.split(text[start:end])]
    return lines + splitter.end()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\n\nb", ["a", "", "b"]),
        (b"a\r\nb\r", ["a", "b"]),
        (b"a\rb\n", ["a\rb"]),
        (b"\xff\n", ["\udcff"]),
    ],
)
def test_lines_are_what_stands_between_newlines(text, lines):
    assert in_pieces(text, []) == lines


@given(
    text=st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\xc3\xa9", b"\xff", b"type="])),
    cuts=st.lists(st.integers(0, 9)),
)
@example(text=[b"a", b"\r", b"\n"], cuts=[2])
def test_lines_do_not_depend_on_how_they_come(text, cuts):
    whole = b"".join(text)

    assert in_pieces(whole, cuts) == in_pieces(whole, [])


@pytest.mark.parametrize(
    "cuts",
    [
        [MAX_LINE_BYTES, MAX_LINE_BYTES],
        [7, MAX_LINE_BYTES, MAX_LINE_BYTES],
        [MAX_LINE_BYTES - 3, 5, MAX_LINE_BYTES],
        [MAX_LINE_BYTES // 2] * 4,
    ],
)
def test_a_long_line_is_cut_at_the_same_places_however_it_comes(cuts):
    text = b"begin\n" + b"x" * (MAX_LINE_BYTES * 2 + 7) + b"\nend\n"

    assert [len(line) for line in in_pieces(text, cuts)] == [5, MAX_LINE_BYTES, MAX_LINE_BYTES, 7, 3]


def test_bytes_that_have_been_read_are_told_with_the_lines(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"0123456789\n" * 200_000)

    taken = [taken for _, taken in read_chunks(str(log))]

    assert taken == sorted(taken)
    assert taken[-1] == total_bytes([str(log)]) == 2_200_000


def test_of_a_pipe_nobody_knows_how_much_there_is_to_read(tmp_path):
    (tmp_path / "log").write_bytes(b"a\n")

    assert total_bytes([str(tmp_path / "log"), "/nowhere"]) == 2
    assert total_bytes([str(tmp_path / "log"), "/dev/null"]) is None


@pytest.fixture
def zstd():
    for name in reading._ZSTD_MODULES:
        if importlib.util.find_spec(name.partition(".")[0]) and importlib.util.find_spec(name):
            return importlib.import_module(name)
    pytest.skip("neither Python 3.14 nor the package backports.zstd is there")


def test_a_log_compressed_by_zstd_says_what_the_log_says(tmp_path, zstd):
    log = tmp_path / "audit.log.zst"
    log.write_bytes(zstd.compress(b"one\ntwo\n") + zstd.compress(b"three\n"))

    assert [line for lines, _ in read_chunks(str(log)) for line in lines] == ["one", "two", "three"]


@pytest.mark.parametrize("damage", [slice(0, -4), slice(1, None)])
def test_damage_in_a_log_compressed_by_zstd_is_told(tmp_path, zstd, damage):
    log = tmp_path / "audit.log.zst"
    log.write_bytes(zstd.compress(bytes(100_000))[damage])

    with pytest.raises(StorageError, match=r"audit\.log\.zst: "):
        list(read_chunks(str(log)))


def test_without_a_library_for_zstd_it_is_told_what_helps(tmp_path, monkeypatch):
    for name in reading._ZSTD_MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    log = tmp_path / "audit.log.zst"
    log.touch()

    with pytest.raises(StorageError, match=r"audit\.log\.zst: to read \.zst, install .* backports\.zstd"):
        list(read_chunks(str(log)))
