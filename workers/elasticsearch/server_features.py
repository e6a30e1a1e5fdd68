"""What a server has of what not every one has: asked by letting it compose templates that are not stored."""

from typing import Any

from auditline.workers.elasticsearch.client import RequestFailed, Server
from auditline.workers.elasticsearch.template_fields import Features

_PATTERN = "auditline-question"
_HIGHEST_PRIORITY = 2**31 - 1


def ask_features(server: Server) -> Features:
    """Return what *server* has.

    Raises:
        RequestFailed: it cannot be asked; 403: it may not.
    """
    # What is refused without any of them says nothing about them.
    _compose(server, {})
    return Features(
        match_only_text=_takes(server, _mapping("match_only_text")),
        wildcard=_takes(server, _mapping("wildcard")),
        constant_keyword=_takes(server, _mapping("constant_keyword")),
        ignores_beyond_limit=_takes(server, _setting("index.mapping.total_fields.ignore_dynamic_beyond_limit", "true")),
        lifecycle=_takes(server, {"template": {"lifecycle": {"enabled": True}}}),
        ilm=_takes(server, _setting("index.lifecycle.name", _PATTERN)),
        optional_components=_takes(
            server, {"composed_of": [_PATTERN], "ignore_missing_component_templates": [_PATTERN]}
        ),
    )


def _mapping(type_name: str) -> dict[str, Any]:
    return {"template": {"mappings": {"properties": {"question": {"type": type_name}}}}}


def _setting(name: str, value: str) -> dict[str, Any]:
    return {"template": {"settings": {name: value}}}


def _takes(server: Server, part: dict[str, Any]) -> bool:
    try:
        _compose(server, part)
    except RequestFailed as error:
        if error.status == 400:
            return False
        raise
    return True


def _compose(server: Server, part: dict[str, Any]) -> None:
    body = {"index_patterns": [_PATTERN], "data_stream": {}, "priority": _HIGHEST_PRIORITY, **part}
    server.ask("POST", "/_index_template/_simulate", body)
