"""What a difference between two states is called, and when there is none."""

import os
import stat
import time
from pathlib import Path

import pytest

from auditline.workers.common.file_state import STABLE, FileState, state_of
from auditline.workers.common.hashes import pack_digests, start_digests
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.compare import find_action, is_as_known

FILE = stat.S_IFREG | 0o644
DIRECTORY = stat.S_IFDIR | 0o755
LINK = stat.S_IFLNK | 0o777


def digest(text: bytes, *names: str) -> bytes:
    digests = start_digests(names)
    for each in digests:
        each.update(text)
    return pack_digests(names, digests)


def a_state(**different: object) -> FileState:
    state = FileState(
        mode=FILE,
        uid=0,
        gid=0,
        size=4,
        inode=12,
        device=1,
        links=1,
        mtime_ns=10**18,
        ctime_ns=10**18,
        atime_ns=10**18,
        rdev=0,
        target=None,
        hashes=digest(b"text", "sha256"),
        hash_state=STABLE,
        checked_ns=10**18 + 10**9,
    )
    return state._replace(**different)  # type: ignore[arg-type]


def test_what_was_not_known_is_created_and_what_is_not_there_is_deleted():
    assert find_action(None, a_state()) == "created"
    assert find_action(a_state(), None) == "deleted"
    assert find_action(None, None) is None


def test_nothing_has_happened_where_nothing_differs():
    assert find_action(a_state(), a_state()) is None


@pytest.mark.parametrize(
    "different",
    [
        {"hashes": digest(b"other", "sha256")},
        {"size": 5, "hashes": b"", "hash_state": "too_large"},
        {"mtime_ns": 10**18 + 1, "hashes": b"", "hash_state": "unreadable"},
        {"inode": 13, "ctime_ns": 10**18 + 1},
        {"mode": LINK, "target": b"elsewhere", "hashes": b""},
        {"mode": DIRECTORY, "hashes": b""},
    ],
)
def test_other_content_or_another_file_is_an_update(different):
    assert find_action(a_state(), a_state(**different)) == "updated"


@pytest.mark.parametrize(
    "different",
    [
        {"mode": stat.S_IFREG | 0o600},
        {"mode": stat.S_IFREG | stat.S_ISUID | 0o644},
        {"uid": 1},
        {"gid": 1},
        {"links": 2},
        {"xattrs": b"packed"},
        {"flags": 0x10},
        {"mtime_ns": 10**18 + 1},
    ],
)
def test_the_same_content_with_other_attributes_is_a_change_of_attributes(different):
    assert find_action(a_state(), a_state(**different)) == "attributes_modified"


def test_a_file_made_anew_is_an_update_also_with_the_old_inode_and_content():
    after = a_state(mtime_ns=10**18 + 5)

    assert find_action(a_state(), after, is_new=True) == "updated"


@pytest.mark.parametrize(
    "different",
    [
        {"ctime_ns": 10**18 + 1},
        {"atime_ns": 10**18 + 1},
        {"checked_ns": 0},
        {"hash_state": "unstable"},
        {"device": 2},
        # As a file system does that gives the same file another number each time.
        {"inode": 13},
    ],
)
def test_what_changes_without_the_file_being_changed_is_no_event(different):
    assert find_action(a_state(), a_state(**different)) is None


@pytest.mark.parametrize("different", [{"size": 8192}, {"mtime_ns": 10**18 + 1}, {"links": 7}])
def test_that_something_in_a_directory_changed_is_no_change_of_the_directory(different):
    before = a_state(mode=DIRECTORY, hashes=b"", hash_state="")

    assert find_action(before, before._replace(**different)) is None


def test_a_link_that_leads_elsewhere_is_updated():
    before = a_state(mode=LINK, target=b"here", hashes=b"", hash_state="")

    assert find_action(before, before._replace(target=b"there")) == "updated"


def test_another_algorithm_alone_is_a_change_of_configuration():
    after = a_state(hashes=digest(b"text", "sha256", "md5"))

    assert find_action(a_state(), after) == "config_change"
    assert find_action(after, a_state()) is None


def test_a_file_that_has_come_to_rest_is_an_update_with_its_hash():
    before = a_state(hashes=b"", hash_state="unstable")

    assert find_action(before, a_state()) == "updated"


@pytest.mark.parametrize("hash_state", ["unreadable", "quarantined"])
def test_that_a_file_can_be_read_at_last_is_no_change_of_it(hash_state):
    before = a_state(hashes=b"", hash_state=hash_state)

    assert find_action(before, a_state()) is None


def test_another_algorithm_does_not_hide_other_content():
    after = a_state(hashes=digest(b"next", "sha256", "md5"))

    assert find_action(a_state(), after) == "updated"


def test_without_a_common_algorithm_the_time_of_writing_decides():
    after = a_state(hashes=digest(b"text", "md5"))

    assert find_action(a_state(), after) == "config_change"
    assert find_action(a_state(), after._replace(mtime_ns=10**18 + 1)) == "updated"


class TestQuickLook:
    """Whether `lstat` alone rules out a change."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "file"
        path.write_bytes(b"text")
        return path

    def known(self, path: Path, **different: object) -> FileState:
        after_the_race = time.time_ns() + 10**9
        state = state_of(os.lstat(path), checked_ns=after_the_race, hashes=digest(b"text", "sha256"), hash_state=STABLE)
        return state._replace(**different)  # type: ignore[arg-type]

    def test_an_untouched_file_is_as_known(self, file):
        known = self.known(file)

        assert is_as_known(known, os.lstat(file), FimSettings())

    def test_a_forged_time_of_modification_does_not_hide_a_write(self, file):
        known = self.known(file)

        file.write_bytes(b"TEXT")
        os.utime(file, ns=(known.atime_ns, known.mtime_ns))

        assert os.lstat(file).st_mtime_ns == known.mtime_ns
        assert not is_as_known(known, os.lstat(file), FimSettings())

    @pytest.mark.parametrize("change", [lambda path: path.chmod(0o600), lambda path: os.link(path, f"{path}2")])
    def test_changed_attributes_are_not_as_known(self, file, change):
        known = self.known(file)

        change(file)

        assert not is_as_known(known, os.lstat(file), FimSettings())

    def test_a_file_changed_just_before_the_look_is_looked_at_again(self, file):
        known = self.known(file, checked_ns=os.lstat(file).st_ctime_ns + 10**6)

        assert not is_as_known(known, os.lstat(file), FimSettings())

    def test_a_file_without_a_certain_hash_is_looked_at_again(self, file):
        known = self.known(file, hash_state="unstable")

        assert not is_as_known(known, os.lstat(file), FimSettings())

    def test_a_file_that_takes_too_long_to_read_is_as_known_until_it_changes(self, file):
        known = self.known(file, hash_state="time_limit", hashes=b"")
        unchanged = is_as_known(known, os.lstat(file), FimSettings())

        file.chmod(0o600)

        assert unchanged
        assert not is_as_known(known, os.lstat(file), FimSettings())

    def test_a_file_that_took_too_long_to_read_is_looked_at_again_if_it_is_not_to_be_read(self, file):
        known = self.known(file, hash_state="time_limit", hashes=b"")

        assert not is_as_known(known, os.lstat(file), FimSettings(hashes=()))

    def test_a_link_or_directory_changed_just_before_the_look_is_as_known(self, tmp_path):
        known = state_of(os.lstat(tmp_path), checked_ns=os.lstat(tmp_path).st_ctime_ns)

        assert is_as_known(known, os.lstat(tmp_path), FimSettings())
