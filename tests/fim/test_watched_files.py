"""Files that are watched by themselves, because they have names elsewhere: what is not watched any more is let go."""

import os
from pathlib import Path

import pytest

from auditline.workers.fim.backend import Backend


def marks_of_files(backend: Backend) -> int:
    """Return how many there are in the kernel. Source: proc_pid_fdinfo(5)."""
    files = backend._files  # type: ignore[attr-defined]
    descriptor, others = (files.fd, 0) if hasattr(files, "fd") else (backend.fd, backend.watched)
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return sum(line.startswith(("fanotify ino", "inotify wd")) for line in lines) - others


@pytest.fixture
def watch_linked(root, backend, watch):
    """Make a directory with a file that has a name elsewhere, and watch both."""

    def watch_linked(name: str, number: int = 0) -> None:
        (root / name).mkdir(exist_ok=True)
        file = root / name / f"file{number}"
        file.touch()
        os.link(file, root.parent / f"elsewhere-{name}-{number}")
        watch(backend, root, name)
        descriptor = os.open(root / name, os.O_RDONLY)
        backend.watch_file(os.fsencode(file.relative_to(root)), descriptor)
        os.close(descriptor)

    return watch_linked


def test_a_file_with_a_name_elsewhere_is_watched_by_itself(root, backend, watch, watch_linked):
    watch(backend, root)

    watch_linked("a")

    assert marks_of_files(backend) == 1


def test_those_in_a_directory_that_is_moved_out_leave_no_marks(root, backend, watch, watch_linked):
    watch(backend, root)

    for number in range(20):
        watch_linked("a", number)
        (root / "a").rename(root.parent / str(number))
        backend.read()
        backend.forget(b"a")
    watch(backend, root)

    assert marks_of_files(backend) == 0


def test_those_in_a_directory_in_whose_place_another_comes_leave_no_marks(root, backend, watch, watch_linked):
    watch(backend, root)
    watch_linked("a")
    watch_linked("b")

    (root / "b" / "file0").unlink()
    (root / "a").rename(root / "b")
    backend.read()
    watch(backend, root)

    assert marks_of_files(backend) == 1


def test_one_that_is_forgotten_by_itself_leaves_no_mark(root, backend, watch, watch_linked):
    watch(backend, root)
    watch_linked("a")

    (root / "a" / "file0").unlink()
    backend.read()
    backend.forget(b"a/file0")
    watch(backend, root)

    assert marks_of_files(backend) == 0
