"""Which backend is chosen, what is said of that, and what happens when it stops working."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditline.workers.common.privileges import Capability, held_capabilities
from auditline.workers.common.settings import BackendName, FimSettings
from auditline.workers.fim import choosing
from auditline.workers.fim.backend import Hint, HintKind
from auditline.workers.fim.choosing import ChosenBackend, open_backend

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give another user one capability alone")
needs_fanotify = pytest.mark.skipif(
    Capability.SYS_ADMIN not in held_capabilities(), reason="fanotify takes CAP_SYS_ADMIN"
)


@pytest.fixture
def choose() -> Iterator[Callable[[BackendName], ChosenBackend]]:
    """Open the backend for a setting."""
    opened: list[ChosenBackend] = []

    def choose(wanted: BackendName) -> ChosenBackend:
        opened.append(open_backend(FimSettings(), wanted))
        return opened[-1]

    yield choose
    for backend in opened:
        backend.close()


@needs_fanotify
@pytest.mark.parametrize(
    ("wanted", "name"),
    [("auto", "fanotify"), ("fanotify", "fanotify"), ("fanotify-filesystem", "fanotify-filesystem")],
)
def test_with_the_capability_it_is_fanotify(choose, wanted, name):
    assert choose(wanted).name == name


@pytest.mark.parametrize(("wanted", "name"), [("inotify", "inotify"), ("poll", "polling")])
def test_what_the_configuration_names_is_taken(choose, wanted, name):
    backend = choose(wanted)

    assert (backend.name, backend.reason) == (name, "the configuration says so")


def test_polling_that_was_asked_for_is_no_limit(root, watch, choose):
    backend = choose("poll")

    is_watched = watch(backend, root)

    assert is_watched == [False]
    assert (backend.polled, backend.limit_reached) == (1, False)


def test_the_choice_and_its_reason_are_in_the_log(choose, caplog):
    with caplog.at_level("INFO"):
        choose("inotify")

    assert [record.getMessage() for record in caplog.records] == ["inotify: the configuration says so"]


# With fewer rights


TRY = """
import logging, os, sys
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.choosing import open_backend

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
backend = open_backend(FimSettings(), sys.argv[2], see=lambda pid, _: None)
directory = os.open(sys.argv[1], os.O_RDONLY)
print(backend.watch(b"", directory))
os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=directory))
print([(hint.kind.value, hint.path.decode()) for hint in backend.read()])
"""
TOLD = ["True", "[('created', 'file')]"]
INOTIFY = "inotify: fanotify cannot be used: CAP_SYS_ADMIN is missing"


@pytest.fixture
def public() -> Iterator[Path]:
    """A root that every user may reach and write to."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


def try_as(prefix: list[str], root: Path, wanted: str = "auto", *, script: str = TRY) -> list[str]:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", script, root, wanted], capture_output=True, text=True, check=False
    )
    if done.returncode and ("setpriv" in done.stderr or "unshare" in done.stderr or "ModuleNotFound" in done.stderr):
        pytest.skip(f"no such process can be started here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def as_nobody(*capabilities: str) -> list[str]:
    named = ",".join(f"+{name}" for name in capabilities)
    ambient = [f"--inh-caps={named}", f"--ambient-caps={named}"] if named else []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *ambient]


@needs_root
@needs_fanotify
@pytest.mark.parametrize("wanted", ["auto", "fanotify-filesystem"])
def test_with_that_capability_alone_it_is_fanotify(public, wanted):
    name = "fanotify" if wanted == "auto" else wanted
    reason = "the best that there is" if wanted == "auto" else "the configuration says so"

    assert try_as(as_nobody("sys_admin"), public, wanted) == [f"INFO {name}: {reason}", *TOLD]


@needs_root
def test_an_ordinary_user_has_inotify_and_is_told_why(public):
    assert try_as(as_nobody(), public) == [f"INFO {INOTIFY}", *TOLD]


@needs_root
def test_root_without_that_capability_has_inotify(public):
    assert try_as(["setpriv", "--bounding-set=-sys_admin"], public) == [f"INFO {INOTIFY}", *TOLD]


def test_in_a_user_namespace_it_is_inotify(public):
    first, *told = try_as(["unshare", "--user", "--map-root-user"], public)

    assert first == "INFO inotify: fanotify cannot be used: CAP_SYS_ADMIN counts only outside of user namespaces"
    assert told == TOLD


@needs_root
def test_what_was_asked_for_by_name_and_cannot_be_had_is_a_warning(public):
    assert try_as(as_nobody(), public, "fanotify")[0] == f"WARNING {INOTIFY}"


# When one stops working


def break_descriptor(backend: ChosenBackend, fd: int) -> list[Hint]:
    """Let reading *fd* fail, and read."""
    unreadable = os.open("/dev/null", os.O_WRONLY)
    os.dup2(unreadable, fd)
    os.close(unreadable)
    return backend.read()


@needs_fanotify
def test_the_next_best_takes_the_place_of_one_that_stops_working(root, watch, choose, caplog):
    backend = choose("auto")
    watch(backend, root)

    hints = break_descriptor(backend, backend._backend._group_fd)
    watch(backend, root)
    (root / "a").touch()

    assert hints == [Hint(HintKind.RESTARTED, b"", is_directory=True)]
    assert (backend.name, backend.watched) == ("inotify", 1)
    assert backend.reason == "fanotify cannot be read any more: Bad file descriptor"
    assert [hint.path for hint in backend.read()] == [b"a"]
    assert "everything is watched anew, and compared" in caplog.text


@needs_fanotify
def test_one_that_has_stopped_working_is_taken_again_later(root, watch, choose, monkeypatch):
    monkeypatch.setattr(choosing, "FIRST_RETRY_SECONDS", 0.0)
    backend = choose("auto")
    watch(backend, root)
    break_descriptor(backend, backend._backend._group_fd)

    hints = backend.read()
    watch(backend, root)
    (root / "a").touch()

    assert hints == [Hint(HintKind.RESTARTED, b"", is_directory=True)]
    assert (backend.name, backend.reason) == ("fanotify", "the best that there is")
    assert [hint.path for hint in backend.read()] == [b"a"]


@needs_fanotify
def test_until_then_the_next_best_is_kept_and_each_time_for_longer(choose):
    backend = choose("auto")

    times = [backend.seconds_until_due]
    break_descriptor(backend, backend._backend._group_fd)
    times.append(backend.seconds_until_due)
    hints = backend.read()

    assert times[0] is None
    assert times[1] == pytest.approx(choosing.FIRST_RETRY_SECONDS, abs=60)
    assert backend._retry_seconds == 2 * choosing.FIRST_RETRY_SECONDS
    assert (hints, backend.name) == ([], "inotify")


def test_what_will_never_work_is_not_tried_again(public):
    script = TRY + "print(backend.may_be_fanotify, backend.seconds_until_due)"

    assert try_as(["unshare", "--user", "--map-root-user"], public, script=script)[-1] == "False None"


def test_after_the_last_that_can_stop_working_all_is_polled(root, watch, choose):
    backend = choose("inotify")
    watch(backend, root)

    hints = break_descriptor(backend, backend.fd)
    watch(backend, root)

    assert hints == [Hint(HintKind.RESTARTED, b"", is_directory=True)]
    assert (backend.name, backend.polled, backend.limit_reached) == ("polling", 1, True)
    assert backend.trouble == "inotify cannot be read any more: Bad file descriptor"
