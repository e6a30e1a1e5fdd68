"""What is known of a request that came to nothing; without a server."""

import socket

import pytest

from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.client import RequestFailed, Server


@pytest.fixture
def closed_port():
    with socket.socket() as bound:
        # Bound and not listening: nobody else can take it meanwhile.
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def failure(**settings):
    server = Server(ElasticsearchSettings(name="es", **settings), {})
    with pytest.raises(RequestFailed) as told:
        server.ask("GET", "/")
    server.close()
    return told.value


@pytest.mark.parametrize("hosts", [1, 3])
def test_where_nobody_listens_nothing_can_have_been_done(hosts, closed_port):
    error = failure(hosts=(f"http://127.0.0.1:{closed_port}",) * hosts)

    assert (error.status, error.was_answered, error.was_sent) == (0, False, False)
    assert "Connection refused" in error.reason


@pytest.mark.parametrize("name", ["api_key", "bearer", "password"])
@pytest.mark.parametrize("source", ["file", "env"])
def test_a_secret_that_is_not_there_is_named(name, source, closed_port):
    key = f"{name}_{source}"

    error = failure(hosts=(f"http://127.0.0.1:{closed_port}",), **{key: "/nowhere/secret"})

    assert key in error.reason
    assert "/nowhere/secret" in error.reason
    assert not error.was_sent


def test_who_hangs_up_may_have_done_it():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        error = failure(hosts=(f"http://127.0.0.1:{listening.getsockname()[1]}",), request_timeout_seconds=0.1)

    assert (error.status, error.was_answered, error.was_sent) == (0, False, True)


def test_a_key_with_a_password_asks_nobody_for_it(tmp_path, closed_port):
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")

    error = failure(hosts=(f"https://127.0.0.1:{closed_port}",), client_certificate=str(key))

    assert str(key) in error.reason
    assert not error.was_sent
