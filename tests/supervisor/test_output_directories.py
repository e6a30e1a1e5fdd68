"""The directories of outputs: one that cannot be had is told by the output's name, and tried again."""

import os

import pytest

from auditline.workers.common.settings import SegmentsSettings, Settings
from auditline.workers.supervisor.output_directories import RETRY_SECONDS, OutputDirectories


@pytest.fixture
def make_directories_of(tmp_path, clock):
    """Prepare for an output in each of some directories of `tmp_path`."""

    def make(*names):
        outputs = [SegmentsSettings(name=name, enabled=True, directory=tmp_path / name / "log") for name in names]
        return OutputDirectories(Settings(outputs=tuple(outputs)), None, clock)

    return make


def test_each_output_gets_its_directory(tmp_path, make_directories_of):
    directories = make_directories_of("one", "two")

    directories.do_due()

    assert (tmp_path / "one" / "log").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "two" / "log").is_dir()
    assert directories.seconds_until_due is None


def test_one_that_cannot_be_made_is_told_once_with_the_output_s_name_and_keeps_no_other_from_having_its_own(
    tmp_path, make_directories_of, clock, caplog
):
    (tmp_path / "one").touch()
    directories = make_directories_of("one", "two")

    directories.do_due()
    clock.now += RETRY_SECONDS
    directories.do_due()

    assert (tmp_path / "two" / "log").is_dir()
    assert caplog.messages == [f"outputs.one: {tmp_path}/one/log cannot be made: {tmp_path}/one is not a directory"]
    assert directories.seconds_until_due == RETRY_SECONDS


def test_it_is_made_once_the_hindrance_is_gone(tmp_path, make_directories_of, clock):
    (tmp_path / "one").touch()
    directories = make_directories_of("one")
    directories.do_due()

    (tmp_path / "one").unlink()
    directories.do_due()
    assert not (tmp_path / "one").exists(), "it is tried again each five seconds, not each turn"
    clock.now += RETRY_SECONDS
    directories.do_due()

    assert (tmp_path / "one" / "log").is_dir()
    assert directories.seconds_until_due is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_one_behind_a_closed_directory_is_told_with_the_reason(tmp_path, make_directories_of, caplog):
    (tmp_path / "one" / "log").mkdir(parents=True)
    os.chown(tmp_path / "one", 12345, 12345)
    (tmp_path / "one").chmod(0o700)

    make_directories_of("one").do_due()

    [message] = caplog.messages
    assert message.startswith(f"outputs.one: {tmp_path}/one/log must be a directory that the workers, as uid 0")
    assert message.endswith("Permission denied")
