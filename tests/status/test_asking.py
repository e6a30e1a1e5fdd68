"""Asking a service that answers oddly, late, or not at all."""

import json
import socket
import threading
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditline.workers.common.errors import AuditlineError
from auditline.workers.status.asking import NotRunning, ask


@pytest.fixture
def answering(tmp_path):
    """Start something that answers each who asks with some bytes, None: never."""
    with ExitStack() as opened:

        def start(answer):
            (tmp_path / "status.sock").unlink(missing_ok=True)
            listener = opened.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(tmp_path / "status.sock"))
            listener.listen()

            def serve():
                connection, _ = listener.accept()
                opened.callback(connection.close)
                if answer is not None:
                    connection.recv(100)
                    connection.sendall(answer)
                    connection.close()

            threading.Thread(target=serve, daemon=True).start()
            return [tmp_path]

        yield start


def test_the_first_that_runs_is_asked(answering, tmp_path):
    directories = answering(json.dumps({"status": {"pid": 5}, "about": {}}).encode())

    assert ask([tmp_path / "nowhere", *directories])["status"]["pid"] == 5


def test_where_none_runs_that_is_said(tmp_path):
    with pytest.raises(NotRunning, match=r"not running: nobody answers at .*status.sock or .*other") as raised:
        ask([tmp_path, tmp_path / "other"])

    assert int(raised.value.exit) == 3


def test_a_socket_that_a_killed_service_left_is_nobody(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "status.sock"))

    with pytest.raises(NotRunning):
        ask([tmp_path])


def test_who_finds_the_queue_full_waits_for_a_place(tmp_path):
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(tmp_path / "status.sock"))
        listener.listen(0)
        first = opened.enter_context(socket.socket(socket.AF_UNIX))
        first.connect(str(tmp_path / "status.sock"))
        serving = threading.Timer(0.2, _answer_the_second, [listener])
        serving.start()

        answer = ask([tmp_path])
        serving.join()

    assert answer["status"] == {"pid": 5}


def _answer_the_second(listener):
    listener.accept()[0].close()
    connection, _ = listener.accept()
    connection.recv(100)
    connection.sendall(b'{"status": {"pid": 5}, "about": {}}')
    connection.close()


def test_a_service_that_hangs_is_not_waited_for(answering):
    with pytest.raises(AuditlineError, match="does not answer within"):
        ask(answering(None), patience_seconds=0.2)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=50), st.sampled_from([b"{}", b"[]", b'{"status":1}', b"[" * 100_000])))
def test_whatever_else_is_answered_is_told_as_none(answering, answer):
    with pytest.raises(AuditlineError, match=r"the answer of .* bytes is none, or not whole: ask again"):
        ask(answering(answer))
