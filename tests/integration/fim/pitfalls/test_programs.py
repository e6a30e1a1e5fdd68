"""Real programs that save, replace and rotate files: what is told is what a person would say that they did."""

import os
import shutil
import subprocess
from itertools import chain

import pytest

PACKAGE = "auditline-test-package"


@pytest.fixture(scope="module")
def options():
    # A busy machine must not tear apart what a program does at once.
    return {"fim": {"debounce_seconds": 0.2, "max_delay_seconds": 5}}


@pytest.fixture(scope="module")
def watch_options():
    return {"exclude": [r"\.dpkg-(new|tmp)$", r"/\.[^/]*\.sw[a-z]$", r"/\.git(/|$)"]}


@pytest.fixture
def run():
    """Run a program, or skip the test if it is not there."""

    def run(program, *arguments, **choices):
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if path is None:
            pytest.skip(f"{program} is missing")
        done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False, **choices)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def package(tmp_path, run):
    """A package of so many files; returns its path and the files' names."""

    def make(count):
        tree = tmp_path / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(
            f"Package: {PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: test\n"
        )
        names = [f"share/d{number % 20}/file-{number}" for number in range(count)]
        for name in names:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(name)
        run("dpkg-deb", "--build", "--root-owner-group", "-Znone", tree, tmp_path / "package.deb")
        return tmp_path / "package.deb", names

    return make


@pytest.fixture
def install(tmp_path, run):
    """Unpack and configure a package as root does, with a database of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may install packages")
    database = tmp_path / "dpkg"
    for name in ("info", "updates"):
        (database / name).mkdir(parents=True)
    (database / "status").touch()

    def install(package, root):
        run(
            "dpkg",
            f"--instdir={root}",
            f"--admindir={database}",
            "--log=/dev/null",
            "--force-script-chrootless,unsafe-io",
            "--install",
            package,
        )

    return install


@pytest.mark.parametrize("count", [300, pytest.param(5_000, marks=pytest.mark.soak)])
def test_a_package_installed_again_is_one_update_of_each_of_its_files(corner, package, install, count):
    """Pitfall 37."""
    archive, names = package(count)
    install(archive, corner.root)
    directories = {os.path.dirname(name) for name in names} | {"share"}
    corner.wait_for_actions({name: ["created"] for name in (*names, *directories)}, 60)
    corner.forget(0)

    with corner.undisturbed():
        install(archive, corner.root)

    corner.wait_for_actions({name: ["updated"] for name in names}, 60)
    assert all("inode" in change.before and "sha256" not in change.before for change in corner.changes)


def test_checking_out_another_commit_tells_what_differs(corner, run):
    """Pitfall 37, of another kind of package."""

    def git(*arguments):
        identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "init.defaultBranch=main")
        return run("git", *identity, "-C", corner.root, *arguments)

    git("init", "--quiet")
    for number in range(50):
        (corner.root / f"d{number % 5}").mkdir(exist_ok=True)
        (corner.root / f"d{number % 5}" / f"{number}").write_text(f"{number}")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    for number in range(0, 50, 3):
        (corner.root / f"d{number % 5}" / f"{number}").write_text("another")
    (corner.root / "d1" / "1").unlink()
    (corner.root / "new").mkdir()
    (corner.root / "new" / "file").write_text("new")
    git("add", "--all")
    git("commit", "--quiet", "-m", "two")
    corner.forget(50)

    with corner.undisturbed():
        git("checkout", "--quiet", "HEAD~1")
    changed = {f"d{number % 5}/{number}": ["updated"] for number in range(0, 50, 3)}
    corner.wait_for_actions(changed | {"d1/1": ["created"], "new": ["deleted"], "new/file": ["deleted"]})


MOVED_TWICE = {"app.log.2": ["moved"], "app.log.1": ["moved"], "app.log": ["created"]}
MOVED_AND_COPIED = {"app.log.2": ["moved"], "app.log.1": ["created"], "app.log": ["updated"]}
NAMES_ALONE = {"app.log.2": ["created"], "app.log.1": ["updated"], "app.log": ["updated"]}
"""Without a hint of it, a file in the place of the other one is another content."""


@pytest.mark.parametrize(("way", "renames"), [("create", MOVED_TWICE), ("copytruncate", MOVED_AND_COPIED)])
def test_a_rotated_log_is_told_as_what_was_done(corner, run, tmp_path, way, renames):
    """Pitfall 38."""
    corner.know(**{"app.log": "the newest lines\n", "app.log.1": "older lines, more of them\n"})
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(f"{corner.root}/app.log {{\n rotate 5\n size 1\n nocompress\n {way}\n su root root\n}}\n")
    configuration.chmod(0o644)

    with corner.undisturbed():
        run("logrotate", "--state", tmp_path / "state", "--force", configuration)

    corner.wait_for_actions(corner.by_sight(renames, NAMES_ALONE))


def vim(backupcopy):
    """Return a command that edits a file as somebody does with such a setting."""
    steps = (f"set writebackup backupcopy={backupcopy}", "%s/one/two/", "wq")
    return ("vim", "-Nes", "-u", "NONE", "-i", "NONE", *chain.from_iterable(("-c", step) for step in steps))


@pytest.mark.parametrize(
    "command",
    [("sed", "-i", "s/one/another/"), vim(backupcopy="no"), vim(backupcopy="yes")],
    ids=["sed", "vim-by-rename", "vim-in-place"],
)
def test_an_editor_s_save_is_one_update_of_its_file(corner, run, command):
    """Pitfall 40."""
    known = corner.know(text="one\n")

    program, *arguments = command
    with corner.undisturbed():
        run(program, *arguments, known["text"], stdin=subprocess.DEVNULL)

    corner.wait_for_actions({"text": ["updated"]})


def test_a_copy_by_rsync_updates_what_differs_and_creates_what_is_new(corner, run, tmp_path):
    """Pitfalls 37 and 40, of a program that writes next to its target."""
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    for name in ("same", "other", "deep/file"):
        (source / name).write_text(name)
    run("rsync", "-a", f"{source}/", corner.root)
    corner.forget(4)

    (source / "other").write_text("another, longer")
    (source / "new").write_text("new")
    with corner.undisturbed():
        run("rsync", "-a", f"{source}/", corner.root)

    corner.wait_for_actions({"other": ["updated"], "new": ["created"]})
