"""Templates for what a server has, and the command without a server."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.template_fields import Features, mappings_of, read_fields
from auditline.workers.elasticsearch.templates import templates_for

NOTHING = Features(**dict.fromkeys((field.name for field in fields(Features)), False))
OUTPUT = ElasticsearchSettings(name="es")
CATALOGUE = Path(__file__).parents[2] / "docs/catalogue/keys.tsv"


def bodies(features, **settings):
    wanted = templates_for(replace(OUTPUT, **settings), features, has_alias=False)
    return {template.path: template.body for template in wanted}


def types(mapping):
    own = {mapping["type"]} if isinstance(mapping.get("type"), str) else set()
    below = (types(value) for part in ("properties", "fields") for value in mapping.get(part, {}).values())
    return own.union(*below)


@pytest.mark.parametrize("schema", ["audit", "ecs"])
def test_no_field_stands_in_the_table_twice_or_below_one_that_is_no_object(schema):
    names = [name for name, kind in read_fields(schema)]

    parents = {name.rpartition(".")[0] for name in names}
    plain = {name for name, kind in read_fields(schema) if not kind.endswith("_below")}
    assert len(names) == len(set(names))
    assert parents & plain == set()


def test_types_that_a_server_lacks_are_not_asked_of_it():
    optional = {"wildcard", "match_only_text", "constant_keyword"}

    with_all, without = (types(mappings_of("ecs", features)) for features in (Features(), NOTHING))

    assert with_all >= {"wildcard", "match_only_text"}
    assert without & optional == set()


def test_the_lifecycle_of_data_streams_comes_before_the_policy_of_older_servers():
    current, older, bare = bodies(Features()), bodies(replace(Features(), lifecycle=False)), bodies(NOTHING)

    settings = "/_component_template/auditline-ecs@settings"
    assert current[settings]["template"]["lifecycle"] == {"enabled": True}
    assert "/_ilm/policy/auditline" not in current
    assert next(iter(older)) == "/_ilm/policy/auditline"
    assert older[settings]["template"]["settings"]["index"]["lifecycle"] == {"name": "auditline"}
    assert "lifecycle" not in bare[settings]["template"] | bare[settings]["template"]["settings"]["index"]


def test_each_stream_has_a_template_of_its_name_and_is_known_to_kibana_by_its_parts():
    body = bodies(Features(), data_stream="logs-hosts.{kind}-{namespace}", namespace="berlin")

    template = body["/_index_template/logs-hosts.fim-berlin"]
    parts = template["template"]["mappings"]["properties"]["data_stream"]["properties"]
    assert template["index_patterns"] == ["logs-hosts.fim-berlin"]
    assert {name: field["value"] for name, field in parts.items()} == {
        "type": "logs", "dataset": "hosts.fim", "namespace": "berlin",
    }  # fmt: skip


def test_every_key_of_the_events_page_has_a_type():
    known = {schema: dict(read_fields(schema)) for schema in ("audit", "ecs")}

    untyped = [key for schema, key in documented_keys() if not is_known(key, known[schema])]

    assert untyped == []


def documented_keys():
    from auditline.workers.elasticsearch.template_fields import _expand

    places = {"line": ("audit", ""), "kernel": ("audit", "audit.kernel."), "auditline": ("ecs", "auditline."),
              "file": ("audit", "audit.file."), "file_ours": ("audit", "auditline."), "ecs": ("ecs", ""),
              "file_attributes": ("audit", "auditline.change.before.")}  # fmt: skip
    for line in CATALOGUE.read_text().splitlines():
        if not line.startswith("#"):
            place, key, *_ = line.split("\t")
            schema, prefix = places[place]
            yield from ((schema, prefix + name) for name in _expand(key))


def is_known(key, kinds):
    return any(name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.") for name in kinds)


def command(*options):
    line = [sys.executable, "-m", "auditline.workers.supervisor", "setup", "elasticsearch", *options]
    return subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def configuration(tmp_path):
    path = tmp_path / "auditline.toml"
    # Nobody listens on that port.
    path.write_text('[outputs.elasticsearch]\nhosts = ["http://127.0.0.1:1"]\n')
    return str(path)


def test_without_a_server_a_dry_run_prints_what_a_new_one_would_be_sent(configuration):
    done = command("--config", configuration, "--dry-run")

    methods = [line.split()[0] for line in done.stdout.splitlines() if line.startswith(("PUT ", "POST "))]
    assert done.returncode == 0
    assert methods == ["PUT"] * 5
    assert "Connection refused" in done.stderr


def test_an_export_is_a_file_for_each_body(configuration, tmp_path):
    done = command("--config", configuration, "--export", str(tmp_path / "templates"))

    written = {path.name: json.loads(path.read_text()) for path in (tmp_path / "templates").iterdir()}
    assert done.returncode == 0
    assert set(written) == {
        "component-template.auditline-ecs@settings.json",
        "component-template.auditline-ecs@mappings.json",
        *(f"index-template.logs-auditline.{kind}-default.json" for kind in ("audit", "fim", "health")),
    }
    assert all(body["_meta"] == {"managed_by": "auditline"} for body in written.values())


def test_a_setup_without_a_server_says_so(configuration):
    done = command("--config", configuration)

    assert (done.returncode, done.stdout) == (1, "")
    assert "outputs.elasticsearch: ConnectionError" in done.stderr


def test_without_an_output_there_is_nothing_to_set_up(tmp_path):
    (tmp_path / "empty.toml").write_text("")

    done = command("--config", str(tmp_path / "empty.toml"))

    assert done.returncode == 2
    assert "no output is of type elasticsearch" in done.stderr
