"""What tests of the router share: corpora of records, and ways from records to documents."""

import io
import json
import lzma
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.audit.netlink import HEADER_BYTES, open_data_socket
from auditline.workers.common.errors import KernelError
from auditline.workers.control.compile import compile_rule
from auditline.workers.control.language import parse_rules
from auditline.workers.router.event import Event
from auditline.workers.router.grouping import Grouper
from auditline.workers.router.log_lines import frame
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.render.fragments import FragmentRenderer
from auditline.workers.router.replay import Replay

DATA = Path(__file__).parents[1] / "data"
SHARED = Path(os.environ.get("AUDITLINE_SHARED", Path(__file__).parents[3] / "shared"))

ReplayBytes = Callable[..., list[bytes]]
ReplayText = Callable[..., list[dict[str, Any]]]
GroupLines = Callable[[Iterable[str]], list[Event]]
RecordEvents = Callable[[str, str, Sequence[bytes]], list[dict[str, Any]]]

USER = 64_173
"""Nobody else is this user: what processes of 65534 do at the same time would be caught, too."""
AS_USER = f"import os, sys; os.setsid(); os.setresgid({USER}, {USER}, {USER}); os.setresuid({USER}, {USER}, {USER})\n"
END = "/nowhere/the-end-of-the-test"


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


def reference_cases() -> list[tuple[str, str, dict[str, Any]]]:
    """Name, records and event of each case of go-libaudit's."""
    cases: list[tuple[str, str, dict[str, Any]]] = []
    for golden in sorted(DATA.glob("go-libaudit/aucoalesce/*.golden")):
        records = read_reference_records(golden.with_suffix("").with_suffix(".yaml"))
        expected = json.loads(golden.read_text())
        cases.extend((case["test_name"], records[case["test_name"]], case["event"]) for case in expected)
    return cases


def read_reference_records(path: Path) -> dict[str, str]:
    records: dict[str, str] = {}
    name = ""
    for line in path.read_text().splitlines():
        if match := re.match(r"  (\S.*): \|", line):
            name = match[1]
            records[name] = ""
        elif line.startswith("    "):
            records[name] += line.strip() + "\n"
    return records


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each log to a test that asks for `any_log`, each of the reference's cases to one for `records`, `golden`."""
    if "any_log" in metafunc.fixturenames:
        logs = [*own_logs(), *shared_logs()]
        metafunc.parametrize("any_log", logs, ids=[f"{path.parent.name}/{path.name}" for path in logs])
    if {"records", "golden"} <= set(metafunc.fixturenames):
        cases = reference_cases()
        metafunc.parametrize(("name", "records", "golden"), cases, ids=[case[0] for case in cases])


@pytest.fixture(scope="session")
def all_lines() -> Callable[[Path], Iterator[str]]:
    """Return the lines of a log, every record once."""

    def lines(path: Path) -> Iterator[str]:
        yield from read_log(path).decode("utf-8", "surrogateescape").split("\n")

    return lines


@pytest.fixture
def record_events(kernel_audit) -> RecordEvents:
    """Run a program under a rule, and return the documents of what the rule caught.

    The program gets its arguments in hex, and has to become the user of the rule: `{AS_USER}` in it does.
    """

    def record(rule: str, program: str, arguments: Sequence[bytes]) -> list[dict[str, Any]]:
        fields = f"-F uid={USER} -k router-test"
        for call in (rule, "getxattr"):
            text = f"-a always,exit -F arch=b64 -S {call} {fields}"
            kernel_audit.add_rule(compile_rule(parse_rules(text, "test").rules[0]))
        with open_multicast() as listener:
            kernel_audit.set_status(enabled=1)
            subprocess.run(
                [
                    sys.executable,
                    "-c",
                    program.replace("{AS_USER}", AS_USER),
                    *(argument.hex() for argument in arguments),
                ],
                check=False,
                stderr=subprocess.DEVNULL,
            )
            subprocess.run(
                [sys.executable, "-c", AS_USER + f"os.getxattr({END!r}, 'user.x')"],
                check=False,
                stderr=subprocess.DEVNULL,
            )
            return receive_documents(listener)

    return record


def open_multicast() -> socket.socket:
    try:
        return open_data_socket(multicast=True).socket
    except KernelError as error:
        pytest.skip(str(error))


def receive_documents(listener: socket.socket) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    renderer = FragmentRenderer(NoNames())
    grouper = Grouper(
        lambda event: documents.append(json.loads(renderer.render(event, "0" * 16, None)[1])), lambda *_: None
    )
    listener.settimeout(10)
    while not any(END in json.dumps(document) for document in documents):
        datagram = listener.recv(65536)
        kind = int.from_bytes(datagram[4:6], "little")
        text = datagram[HEADER_BYTES:].rstrip(b"\0").decode("utf-8", "surrogateescape")
        grouper.feed([kind], [text], 0)
    ours = [document for document in documents if document["audit"]["kernel"].get("key") == "router-test"]
    return [document for document in ours if END not in json.dumps(document)]
