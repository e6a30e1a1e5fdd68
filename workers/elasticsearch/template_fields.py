"""What Elasticsearch is told of the fields of our documents: the table beside this file, as mappings."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

LONGEST_KEYWORD = 8191
"""Lucene takes 32,766 bytes, and a character has up to four of them."""
_ECS_KEYWORD = 1024
"""`ignore_above` of every keyword in the Elastic Common Schema."""
_BRACES = re.compile(r"\{([^{}]*)\}")
_BELOW = "_below"


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a server has of what not every one has; the defaults are those of a current Elasticsearch."""

    match_only_text: bool = True
    wildcard: bool = True
    constant_keyword: bool = True
    ignores_beyond_limit: bool = True
    """A field too many is left out of the mapping, instead of its document being refused."""
    lifecycle: bool = True
    """Of data streams."""
    ilm: bool = True
    optional_components: bool = True
    """An index template may name a component template that is not there."""


def mappings_of(schema: str, features: Features) -> dict[str, Any]:
    """Return the mappings for documents of *schema*."""
    templates: list[dict[str, Any]] = []
    properties: dict[str, Any] = {}
    for name, kind in read_fields(schema):
        if kind.endswith(_BELOW):
            templates += _templates_below(name, kind)
        else:
            _place(properties, name, _KINDS[kind](features))
    templates.append(_template("texts", "*", "string", keyword(_ECS_KEYWORD)))
    return {
        # A text that looks like a date is none of ours, and the next one in its place would be refused.
        "date_detection": False,
        "dynamic_templates": templates,
        "properties": properties,
    }


def searched_fields(schema: str) -> list[str]:
    """Return the fields with words, which a search that names no field looks into."""
    return [
        f"{name}.*" if kind == f"words{_BELOW}" else name
        for name, kind in read_fields(schema)
        if kind in _SEARCHED or kind == f"words{_BELOW}"
    ]


def read_fields(schema: str) -> Iterator[tuple[str, str]]:
    """Yield the fields of *schema* with their kinds, in the order of the table."""
    text = (files(__package__) / "template_fields.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            of_schema, names, kind = line.split("\t")
            if of_schema in (schema, "both"):
                yield from ((name, kind) for name in _expand(names))


def keyword(ignore_above: int) -> dict[str, Any]:
    """Return the mapping of a text that is looked for as a whole, if it has not more than so many characters."""
    return {"type": "keyword", "ignore_above": ignore_above}


def _expand(names: str) -> Iterator[str]:
    found = _BRACES.search(names)
    if found is None:
        yield names
        return
    for word in found[1].split(","):
        yield from _expand(names[: found.start()] + word + names[found.end() :])


def _place(properties: dict[str, Any], name: str, mapping: Mapping[str, Any]) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        properties = properties.setdefault(parent, {}).setdefault("properties", {})
    properties[last] = mapping


def _templates_below(name: str, kind: str) -> Iterator[dict[str, Any]]:
    """Yield what is made of fields that nobody knows before they come; the first one that fits counts.

    A template for each type, because one for all types would also be for objects.
    """
    for json_type, mapping in _BELOW_KINDS[kind].items():
        yield _template(f"{name} {json_type}", f"{name}.*", json_type, mapping)


def _template(title: str, path: str, json_type: str, mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {title: {"path_match": path, "match_mapping_type": json_type, "mapping": dict(mapping)}}


def _text(features: Features) -> dict[str, Any]:
    return {"type": "match_only_text"} if features.match_only_text else {"type": "text", "norms": False}


def _with_text(mapping: dict[str, Any], features: Features) -> dict[str, Any]:
    """Also to be found by single words; where Elasticsearch has no cheap way for that it is left out."""
    return {**mapping, "fields": {"text": _text(features)}} if features.match_only_text else mapping


def _command(features: Features) -> dict[str, Any]:
    return _with_text({"type": "wildcard"} if features.wildcard else keyword(LONGEST_KEYWORD), features)


def _plain(json_type: str) -> Callable[[Features], dict[str, Any]]:
    return lambda _: {"type": json_type}


_KINDS: Mapping[str, Callable[[Features], dict[str, Any]]] = {
    # A data stream's own time is what no document may have wrong.
    "time": lambda _: {"type": "date", "ignore_malformed": False},
    "keyword": lambda _: keyword(_ECS_KEYWORD),
    "name": lambda features: _with_text(keyword(_ECS_KEYWORD), features),
    # PATH_MAX is 4,096: nobody hides a file by a long path.
    "path": lambda features: _with_text(keyword(LONGEST_KEYWORD), features),
    "path_alone": lambda _: keyword(LONGEST_KEYWORD),
    "command": _command,
    "text": _text,
    "kept": lambda _: {"type": "keyword", "index": False, "doc_values": False},
    "long": _plain("long"),
    "double": _plain("double"),
    "date": _plain("date"),
    "ip": _plain("ip"),
    "boolean": _plain("boolean"),
}
_SEARCHED = frozenset({"keyword", "name", "path", "path_alone", "command", "text"})
_WORD = keyword(_ECS_KEYWORD)
_BELOW_KINDS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    f"words{_BELOW}": dict.fromkeys(("string", "long", "double", "boolean"), _WORD),
    f"numbers{_BELOW}": {"long": {"type": "long"}, "double": {"type": "double"}},
    f"mixed{_BELOW}": {"string": _WORD, "boolean": _WORD, "long": {"type": "long"}, "double": {"type": "double"}},
}
