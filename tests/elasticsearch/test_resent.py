"""Dead letters that are given back arrive at a real server, each once, or come back with its new reason."""

import random
import re
import time

import pytest

from auditline.workers.common.counters import read_page
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.resending import give_back, list_letters
from auditline.workers.elasticsearch.worker import RESENT

SETTINGS = ElasticsearchSettings(name="es")


def ids_of(numbers):
    return [f"h-{number:06}" for number in numbers]


@pytest.fixture
def expect(node, sending):
    """Let the server expect another type in the field `n` from now on."""

    def change(kind):
        mappings = {"properties": {"n": {"type": kind}, "event": {"properties": {"id": {"type": "keyword"}}}}}
        template = {
            "index_patterns": [sending.stream],
            "data_stream": {},
            "priority": 300,
            "template": {"settings": {"number_of_replicas": 0}, "mappings": mappings},
        }
        node.ask("PUT", f"/_index_template/{sending.namespace}", template)
        node.ask("POST", f"/{sending.stream}/_rollover")

    return change


@pytest.fixture
def letters(sending):
    """Return the ids of the dead letters, and the types that the server's reasons name."""

    def read():
        kept = [each.letter for each in list_letters(sending.state, "es")]
        reasons = " ".join(letter.reason for letter in kept)
        return sorted(letter.event_id for letter in kept), set(re.findall(r"of type \[(\w+)\]", reasons))

    return read


def test_what_the_server_takes_now_arrives_once_and_is_kept_no_more(sending, expect, letters, wait_until):
    sending.write(0, 20)
    sending.write(20, 40, n="no number")
    sending.start()
    wait_until(sending.is_done, 60)
    refused, _ = letters()
    expect("keyword")

    given_back = give_back(sending.state, SETTINGS)

    wait_until(lambda: letters() == ([], set()), 60)
    assert (refused, given_back.documents) == (ids_of(range(20, 40)), 20)
    wait_until(lambda: read_page(sending.state, "sender")[RESENT] == 20, 10)
    assert sending.ids() == ids_of(range(40))


def test_what_is_refused_again_comes_back_with_the_new_reason(sending, expect, letters, wait_until):
    sending.write(0, 1)
    sending.write(1, 4, n="no number")
    sending.start()
    wait_until(sending.is_done, 60)
    before = letters()
    expect("boolean")

    give_back(sending.state, SETTINGS)

    wait_until(lambda: letters()[1] == {"boolean"}, 60)
    assert before == (ids_of(range(1, 4)), {"long"})
    assert letters()[0] == ids_of(range(1, 4))
    assert sending.ids() == ids_of(range(1))


def test_what_is_given_back_while_nobody_runs_is_sent_at_the_next_start(sending, expect, letters, wait_until):
    sending.write(0, 1)
    sending.write(1, 4, n="no number")
    sending.start()
    wait_until(sending.is_done, 60)
    sending.kill()
    expect("keyword")
    give_back(sending.state, SETTINGS)
    before = letters()[0]

    sending.start()

    wait_until(lambda: letters() == ([], set()), 60)
    assert before == ids_of(range(1, 4))
    assert sending.ids() == ids_of(range(4))


@pytest.mark.soak
def test_whoever_is_killed_while_they_are_sent_again_each_is_stored_or_kept_once(
    sending, node, expect, letters, wait_until
):
    sending.write(0, 1)
    for first in range(1, 2001, 20):
        sending.write(first, first + 10, n="true")
        sending.write(first + 10, first + 20, n="neither")
    stored, kept = ([number for number in range(1, 2001) if ((number - 1) // 10) % 2 == half] for half in (0, 1))
    sending.start(bulk_documents=200)
    wait_until(sending.is_done, 60)
    sending.kill()
    expect("boolean")
    chance = random.Random(11)

    for round_ in range(12):
        sending.start(bulk_documents=50)
        time.sleep(chance.uniform(0.5, 0.8))
        give_back(sending.state, SETTINGS)
        # The moment is the point of it: anywhere in what it does then.
        time.sleep(chance.uniform(0.0, 0.7))
        sending.kill()
        if round_ % 4 == 3:
            node.ask("POST", f"/{sending.stream}/_rollover")
    sending.start()
    wait_until(lambda: not any(each.is_waiting for each in list_letters(sending.state, "es")), 90)

    assert letters()[0] == ids_of(kept)
    assert sending.ids() == ids_of([0, *stored])
