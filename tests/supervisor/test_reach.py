import os
import pwd

import pytest

from auditline.workers.common.privileges import Capability, find_account
from auditline.workers.supervisor.reach import capabilities_to_read

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "reach.py").touch()
    return folder


def test_nothing_is_kept_where_all_may_read(home):
    assert capabilities_to_read(None, home) == frozenset()


def test_the_right_to_read_is_kept_for_code_in_somebody_else_s_private_folder(home):
    os.chown(home, 12345, 12345)
    home.chmod(0o700)

    kept = capabilities_to_read(None, home)

    assert kept == {Capability.DAC_READ_SEARCH}


def test_a_user_who_may_not_enter_keeps_the_right_to_read(home):
    home.chmod(0o700)

    kept = capabilities_to_read(find_account(pwd.getpwuid(65534).pw_name), home)

    assert kept == {Capability.DAC_READ_SEARCH}
