"""What is known of a path, and its way through JSON."""

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.file_state import HASHED, UNREAD, FileState, from_plain, state_of, to_plain

numbers = st.integers(-(2**70), 2**70)
states = st.builds(
    FileState,
    *[numbers] * 11,
    st.none() | st.binary(),
    st.binary(max_size=50),
    st.sampled_from(sorted(HASHED | UNREAD)),
    numbers,
    st.binary(max_size=50),
    st.integers(0, 2**64 - 1),
)


@given(st.none() | states)
def test_a_state_comes_out_of_json_as_it_went_in(state: FileState | None):
    assert from_plain(json.loads(json.dumps(to_plain(state)))) == state


@pytest.mark.parametrize(
    "plain",
    [
        [],
        {},
        "state",
        [0] * 17,
        ["0"] * 17,
        [*[0] * 11, None, "", "stable", 0, "", "0"],
        [*[0] * 11, None, "", "stable", 0, "xy", 0],
        [*[0] * 11, None, "0", "stable", 0, "", 0],
        [*[0] * 11, 7, "", "stable", 0, "", 0],
        [*[0] * 11, None, "", None, 0, "", 0],
    ],
)
def test_what_is_no_state_is_an_error(plain: object):
    with pytest.raises(ValueError, match=r"file's|non-hexadecimal"):
        from_plain(plain)


def test_what_stat_says_is_taken_over(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    status = os.lstat(path)

    state = state_of(status, checked_ns=7, xattrs=b"x", flags=16)

    assert (state.inode, state.size, state.ctime_ns) == (status.st_ino, 7, status.st_ctime_ns)
    assert (state.checked_ns, state.xattrs, state.flags, state.hash_state) == (7, b"x", 16, "")
    assert (state.is_regular, state.is_directory) == (True, False)


def test_a_directory_is_one(tmp_path: Path):
    state = state_of(os.lstat(tmp_path), checked_ns=0)

    assert (state.is_regular, state.is_directory, stat.S_ISDIR(state.mode)) == (False, True, True)


def test_no_word_says_both_that_a_content_was_hashed_and_that_it_was_not_read():
    assert not HASHED & UNREAD
