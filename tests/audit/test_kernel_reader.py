"""The reader against the real kernel, with rules that match only what uid 65534 does."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from auditline.workers.audit.netlink import MOST_RECORDS, PlainReceiver, Received, open_data_socket
from auditline.workers.audit.recvmmsg import BatchReceiver
from auditline.workers.control.compile import compile_rule
from auditline.workers.control.kernel import claim_pid, release_pid
from auditline.workers.control.language import parse_rules

pytestmark = pytest.mark.kernel

LOOK_UPS = """
import os, sys, time
begin, end, per_second = map(int, sys.argv[1:])
os.setsid()
os.setresuid(65534, 65534, 65534)
started = time.monotonic()
for number in range(begin, end):
    try:
        os.getxattr(f"/nowhere/{number}", "user.x")
    except OSError:
        pass
    if per_second and number % 50 == 0:
        time.sleep(max(0, started + (number - begin) / per_second - time.monotonic()))
"""
LOOK_UP_RULE = "-a always,exit -F arch=b64 -S getxattr -F uid=65534 -k reader-test"
RECORDS_PER_LOOK_UP = 5
NAME = re.compile(rb'name="/nowhere/([0-9]+)"')
PIECE = re.compile(rb" a1\[[0-9]+\]=([0-9A-F]+)")
"""The kernel writes an argument that comes in pieces in hexadecimal digits."""
SERIAL = re.compile(rb"audit\([0-9.]+:([0-9]+)\)")


def load_rule(kernel_audit, text: str) -> None:
    kernel_audit.add_rule(compile_rule(parse_rules(text, "test").rules[0]))
    kernel_audit.set_status(enabled=1)


def look_up(begin: int, end: int, per_second: int = 0) -> "subprocess.Popen[bytes]":
    """Let uid 65534 look for files of those numbers that are not there; each is an event of five records."""
    return subprocess.Popen([sys.executable, "-c", LOOK_UPS, str(begin), str(end), str(per_second)])


@pytest.fixture
def kernel_socket(kernel_audit) -> Iterator[socket.socket]:
    """The data socket of the kernel's audit daemon, which is this process."""
    opened = open_data_socket(multicast=False).socket
    claim_pid(opened)
    yield opened
    release_pid()
    opened.close()


def collect(receiver, wanted, wait_until) -> list[Received]:
    """Receive until a text has been seen."""
    batches: list[Received] = []

    def has_it() -> bool:
        batches.extend(received for received in iter(receiver.receive, None))
        return any(wanted in received.payload for received in batches)

    wait_until(has_it)
    return batches


@pytest.mark.parametrize("kind", [BatchReceiver, PlainReceiver])
def test_every_record_of_the_kernel_comes_with_its_type(kind, kernel_audit, kernel_socket, wait_until):
    counts: Counter[str] = Counter()
    receiver = kind(kernel_socket.fileno(), lambda name, amount: counts.update({name: amount}))
    load_rule(kernel_audit, LOOK_UP_RULE)

    with look_up(0, 2001):
        batches = collect(receiver, b"/nowhere/2000", wait_until)
    receiver.close()

    texts = [text for received in batches for text in received.payload.split(b"\0")]
    types = [kind for received in batches for kind in memoryview(received.types).cast("H")]
    per_type = Counter(kind for kind, text in zip(types, texts, strict=True) if kind in (1300, 1302))
    assert all(SERIAL.match(text) for text in texts)
    assert per_type[1300] >= 2001
    assert numbers_of(texts) == list(range(2001))
    assert sum(received.count for received in batches) == len(texts)
    assert not counts


def test_a_very_long_argument_comes_in_pieces_of_which_none_is_cut(kernel_audit, kernel_socket, wait_until):
    receiver = BatchReceiver(kernel_socket.fileno(), lambda _name, _amount: None)
    load_rule(kernel_audit, "-a always,exit -F arch=b64 -S execve -F uid=65534 -k reader-test")
    argument = "".join(f"{number:x}." for number in range(12_000))[:54_000]
    command = ["setsid", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/bin/true", argument, "last"]

    subprocess.run(command, check=True)
    batches = collect(receiver, b'a2="last"', wait_until)
    receiver.close()

    texts = [text for received in batches for text in received.payload.split(b"\0")]
    pieces = b"".join(match[1] for match in map(PIECE.search, texts) if match)
    assert max(map(len, texts)) > 7000
    assert bytes.fromhex(pieces.decode()).decode() == argument


def test_a_forged_record_on_the_kernel_socket_is_dropped(kernel_audit, kernel_socket, wait_until):
    counts: Counter[str] = Counter()
    receiver = BatchReceiver(kernel_socket.fileno(), lambda name, amount: counts.update({name: amount}))
    message = b"\0\0\0\0\x14\x05\0\0" + bytes(8) + b"audit(1.000:1): forged"
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9) as forger:
        forger.sendto(message, kernel_socket.getsockname())

    received = [batch for batch in iter(receiver.receive, None) if batch.count]
    receiver.close()

    assert counts == {"spoofed_total": 1}
    assert not any(b"forged" in batch.payload for batch in received)


def test_a_multicast_listener_hears_something_at_once(kernel_audit, wait_until):
    kernel_audit.set_status(enabled=1)
    with open_data_socket(multicast=True).socket as listener:
        receiver = BatchReceiver(listener.fileno(), lambda _name, _amount: None)

        batches = collect(receiver, b"op=connect", wait_until)
        receiver.close()

    assert b"\x37\x05" in b"".join(received.types for received in batches)


def test_a_listener_that_is_too_slow_counts_one_overflow_and_goes_on(kernel_audit, wait_until):
    counts: Counter[str] = Counter()
    load_rule(kernel_audit, LOOK_UP_RULE)
    with open_data_socket(multicast=True, receive_buffer_bytes=4096).socket as listener:
        receiver = BatchReceiver(listener.fileno(), lambda name, amount: counts.update({name: amount}))
        with look_up(0, 2000) as loading:
            loading.wait()
        list(iter(receiver.receive, None))
        with look_up(777_777, 777_778):
            batches = collect(receiver, b"/nowhere/777777", wait_until)
        receiver.close()

    assert counts["enobufs_total"] >= 1
    assert batches


def numbers_of(texts: list[bytes]) -> list[int]:
    return [int(match[1]) for match in map(NAME.search, texts) if match]


def test_a_reader_that_is_stopped_for_four_seconds_loses_nothing(kernel_audit, kernel_socket, start_process, router):
    load_rule(kernel_audit, LOOK_UP_RULE)
    reader = start_process(kernel_socket)
    with look_up(0, 6001, per_second=1000) as loading:
        router.serve_until(partial(router.has, b"/nowhere/1000"))
        os.kill(reader.pid, signal.SIGSTOP)
        loading.wait()
        os.kill(reader.pid, signal.SIGCONT)
        router.serve_until(partial(router.has, b"/nowhere/6000"))

    assert numbers_of(router.texts) == list(range(6001))


def test_a_reader_killed_again_and_again_under_load_loses_at_most_what_it_had_in_hand(
    kernel_audit, kernel_socket, start_process, router
):
    load_rule(kernel_audit, LOOK_UP_RULE)
    kills, look_ups = 5, 20_000
    with look_up(0, look_ups + 1, per_second=4000):
        for kill in range(kills):
            reader = start_process(kernel_socket)
            router.serve_until(partial(router.has, b"/nowhere/%d" % (500 + kill * 2000)))
            reader.kill()
            reader.wait()
        start_process(kernel_socket)
        router.serve_until(partial(router.has, b"/nowhere/%d" % look_ups))
    numbers = numbers_of(router.texts)

    assert numbers == sorted(set(numbers))
    assert len(numbers) > look_ups - kills * MOST_RECORDS / RECORDS_PER_LOOK_UP
