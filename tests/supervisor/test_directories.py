"""The directories of a run: made with the right modes, refused where they are somebody else's, locked."""

import os
import pwd
import socket
import stat
import subprocess
import threading
from contextlib import contextmanager

import pytest

from auditline.workers.common.errors import BusyError, StorageError
from auditline.workers.common.privileges import find_account
from auditline.workers.common.settings import RunSettings, Settings, StateSettings
from auditline.workers.supervisor.directories import (
    check_room,
    lock_directory,
    make_directories,
    make_kept_directory,
    remove_counters,
    remove_sockets,
)

NOBODY, DAEMON = (find_account(pwd.getpwuid(number).pw_name) for number in (65534, 1))
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount and give files away")


@pytest.fixture
def settings(tmp_path):
    return Settings(
        state=StateSettings(directory=tmp_path / "state"),
        run=RunSettings(directory=tmp_path / "run"),
    )


@contextmanager
def mounted(path, options):
    path.mkdir(exist_ok=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "auditline-test", path], capture_output=True, text=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_directories_are_made_for_the_service_alone(settings):
    make_directories(settings, None)

    assert mode(settings.state.directory) & 0o007 == 0
    assert mode(settings.run.directory) == 0o700
    assert (settings.run.directory / "counters").is_dir()


def test_an_empty_run_directory_that_others_may_enter_is_closed_to_them(settings):
    settings.run.directory.mkdir(mode=0o755)

    make_directories(settings, None)

    assert mode(settings.run.directory) == 0o700


def test_the_remains_of_a_dead_run_are_no_hindrance(settings):
    make_directories(settings, None)
    settings.run.directory.chmod(0o755)
    (settings.run.directory / "lock").touch()

    make_directories(settings, None)

    assert mode(settings.run.directory) == 0o700


def test_a_run_directory_that_is_used_for_something_else_is_left_alone(settings):
    settings.run.directory.mkdir(mode=0o755)
    (settings.run.directory / "other.pid").touch()

    with pytest.raises(StorageError, match=r"run must have mode 0700 or be empty, .* holds 'other\.pid'"):
        make_directories(settings, None)

    assert mode(settings.run.directory) == 0o755


def test_a_run_directory_behind_a_link_is_refused(settings, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    settings.run.directory.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StorageError, match="run must be a directory of uid"):
        make_directories(settings, None)


@needs_root
def test_a_run_directory_that_somebody_else_may_have_made_is_refused(settings, tmp_path):
    tmp_path.chmod(0o1777)
    settings.run.directory.mkdir(mode=0o700)
    os.chown(settings.run.directory, 65534, 65534)

    with pytest.raises(StorageError, match="must be a directory of uid 0, not one of uid 65534"):
        make_directories(settings, None)


def test_a_state_directory_that_all_may_write_to_is_refused(settings):
    settings.state.directory.mkdir()
    settings.state.directory.chmod(0o1777)

    with pytest.raises(StorageError, match="state must not be a directory that all users may write to"):
        make_directories(settings, None)


def test_a_file_in_place_of_a_directory_is_named(settings):
    settings.state.directory.touch()

    with pytest.raises(StorageError, match="state must be a directory"):
        make_directories(settings, None)


def test_a_file_in_place_of_a_parent_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match=f"cannot be made: {tmp_path}/file is not a directory"):
        make_kept_directory(tmp_path / "file" / "log", None)


@needs_root
def test_the_services_user_gets_what_earlier_runs_of_root_left(settings):
    make_directories(settings, None)
    (settings.state.directory / "lock").touch()
    (settings.state.directory / "audit").mkdir()
    (settings.state.directory / "audit" / "journal").touch()
    (settings.state.directory / "link").symlink_to("/etc/passwd")

    make_directories(settings, NOBODY)

    owned = [settings.state.directory, settings.state.directory / "audit" / "journal", settings.run.directory]
    assert {path.stat().st_uid for path in owned} == {65534}
    assert os.stat("/etc/passwd").st_uid == 0


@needs_root
def test_what_another_user_had_is_given_back_to_root_and_to_the_next_user(settings):
    paths = (settings.state.directory, settings.run.directory)
    make_directories(settings, None)
    for path in paths:
        (path / "auditline-1.jsonl").touch()

    owners = []
    for account in (NOBODY, None, DAEMON, NOBODY):
        make_directories(settings, account)
        files = [path / "auditline-1.jsonl" for path in paths]
        owners.append({path.stat().st_uid for path in (*paths, *files)})

    assert owners == [{NOBODY.user_id}, {0}, {DAEMON.user_id}, {NOBODY.user_id}]


@needs_root
@pytest.mark.parametrize("account", [NOBODY, None])
def test_a_directory_of_somebody_else_s_things_is_not_taken(tmp_path, account):
    path = tmp_path / "log"
    path.mkdir()
    (path / "syslog").touch()
    os.chown(path, DAEMON.user_id, DAEMON.group_id)

    with pytest.raises(StorageError, match=f"belongs to uid {DAEMON.user_id} and holds what is not auditline's"):
        make_kept_directory(path, account)

    assert (path / "syslog").stat().st_uid == 0


@needs_root
def test_a_second_name_of_a_file_elsewhere_is_not_given_away(settings, tmp_path):
    make_directories(settings, None)
    (tmp_path / "secret").touch()
    os.link(tmp_path / "secret", settings.state.directory / "mine")

    (settings.state.directory / "lock").touch()

    make_directories(settings, NOBODY)

    assert (tmp_path / "secret").stat().st_uid == 0


def test_a_locked_directory_is_busy_and_says_who_has_it(tmp_path):
    held = lock_directory(tmp_path)

    with pytest.raises(BusyError, match=f"is in use by another instance of auditline, pid {os.getpid()}"):
        lock_directory(tmp_path)

    os.close(held)
    os.close(lock_directory(tmp_path))


def test_a_living_predecessor_is_waited_for_if_that_is_asked_for(tmp_path):
    held = lock_directory(tmp_path)
    threading.Timer(0.2, os.close, [held]).start()

    os.close(lock_directory(tmp_path, patience_seconds=20))


def test_a_dead_supervisors_control_process_is_waited_for(tmp_path):
    supervisor = os.fork()
    if supervisor == 0:
        lock_directory(tmp_path)
        if os.fork() == 0:
            # The control process: it has the descriptor too, and ends a little later.
            subprocess.run(["sleep", "0.3"], check=False)
        os._exit(0)
    os.waitpid(supervisor, 0)

    descriptor = lock_directory(tmp_path)

    assert os.pread(descriptor, 20, 0).decode().strip() == str(os.getpid())
    os.close(descriptor)


@needs_root
def test_a_full_disk_is_told_with_the_directory(settings):
    with mounted(settings.state.directory, "size=16k,mode=750"):
        with (settings.state.directory / "filler").open("wb", buffering=0) as file:
            file.write(b"x" * 16384)
        make_directories(settings, None)

        with pytest.raises(StorageError, match="state cannot be used: No space left on device"):
            lock_directory(settings.state.directory)


@needs_root
def test_a_directory_of_an_earlier_run_on_a_disk_that_is_full_now_is_told(settings):
    with mounted(settings.state.directory, "size=256k,mode=750"):
        make_directories(settings, None)
        os.close(lock_directory(settings.state.directory))
        check_room(settings.state.directory)
        (settings.state.directory / "filler").write_bytes(b"x" * 220 * 1024)

        with pytest.raises(StorageError, match="state cannot be used: No space left on device"):
            check_room(settings.state.directory)

        assert sorted(path.name for path in settings.state.directory.iterdir()) == ["filler", "lock"]


def test_looking_for_room_writes_through_no_link(settings, tmp_path):
    make_directories(settings, None)
    (tmp_path / "precious").write_text("precious")
    (settings.state.directory / ".room").symlink_to(tmp_path / "precious")

    check_room(settings.state.directory)

    assert (tmp_path / "precious").read_text() == "precious"
    assert list(settings.state.directory.iterdir()) == []


@needs_root
def test_a_read_only_disk_is_told_with_the_directory(settings):
    with mounted(settings.state.directory, "ro,mode=750"):
        make_directories(settings, None)

        with pytest.raises(StorageError, match="state cannot be used: Read-only file system"):
            lock_directory(settings.state.directory)


def test_only_sockets_and_pages_are_removed(settings):
    make_directories(settings, None)
    run = settings.run.directory
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.fspath(run / "bus.sock"))
    for name in ("counters/audit.page", "counters/audit.new", "counters/readme", "lock"):
        (run / name).touch()

    remove_sockets(run)
    remove_counters(run)

    left = sorted(path.relative_to(run).as_posix() for path in run.rglob("*"))
    assert left == ["counters", "counters/readme", "lock"]


def test_nothing_to_remove_is_no_error(tmp_path):
    remove_sockets(tmp_path / "nowhere")
    remove_counters(tmp_path / "nowhere")

    assert list(tmp_path.iterdir()) == []
