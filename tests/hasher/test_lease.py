"""Looking at the files of a lease: each beneath the root that the lease means, and each for itself."""

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.beneath import Root
from auditline.workers.common.hashes import unpack_digests
from auditline.workers.common.jobs import LARGE_BYTES, Lane, Lease, Outcome, Result
from auditline.workers.hasher.lease import look_at_all, look_at_large

Make = Callable[..., Lease]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def make_lease(root: Path) -> Make:
    """Make a lease of files beneath the root."""

    def make(*paths: str, lane: Lane = Lane.SMALL, **values: Any) -> Lease:
        status = root.stat()
        plain: dict[str, Any] = {
            "number": 1,
            "lane": lane,
            "root": os.fsencode(root),
            "identity": (status.st_dev, status.st_ino),
            "hashes": ("sha256",),
            "max_file_bytes": 1 << 40,
            "paths": tuple(map(os.fsencode, paths)),
        }
        return Lease(**plain | values)

    return make


def digest(result: Result) -> str:
    assert result.state is not None
    return unpack_digests(result.state.hashes)["sha256"]


def finish(lease: Lease) -> Result:
    slices = look_at_large(lease)
    with pytest.raises(StopIteration) as end:  # noqa: PT012  # the last turn is the one that returns
        while True:
            next(slices)
    result: Result = end.value.value
    return result


def open_links() -> list[str]:
    """Return what the descriptors of this process stand for."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    return links


def test_files_of_several_directories_come_in_their_order(root: Path, make_lease: Make):
    names = ["a/x", "b/x", "a/y", "x", "b/c/x"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)

    results = look_at_all(make_lease(*names))

    assert [digest(result) for result in results] == [hashlib.sha256(name.encode()).hexdigest() for name in names]


def test_one_bad_path_spoils_no_other(root: Path, make_lease: Make):
    (root / "good").write_text("good")
    (root / "link").symlink_to("/etc")
    bad = ["none", "none/none", "good/below", "link/passwd", "../root/good", "/etc/passwd", "", ".", "x" * 300]

    results = look_at_all(make_lease(*bad, "good"))

    assert all(result.state is None for result in results[:-1])
    assert digest(results[-1]) == hashlib.sha256(b"good").hexdigest()


def test_a_file_beyond_a_mebibyte_is_for_the_other_lane(root: Path, make_lease: Make):
    (root / "grown").write_bytes(b"x" * (LARGE_BYTES + 1))

    assert look_at_all(make_lease("grown")) == [Result(Outcome.LARGER)]
    assert finish(make_lease("grown", lane=Lane.LARGE)).outcome is Outcome.LOOKED_AT


def test_a_large_file_is_looked_at_beneath_its_directory(root: Path, make_lease: Make):
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "large").write_bytes(b"x" * 3_000_000)

    result = finish(make_lease("a/b/large", lane=Lane.LARGE))

    assert digest(result) == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    assert finish(make_lease("a/none/large", lane=Lane.LARGE)) == Result(Outcome.GONE)


@pytest.mark.parametrize("values", [{"identity": (1, 2)}, {"root": b"/nowhere"}, {"root": b"/etc/passwd"}])
def test_beneath_another_root_everything_is_gone(root: Path, make_lease: Make, values: dict[str, Any]):
    (root / "a").write_text("a")

    assert look_at_all(make_lease("a", "b", **values)) == [Result(Outcome.GONE)] * 2
    assert finish(make_lease("a", lane=Lane.LARGE, **values)) == Result(Outcome.GONE)


def test_a_root_that_cannot_be_opened_is_not_gone(root: Path, make_lease: Make, monkeypatch: pytest.MonkeyPatch):
    def refuse(_path: bytes) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Root, "open", refuse)

    assert look_at_all(make_lease("a")) == [Result(Outcome.UNREADABLE, None, "Too many open files")]


def test_after_a_lease_nothing_keeps_the_file_system_busy(root: Path, make_lease: Make):
    (root / "a").mkdir()
    (root / "a" / "x").write_text("x")

    look_at_all(make_lease("a/x", "a/none", "none/x"))

    assert not [link for link in open_links() if link.startswith(str(root))]
