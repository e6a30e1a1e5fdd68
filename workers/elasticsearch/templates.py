"""Component and index templates for the data streams of an output, as the bodies that Elasticsearch takes and gives.

They are written as Elasticsearch gives them back (settings as texts below `index`), so that what is there can be
compared with what is wanted.
"""

from typing import Any, NamedTuple

from auditline.plugins.outputs.elasticsearch import KINDS, data_stream
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.template_fields import Features, mappings_of, searched_fields

PRIORITY = 300
"""Of index templates: the stack's own `logs-*-*` has 100, those of its integrations 200."""
ALIAS = "auditbeat-auditline"
"""Readers of `auditbeat-*` find it."""
POLICY = "auditline"
CUSTOM = "auditline@custom"
"""A component template that is the user's: what it says comes after what ours say."""
MOST_FIELDS = 10_000
"""As Auditbeat has it; ours are a few hundred, and those of records and counters."""
META = {"managed_by": "auditline"}
_ROLLOVER = {"max_age": "30d", "max_primary_shard_size": "50gb"}


class Template(NamedTuple):
    """One thing that the server is to have."""

    kind: str
    """`component template`, `index template` or `policy`."""
    name: str
    body: dict[str, Any]

    @property
    def path(self) -> str:
        """Where it is put and asked for."""
        return f"/{_FOLDERS[self.kind]}/{self.name}"

    @property
    def file_name(self) -> str:
        """The name of the file that it is exported to."""
        return f"{self.kind.replace(' ', '-')}.{self.name}.json"


_FOLDERS = {"component template": "_component_template", "index template": "_index_template", "policy": "_ilm/policy"}


def templates_for(output: ElasticsearchSettings, features: Features, *, has_alias: bool) -> list[Template]:
    """Return what *output* needs, in the order in which it has to be put."""
    schema = output.schema
    settings_name, mappings_name = f"auditline-{schema}@settings", f"auditline-{schema}@mappings"
    components = [settings_name, mappings_name]
    wanted = [
        Template("component template", settings_name, {"template": _settings(schema, features), "_meta": META}),
        Template(
            "component template",
            mappings_name,
            {"template": {"mappings": mappings_of(schema, features)}, "_meta": META},
        ),
    ]
    if features.ilm and not features.lifecycle:
        wanted.insert(0, Template("policy", POLICY, _policy()))
    for kind in KINDS:
        stream = data_stream(output, kind)
        wanted.append(Template("index template", stream, _index_template(stream, components, features, has_alias)))
    return wanted


def _settings(schema: str, features: Features) -> dict[str, Any]:
    total_fields = {"limit": str(MOST_FIELDS)}
    if features.ignores_beyond_limit:
        total_fields["ignore_dynamic_beyond_limit"] = "true"
    index: dict[str, Any] = {
        "codec": "best_compression",
        "mapping": {
            # One field that is not of its type is better not found than its document not there.
            "ignore_malformed": "true",
            "total_fields": total_fields,
        },
        "query": {"default_field": searched_fields(schema)},
    }
    if features.lifecycle:
        return {"settings": {"index": index}, "lifecycle": {"enabled": True}}
    if features.ilm:
        index["lifecycle"] = {"name": POLICY}
    return {"settings": {"index": index}}


def _index_template(stream: str, components: list[str], features: Features, has_alias: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "index_patterns": [stream],
        "data_stream": {},
        "priority": PRIORITY,
        "composed_of": components,
        "_meta": META,
    }
    if features.optional_components:
        body |= {"composed_of": [*components, CUSTOM], "ignore_missing_component_templates": [CUSTOM]}
    own: dict[str, Any] = {}
    if features.constant_keyword and (named := _stream_fields(stream)):
        own["mappings"] = {"properties": {"data_stream": {"properties": named}}}
    if has_alias:
        own["aliases"] = {ALIAS: {}}
    return {**body, "template": own} if own else body


def _stream_fields(stream: str) -> dict[str, Any]:
    """Return the fields by which Kibana knows a data stream; none for a name that does not have three parts."""
    parts = stream.split("-", 2)
    if len(parts) != 3:
        return {}
    named = zip(("type", "dataset", "namespace"), parts, strict=True)
    return {field: {"type": "constant_keyword", "value": part} for field, part in named}


def _policy() -> dict[str, Any]:
    return {"policy": {"phases": {"hot": {"min_age": "0ms", "actions": {"rollover": _ROLLOVER}}}, "_meta": META}}
