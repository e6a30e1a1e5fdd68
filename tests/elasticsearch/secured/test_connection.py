"""With which certificates, secrets and ways through a network a real server is reached, and with which it is not."""

import pytest

from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.client import RequestFailed, Server

# Servers take half a minute each to be fetched and started, on a busy machine minutes.
pytestmark = pytest.mark.soak

WHO = "/_security/_authenticate"


def ask(path, **settings):
    server = Server(ElasticsearchSettings(name="es", **settings))
    try:
        return server.ask("GET", path)
    finally:
        server.close()


def refusal(path, **settings):
    with pytest.raises(RequestFailed) as told:
        ask(path, **settings)
    return told.value


@pytest.fixture
def as_sender(password, secret_file):
    return {"username": "sender", "password_file": secret_file(password)}


@pytest.fixture
def by_key(api_key, secret_file):
    return {"api_key_file": secret_file(api_key)}


def test_a_user_is_known_by_his_password_behind_the_configured_authority(secured, certificates, as_sender):
    answer = ask(WHO, hosts=(secured.url,), ca_file=str(certificates.authority), **as_sender)

    assert answer["username"] == "sender"


def test_a_password_may_come_from_the_environment(secured, certificates, password, monkeypatch):
    monkeypatch.setenv("ES_PASSWORD", password)

    answer = ask(
        WHO, hosts=(secured.url,), ca_file=str(certificates.authority), username="sender", password_env="ES_PASSWORD"
    )

    assert answer["username"] == "sender"


def test_a_service_account_is_known_by_its_token(secured, certificates, service_token, secret_file):
    token = {"bearer_file": secret_file(service_token)}

    answer = ask(WHO, hosts=(secured.url,), ca_file=str(certificates.authority), **token)

    assert answer["username"] == "elastic/fleet-server"


def test_a_wrong_password_is_a_refusal_that_does_not_say_it(secured, certificates, secret_file):
    wrong = {"username": "sender", "password_file": secret_file("a-wrong-password")}

    error = refusal(WHO, hosts=(secured.url,), ca_file=str(certificates.authority), **wrong)

    assert error.status == 401
    assert "a-wrong-password" not in str(error)


def test_another_authority_is_not_trusted(secured, certificates, as_sender):
    error = refusal(WHO, hosts=(secured.url,), ca_file=str(certificates.other_authority), **as_sender)

    assert "certificate verify failed" in error.reason


def test_without_an_authority_of_its_own_a_server_is_not_trusted(secured, as_sender):
    error = refusal(WHO, hosts=(secured.url,), **as_sender)

    assert "certificate verify failed" in error.reason


@pytest.mark.parametrize("pinned", ["server", "authority"])
def test_the_fingerprint_of_a_certificate_in_the_server_s_chain_is_enough(pinned, secured, certificates, as_sender):
    fingerprint = certificates.fingerprint(getattr(certificates, pinned))

    answer = ask(WHO, hosts=(secured.url,), ca_fingerprint=fingerprint, **as_sender)

    assert answer["username"] == "sender"


@pytest.mark.parametrize("is_proxied", [False, True])
def test_another_fingerprint_is_refused(is_proxied, secured, certificates, as_sender, proxy):
    fingerprint = certificates.fingerprint(certificates.other_authority)
    way = {"proxy": proxy.url} if is_proxied else {}

    error = refusal(WHO, hosts=(secured.url,), ca_fingerprint=fingerprint, **way, **as_sender)

    assert "Fingerprints did not match" in error.reason


def test_a_certificate_for_another_name_is_refused_unless_names_do_not_matter(secured, certificates, as_sender):
    # The certificate is for localhost.
    options = {"hosts": (f"https://127.0.0.1:{secured.port}",), "ca_file": str(certificates.authority), **as_sender}

    error, answer = refusal(WHO, **options), ask(WHO, **options, verify_host_name=False)

    assert "certificate is not valid for '127.0.0.1'" in error.reason
    assert answer["username"] == "sender"


def test_an_expired_certificate_is_refused(open_front, certificates, by_key):
    front = open_front(certificates.sign("expired", "DNS:localhost", days=-1))

    error = refusal(WHO, hosts=(front.url,), ca_file=str(certificates.authority), **by_key)

    assert "certificate has expired" in error.reason


@pytest.mark.parametrize("trust", ["ca_file", "ca_fingerprint"])
def test_a_server_that_wants_our_certificate_gets_it(trust, open_front, certificates, by_key):
    front = open_front(certificates.server, wants=certificates.authority)
    options = {"hosts": (front.url,), **by_key, trust: trusted(certificates)[trust]}
    own = {"client_certificate": str(certificates.client), "client_key": str(certificates.key(certificates.client))}

    error, answer = refusal(WHO, **options), ask(WHO, **options, **own)

    assert error.status == 0
    assert answer["username"] == "sender"


def trusted(certificates):
    return {
        "ca_file": str(certificates.authority),
        "ca_fingerprint": certificates.fingerprint(certificates.server),
    }


def test_a_certificate_and_its_key_may_be_in_one_file(open_front, certificates, by_key, tmp_path):
    front = open_front(certificates.server, wants=certificates.authority)
    both = tmp_path / "both.pem"
    both.write_text(certificates.client.read_text() + certificates.key(certificates.client).read_text())

    answer = ask(WHO, hosts=(front.url,), ca_file=str(certificates.authority), client_certificate=str(both), **by_key)

    assert answer["username"] == "sender"


def test_the_way_to_a_server_with_tls_may_be_a_tunnel(secured, certificates, as_sender, proxy):
    answer = ask(WHO, hosts=(secured.url,), ca_file=str(certificates.authority), proxy=proxy.url, **as_sender)

    assert answer["username"] == "sender"
    assert proxy.asked == [f"CONNECT localhost:{secured.port}"]


def test_through_a_proxy_names_in_certificates_matter_as_well(secured, certificates, as_sender, proxy):
    host = f"https://127.0.0.1:{secured.port}"

    error = refusal(WHO, hosts=(host,), ca_file=str(certificates.authority), proxy=proxy.url, **as_sender)

    assert "certificate is not valid for '127.0.0.1'" in error.reason


def test_a_proxy_is_asked_for_the_whole_url_of_a_server_without_tls(open_front, by_key, proxy):
    front = open_front(None)

    answer = ask(WHO, hosts=(front.url,), proxy=proxy.url, **by_key)

    assert answer["username"] == "sender"
    assert proxy.asked == [f"GET {front.url}{WHO}"]


def test_the_next_host_is_asked_where_the_first_is_down(secured, certificates, as_sender, closed_port):
    down = f"https://localhost:{closed_port}"
    server = Server(
        ElasticsearchSettings(name="es", hosts=(down, secured.url), ca_file=str(certificates.authority), **as_sender)
    )

    answers = [server.ask("GET", WHO) for _ in range(4)]

    server.close()
    assert {answer["username"] for answer in answers} == {"sender"}


def test_hosts_may_have_tls_and_not(secured, certificates, as_sender, closed_port):
    down = f"http://localhost:{closed_port}"

    answer = ask(WHO, hosts=(down, secured.url), ca_file=str(certificates.authority), **as_sender)

    assert answer["username"] == "sender"


@pytest.fixture
def closed_port():
    import socket

    with socket.socket() as bound:
        # Bound and not listening: nobody else can take it meanwhile.
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_named_and_may_be_put_right_later(
    content, secured, certificates, as_sender, tmp_path
):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    server = Server(ElasticsearchSettings(name="es", hosts=(secured.url,), ca_file=str(file), **as_sender))

    with pytest.raises(RequestFailed, match=str(file)) as told:
        server.ask("GET", WHO)
    file.write_bytes(certificates.authority.read_bytes())
    answer = server.ask("GET", WHO)

    server.close()
    assert not told.value.was_sent
    assert answer["username"] == "sender"
