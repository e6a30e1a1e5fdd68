"""The reader as a process of its own, on a socket that it inherits, with a router at the other end of the bus."""

import signal
from functools import partial

from auditline.workers.audit.netlink import MOST_RECORDS
from auditline.workers.common.batch import BatchKind
from auditline.workers.common.counters import read_pages


def send_patiently(wire, router, serial: int) -> None:
    while True:
        try:
            wire.send(1300, b"audit(1.000:%d):" % serial)
        except BlockingIOError:
            router.serve(0.01)
        else:
            return


def serials_at(router) -> list[int]:
    return [int(text.split(b":")[1][:-1]) for text in router.texts]


def has_more_than(router, batches: int) -> bool:
    return len(router.payloads) > batches


def has_begun(router) -> bool:
    return bool(router.kinds == [BatchKind.START])


def test_kill_9_of_a_reader_costs_at_most_the_batch_in_its_hands(start_process, router, wire, tmp_path):
    kills, per_kill = 4, 5000
    reader = start_process(wire.reader, "anybody")
    for kill in range(kills):
        for serial in range(kill * per_kill, (kill + 1) * per_kill):
            send_patiently(wire, router, serial)
            if serial % 100 == 0:
                router.serve(0)
        router.serve_until(partial(has_more_than, router, len(router.payloads)))
        reader.kill()
        reader.wait()
        reader = start_process(wire.reader, "anybody")
    send_patiently(wire, router, kills * per_kill)
    router.serve_until(partial(router.has, b":%d)" % (kills * per_kill)))

    reader.send_signal(signal.SIGTERM)
    router.serve_until(lambda: router.is_finished)
    reader.wait(5)
    counters = read_pages(tmp_path)["audit"]
    serials = serials_at(router)

    missing = kills * per_kill + 1 - len(serials)
    assert serials == sorted(set(serials))
    assert 0 <= missing <= kills * MOST_RECORDS
    assert counters["records_received_total"] - len(serials) in range(missing + 1)
    assert reader.returncode == 0


def test_the_end_of_a_reader_hands_over_what_the_kernel_still_had(start_process, router, wire):
    reader = start_process(wire.reader, "anybody")
    router.serve_until(partial(has_begun, router))
    for serial in range(3000):
        send_patiently(wire, router, serial)

    reader.send_signal(signal.SIGTERM)
    router.serve_until(lambda: router.is_finished)

    assert reader.wait(5) == 0
    assert serials_at(router) == list(range(3000))


def test_what_a_dead_router_has_not_taken_waits_in_the_journal(start_process, open_router, wire):
    start_process(wire.reader, "anybody")
    router = open_router()
    router.serve_until(partial(has_begun, router))
    router.close()
    for serial in range(1000):
        wire.send(1300, b"audit(1.000:%d):" % serial)

    successor = open_router()
    successor.serve_until(partial(successor.has, b":999)"))

    assert serials_at(successor) == list(range(1000))


def test_a_second_reader_on_the_same_journal_says_so_and_ends(start_process, router, wire, tmp_path):
    start_process(wire.reader, "anybody")
    router.serve_until(partial(has_begun, router))

    _, errors = start_process(wire.reader, "anybody").communicate(timeout=10)

    assert f"BusyError: journal {tmp_path}/journal/audit is in use by another process" in errors
