import ctypes
import errno
import logging
import os
import signal
import socket
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditline.workers.audit.netlink import (
    LONGEST_PAYLOAD_BYTES,
    MOST_RECORDS,
    PlainReceiver,
    Received,
    Receiver,
    is_record_type,
    open_data_socket,
    receive_buffer_bytes,
)
from auditline.workers.audit.recvmmsg import BatchReceiver, make_receiver
from auditline.workers.common.errors import KernelError

RECEIVERS = pytest.mark.parametrize("kind", [BatchReceiver, PlainReceiver])


def drain(receiver: Receiver) -> list[Received]:
    return list(iter(receiver.receive, None))


@RECEIVERS
def test_records_come_in_order_with_their_types(kind, wire):
    receiver = wire.receiver(kind)
    wire.send(1300, b"audit(1700000000.001:1): arch=c000003e")
    wire.send(1307, b'audit(1700000000.001:1): cwd="/"')

    received = receiver.receive()

    assert received == Received(
        types=b"\x14\x05\x1b\x05",
        payload=b'audit(1700000000.001:1): arch=c000003e\0audit(1700000000.001:1): cwd="/"',
        count=2,
        is_full=False,
    )
    assert receiver.receive() is None


@RECEIVERS
def test_a_batch_holds_256_records_and_says_that_more_may_wait(kind, wire):
    receiver = wire.receiver(kind)
    for serial in range(MOST_RECORDS + 3):
        wire.send(1320, b"audit(1700000000.001:%d): " % serial)

    batches = drain(receiver)

    assert [(batch.count, batch.is_full) for batch in batches] == [(256, True), (3, False)]
    assert batches[1].payload.split(b"\0")[0] == b"audit(1700000000.001:256): "


@RECEIVERS
def test_the_longest_record_comes_whole(kind, wire):
    receiver = wire.receiver(kind)
    text = b"audit(1700000000.001:1): " + b"a1=" + b"x" * (LONGEST_PAYLOAD_BYTES - 28)
    wire.send(1309, text)
    wire.send(1309, b"audit(1700000000.001:1): a2=y")

    received = receiver.receive()

    assert received.payload.split(b"\0") == [text, b"audit(1700000000.001:1): a2=y"]
    assert not wire.counts


@RECEIVERS
def test_a_record_longer_than_the_kernel_makes_them_is_kept_without_its_end(kind, wire):
    receiver = wire.receiver(kind)
    wire.send(1309, b"x" * (LONGEST_PAYLOAD_BYTES + 10))

    received = receiver.receive()

    assert received.payload == b"x" * LONGEST_PAYLOAD_BYTES
    assert wire.counts == {"truncated_total": 1}


@RECEIVERS
def test_a_message_from_another_process_is_dropped_counted_and_told(kind, wire, caplog):
    receiver = wire.receiver(kind, kernel_only=True)
    wire.send(1300, b"audit(1700000000.001:1): forged")

    received = receiver.receive()

    assert received == Received(b"", b"", 0, is_full=False)
    assert wire.counts == {"spoofed_total": 1}
    assert f"netlink port {wire.sender.getsockname()[0]}" in caplog.text


@RECEIVERS
def test_acknowledgements_and_answers_about_status_are_no_records(kind, wire):
    receiver = wire.receiver(kind)
    for message_type in (2, 3, 1000, 1013, 1019):
        wire.send(message_type, b"\0\0\0\0")
    wire.send(1006, b"audit(1700000000.001:1): login")

    received = receiver.receive()

    assert received == Received(b"\xee\x03", b"audit(1700000000.001:1): login", 1, is_full=False)


@RECEIVERS
def test_another_daemon_that_tries_to_take_over_is_told(kind, wire, caplog):
    receiver = wire.receiver(kind)
    wire.send(1329, (4711).to_bytes(4, "little"))

    received = receiver.receive()

    assert received.count == 0
    assert wire.counts == {"rival_claims_total": 1}
    assert "another audit daemon (pid 4711)" in caplog.text


@RECEIVERS
def test_a_datagram_without_a_whole_header_is_counted(kind, wire):
    receiver = wire.receiver(kind)
    wire.send_raw(b"\x08\0\0\0\x14\x05\0")
    wire.send(1300, b"audit(1700000000.001:1): good")

    received = receiver.receive()

    assert received.payload == b"audit(1700000000.001:1): good"
    assert wire.counts == {"short_datagrams_total": 1}


@RECEIVERS
@pytest.mark.parametrize("end", [b"\0", b"\n", b"\n\0"])
def test_what_old_kernels_put_at_the_end_goes(kind, end, wire):
    receiver = wire.receiver(kind)
    wire.send(1300, b"audit(1700000000.001:1): one" + end)
    wire.send(1307, b"audit(1700000000.001:1): two" + end)

    received = receiver.receive()

    assert received.payload == b"audit(1700000000.001:1): one\0audit(1700000000.001:1): two"
    assert not wire.counts


@RECEIVERS
def test_a_nul_inside_a_text_never_makes_two_records_of_one(kind, wire):
    receiver = wire.receiver(kind)
    wire.send(1300, b'audit(1700000000.001:1): comm="a\0b"')

    received = receiver.receive()

    assert received.payload == b'audit(1700000000.001:1): comm="a?b"'
    assert wire.counts == {"replaced_nul_total": 1}


@pytest.mark.parametrize("empty_at", [0, 1, 2])
@RECEIVERS
def test_an_empty_text_keeps_its_place(kind, empty_at, wire):
    receiver = wire.receiver(kind)
    texts = [b"audit(1700000000.001:1): x"] * 3
    texts[empty_at] = b""
    for text in texts:
        wire.send(1320, text)

    received = receiver.receive()

    assert received.payload.split(b"\0") == texts
    assert received.count == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(datagrams=st.lists(st.binary(min_size=1, max_size=60) | st.binary(min_size=1, max_size=9100), max_size=20))
def test_both_receivers_make_the_same_of_any_datagrams(datagrams, wire):
    fast = wire.receiver(BatchReceiver)
    plain = wire.receiver(PlainReceiver)
    results = []
    for receiver in (fast, plain):
        wire.counts.clear()
        for datagram in datagrams:
            wire.send_raw(datagram)
        results.append((drain(receiver), dict(wire.counts)))

    assert results[0] == results[1]
    for received in results[0][0]:
        assert len(received.types) == 2 * received.count
        assert received.payload.count(b"\0") == max(0, received.count - 1)


@RECEIVERS
def test_unix_datagrams_serve_as_well_where_no_kernel_is_at_hand(kind):
    reader, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver = kind(reader.fileno(), lambda _name, _amount: None, kernel_only=False)
    sender.send(b"\0\0\0\0\x14\x05" + b"\0" * 10 + b"audit(1.000:1): x")

    received = receiver.receive()

    assert received.payload == b"audit(1.000:1): x"
    for opened in (receiver, reader, sender):
        opened.close()


@RECEIVERS
def test_a_full_socket_buffer_is_counted_and_reading_goes_on(kind, group_wire, needs_root, caplog):
    receiver = group_wire.receiver(kind)
    for serial in range(100):
        group_wire.send(1300, b"audit(1.000:%d): x" % serial)

    batches = drain(receiver)
    group_wire.send(1300, b"audit(1.000:999): x")
    after = drain(receiver)

    assert 0 < sum(batch.count for batch in batches) < 100
    assert group_wire.counts == {"enobufs_total": 1}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert after[0].payload == b"audit(1.000:999): x"


@RECEIVERS
def test_signals_do_not_disturb_reading(kind, wire):
    receiver = wire.receiver(kind)
    caught = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
    stop = threading.Event()

    def bombard() -> None:
        while not stop.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)

    bomber = threading.Thread(target=bombard)
    bomber.start()
    try:
        received = 0
        for serial in range(3000):
            wire.send(1320, b"audit(1.000:%d): " % serial)
            received += sum(batch.count for batch in drain(receiver))
    finally:
        stop.set()
        bomber.join()
        signal.signal(signal.SIGUSR1, previous)

    assert received == 3000
    assert caught


def test_an_interrupted_call_is_made_again(wire, monkeypatch):
    receiver = wire.receiver(BatchReceiver)
    wire.send(1320, b"audit(1.000:1): ")
    real = receiver._recvmmsg
    answers = iter([errno.EINTR, errno.EINTR])

    def interrupted(*arguments):
        error_number = next(answers, 0)
        if error_number:
            ctypes.set_errno(error_number)
            return -1
        return real(*arguments)

    monkeypatch.setattr(receiver, "_recvmmsg", interrupted)

    assert receiver.receive().count == 1


def test_a_descriptor_that_is_no_socket_is_an_error_that_says_so(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        receiver = BatchReceiver(file.fileno(), lambda _name, _amount: None)

        with pytest.raises(KernelError, match="read the audit socket: Socket operation on non-socket"):
            receiver.receive()


def test_repeated_drops_are_told_first_and_then_every_thousandth_time(wire, caplog):
    receiver = wire.receiver(make_receiver, kernel_only=True)
    for _ in range(1500):
        wire.send(1300, b"forged")

    drain(receiver)

    assert wire.counts == {"spoofed_total": 1500}
    assert [text.rsplit("(", 1)[1] for text in caplog.messages] == ["1 times so far)", "1000 times so far)"]


@pytest.mark.parametrize(
    ("message_type", "is_record"),
    [
        (2, False),
        (1000, False),
        (1005, True),
        (1006, True),
        (1010, False),
        (1100, True),
        (1329, False),
        (1335, True),
        (2000, True),
        (65535, True),
    ],
)
def test_which_netlink_messages_are_records(message_type, is_record):
    assert is_record_type(message_type) is is_record


def test_the_audit_socket_gets_the_large_buffer_and_is_not_given_to_commands(needs_root):
    data_socket = open_data_socket(multicast=False)

    with data_socket.socket as opened:
        assert data_socket.receive_buffer_bytes == 64 * 1024 * 1024
        assert receive_buffer_bytes(opened.fileno()) == 64 * 1024 * 1024
        assert not opened.get_inheritable()


def test_without_the_privilege_the_buffer_is_what_the_system_allows(monkeypatch):
    real = socket.socket.setsockopt

    def refuse_force(self, level, option, value):
        if option == 33:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(self, level, option, value)

    monkeypatch.setattr(socket.socket, "setsockopt", refuse_force)
    data_socket = open_data_socket(multicast=False)

    with data_socket.socket, open("/proc/sys/net/core/rmem_max") as file:
        assert data_socket.receive_buffer_bytes == min(64 * 1024 * 1024, int(file.read()))


def test_joining_the_multicast_group_without_its_capability_says_so(needs_root):
    child = os.fork()
    if child == 0:
        os.setresuid(65534, 65534, 65534)
        try:
            open_data_socket(multicast=True)
        except KernelError as error:
            os._exit(0 if "audit multicast group: Operation not permitted" in str(error) else 2)
        os._exit(3)

    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
