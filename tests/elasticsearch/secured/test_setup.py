"""`auditline setup elasticsearch`: what it installs, that a second run changes nothing, and which rights it needs."""

import json

import pytest

# Servers take half a minute each to be fetched and started, on a busy machine minutes.
pytestmark = pytest.mark.soak


def lines_with(word, text):
    return [line for line in text.splitlines() if word in line]


@pytest.mark.parametrize("schema", ["audit", "ecs"])
def test_all_is_there_after_the_first_run_and_the_second_changes_nothing(schema, namespace, set_up):
    first = set_up(schema, namespace)
    second = set_up(schema, namespace)

    assert (first[0], second[0]) == (0, 0)
    assert len(lines_with("index template", first[1])) == 3
    assert len(lines_with(": unchanged", second[1])) == 5
    assert second[1].endswith("outputs.elasticsearch: nothing to do\n")
    assert (first[2], second[2]) == ("", "")


def test_what_somebody_has_changed_is_put_right_and_said(namespace, secured, set_up):
    set_up("ecs", namespace)
    name = f"logs-auditline.audit-{namespace}"
    [found] = secured.ask("GET", f"/_index_template/{name}")["index_templates"]
    kept = ("index_patterns", "composed_of", "data_stream", "ignore_missing_component_templates", "_meta")
    altered = {key: value for key, value in found["index_template"].items() if key in kept}
    secured.ask("PUT", f"/_index_template/{name}", {**altered, "priority": 201})

    _, out, _ = set_up("ecs", namespace)

    [after] = secured.ask("GET", f"/_index_template/{name}")["index_templates"]
    assert lines_with("changed", out)[0] == "component template auditline-ecs@settings: unchanged"
    assert f"index template {name}: changed" in out
    assert after["index_template"]["priority"] == found["index_template"]["priority"] > 200


def test_a_template_of_somebody_else_is_not_overwritten(namespace, secured, set_up):
    name = f"logs-auditline.fim-{namespace}"
    body = {"index_patterns": [name], "data_stream": {}, "priority": 300}
    secured.ask("PUT", f"/_index_template/{name}", body)

    code, _, err = set_up("ecs", namespace)

    [after] = secured.ask("GET", f"/_index_template/{name}")["index_templates"]
    assert code == 1
    assert f"the index template {name} is not from auditline" in err
    assert "_meta" not in after["index_template"]


def test_who_may_not_set_up_is_told_which_privilege_is_missing(namespace, set_up):
    code, out, err = set_up("ecs", namespace, user="creator")

    assert (code, out) == (1, "")
    assert "manage_index_templates" in err


def test_a_dry_run_prints_each_request_and_sends_none(namespace, secured, set_up):
    code, out, _ = set_up("ecs", namespace, "--dry-run")

    requests = read_requests(out)
    templates = secured.ask("GET", "/_index_template")["index_templates"]
    wanted = [f"PUT /_index_template/logs-auditline.{kind}-{namespace}" for kind in ("audit", "fim", "health")]
    assert code == 0
    assert [line for line in requests if "_index_template" in line] == wanted
    assert all(body["_meta"] == {"managed_by": "auditline"} for body in requests.values())
    assert not [template["name"] for template in templates if namespace in template["name"]]


def read_requests(out):
    decoder, requests, rest = json.JSONDecoder(), {}, out
    while rest:
        line, _, rest = rest.partition("\n")
        requests[line], end = decoder.raw_decode(rest)
        rest = rest[end:].lstrip()
    return requests


def test_a_dry_run_after_a_setup_has_nothing_to_print(namespace, set_up):
    set_up("ecs", namespace)

    code, out, err = set_up("ecs", namespace, "--dry-run")

    assert (code, out) == (0, "")
    assert len(lines_with("unchanged", err)) == 5


def test_readers_of_auditbeat_find_streams_that_come_and_those_that_are_there(
    namespace, secured, as_user, set_up, index
):
    streams = [f"logs-auditline.{kind}-{namespace}" for kind in ("audit", "fim")]
    set_up("ecs", namespace)
    index(streams[0], [minimal("old")])

    first = set_up("ecs", namespace, "--auditbeat-alias", user="setup_alias")
    index(streams[1], [minimal("new")])
    second = set_up("ecs", namespace, "--auditbeat-alias", user="setup_alias")

    found = as_user("reader").ask("POST", "/auditbeat-*/_search", {"query": in_streams(streams)})
    assert f"alias auditbeat-auditline of {streams[0]}: created" in first[1]
    assert lines_with("alias", second[1]) == [f"alias auditbeat-auditline of {stream}: unchanged" for stream in streams]
    assert sorted(hit["_id"] for hit in found["hits"]["hits"]) == ["new", "old"]


def minimal(identity):
    return {"@timestamp": "2026-01-01T00:00:00.000Z", "event": {"id": identity}}


def in_streams(streams):
    return {"terms": {"_index": streams}}


def test_without_the_right_to_give_an_alias_the_templates_have_it_and_the_rest_is_told(namespace, set_up):
    code, out, err = set_up("ecs", namespace, "--auditbeat-alias")

    assert code == 0
    assert len(lines_with("index template", out)) == 3
    assert f"if logs-auditline.audit-{namespace} is there already" in err
    assert "index privilege manage" in err
