"""Adding fields to a line and dropping fields from it, without touching any other byte of it."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from auditline.workers.common.filter_settings import AddSettings, Value

# What is passed over need not be read: a number may have more digits than Python takes.
_skip = json.JSONDecoder(parse_int=len, parse_float=len).raw_decode
_KEY = re.compile(r'"((?:[^"\\]|\\.)*+)":')


@dataclass(slots=True)
class _Edit:
    """What becomes of one field; all of its JSON is made once, not for each event."""

    key: str = ""
    """Its own name in JSON."""
    is_dropped: bool = False
    put: str = ""
    """The JSON of what is to stand there; empty: nothing is put."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What is to be in the list there, with its JSON."""
    below: dict[str, "_Edit"] = field(default_factory=dict)

    def new(self) -> str:
        """Return what is added where there is nothing; "": nothing is."""
        if self.put or self.tags:
            return self.put or f"[{','.join(self.tags.values())}]"
        members = _new_members(self.below.values())
        return f"{{{','.join(members)}}}" if members else ""


def _new_members(edits: Iterable[_Edit]) -> list[str]:
    return [f"{edit.key}:{new}" for edit in edits if (new := edit.new())]


class LineEditor:
    """Drops fields, then adds fields and tags: what is set replaces what is there, and tags join those that are."""

    def __init__(self, settings: AddSettings) -> None:
        self._edits = _Edit()
        for name in settings.drop_fields:
            self._at(name).is_dropped = True
        for name, value in settings.fields.items():
            self._at(name).put = to_json(value)
        if settings.tags:
            self._at("tags").tags = {tag: to_json(tag) for tag in settings.tags}
        # Most have none of them: a key that is nowhere need not be looked for in its place. In a text its quotes would
        # have a backslash each, and our own lines have no escapes where none are needed.
        self._keys = [f"{edit.key}:".encode() for edit in self._edits.below.values()]
        self._appended = "".join([*(f",{new}" for new in _new_members(self._edits.below.values())), "}\n"]).encode()

    def edit(self, line: bytes) -> bytes:
        r"""Return a line, one JSON object and `\n`, as it is to be.

        Raises:
            ValueError: it is no object without white space around its members.
        """
        if not any(key in line for key in self._keys) and line.startswith(b'{"') and line.endswith(b"}\n"):
            return line[:-2] + self._appended
        text = line.decode("utf-8", "surrogateescape")
        try:
            edited, end = _edit_object(text, 0, self._edits)
        except (IndexError, RecursionError) as error:
            raise ValueError("no JSON object that can be edited") from error
        return (edited + text[end:]).encode("utf-8", "surrogateescape")

    def _at(self, name: str) -> _Edit:
        edit = self._edits
        for key in name.split("."):
            edit = edit.below.setdefault(key, _Edit(to_json(key)))
        return edit


def to_json(value: Value) -> str:
    """Return a value of the configuration as JSON, with no control character raw."""
    plain: Any = list(value) if isinstance(value, tuple) else value
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return text if text.isprintable() else json.dumps(plain, separators=(",", ":"))


def _edit_object(text: str, begin: int, edits: _Edit) -> tuple[str, int]:
    """Return the object that begins at *begin* as it is to be, and where it ends."""
    members: list[str] = []
    missing = dict(edits.below)
    is_open = text[_expect(text, begin, "{")] != "}"
    at = begin if is_open else begin + 1
    while is_open:
        # Behind the brace, or a comma.
        start = at + 1
        key = _KEY.match(text, start)
        if key is None:
            raise ValueError(f"a key was wanted, not {text[start : start + 10]!r}")
        value = key.end()
        name = json.loads(f'"{key[1]}"') if "\\" in key[1] else key[1]
        edit = missing.pop(name, None)
        if edit is None:
            at = _skip(text, value)[1]
            members.append(text[start:at])
        else:
            new, at = _edit_value(text, value, edit)
            members += [text[start:value] + new] if new else []
        is_open = text[at] == ","
    members += _new_members(missing.values())
    return f"{{{','.join(members)}}}", _expect(text, at, "}")


def _edit_list(text: str, begin: int, edit: _Edit) -> tuple[str, int]:
    """Return a list with every item as it is to be, and where it ends."""
    items: list[str] = []
    is_open = text[begin + 1] != "]"
    at = begin if is_open else begin + 1
    while is_open:
        new, at = _edit_value(text, at + 1, edit)
        items.append(new)
        is_open = text[at] == ","
    return f"[{','.join(items)}]", _expect(text, at, "]")


def _edit_value(text: str, begin: int, edit: _Edit) -> tuple[str, int]:
    """Return a value as it is to be, "": it goes; and where it ends."""
    # Tags take the place of an object, whatever is to become of its members.
    is_replaced = edit.is_dropped or edit.put or edit.tags
    if not is_replaced and edit.below and text[begin] == "{":
        return _edit_object(text, begin, edit)
    # A list holds objects of which fields may be dropped; to which of them one would be added is not said.
    if not is_replaced and edit.below and text[begin] == "[" and not edit.new():
        return _edit_list(text, begin, edit)
    found, end = _skip(text, begin)
    if edit.tags and not edit.is_dropped:
        return _join_tags(text[begin:end], found, edit.tags), end
    # What is in the way of a field that is to be added makes room for it.
    return edit.new() or ("" if edit.is_dropped else text[begin:end]), end


def _join_tags(there: str, found: object, tags: Mapping[str, str]) -> str:
    """Return the list that is *there*, and says *found*, with *tags* behind its own."""
    if isinstance(found, str):
        there, found = f"[{there}]", [found]
    if not isinstance(found, list) or not found:
        return f"[{','.join(tags.values())}]"
    new = ",".join([text for tag, text in tags.items() if tag not in found])
    return f"{there[:-1]},{new}]" if new else there


def _expect(text: str, at: int, character: str) -> int:
    """Return the place behind *character*.

    Raises:
        ValueError: it is not there.
    """
    if text[at] != character:
        raise ValueError(f"{character} was wanted, not {text[at]!r}")
    return at + 1
