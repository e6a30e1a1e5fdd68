"""The jobs' protocol between its two ends: what is said arrives, and what makes no sense harms nobody."""

import os
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.file_state import (
    HASHED,
    NOT_HASHED,
    QUARANTINED,
    STABLE,
    TOO_LARGE,
    UNREAD,
    UNSTABLE,
    FileState,
)
from auditline.workers.common.jobs import (
    JOBS_VERSION,
    MOST_RESULTS,
    Ask,
    Busy,
    GivenBack,
    HasherBye,
    HasherHello,
    JobClient,
    JobServer,
    Lane,
    Lease,
    Lost,
    NoWork,
    Outcome,
    Result,
    Results,
    Work,
    _decode_results,
    _encode_results,
    _parse_from_hasher,
    _parse_from_watcher,
    is_process_stopped,
    process_start_ticks,
)

WaitUntil = Callable[..., None]
PID, TICKS = 4711, 123_456
MALFORMED = (IndexError, KeyError, TypeError, ValueError, struct.error)
"""What the ends take for `not of our protocol`."""

LEASE = Lease(
    number=7,
    lane=Lane.SMALL,
    root=b"/etc/\xff",
    identity=(66, 4096),
    hashes=("sha256", "md5"),
    max_file_bytes=1 << 40,
    paths=(b"passwd", b"ssl/\n\xfe", b"a" * 5000),
)


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
    made = JobClient(path, PID, TICKS)
    yield made
    made.close()


@pytest.fixture
def next_of(wait_until: WaitUntil):
    """Return the next message that an end has, while the other one has its turns too."""

    def next_of(end: JobServer | JobClient, other: JobServer | JobClient | None = None) -> object:
        found: list[object] = []

        def has_come() -> bool:
            if other is not None:
                other.receive()
            message = end.receive()
            found.extend([] if message is None else [message])
            return bool(found)

        wait_until(has_come)
        return found[0]

    return next_of


def state(**values: object) -> FileState:
    plain = FileState(0o100644, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, None, b"", NOT_HASHED, 11)
    return plain._replace(**values)  # type: ignore[arg-type]  # names of its fields


def test_a_hasher_says_who_it_is(server: JobServer, client: JobClient, next_of):
    hello = next_of(server, client)

    assert hello == HasherHello(hello.peer, PID, TICKS)


def test_what_a_watcher_says_arrives(server: JobServer, client: JobClient, next_of):
    peer = next_of(server, client).peer

    sent = [server.announce(peer, 3, 0), server.give(peer, LEASE), server.refuse(peer, Lane.LARGE)]

    assert sent == [True, True, True]
    assert [next_of(client), next_of(client), next_of(client)] == [Work(3, 0), LEASE, NoWork(Lane.LARGE)]


def test_what_a_hasher_says_arrives(server: JobServer, path: str, next_of):
    client = JobClient(path, PID, TICKS)
    peer = next_of(server, client).peer
    results = [
        Result(Outcome.LOOKED_AT, state(hashes=b"\4" + b"h" * 32, hash_state=STABLE)),
        Result(Outcome.GONE),
        Result(Outcome.UNREADABLE, None, "Permission denied: \udcff"),
    ]

    client.ask(Lane.LARGE)
    client.tell_busy(7)
    client.answer(7, results)
    client.give_back(8)
    client.close()

    assert next_of(server) == Ask(peer, Lane.LARGE)
    assert next_of(server) == Busy(peer, 7)
    answer = next_of(server)
    assert answer == Results(peer, 7, [*results[:2], Result(Outcome.UNREADABLE, None, "Permission denied: \\udcff")])
    assert next_of(server) == GivenBack(peer, 8)
    assert next_of(server) == HasherBye(peer)


@pytest.mark.parametrize(("small", "large", "lanes"), [(0, 0, set()), (1, 0, {Lane.SMALL}), (0, 9, {Lane.LARGE})])
def test_announced_work_names_its_lanes(small: int, large: int, lanes: set[Lane]):
    assert Work(small, large).lanes == lanes


def test_a_lease_without_hashes_has_none(server: JobServer, client: JobClient, next_of):
    peer = next_of(server, client).peer
    lease = Lease(1, Lane.LARGE, b"/", (1, 2), (), 0, (b"file",))

    server.give(peer, lease)

    assert next_of(client) == lease


def test_a_hasher_tells_that_its_watcher_is_gone_and_greets_the_next_one(client: JobClient, path: str, next_of):
    first = JobServer(path)
    next_of(first, client)
    client.ask(Lane.SMALL)
    first.close()

    lost = next_of(client)
    client.ask(Lane.SMALL)
    second = JobServer(path)
    hello = next_of(second, client)
    rest = second.receive()
    second.close()

    assert (lost, rest) == (Lost(), None)
    assert hello == HasherHello(hello.peer, PID, TICKS)


def test_a_hasher_that_is_gone_cannot_be_told_anything(server: JobServer, path: str, next_of, wait_until: WaitUntil):
    client = JobClient(path, PID, TICKS)
    peer = next_of(server, client).peer
    client.close()

    wait_until(lambda: not server.announce(peer, 1, 1))
    assert (server.give(peer, LEASE), server.refuse(peer, Lane.SMALL)) == (False, False)


numbers = st.integers(0, (1 << 64) - 1)
times = st.integers(-(1 << 63), (1 << 63) - 1)
small_numbers = st.integers(0, (1 << 32) - 1)
states = st.builds(
    FileState,
    mode=small_numbers,
    uid=small_numbers,
    gid=small_numbers,
    size=numbers,
    inode=numbers,
    device=numbers,
    links=numbers,
    mtime_ns=times,
    ctime_ns=times,
    atime_ns=times,
    rdev=numbers,
    target=st.none(),
    hashes=st.binary(max_size=100),
    hash_state=st.sampled_from([NOT_HASHED, *sorted((HASHED | UNREAD) - {QUARANTINED}), TOO_LARGE, UNSTABLE]),
    checked_ns=st.integers(0, (1 << 63) - 1),
    xattrs=st.binary(max_size=100),
    flags=numbers,
)
outcomes_without_state = st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.LOOKED_AT])
results = st.lists(
    st.builds(Result, st.just(Outcome.LOOKED_AT), states, st.text(st.characters(codec="utf-8"), max_size=20))
    | st.builds(Result, outcomes_without_state, st.none(), st.text(st.characters(codec="utf-8"), max_size=20)),
    max_size=10,
)


@given(results)
def test_results_come_out_as_they_went_in(given_results: list[Result]):
    assert _decode_results(*_encode_results(given_results)) == given_results


@pytest.mark.parametrize("seconds", [1 << 40, -(1 << 40), 1 << 62])
def test_times_that_no_stored_number_holds_are_the_nearest_that_one_does(seconds: int):
    far = state(mtime_ns=seconds * 10**9, ctime_ns=5, atime_ns=seconds * 10**9)

    (result,) = _decode_results(*_encode_results([Result(Outcome.LOOKED_AT, far)]))

    nearest = (1 << 63) - 1 if seconds > 0 else -(1 << 63)
    assert result.state == far._replace(mtime_ns=nearest, atime_ns=nearest)


def test_an_error_of_any_length_fits():
    (result,) = _decode_results(*_encode_results([Result(Outcome.UNREADABLE, None, "x" * 100_000)]))

    assert len(result.error) == 500


def test_more_results_than_a_lease_can_have_are_refused():
    frames_of_too_many = _encode_results([Result(Outcome.GONE)] * (MOST_RESULTS + 1))

    with pytest.raises(ValueError, match="bytes of results"):
        _decode_results(*frames_of_too_many)


frames = st.lists(st.binary(max_size=200), min_size=1, max_size=5)
kinds = st.sampled_from([b"H", b"A", b"B", b"R", b"G", b"Y", b"W", b"J", b"N"])


@given(kinds, frames)
def test_any_bytes_are_a_message_or_are_told_not_to_be_one(kind: bytes, tail: list[bytes]):
    message = [kind + tail[0], *tail[1:]]

    for parse in (lambda: _parse_from_hasher(b"peer", message), lambda: _parse_from_watcher(message)):
        try:
            parse()
        except MALFORMED:
            continue


@given(st.lists(st.binary(max_size=300), min_size=4, max_size=4))
def test_any_bytes_are_results_or_are_told_not_to_be(parts: list[bytes]):
    try:
        _decode_results(*parts)
    except MALFORMED:
        return


RESULT = struct.Struct("<BBHHIIIIQQQQqqqQqQ")
STRANGE = [
    [b""],
    [b"?"],
    [b"", b""],
    [b"H"],
    [b"H" + struct.pack("<BQQ", JOBS_VERSION + 1, 1, 1)],
    [b"H" + struct.pack("<BQQ", JOBS_VERSION, 0, 1)],
    [b"H" + struct.pack("<BQQ", JOBS_VERSION, 1 << 31, 1)],
    [b"H" + struct.pack("<BQQ", JOBS_VERSION, (1 << 64) - 1, 1)],
    [b"A"],
    [b"A\7"],
    [b"A\0\0"],
    [b"B"],
    [b"B" + bytes(9)],
    [b"R"],
    [b"R" + bytes(8)],
    [b"R" + bytes(8), b"", b"", b""],
    [b"R" + bytes(8), b"x", b"", b"", b""],
    [b"R" + bytes(8), b"", b"x", b"", b""],
    [b"R" + bytes(8), b"", b"", b"x", b""],
    [b"R" + bytes(8), b"", b"", b"", b"x"],
    [b"R" + bytes(8), RESULT.pack(0, 0, 9, 0, 0, *(0,) * 13), b"", b"", b""],
    [b"R" + bytes(8), RESULT.pack(0, 0, 0, 0, 9, *(0,) * 13), b"", b"", b""],
    [b"R" + bytes(8), RESULT.pack(0, 99, 0, 0, 0, *(0,) * 13), b"", b"", b""],
    [b"R" + bytes(8), RESULT.pack(99, 0, 0, 0, 0, *(0,) * 13), b"", b"", b""],
    [b"R" + bytes(8), RESULT.pack(1, 0, 0, 9, 0, *(0,) * 13), b"", b"", b""],
    [b"G"],
    [b"\0" * 1_000_000],
]  # fmt: skip


@pytest.mark.parametrize("strange", STRANGE, ids=range(len(STRANGE)))
def test_a_message_of_a_stranger_harms_nobody(
    server: JobServer, client: JobClient, path: str, next_of, strange: list[bytes]
):
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.setsockopt(zmq.LINGER, 0)
        stranger.connect(path)
        stranger.send_multipart(strange)
        stranger.send_multipart([b"Y"])

        assert isinstance(next_of(server), HasherBye)

    assert isinstance(next_of(server, client), HasherHello)


UNKNOWN_HASH = [b"J" + bytes(33), b"/", b"sha256,rot13", b"file"]


@pytest.mark.parametrize(
    "strange", [UNKNOWN_HASH, [b""], [b"W"], [b"W" + bytes(15)], [b"J"], [b"J" + bytes(33)], [b"N"], [b"N\7"], [b"?"]]
)
def test_an_answer_that_makes_no_sense_harms_no_hasher(server: JobServer, client: JobClient, next_of, strange):
    peer = next_of(server, client).peer

    server.socket.send(peer, strange)
    server.announce(peer, 1, 1)

    assert next_of(client) == Work(1, 1)


def test_the_start_of_a_process_is_known_while_it_lives():
    (others_start, own_start) = (process_start_ticks(1), process_start_ticks(os.getpid()))

    assert own_start is not None
    assert others_start is not None
    assert others_start <= own_start
    assert process_start_ticks((1 << 31) - 1) is None


def test_a_process_that_a_signal_has_stopped_is_told_from_one_that_waits(wait_until: WaitUntil):
    with subprocess.Popen(["sleep", "1000"]) as process:
        before = is_process_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: is_process_stopped(process.pid))
        process.kill()

    assert (before, is_process_stopped(process.pid)) == (False, False)
