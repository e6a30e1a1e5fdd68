import os
import pwd
import subprocess

import pytest

from auditline.workers.common.errors import StorageError
from auditline.workers.common.privileges import Capability, find_account
from auditline.workers.supervisor.reach import capabilities_to_read, refuse_unreachable

NOBODY = find_account(pwd.getpwuid(65534).pw_name)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "reach.py").touch()
    return folder


@pytest.fixture
def read_only(tmp_path):
    """An empty file system that nobody may write to."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "ro,mode=750", "auditline-test", str(path)]
    mount = subprocess.run(command, capture_output=True, text=True, check=False)
    if mount.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {mount.stderr.strip()}")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_nothing_is_kept_where_all_may_read(home):
    assert capabilities_to_read(None, home) == frozenset()


def test_the_right_to_read_is_kept_for_code_in_somebody_else_s_private_folder(home):
    os.chown(home, 12345, 12345)
    home.chmod(0o700)

    kept = capabilities_to_read(None, home)

    assert kept == {Capability.DAC_READ_SEARCH}


def test_a_user_who_may_not_enter_keeps_the_right_to_read(home):
    home.chmod(0o700)

    kept = capabilities_to_read(NOBODY, home)

    assert kept == {Capability.DAC_READ_SEARCH}


def test_directories_that_the_workers_can_write_to_are_taken(home):
    refuse_unreachable([home], None)


@pytest.mark.parametrize("account", [None, NOBODY])
def test_a_directory_behind_a_closed_one_is_refused(home, account):
    directory = home / "state"
    directory.mkdir()
    os.chown(directory, account.user_id if account else 0, -1)
    os.chown(home, 12345, 12345)
    home.chmod(0o700)

    with pytest.raises(StorageError, match=f"{directory} must be a directory that the workers, as .*: Permission den"):
        refuse_unreachable([directory], account)


def test_a_read_only_file_system_is_told_as_one(read_only):
    with pytest.raises(StorageError, match="can write to: Read-only file system"):
        refuse_unreachable([read_only], None)
