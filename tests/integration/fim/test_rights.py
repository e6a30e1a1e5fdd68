"""With few rights or none: what is watched is watched as well as may be, and what is missing is said."""

import os
import shutil
import subprocess

import pytest

from auditline.workers.common.privileges import Capability

NO_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
ADMIN_ALONE = ("setpriv", "--bounding-set=-all,+sys_admin", "--inh-caps=-all")
NAMESPACE = ("unshare", "--user", "--map-root-user")


def change_everything(watched):
    """Make, write, rename and remove files and a directory, and wait until all has been told."""
    root = watched.root
    (root / "directory").mkdir()
    (root / "directory" / "file").write_text("one")
    watched.wait_for("created", root / "directory" / "file")
    (root / "directory" / "file").write_text("another")
    watched.wait_for("updated", root / "directory" / "file")
    (root / "directory" / "file").rename(root / "renamed")
    watched.wait_for("moved", root / "renamed")
    (root / "renamed").unlink()
    watched.wait_for("deleted", root / "renamed")
    watched.settle()


EXPECTED = {
    "directory": ["created"],
    "directory/file": ["created", "updated"],
    "renamed": ["moved", "deleted"],
}


def assert_told(watched):
    assert watched.actions == {f"{watched.root}/{path}": actions for path, actions in EXPECTED.items()}


@pytest.mark.parametrize(
    ("prefix", "backend", "missing"),
    [
        pytest.param(ADMIN_ALONE, "fanotify", "CAP_DAC_READ_SEARCH", id="with CAP_SYS_ADMIN alone"),
        pytest.param(NO_RIGHTS, "inotify", "CAP_SYS_ADMIN", id="root without capabilities"),
        pytest.param(NAMESPACE, "inotify", "CAP_SYS_ADMIN", id="in a user namespace"),
    ],
)
def test_everything_is_told_and_what_is_missing_is_said(watched, prefix, backend, missing):
    if os.geteuid() != 0:
        pytest.skip("only root has rights to give up")
    if shutil.which(prefix[0]) is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip(f"{prefix[0]} does not work here")
    watched.start(prefix=prefix)

    change_everything(watched)

    assert_told(watched)
    assert f": {backend}: " in watched.run.stderr
    assert missing in watched.run.stderr


def test_a_watcher_that_cannot_use_fanotify_gives_up_the_rights_that_only_that_needs(watched):
    prefix = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    if os.geteuid() != 0 or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("only root has rights to give up")
    watched.start(prefix=prefix)

    permitted = int(watched.run.status_of(watched.title)["CapPrm"], 16)

    assert permitted == 1 << Capability.DAC_READ_SEARCH


def test_an_ordinary_user_is_told_everything_and_what_is_missing(nobodys_watched):
    watched = nobodys_watched
    watched.start()

    change_everything(watched)

    assert_told(watched)
    assert ": inotify: " in watched.run.stderr
    assert "CAP_SYS_ADMIN" in watched.run.stderr
