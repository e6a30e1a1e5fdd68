"""A document that a real server will never take is kept as a dead letter; what is wrong with requests never is."""

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from auditline.plugins.outputs.elasticsearch import dead_letter_directory
from auditline.plugins.outputs.positions import Position
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.dead_letters import DELETED, DeadLetters
from auditline.workers.elasticsearch.documents import Document, dead_letter
from auditline.workers.elasticsearch.resending import give_back, list_letters

SETTINGS = ElasticsearchSettings(name="es")
WAITING = "documents wait"
LONG_ID = 600 * "x"
"""The server refuses a whole request because of one id that is longer than 512 bytes."""


class Between(ThreadingHTTPServer):
    """Passes requests on to a server, with some headers put in place of what was sent."""

    daemon_threads = True

    def __init__(self, node):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.node = node
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.headers: dict[str, str] = {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Between

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        sent = {name: self.headers[name] for name in ("accept", "content-type")}
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.node.port)
        upstream.request(self.command, self.path, body, {**sent, **self.server.headers})
        response = upstream.getresponse()
        answer = response.read()
        upstream.close()
        self.send_response(response.status)
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def between(node):
    server = Between(node)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ids_of(first, last):
    return [f"h-{number:06}" for number in range(first, last)]


def kept(sending):
    return [each.letter for each in list_letters(sending.state, "es") if not each.is_waiting]


def test_what_spoils_every_request_holds_the_documents_and_costs_none(sending, between, wait_until):
    # It does not go with the version that the content-type says.
    between.headers = {"accept": "application/json"}
    sending.write(0, 50)
    sending.start(hosts=(between.url,))
    wait_until(lambda: f"{WAITING} until the server takes them: 400 " in sending.log.read_text(), 60)
    between.headers = {}

    wait_until(sending.is_done, 60)

    assert kept(sending) == []
    assert sending.ids() == ids_of(0, 50)


@pytest.mark.parametrize("pad", [10, 100_000])
def test_one_document_that_spoils_its_request_is_a_dead_letter_and_those_beside_it_arrive(sending, wait_until, pad):
    sending.write(0, 20, pad=pad * "x")
    give_letters(sending, [LONG_ID, *ids_of(20, 40)])
    sending.start()

    wait_until(sending.is_done, 60)
    wait_until(lambda: not any(each.is_waiting for each in list_letters(sending.state, "es")), 60)

    [letter] = kept(sending)
    assert letter.event_id == LONG_ID
    assert "is too long" in letter.reason
    assert sending.ids() == ids_of(0, 40)


def give_letters(sending, ids):
    directory = dead_letter_directory(sending.state, "es")
    letters = DeadLetters(directory, 1024**2, CounterPage.unshared((DELETED,)))
    line = json.dumps({"@timestamp": "2026-01-01T00:00:00.000Z"}).encode() + b"\n"
    documents = [Document(sending.stream, event_id.encode(), line, Position("", 0)) for event_id in ids]
    letters.append(dead_letter(each, 400, "", "2026-01-01T00:00:00.000Z") for each in documents)
    letters.close()
    give_back(sending.state, SETTINGS)


def test_a_conflict_in_every_hundredth_document_costs_no_other(sending, wait_until):
    for first in range(0, 2000, 100):
        sending.write(first, first + 99)
        sending.write(first + 99, first + 100, n="no number")
    sending.start()

    wait_until(sending.is_done, 60)

    refused = ids_of(99, 2000)[::100]
    assert [letter.event_id for letter in kept(sending)] == refused
    assert sending.ids() == sorted({*ids_of(0, 2000)} - {*refused})


def test_a_document_of_two_megabytes_arrives(sending, wait_until):
    sending.write(0, 3, pad=2_000_000 * "x")
    sending.start()

    wait_until(sending.is_done, 60)

    assert sending.ids() == ids_of(0, 3)
