"""Without watches, or with too few, directories are polled: said, and nothing is missed."""

import shutil
import subprocess

import pytest

WATCHES, INSTANCES = "max_inotify_watches", "max_inotify_instances"
DIRECTORIES = 150


@pytest.fixture
def limited():
    """Run what comes in a user namespace, whose limits are its own."""

    def limit(name, value):
        script = f'echo {value} > /proc/sys/user/{name} && exec "$@"'
        prefix = ("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
        trial = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
        if trial.returncode:
            pytest.skip(f"a user namespace with limits of its own cannot be had: {trial.stderr.strip()}")
        return prefix

    if shutil.which("unshare") is None:
        pytest.skip("unshare is missing")
    return limit


@pytest.fixture
def directories(watched):
    """More directories than there will be watches, with a file each."""
    made = [watched.root / f"{number}" for number in range(DIRECTORIES)]
    for directory in made:
        directory.mkdir()
        (directory / "file").write_text("one")
    return made


def test_beyond_the_limit_of_watches_directories_are_polled_and_nothing_is_missed(watched, directories, limited):
    """Pitfall 49."""
    watched.start(prefix=limited(WATCHES, 100))
    limit = watched.wait_for_coverage("limit")

    for directory in directories:
        (directory / "file").write_text("another")
        (directory / "new").write_text("new")
        (directory / "deep" / "er").mkdir(parents=True)
        (directory / "deep" / "er" / "file").write_text("deep")
    paths = {str(path) for path in watched.root.rglob("*")}
    updated = {str(directory / "file") for directory in directories}
    created = paths - updated - set(map(str, directories))
    watched.wait_for_paths("updated", updated, seconds=20)
    watched.wait_for_paths("created", created, seconds=20)
    for directory in directories:
        (directory / "new").unlink()
    watched.wait_for_paths("deleted", {str(directory / "new") for directory in directories}, seconds=20)
    watched.settle()

    assert limit["path"] == str(watched.root)
    assert limit["detail"]["polled_directories"] > DIRECTORIES - 100
    assert "no inotify watch is left" in watched.run.stderr
    assert {path: told for path, told in watched.actions.items() if path.endswith("/new")} == {
        str(directory / "new"): ["created", "deleted"] for directory in directories
    }
    assert len([entry for entry in watched.coverage if entry["reason"] == "limit"]) == 1


def test_without_any_inotify_instance_all_is_polled(watched, directories, limited):
    watched.start(prefix=limited(INSTANCES, 0))
    limit = watched.wait_for_coverage("limit")

    (directories[0] / "file").write_text("another")
    (directories[1] / "file").unlink()
    (watched.root / "new").mkdir()
    (watched.root / "new" / "file").write_text("new")
    watched.wait_for("updated", directories[0] / "file")
    watched.wait_for("deleted", directories[1] / "file")
    watched.wait_for("created", watched.root / "new" / "file")
    watched.settle()

    assert limit["detail"]["watched_directories"] == 0
    assert watched.actions == {
        f"{directories[0]}/file": ["updated"],
        f"{directories[1]}/file": ["deleted"],
        f"{watched.root}/new": ["created"],
        f"{watched.root}/new/file": ["created"],
    }
