"""File systems that are mounted from images, laid over one another, or on a device that fails."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from auditline.workers.fim import walk

BEGAN, ENDED = False, True
SECTORS = 8 * 2048
"""Of 512 bytes each, in the images: 8 MiB."""


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]} does not work here: {done.stderr.strip()}")
    return done.stdout.strip()


@pytest.fixture
def make_image(tmp_path: Path) -> Callable[[str], Path]:
    """Make a file with an empty ext4 in it."""

    def make(name: str) -> Path:
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is missing")
        image = tmp_path / name
        with image.open("wb") as file:
            file.truncate(SECTORS * 512)
        run("mkfs.ext4", "-q", "-O", "^has_journal", image)
        return image

    return make


@pytest.fixture
def disk(watched: Path) -> Path:
    """Where they are mounted."""
    disk = watched / "disk"
    disk.mkdir()
    return disk


class TestImage:
    def test_one_that_is_missing_at_the_start_is_known_when_it_comes(self, start, disk, mount, unmount, make_image):
        image = make_image("image")
        mount("-o", "loop", image, disk)
        (disk / "removed").write_text("text")
        (disk / "kept").write_text("text")
        start().forget_all()
        (disk / "removed").unlink()
        unmount(disk)

        running = start()
        while_missing = running.told
        mount("-o", "loop", image, disk)
        running.turn_until(lambda: ENDED in running.ends("mount")[2:])
        running.settle()

        assert while_missing == []
        assert running.told == [("deleted", "removed")]

    def test_another_one_in_its_place_is_another_one(self, start, disk, mount, unmount, make_image):
        mount("-o", "loop", make_image("first"), disk)
        (disk / "first").write_text("text")
        running = start()

        unmount(disk)
        mount("-o", "loop", make_image("second"), disk)
        running.turn_until(lambda: ENDED in running.ends("mount"))
        (disk / "second").write_text("text")
        running.settle()

        assert running.told == [("created", "second")]
        assert running.watch.baseline.known(b"disk/first") is None

    def test_what_is_made_read_only_stays_what_it_is(self, start, disk, mount, make_image):
        mount("-o", "loop", make_image("image"), disk)
        (disk / "file").write_text("text")
        running = start()

        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        running.settle()

        assert running.told == []
        assert "mount" not in running.reasons


class TestOverlay:
    """Pitfall 34: what is written to is copied first, into another file with another inode."""

    @pytest.fixture
    def lower(self, tmp_path: Path, disk: Path, mount) -> Path:
        directories = {name: tmp_path / name for name in ("lower", "upper", "work")}
        for directory in directories.values():
            directory.mkdir()
        (directories["lower"] / "file").write_text("lower\n")
        (directories["lower"] / "d").mkdir()
        (directories["lower"] / "d" / "file").write_text("lower\n")
        options = ",".join(f"{name}dir={path}" for name, path in directories.items())
        mount("-t", "overlay", "-o", options, "overlay", disk)
        return directories["lower"]

    @pytest.mark.parametrize("backend", ["fanotify", "inotify"])
    @pytest.mark.usefixtures("lower")
    def test_to_append_to_a_lower_file_is_one_update(self, start, disk, backend):
        running = start({"backend": backend})

        with (disk / "file").open("a") as file:
            file.write("upper\n")
        with (disk / "d" / "file").open("a") as file:
            file.write("upper\n")
        running.settle()

        assert sorted(running.told) == [("updated", "file"), ("updated", "file")]

    @pytest.mark.usefixtures("lower")
    def test_to_change_the_mode_of_a_lower_file_is_one_event(self, start, disk):
        running = start()

        (disk / "file").chmod(0o600)
        running.settle()

        assert len(running.told) == 1


class Failing:
    """An image that answers, or fails with every access: a loop device has nothing to give beyond the file's end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole = b""

    def fail(self) -> None:
        """Answer nothing any more."""
        self._whole = self.path.read_bytes()
        os.truncate(self.path, 0)

    def recover(self) -> None:
        """Answer again."""
        with self.path.open("r+b") as file:
            file.write(self._whole)


@pytest.fixture
def failing(make_image) -> Failing:
    """One that works until it is told to fail."""
    return Failing(make_image("image"))


class TestFailingDevice:
    """Pitfall 45."""

    @pytest.fixture
    def broken(self, start, watched, disk, mount, unmount, failing, monkeypatch):
        """Start after the device has failed, with nothing of it in memory."""
        monkeypatch.setattr(walk, "RETRY_SECONDS", 0.1)
        mount("-o", "loop", failing.path, disk)
        (disk / "d").mkdir()
        (disk / "d" / "file").write_text("text")
        start().forget_all()
        unmount(disk)
        mount("-o", "loop,ro", failing.path, disk)
        failing.fail()
        (watched / "other").write_text("text")
        running = start(is_settled=False)
        running.turn_until(lambda: "restart" in running.reasons)
        return running

    def test_what_it_holds_is_not_deleted_and_the_rest_is_compared(self, broken, disk):
        entries = [entry for entry in broken.coverage if entry.reason == "read_error"]

        assert broken.told == [("created", "other")]
        assert [entry.path for entry in entries] == [os.fsencode(disk)]
        assert entries[0].detail["error"] == "Input/output error"

    def test_when_it_works_again_that_is_told(self, broken, failing):
        failing.recover()

        broken.turn_until(lambda: broken.ends("read_error")[-1:] == [ENDED])
        broken.settle()

        assert broken.told == [("created", "other")]
