"""What a first walk finds is known afterwards as the examiner would have it, though it did not look at each file."""

import os

import pytest

from auditline.workers.fim.first_walk import FirstWalk


@pytest.fixture
def tree(watched):
    """Files of all kinds: plain, empty, of several names, with attributes of their own; and what is no file."""
    (watched / "d" / "e").mkdir(parents=True)
    (watched / "plain").write_bytes(b"content")
    (watched / "d" / "empty").touch()
    (watched / "d" / "e" / "secret").write_bytes(os.urandom(300_000))
    (watched / "d" / "e" / "secret").chmod(0o4600)
    (watched / "other name").hardlink_to(watched / "plain")
    (watched / "link").symlink_to("plain")
    os.mkfifo(watched / "fifo")
    return watched


def known(running):
    """Return all that is known, but when each was looked at: reading a link is an access, too."""
    return {path: state._replace(checked_ns=0, atime_ns=0) for path, state in running.watch.baseline.known_states()}


def test_a_first_walk_knows_what_the_examiner_would_know(start, tree, monkeypatch, tmp_path):
    quickly = known(start())
    monkeypatch.setattr(FirstWalk, "is_one", lambda *_arguments: False)
    for stored in (tmp_path / "state").iterdir():
        stored.unlink()

    plainly = known(start())

    assert quickly == plainly
    assert len(quickly) == 8


def test_the_summary_counts_what_was_found(start, tree):
    [summary] = start().entries

    assert {key: summary.detail[key] for key in ("files", "directories", "others")} == {
        "files": 4,
        "directories": 3,
        "others": 2,
    }
