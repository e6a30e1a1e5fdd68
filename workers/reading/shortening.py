"""Making a line shorter than a limit without cutting its JSON: its longest texts and lists give way, and are named."""

import json
from collections.abc import Iterator
from typing import Any

LEAST_LINE_BYTES = 1000
"""Enough for what is never shortened."""
_LEAST_TEXT = 32
"""A text is never made shorter than this,"""
_LEAST_ITEMS = 1
"""a list never emptied."""
_MARK = "…"
_NEVER = frozenset({"@timestamp", "event.id", "host.name"})
"""Fields that say which event it is."""
_LONGEST_NAME = 200
_MOST_NAMES = 20

Place = tuple[Any, str | int]
"""A container, and the key or index of something in it."""


def shorten_line(line: bytes, most_bytes: int) -> bytes:
    r"""Return *line*, a JSON object without its newline, with at most *most_bytes* bytes.

    `auditline.shortened` lists the fields that lost something. A line that holds too many fields keeps only those
    that say which event it is; one that is no JSON object comes back as an object with its beginning as a text.
    """
    if len(line) <= most_bytes:
        return line
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return _as_text(line, most_bytes)
    return _shorten(document, most_bytes) or _skeleton(document, most_bytes)


def _shorten(document: dict[str, Any], most_bytes: int) -> bytes | None:
    """Halve what is longest until it fits; None: nothing more can be taken away."""
    own = document.setdefault("auditline", {})
    shortened: list[str] = []
    if not isinstance(own, dict):
        return None
    own["shortened"] = shortened
    while len(line := _dump(document)) > most_bytes:
        found = max(_find_long(document), key=lambda each: each[0], default=None)
        if found is None:
            return None
        size, name, (container, key) = found
        excess = len(line) - most_bytes
        container[key] = _cut(container[key], size, excess)
        if name not in shortened and len(shortened) < _MOST_NAMES:
            shortened.append(name[:_LONGEST_NAME])
    return line


def _cut(value: Any, size: int, excess: int) -> Any:
    """Take away what is too much, but at most half of it: others may be longer then."""
    if isinstance(value, str):
        keep = max(_LEAST_TEXT, len(value) // 2, len(value) * (size - excess - 8) // size)
        return value.removesuffix(_MARK)[: min(keep, len(value) - 2)] + _MARK
    return value[: max(_LEAST_ITEMS, len(value) // 2)]


def _find_long(value: Any, name: str = "", place: Place | None = None) -> Iterator[tuple[int, str, Place]]:
    """Yield size, name and place of each text and list that can be made shorter."""
    if place is not None and name not in _NEVER and name != "auditline.shortened":
        is_long_text = isinstance(value, str) and len(value) > _LEAST_TEXT + len(_MARK)
        is_long_list = isinstance(value, list) and len(value) > _LEAST_ITEMS
        if is_long_text or is_long_list:
            yield len(_dump(value)), name, place
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _find_long(inner, f"{name}.{key}" if name else key, (value, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _find_long(inner, f"{name}.{index}", (value, index))


def _skeleton(document: dict[str, Any], most_bytes: int) -> bytes:
    event = document.get("event")
    kept = {
        "@timestamp": document.get("@timestamp"),
        "event": {"id": event.get("id")} if isinstance(event, dict) else {},
        "host": document.get("host"),
        "auditline": {"shortened": ["*"]},
    }
    line = _dump(kept)
    return line if len(line) <= most_bytes else _as_text(line, most_bytes)


def _as_text(line: bytes, most_bytes: int) -> bytes:
    text = line.decode("utf-8", "replace")
    length = most_bytes // 8
    while len(dumped := _dump({"message": text[:length], "auditline": {"shortened": ["message"]}})) > most_bytes:
        length //= 2
    return dumped


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f").encode("ascii")
