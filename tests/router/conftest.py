"""What tests of the router share: corpora of records, and ways from records to documents."""

import io
import json
import lzma
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.router.event import Event
from auditline.workers.router.grouping import Grouper
from auditline.workers.router.log_lines import frame
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.replay import Replay

DATA = Path(__file__).parents[1] / "data"
SHARED = Path(os.environ.get("AUDITLINE_SHARED", Path(__file__).parents[3] / "shared"))

ReplayBytes = Callable[..., list[bytes]]
ReplayText = Callable[..., list[dict[str, Any]]]
GroupLines = Callable[[Iterable[str]], list[Event]]


def read_log(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def own_logs() -> list[Path]:
    return sorted(
        [*DATA.glob("audit/*.log*"), *DATA.glob("*/auparse/*.log"), DATA / "small.log", *DATA.glob("seed/*.log")]
    )


def shared_logs() -> list[Path]:
    """Larger logs, and logs of others, where they lie beside the checkout (AUDITLINE_SHARED)."""
    return sorted([*SHARED.glob("cases/**/*.log"), *SHARED.glob("data/*.log*")])


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    """Every record of our own small corpus, a line each, with surrogateescape."""
    text = b"".join(read_log(path) for path in own_logs())
    return text.decode("utf-8", "surrogateescape").splitlines()


@pytest.fixture(scope="session")
def names() -> IdNames:
    """The names of the seed's host."""
    return IdNames(DATA / "seed" / "passwd", DATA / "seed" / "group")


@pytest.fixture(scope="session")
def replay_bytes() -> Iterator[ReplayBytes]:
    """Replay a log and return the lines of the output, without their ends."""
    # In memory, because making a file takes longer than most of these replays.
    descriptor = os.memfd_create("audit.log")

    def replay(log: bytes, *, node: str | None = "host", names: IdNames | None = None, **options: Any) -> list[bytes]:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, log, 0)
        out = io.BytesIO()
        Replay(out, names or NoNames(), node, **options).run([f"/proc/self/fd/{descriptor}"])
        written = out.getvalue()
        assert written == b"" or written.endswith(b"\n")
        return written.split(b"\n")[:-1]

    yield replay
    os.close(descriptor)


@pytest.fixture(scope="session")
def replay_text(replay_bytes: ReplayBytes) -> ReplayText:
    """Replay a log and return the documents."""

    def replay(log: str, **options: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in replay_bytes(log.encode("utf-8", "surrogateescape"), **options)]

    return replay


@pytest.fixture(scope="session")
def group_lines() -> GroupLines:
    """Group the records of a log."""

    def group(lines: Iterable[str]) -> list[Event]:
        events: list[Event] = []
        grouper = Grouper(events.append, lambda *_: None)
        grouper.feed(*frame(list(lines)), 0)
        grouper.idle(0)
        return events

    return group


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for `any_log` each log of ours, and those beside the checkout if there are some."""
    if "any_log" in metafunc.fixturenames:
        logs = [*own_logs(), *shared_logs()]
        metafunc.parametrize("any_log", logs, ids=[f"{path.parent.name}/{path.name}" for path in logs])


@pytest.fixture(scope="session")
def all_lines() -> Callable[[Path], Iterator[str]]:
    """Return the lines of a log, every record once."""

    def lines(path: Path) -> Iterator[str]:
        yield from read_log(path).decode("utf-8", "surrogateescape").split("\n")

    return lines
