"""Every event arrives, and none twice, at a real server; whoever is killed."""

import json
import random
import signal
import time

import pytest

from auditline.plugins.outputs.elasticsearch import dead_letter_directory


def ids_of(first, last):
    return [f"h-{number:06}" for number in range(first, last)]


def test_events_arrive_and_the_cursor_follows(sending, wait_until):
    sending.write(0, 2000)
    sending.start()
    wait_until(sending.is_done, 60)
    sending.write(2000, 2500)
    sending.write(2500, 3000, counter=2)

    wait_until(sending.is_done, 60)

    assert sending.ids() == ids_of(0, 3000)


def test_the_sender_killed_at_any_moment_and_rollovers_lose_and_double_nothing(sending, node, wait_until):
    chance = random.Random(7)
    for round_ in range(8):
        sending.write(round_ * 1000, (round_ + 1) * 1000, counter=round_ + 1)
        sending.start()
        # The moment is the point of it: anywhere in what it does then.
        time.sleep(chance.uniform(0.4, 1.4))
        sending.kill()
        if round_ % 2 and sending.has_stream():
            node.ask("POST", f"/{sending.stream}/_rollover")
    sending.start()

    wait_until(sending.is_done, 90)

    assert sending.ids() == ids_of(0, 8000)


@pytest.mark.soak
def test_a_server_that_is_killed_and_comes_back_has_everything_once(sending, node, wait_until):
    sending.write(0, 5000)
    sending.start()
    wait_until(lambda: cursor_exists(sending), 60)
    node.kill()
    sending.write(5000, 6000, counter=2)
    node.start()

    wait_until(sending.is_done, 90)

    assert sending.ids() == ids_of(0, 6000)


def cursor_exists(sending):
    return (sending.state / "outputs/es/audit.cursor").exists()


def test_a_block_holds_the_cursor_until_it_is_lifted(sending, node, wait_until):
    sending.write(0, 10)
    sending.start()
    wait_until(sending.is_done, 60)
    block(node, sending, on=True)
    sending.write(10, 20)
    wait_until(lambda: "documents wait" in sending.log.read_text(), 30)
    before = sending.is_done()
    block(node, sending, on=False)

    wait_until(sending.is_done, 60)

    assert not before
    assert sending.ids() == ids_of(0, 20)


def block(node, sending, *, on):
    node.ask("PUT", f"/{sending.stream}/_settings", {"index.blocks.read_only_allow_delete": on or None})


def test_what_the_server_can_never_take_is_a_dead_letter_with_its_reason(sending, wait_until):
    sending.write(0, 50)
    sending.write(50, 51, n="no number")
    sending.write(51, 100)
    sending.start()

    wait_until(sending.is_done, 60)

    [letters] = dead_letter_directory(sending.state, "es").iterdir()
    [letter] = [json.loads(line) for line in letters.read_text().splitlines()]
    assert letter["event"]["id"] == "h-000050"
    assert letter["document"]["n"] == "no number"
    assert letter["auditline"]["dead_letter"]["status"] == 400
    assert "failed to parse field [n]" in letter["auditline"]["dead_letter"]["reason"]
    assert sending.ids() == ids_of(0, 50) + ids_of(51, 100)


def test_no_plain_index_is_made_where_the_template_is_missing(sending, node, wait_until):
    sending.write(0, 10)
    sending.start(data_stream="logs-untemplated.{kind}-{namespace}")

    wait_until(lambda: "documents wait" in sending.log.read_text(), 60)

    assert not sending.is_done()
    assert sending.log.read_text().count("documents wait") == 1
    indices = node.ask("GET", "/_resolve/index/logs-untemplated*")
    assert (indices["indices"], indices["data_streams"]) == ([], [])


def test_sigterm_ends_a_sender_though_the_server_does_not_answer(sending, wait_until):
    sending.write(0, 10)
    # Nobody answers there.
    sending.start(hosts=("http://192.0.2.1:9200",))
    wait_until(lambda: cursor_exists(sending), 60)
    began = time.monotonic()

    sending.kill(signal.SIGTERM)

    assert time.monotonic() - began < 5
