"""`auditline test output` and real servers: what came of the probe, in plain words."""

import pytest

from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.probe import probe_elasticsearch

# Servers take half a minute each to be fetched and started, on a busy machine minutes.
pytestmark = pytest.mark.soak

HOST = "0123456789abcdef"


@pytest.fixture
def probe(secured, certificates, password, secret_file, namespace):
    """Try an output: as the user `sender`, unless it says otherwise."""

    def run(**settings):
        usual = {
            "hosts": (secured.url,),
            "ca_file": str(certificates.authority),
            "username": "sender",
            "password_file": secret_file(password),
            "namespace": namespace,
        }
        return probe_elasticsearch(ElasticsearchSettings(name="es", **{**usual, **settings}), HOST)

    return run


@pytest.fixture
def templates(set_up, namespace):
    """The templates that `auditline setup elasticsearch` installs."""
    code, _, said = set_up("ecs", namespace)
    assert code == 0, said


def test_a_probe_document_is_created_in_the_data_stream_of_health_events(probe, templates, secured, namespace):
    stream = f"logs-auditline.health-{namespace}"

    result = probe()

    assert result == (True, f"{secured.url} has taken a probe document into {stream}")
    [hit] = secured.ask("POST", f"/{stream}/_search")["hits"]["hits"]
    assert hit["_id"].startswith(f"{HOST}-probe-")
    assert hit["_source"]["event"]["action"] == "probe"


def test_without_the_right_to_search_it_is_good_but_not_once(probe, templates):
    is_good, text = probe(username="creator")

    assert is_good
    assert text.endswith(
        ", but lets us not look up what it has: with the rights read and maintenance no event comes twice after a kill"
        " and a rollover"
    )


def test_a_user_who_may_not_write_is_told_which_right_is_missing(probe, templates, namespace):
    is_good, text = probe(username="reader")

    assert not is_good
    assert (
        f" says 403: we may not write there; give the user reader create_doc on logs-auditline.health-{namespace} ("
        in text
    )


def test_a_wrong_secret_is_named_by_its_setting_and_never_shown(probe, tmp_path):
    path = tmp_path / "wrong"
    path.write_text("a-wrong-password")

    is_good, text = probe(password_file=str(path))

    assert not is_good
    assert f" says 401: it does not know us; check password_file = {path}, and that the key has not expired (" in text
    assert "a-wrong-password" not in text


def test_a_data_stream_without_a_template_is_told_with_the_command_that_helps(probe):
    is_good, text = probe(username="admin", data_stream="metrics-{kind}-{namespace}")

    assert not is_good
    assert " has no template; `auditline setup elasticsearch` installs it (" in text


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (
            lambda _url, other: {"ca_file": other},
            "its certificate is not trusted: name the authority's certificate in ca_file",
        ),
        (
            lambda url, _other: {"hosts": (url.replace("localhost", "127.0.0.1"),)},
            "the certificate is for another name: use that in hosts, or set verify_host_name to false",
        ),
        (
            lambda _url, _other: {"ca_fingerprint": "0" * 64, "ca_file": ""},
            "ca_fingerprint must be the SHA-256 of the server's certificate",
        ),
        (
            lambda url, _other: {"hosts": (url.replace("https", "http"),), "ca_file": ""},
            "it has hung up: where it speaks TLS, hosts must begin with https://",
        ),
        (
            lambda _url, _other: {"ca_file": "/nowhere/ca.pem"},
            "name files that are there and hold what they are named for",
        ),
        (lambda _url, _other: {"password_file": "/nowhere/password"}, "put the secret there"),
    ],
    ids=["authority", "name", "fingerprint", "plain", "file", "secret"],
)
def test_a_connection_that_fails_is_told_with_the_remedy(probe, secured, certificates, change, remedy):
    is_good, text = probe(**change(secured.url, str(certificates.other_authority)))

    assert not is_good
    assert f"; {remedy}" in text


def test_tls_where_none_is_spoken_is_told(probe, open_front):
    url = open_front(None).url.replace("http", "https")

    is_good, text = probe(hosts=(url,))

    assert not is_good
    assert text.endswith("; it speaks no TLS there: hosts must begin with http://")


def test_each_host_is_tried_and_one_that_is_down_is_enough_to_fail(probe, templates, secured):
    is_good, text = probe(hosts=(secured.url, "https://localhost:1"))

    assert not is_good
    assert f"{secured.url} has taken a probe document" in text
    assert text.endswith("nothing listens there: check host and port in hosts, and that the server runs")
