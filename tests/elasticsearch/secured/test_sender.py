"""What a server with security refuses holds the cursor, is told once, and goes on when it is put right."""

from pathlib import Path

import pytest

# Servers take half a minute each to be fetched and started, on a busy machine minutes.
pytestmark = pytest.mark.soak

WAITING = "documents wait"


@pytest.fixture
def sending(own_namespace, set_up, certificates):
    """A sender whose data streams have their templates."""
    set_up("ecs", own_namespace.namespace)
    own_namespace.settings |= {"ca_file": str(certificates.authority)}
    own_namespace.write(0, 100)
    return own_namespace


def ids_of(first, last):
    return [f"h-{number:06}" for number in range(first, last)]


def test_a_user_with_the_rights_that_are_documented_has_every_event_once(sending, password, secret_file, wait_until):
    sending.start(username="sender", password_file=secret_file(password))

    wait_until(sending.is_done, 60)

    assert sending.ids() == ids_of(0, 100)
    assert WAITING not in sending.log.read_text()


def test_a_wrong_password_is_told_once_and_put_right_without_a_restart(sending, password, secret_file, wait_until):
    sending.start(username="sender", password_file=secret_file("a-wrong-password"))
    wait_until(lambda: WAITING in sending.log.read_text(), 60)
    was_done = sending.is_done()
    secret_file(password)

    wait_until(sending.is_done, 60)

    log = sending.log.read_text()
    assert not was_done
    assert log.count(WAITING) == 1
    assert "401" in log
    assert sending.ids() == ids_of(0, 100)
    for secret in (password, "a-wrong-password"):
        assert secret not in log + seen_by_others(sending.pid)


def test_a_wrong_api_key_is_told_once_and_put_right_without_a_restart(
    sending, open_front, certificates, api_key, secret_file, wait_until
):
    front = open_front(certificates.server)
    sending.start(hosts=(front.url,), api_key_file=secret_file("d3Jvbmc6a2V5"))
    wait_until(lambda: WAITING in sending.log.read_text(), 60)
    was_done = sending.is_done()
    secret_file(api_key)

    wait_until(sending.is_done, 60)

    log = sending.log.read_text()
    assert not was_done
    assert log.count(WAITING) == 1
    assert sending.ids() == ids_of(0, 100)
    for secret in (api_key, "d3Jvbmc6a2V5"):
        assert secret not in log + seen_by_others(sending.pid)


def seen_by_others(pid):
    return "".join(Path(f"/proc/{pid}/{name}").read_text() for name in ("cmdline", "environ"))


def test_who_may_only_create_delivers_at_least_once_and_is_told_so(
    sending, secured, certificates, password, secret_file, wait_until
):
    sending.start(username="creator", password_file=secret_file(password))
    wait_until(sending.is_done, 60)
    sending.kill()
    sending.write(100, 200)
    # As a sender leaves it that was killed after it had said what it was about to send.
    doubt(sending)

    sending.start(username="creator", password_file=secret_file(password))
    wait_until(sending.is_done, 60)

    assert sending.ids() == ids_of(0, 200)
    assert sending.log.read_text().count("cannot be looked up, so that it may come twice") == 1


def doubt(sending):
    from auditline.plugins.outputs.cursor import Cursor
    from auditline.plugins.outputs.elasticsearch import cursor_path
    from auditline.plugins.outputs.positions import Position
    from auditline.workers.common.host import host_id

    newest = max(sending.segments.iterdir())
    cursor = Cursor.open(cursor_path(sending.state, "es", "audit"), host_id(sending.state))
    assert cursor.position is not None
    cursor.note_sent(cursor.position, Position(newest.name, newest.stat().st_size))
    cursor.close()


def test_an_answer_that_is_lost_is_looked_up(sending, open_front, certificates, api_key, secret_file, wait_until):
    front = open_front(certificates.server)
    front.cuts_next_bulk = True
    sending.start(hosts=(front.url,), api_key_file=secret_file(api_key))

    wait_until(sending.is_done, 60)

    assert not front.cuts_next_bulk
    assert sending.ids() == ids_of(0, 100)


def test_without_a_template_no_plain_index_is_made_and_what_makes_one_is_said(
    own_namespace, secured, certificates, password, secret_file, wait_until
):
    own_namespace.write(0, 10)
    own_namespace.start(ca_file=str(certificates.authority), username="sender", password_file=secret_file(password))

    wait_until(lambda: WAITING in own_namespace.log.read_text(), 60)

    assert "`auditline setup elasticsearch`" in own_namespace.log.read_text()
    found = secured.ask("GET", f"/_resolve/index/{own_namespace.stream}*")
    assert (found["indices"], found["data_streams"]) == ([], [])
