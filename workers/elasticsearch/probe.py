"""`auditline test output` for Elasticsearch: creates one document, and says in plain words what came of it."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from secrets import token_hex
from typing import NamedTuple

from auditline.plugins.outputs.elasticsearch import data_stream
from auditline.workers.common.host import host_name
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.elasticsearch.answers import Answer, Verdict, read_answers
from auditline.workers.elasticsearch.client import RequestFailed, Server
from auditline.workers.elasticsearch.documents import ids_query

MOST_SECONDS = 10.0
"""Nobody waits longer for an answer to a probe."""
_ADVICE = "with the rights read and maintenance no event comes twice after a kill and a rollover"


class Probe(NamedTuple):
    """What came of it."""

    is_good: bool
    text: str


def probe_elasticsearch(output: ElasticsearchSettings, host: str) -> Probe:
    """Create a document in the data stream of health events, where it hurts nobody, by each of the hosts.

    *host*, our own, begins its id.
    """
    timeout_seconds = min(MOST_SECONDS, output.request_timeout_seconds)
    ones = [replace(output, hosts=(url,), request_timeout_seconds=timeout_seconds) for url in output.hosts]
    probes = [_probe_one(one, host) for one in ones]
    return Probe(all(probe.is_good for probe in probes), "; ".join(probe.text for probe in probes))


def _probe_one(output: ElasticsearchSettings, host: str) -> Probe:
    stream, server = data_stream(output, "health"), Server(output)
    try:
        answers = read_answers(server.bulk(_body(stream, host)), 1)
        return _judge(output, stream, answers[0], server)
    except RequestFailed as error:
        return Probe(is_good=False, text=_explain(output, stream, error.status, error.reason))
    except ValueError as error:
        return Probe(is_good=False, text=f"{output.hosts[0]} answers, but not as Elasticsearch does: {error}")
    finally:
        server.close()


def _body(stream: str, host: str) -> bytes:
    identity = f"{host}-probe-{token_hex(4)}-1"
    document = {
        "@timestamp": timestamp_of_ns(time.time_ns()),
        "event": {"id": identity, "kind": "metric", "dataset": "auditline.health", "action": "probe"},
        "host": {"name": host_name()},
        "message": "auditline test output",
        "auditline": {"complete": True},
    }
    action = {"create": {"_index": stream, "_id": identity}}
    return f"{json.dumps(action)}\n{json.dumps(document)}\n".encode()


def _judge(output: ElasticsearchSettings, stream: str, answer: Answer, server: Server) -> Probe:
    if answer.verdict is not Verdict.STORED:
        return Probe(is_good=False, text=_explain(output, stream, answer.status, answer.reason))
    rights = "" if _can_look_up(stream, server) else f", but lets us not look up what it has: {_ADVICE}"
    return Probe(is_good=True, text=f"{output.hosts[0]} has taken a probe document into {stream}{rights}")


def _can_look_up(stream: str, server: Server) -> bool:
    """Say whether we have the rights without which an event may come twice."""
    try:
        server.refresh(stream)
        server.find(stream, ids_query([b"auditline-probe"]))
    except RequestFailed:
        return False
    return True


def _explain(output: ElasticsearchSettings, stream: str, status: int, reason: str) -> str:
    """Return one line: what the server says, what that means, and what helps."""
    if not status:
        return f"{output.hosts[0]} cannot be asked: {reason}; {_remedy_of_silence(output, reason)}"
    return f"{output.hosts[0]} says {status}: {_meaning(output, stream, status)} ({reason})"


def _meaning(output: ElasticsearchSettings, stream: str, status: int) -> str:
    known: Mapping[int, str] = {
        400: f"it does not take our documents; look whether a template of others holds for {stream}",
        401: f"it does not know us; check {_secret(output)}, and that the key has not expired",
        403: f"we may not write there; give {_who(output)} create_doc on {stream}",
        404: f"{stream} has no template; `auditline setup elasticsearch` installs it",
        413: "it takes no requests of that size; raise http.max_content_length or lower bulk_bytes",
        429: "it is overloaded; events wait and are sent when it takes them",
    }
    if status == 200:
        return "what answers there is not Elasticsearch"
    if status in known:
        return known[status]
    return "it has trouble of its own; events wait until it is well" if status >= 500 else "it refuses the request"


def _remedy_of_silence(output: ElasticsearchSettings, reason: str) -> str:
    text = reason.lower()
    return next(remedy for words, remedy in _silences(output) if any(word in text for word in words))


def _silences(output: ElasticsearchSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what an error's text says, in the words of OpenSSL, urllib3 and the C library, and what helps."""
    yield ("_file ", "_env: "), "put the secret there"
    yield ("no such file", "can be made with"), "name files that are there and hold what they are named for"
    yield ("fingerprint",), "ca_fingerprint must be the SHA-256 of the server's certificate"
    yield (
        ("hostname mismatch", "doesn't match", "ip address mismatch"),
        ("the certificate is for another name: use that in hosts, or set verify_host_name to false"),
    )
    yield ("certificate has expired",), "renew the server's certificate"
    yield (
        ("certificate required", "bad certificate", "handshake failure"),
        ("it may want a certificate from us: set client_certificate and client_key"),
    )
    yield (
        ("certificate verify failed", "self-signed", "self signed"),
        (f"its certificate is not trusted: name the authority's certificate in ca_file{_present(output.ca_file)}"),
    )
    yield ("wrong version number", "record layer failure"), "it speaks no TLS there: hosts must begin with http://"
    yield ("refused",), "nothing listens there: check host and port in hosts, and that the server runs"
    yield ("name or service not known", "name resolution", "resolve"), "its name is unknown here: check hosts and DNS"
    yield ("timed out", "timeout"), "check hosts, and the firewall in between"
    yield (
        ("remotedisconnected", "connection aborted", "reset by peer"),
        ("it has hung up: where it speaks TLS, hosts must begin with https://"),
    )
    yield ("",), "check hosts and the network in between"


def _present(ca_file: str) -> str:
    return f" (now {ca_file})" if ca_file else ""


def _secret(output: ElasticsearchSettings) -> str:
    for name in ("api_key_file", "api_key_env", "bearer_file", "bearer_env", "password_file", "password_env"):
        if value := getattr(output, name):
            return f"{name} = {value}"
    return "api_key_file: no secret is configured"


def _who(output: ElasticsearchSettings) -> str:
    if output.api_key_file or output.api_key_env:
        return "the API key"
    return f"the user {output.username}" if output.username else "whoever we are there"
