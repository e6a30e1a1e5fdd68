"""Servers that take little at a time: everything arrives none the less, but for what is too much by itself."""

import json
import threading

import pytest

from auditline.workers.elasticsearch.resending import list_letters

# Each server takes half a minute to start, on a busy machine minutes.
pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

WAITING = "documents wait"
OTHERS = 8


def ids_of(first, last):
    return [f"h-{number:06}" for number in range(first, last)]


@pytest.fixture
def limited(request, server_folder, make_node):
    """A server with the settings that the test's parameter names."""
    folder = server_folder / request.node.name.partition("[")[0]
    folder.mkdir()
    made = make_node(folder, request.param)
    try:
        made.start()
        template = {"index_patterns": ["logs-*"], "data_stream": {}, "priority": 250, "template": {}}
        made.ask("PUT", "/_index_template/auditline-tests", template)
        yield made
    finally:
        made.stop()


@pytest.fixture
def sending(limited, make_sending, tmp_path):
    made = make_sending(limited, tmp_path)
    yield made
    made.end()


@pytest.mark.parametrize("limited", ["indexing_pressure.memory.limit: 2mb\n"], indirect=True)
def test_requests_that_are_too_much_for_the_server_s_memory_become_smaller(sending, wait_until):
    sending.write(0, 10_000, pad=500 * "x")
    sending.start(bulk_documents=10_000)

    wait_until(sending.is_done, 120)

    assert f"{WAITING} until the server takes them: 429 " in sending.log.read_text()
    assert sending.ids() == ids_of(0, 10_000)


@pytest.mark.parametrize("limited", ["thread_pool.write.size: 1\nthread_pool.write.queue_size: 1\n"], indirect=True)
def test_documents_that_find_no_place_in_the_queue_are_sent_again(sending, limited, wait_until):
    sending.write(0, 10_000)
    with Others(limited):
        sending.start(bulk_documents=100)
        wait_until(lambda: "429 es_rejected_execution_exception" in sending.log.read_text(), 120)

    wait_until(sending.is_done, 120)

    assert sending.ids() == ids_of(0, 10_000)


class Others:
    """Keep a server busy."""

    def __init__(self, node):
        self._node = node
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._post) for _ in range(OTHERS)]

    def _post(self):
        document = {"@timestamp": "2026-01-01T00:00:00.000Z", "text": 100 * "word "}
        body = f'{{"create":{{}}}}\n{json.dumps(document)}\n' * 1000
        while not self._is_over.is_set():
            self._node.ask("PUT", "/logs-others/_bulk?filter_path=errors", body)

    def __enter__(self):
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_):
        self._is_over.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("limited", ["http.max_content_length: 1mb\n"], indirect=True)
def test_a_document_that_is_too_large_by_itself_is_a_dead_letter_and_those_beside_it_arrive(sending, wait_until):
    sending.write(0, 3000, pad=500 * "x")
    sending.write(3000, 3001, pad=2_000_000 * "x")
    sending.write(3001, 6000, pad=500 * "x")
    sending.start(bulk_documents=6000)

    wait_until(sending.is_done, 120)

    [letter] = [each.letter for each in list_letters(sending.state, "es")]
    assert (letter.event_id, letter.status, letter.reason) == ("h-003000", 413, "HTTP status 413")
    assert sending.ids() == ids_of(0, 3000) + ids_of(3001, 6000)
