"""Lines get and lose fields, and keep every other byte."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.plugins.outputs.line_edits import LineEditor
from auditline.workers.common.filter_settings import AddSettings

HEAD = b'{"@timestamp":"2026-01-01T00:00:00.000Z","event":{"id":"h-1","kind":"event"}'


def edit(line, **additions):
    return LineEditor(AddSettings(**additions)).edit(line)


def test_fields_are_added_where_they_belong_and_at_the_end():
    line = HEAD + b',"labels":{"rack":7}}\n'

    edited = edit(line, fields={"labels.site": "berlin", "event.provider": "x", "new.a": True, "new.b": (1, "ü")})

    wanted = (
        b'{"@timestamp":"2026-01-01T00:00:00.000Z","event":{"id":"h-1","kind":"event","provider":"x"},'
        b'"labels":{"rack":7,"site":"berlin"},"new":{"a":true,"b":[1,"\xc3\xbc"]}}\n'
    )
    assert edited == wanted


@pytest.mark.parametrize("found", [b"1", b'"x"', b"null", b"[]", b'[{"site":1}]'])
def test_what_is_in_the_way_of_a_field_makes_room(found):
    line = HEAD + b',"labels":' + found + b',"z":1}\n'

    assert edit(line, fields={"labels.site": "b"}) == HEAD + b',"labels":{"site":"b"},"z":1}\n'


def test_a_field_that_is_there_is_replaced_in_its_place():
    line = HEAD + b',"n":{"a":1},"z":1}\n'

    assert edit(line, fields={"n": 2}) == HEAD + b',"n":2,"z":1}\n'


def test_fields_are_dropped_also_in_the_objects_of_lists():
    line = HEAD + b',"process":{"pid":1,"args":["x"]},"paths":[{"inode":1,"name":"/"},{"inode":2},3],"z":{"y":1}}\n'

    edited = edit(line, drop_fields=("process.args", "paths.inode", "z", "gone", "process.pid.x"))

    assert edited == HEAD + b',"process":{"pid":1},"paths":[{"name":"/"},{},3]}\n'


def test_what_is_dropped_goes_before_anything_is_added():
    line = HEAD + b',"labels":{"a":1},"tags":["old"]}\n'

    edited = edit(line, drop_fields=("labels", "tags"), fields={"labels.b": 2}, tags=("new",))

    assert edited == HEAD + b',"labels":{"b":2},"tags":["new"]}\n'


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (b"", b',"tags":["a","b"]'),
        (b',"tags":[]', b',"tags":["a","b"]'),
        (b',"tags":["b", "c"]', b',"tags":["b", "c","a"]'),
        (b',"tags":["b","a"]', b',"tags":["b","a"]'),
        (b',"tags":"c"', b',"tags":["c","a","b"]'),
        (b',"tags":7', b',"tags":["a","b"]'),
    ],
)
def test_tags_join_those_that_are_there(found, wanted):
    assert edit(HEAD + found + b"}\n", tags=("a", "b", "a")) == HEAD + wanted + b"}\n"


def test_tags_take_the_place_of_an_object_of_which_something_was_to_be_dropped():
    editor = LineEditor(AddSettings(tags=("edge",), drop_fields=("tags.x",)))

    assert editor.edit(b'{"tags":{"x":1,"y":2},"z":3}\n') == b'{"tags":["edge"],"z":3}\n'


def test_control_characters_of_the_configuration_are_written_as_escapes():
    assert edit(HEAD + b"}\n", tags=("\x7f\u2028",)) == HEAD + b',"tags":["\\u007f\\u2028"]}\n'


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"[]\n", b"{", b'{"a","a":1}\n', b'{"a":1', b'{"a":}\n', b'{"a":1,}\n', b"{" * 9]
)
def test_what_is_no_object_is_told(line):
    with pytest.raises(ValueError, match=r"."):
        edit(line, fields={"a": 1})


def test_a_key_that_is_in_a_text_or_in_another_object_is_no_field():
    line = HEAD + b',"text":"\\"tags\\":","x":{"tags":1}}\n'

    assert edit(line, tags=("a",)) == line[:-2] + b',"tags":["a"]}\n'


leaves = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text(max_size=5)
documents = st.dictionaries(
    st.sampled_from("abcdef"),
    st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


@given(document=documents, is_ascii=st.booleans())
def test_a_line_that_has_nothing_to_lose_keeps_every_byte(document, is_ascii):
    text = json.dumps(document, ensure_ascii=is_ascii, separators=(",", ":"))
    line = text.encode("utf-8", "surrogatepass" if is_ascii else "ignore") + b"\n"

    assert edit(line, drop_fields=("g", "a.g", "b.g.c")) == line


@given(document=documents, path=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3))
def test_a_dropped_field_is_gone_and_all_others_are_as_they_were_in_their_order(document, path):
    line = json.dumps(document, separators=(",", ":")).encode() + b"\n"

    edited = edit(line, drop_fields=(".".join(path),))

    assert edited == json.dumps(without(document, path), separators=(",", ":")).encode() + b"\n"


def without(value, path):
    if isinstance(value, list):
        return [without(item, path) if isinstance(item, dict | list) else item for item in value]
    if not isinstance(value, dict):
        return value
    if len(path) == 1:
        return {key: item for key, item in value.items() if key != path[0]}
    return {key: without(item, path[1:]) if key == path[0] else item for key, item in value.items()}


@given(
    document=documents,
    path=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3),
    value=leaves.filter(lambda leaf: leaf is not None),
)
def test_an_added_field_is_there_and_all_others_are_as_they_were_in_their_order(document, path, value):
    line = json.dumps(document, separators=(",", ":")).encode() + b"\n"

    edited = edit(line, fields={".".join(path): value})

    assert json.loads(edited) == with_(document, path, value)
    assert list(json.loads(edited)) == list(with_(document, path, value))


def with_(value, path, added):
    known = value if isinstance(value, dict) else {}
    return {**known, path[0]: added if len(path) == 1 else with_(known.get(path[0]), path[1:], added)}
