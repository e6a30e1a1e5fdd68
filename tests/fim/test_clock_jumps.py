"""The host's clock may jump: what is known is compared with what is there, and neither with what time it is."""

import os
import time

import pytest

from auditline.workers.common.file_state import STABLE, FileState, state_of
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.compare import find_action, is_as_known

DAY_NS = 86_400 * 10**9
SETTINGS = FimSettings()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("one")
    return path


def known_at(path, checked_ns: int) -> FileState:
    """Return what is known of a file that was looked at when the clock said that."""
    return state_of(path.lstat(), checked_ns=checked_ns, hashes=b"", hash_state=STABLE)


def test_a_clock_put_forward_makes_no_untouched_file_a_change(file):
    """Pitfall 27."""
    known = known_at(file, time.time_ns() + DAY_NS)

    assert is_as_known(known, file.lstat(), SETTINGS)


def test_a_clock_put_back_makes_untouched_files_looked_at_again_and_no_change(file):
    """Pitfall 27."""
    known = known_at(file, time.time_ns() - DAY_NS)
    again = known_at(file, time.time_ns() - DAY_NS + 10**9)

    assert not is_as_known(known, file.lstat(), SETTINGS)
    assert find_action(known, again) is None


@pytest.mark.parametrize("jump_ns", [DAY_NS, -DAY_NS])
def test_a_clock_that_jumps_hides_no_change(file, jump_ns):
    """Pitfall 27."""
    known = known_at(file, time.time_ns() + jump_ns)

    file.write_text("two")
    times = file.stat()
    os.utime(file, ns=(times.st_atime_ns, known.mtime_ns))

    assert not is_as_known(known, file.lstat(), SETTINGS)
