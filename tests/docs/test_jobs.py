"""Messages about hash jobs that are built from the tables of docs/bus.md are understood, and real ones follow them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from auditline.workers.common.file_state import STABLE, FileState
from auditline.workers.common.jobs import (
    JOBS_VERSION,
    LARGE_BYTES,
    LEASE_BYTES,
    LEASE_FILES,
    Ask,
    Busy,
    GivenBack,
    HasherBye,
    HasherHello,
    JobClient,
    JobServer,
    Lane,
    Lease,
    NoWork,
    Outcome,
    Result,
    Results,
    Work,
)
from auditline.workers.common.watch_plan import WatchPlan, jobs_endpoint

Layout = Any
WaitUntil = Callable[..., None]
MESSAGES = ("hasher hello", "work", "ask", "none", "jobs", "busy", "results", "given back", "hasher bye")
RECORD, OUTCOMES, HASH_STATES = 1, 2, 3
"""Tables in the section of `results`."""
STATE = FileState(
    0o100640, 1, 2, 3, 4, 5, 6, -7, 8, 9, 10, None, b"\4" + b"h" * 32, STABLE, 11, b"packed", 0x30
)  # fmt: skip
WORDS = ["", "stable", "too_large", "unstable", "unreadable", "growing", "time_limit", "forbidden"]
JOBS = {
    "lease": 7,
    "lane": 0,
    "unasked": 1,
    "device": 66,
    "inode": 4096,
    "max_file_bytes": 1 << 40,
    "root": b"/etc/\xff",
    "hashes": "sha256,md5",
    "paths": b"passwd\0ssl/\xfe",
}
LEASE = Lease(7, Lane.SMALL, b"/etc/\xff", (66, 4096), ("sha256", "md5"), 1 << 40, (b"passwd", b"ssl/\xfe"), True)


@pytest.fixture
def document(read_document: Callable[[str], Any]) -> Any:
    return read_document("docs/bus.md")


@pytest.fixture
def layouts(document: Any, make_layout: Callable[[Any], Layout]) -> dict[str, Layout]:
    return {name: make_layout(document.tables(name)[0]) for name in MESSAGES}


@pytest.fixture
def record(document: Any, make_layout: Callable[[Any], Layout]) -> Layout:
    return make_layout(document.tables("results")[RECORD])


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"ipc://{tmp_path / 'jobs.sock'}"


@pytest.fixture
def server(path: str) -> Iterator[JobServer]:
    made = JobServer(path)
    yield made
    made.close()


@pytest.fixture
def client(path: str) -> Iterator[JobClient]:
    made = JobClient(path, 4711, 123_456)
    yield made
    made.close()


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def raw_hasher(context: Any, server: JobServer, path: str) -> Any:  # the other end must be there
    socket = context.socket(zmq.DEALER)
    socket.connect(path)
    return socket


@pytest.fixture
def raw_watcher(context: Any, path: str) -> Any:
    socket = context.socket(zmq.ROUTER)
    socket.bind(path)
    return socket


@pytest.fixture
def next_of(wait_until: WaitUntil) -> Callable[..., Any]:
    """Return what a function gives when it first gives something."""

    def next_of(receive: Callable[[], Any]) -> Any:
        found: list[Any] = []

        def has_come() -> bool:
            message = receive()
            found.extend([] if message is None else [message])
            return bool(found)

        wait_until(has_come)
        return found[0]

    return next_of


def heard_by(raw_watcher: Any, client: JobClient) -> Callable[[], list[bytes] | None]:
    """Return a function that lets *client* take a turn and returns the peer and frames that it sent."""

    def receive() -> list[bytes] | None:
        client.receive()
        return raw_watcher.recv_multipart() if raw_watcher.poll(10) else None

    return receive


def test_a_watcher_understands_what_is_built_from_the_document(
    server: JobServer, raw_hasher: Any, layouts: dict[str, Layout], record: Layout, next_of: Callable[..., Any]
) -> None:
    values = dict(zip(FileState._fields, STATE, strict=True)) | {"outcome": 0, "hash_state": 1, "hash_bytes": 33}
    values |= {"error_bytes": 0, "xattr_bytes": len(STATE.xattrs)}
    (looked_at,) = record.encode(values)
    empty = dict.fromkeys(values, 0)
    (unreadable,) = record.encode(empty | {"outcome": 3, "error_bytes": 6})
    texts = {"hashes": STATE.hashes, "xattrs": STATE.xattrs, "errors": b"denied"}
    results = {"lease": 7, "records": looked_at + unreadable, **texts}

    for name, message in (
        ("hasher hello", {"version": JOBS_VERSION, "pid": 4711, "start": 123_456}),
        ("ask", {"lane": 1}),
        ("busy", {"lease": 7}),
        ("results", results),
        ("given back", {"lease": 8}),
        ("hasher bye", {}),
    ):
        raw_hasher.send_multipart(layouts[name].encode(message))
    heard = [next_of(server.receive) for _ in range(6)]

    peer = heard[0].peer
    assert heard == [
        HasherHello(peer, 4711, 123_456),
        Ask(peer, Lane.LARGE),
        Busy(peer, 7),
        Results(peer, 7, [Result(Outcome.LOOKED_AT, STATE), Result(Outcome.UNREADABLE, None, "denied")]),
        GivenBack(peer, 8),
        HasherBye(peer),
    ]


def test_a_hasher_understands_what_is_built_from_the_document(
    client: JobClient, raw_watcher: Any, layouts: dict[str, Layout], next_of: Callable[..., Any]
) -> None:
    peer, *_ = next_of(heard_by(raw_watcher, client))

    for name, values in (("work", {"small": 3, "large": 1}), ("jobs", JOBS), ("none", {"lane": 1})):
        raw_watcher.send_multipart([peer, *layouts[name].encode(values)])

    assert [next_of(client.receive) for _ in range(3)] == [Work(3, 1), LEASE, NoWork(Lane.LARGE)]


def test_what_a_watcher_says_has_the_document_s_layout(
    server: JobServer, raw_hasher: Any, layouts: dict[str, Layout], next_of: Callable[..., Any]
) -> None:
    hello = {"version": JOBS_VERSION, "pid": 4711, "start": 1}
    raw_hasher.send_multipart(layouts["hasher hello"].encode(hello))
    peer = next_of(server.receive).peer

    server.announce(peer, 3, 1)
    server.give(peer, LEASE)
    server.refuse(peer, Lane.LARGE)

    said = [layouts[name].decode(raw_hasher.recv_multipart()) for name in ("work", "jobs", "none")]
    assert said == [{"kind": "W", "small": 3, "large": 1}, {"kind": "J", **JOBS}, {"kind": "N", "lane": 1}]


def test_what_a_hasher_says_has_the_document_s_layout(
    raw_watcher: Any, path: str, layouts: dict[str, Layout], record: Layout, next_of: Callable[..., Any]
) -> None:
    client = JobClient(path, 4711, 123_456)
    _, *hello = next_of(heard_by(raw_watcher, client))

    client.ask(Lane.LARGE)
    client.tell_busy(7)
    client.answer(7, [Result(Outcome.LOOKED_AT, STATE), Result(Outcome.UNREADABLE, None, "denied")])
    client.give_back(8)
    client.close()

    names = ("ask", "busy", "results", "given back", "hasher bye")
    said = [layouts[name].decode(raw_watcher.recv_multipart()[1:]) for name in names]
    records = said[2].pop("records")
    first, second = (record.decode([half]) for half in (records[: len(records) // 2], records[len(records) // 2 :]))
    assert layouts["hasher hello"].decode(hello) == {
        "kind": "H",
        "version": JOBS_VERSION,
        "pid": 4711,
        "start": 123_456,
    }
    assert said == [
        {"kind": "A", "lane": 1},
        {"kind": "B", "lease": 7},
        {"kind": "R", "lease": 7, "hashes": STATE.hashes, "xattrs": STATE.xattrs, "errors": b"denied"},
        {"kind": "G", "lease": 8},
        {"kind": "Y"},
    ]
    assert {name: first[name] for name in ("outcome", "hash_state", "hash_bytes", "error_bytes", "xattr_bytes")} == {
        "outcome": 0,
        "hash_state": 1,
        "hash_bytes": 33,
        "error_bytes": 0,
        "xattr_bytes": 6,
    }
    assert all(first[name] == getattr(STATE, name) for name in set(first) & set(FileState._fields) - {"hash_state"})
    assert {name: value for name, value in second.items() if value} == {"outcome": 3, "error_bytes": 6}


@pytest.mark.parametrize("hash_state", WORDS)
def test_hash_states_have_the_document_s_numbers(
    server: JobServer, client: JobClient, document: Any, hash_state: str, next_of: Callable[..., Any]
) -> None:
    documented = [row["name"].strip("`") for row in document.tables("results")[HASH_STATES]]
    numbers = [int(row["hash_state"]) for row in document.tables("results")[HASH_STATES]]
    state = STATE._replace(hash_state=hash_state)

    next_of(lambda: client.receive() or server.receive())
    client.answer(1, [Result(Outcome.LOOKED_AT, state)])
    (result,) = next_of(server.receive).results

    assert result.state == state
    assert numbers == list(range(len(documented)))
    assert documented[WORDS.index(hash_state)] == (hash_state or "empty")


def test_outcomes_and_lanes_are_the_document_s(document: Any) -> None:
    outcomes = {int(row["outcome"]): row["name"].strip("`") for row in document.tables("results")[OUTCOMES]}
    lanes = {int(row["number"]): row["lane"].upper() for row in document.table("Hash jobs")}

    assert outcomes == {outcome.value: outcome.name for outcome in Outcome}
    assert lanes == {lane.value: lane.name for lane in Lane}


def test_limits_are_the_code_s(document: Any) -> None:
    from auditline.workers.fim.pool import PROOF_SECONDS
    from auditline.workers.fim.pool_members import SILENCE_SECONDS
    from auditline.workers.fim.suspects import MOST_DEATHS, QUARANTINE_SECONDS
    from auditline.workers.hasher.content import SLICE_BYTES
    from auditline.workers.hasher.snapshot import MOST_TRIES
    from auditline.workers.hasher.worker import _BEAT_SECONDS, _LONG_SLICES, _MOST_LARGE_FILES, _PATIENCE_SECONDS

    lanes, deaths = document.section("Hash jobs"), document.section("Who dies with a lease in hand")

    assert f"at most {LEASE_FILES}, at most {LEASE_BYTES >> 20} MiB together" in lanes
    assert f"one with more than {LARGE_BYTES >> 20} MiB" in lanes
    assert f"slices of {SLICE_BYTES >> 20} MiB" in lanes
    assert f"After {_LONG_SLICES} slices it takes another large file\ntoo, at most {_MOST_LARGE_FILES}" in lanes
    assert f"for {_PATIENCE_SECONDS * 1000:.0f} ms" in deaths
    assert f"for {SILENCE_SECONDS:.0f} seconds" in deaths
    assert f"in the last {PROOF_SECONDS:.0f} seconds" in deaths
    assert _BEAT_SECONDS == 1
    assert (MOST_DEATHS, QUARANTINE_SECONDS, MOST_TRIES) == (3, 3600, 4)


def test_the_socket_s_name_is_the_document_s(document: Any, tmp_path: Path) -> None:
    from hashlib import sha256

    assert "jobs-<8 hex digits>.sock" in document.section("Hash jobs")
    digits = sha256(b"/etc").hexdigest()[:8]
    assert jobs_endpoint(tmp_path, WatchPlan(path=b"/etc")) == f"ipc://{tmp_path}/jobs-{digits}.sock"
