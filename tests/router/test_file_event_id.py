"""Any change of a file makes one readable line, and an id that no other change has."""

import json
import os
import re
import unicodedata
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from auditline.workers.common.attributes import Xattr, XattrKind, pack_xattrs
from auditline.workers.common.file_entry import Action, DetectedBy, FileChange, decode_entry, encode_entry
from auditline.workers.common.file_state import FileState
from auditline.workers.common.hashes import ALGORITHMS, pack_digests, start_digests
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.file_event import FileRenderer, file_event_id

HOST = "0" * 16
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
BEGINNING = re.compile(r'\{"@timestamp":"' + TIME + r'","event":\{"id":"[0-9a-f]{16}-f-[0-9a-f]{32}"\}')
STATE = FileState(
    mode=0o100644, uid=0, gid=0, size=42, inode=77, device=0xFE00, links=1, mtime_ns=10**18, ctime_ns=10**18 + 1,
    atime_ns=10**18 + 2, rdev=0, target=None, hashes=b"", hash_state="stable", checked_ns=10**18 + 3,
)  # fmt: skip


def hashes_of(content: bytes, *names: str) -> bytes:
    digests = start_digests(names)
    for digest in digests:
        digest.update(content)
    return pack_digests(names, digests)


def change_of(before: FileState | None, after: FileState | None, action: Action, **more: Any) -> FileChange:
    values: dict[str, Any] = {"path": b"/srv/file", "detected_by": "event", "time_ns": 10**18}
    return FileChange(action=action, before=before, after=after, **values | more)


small_numbers, numbers = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
times = st.integers(-(2**80), 2**80)
packed_hashes = st.lists(st.sampled_from(list(ALGORITHMS)), unique=True).map(lambda names: hashes_of(b"x", *names))
xattr_names = st.sampled_from(
    [b"security.selinux", b"system.posix_acl_access", b"system.posix_acl_default", b"security.capability",
     b"security.ima", b"user.a", b"user.\xff", b"trusted.\n"]
)  # fmt: skip
packed_xattrs = st.just(b"") | st.dictionaries(xattr_names, st.binary(max_size=50), max_size=4).map(
    lambda of: pack_xattrs(Xattr(XattrKind.WHOLE, name, of[name], len(of[name])) for name in sorted(of))
)
states = st.builds(
    FileState, small_numbers, small_numbers, small_numbers, numbers, numbers, numbers, numbers, times, times, times,
    numbers, st.none() | st.binary(), packed_hashes,
    st.sampled_from(["", "stable", "growing", "too_large", "unstable", "unreadable", "quarantined"]), times,
    packed_xattrs, numbers,
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.binary().map(os.fsdecode),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text("abc"), values, max_size=3),
    max_leaves=5,
)
people = st.fixed_dictionaries({"id": small_numbers.map(str)})
facts = st.dictionaries(st.sampled_from(["pid", "executable", "arguments", "parent"]), json_values, max_size=3)
those = st.dictionaries(st.sampled_from(["user", "login_user"]), people)
actors = st.builds(lambda one, two: one | two, facts, those)
changes = st.builds(
    FileChange,
    action=st.sampled_from(get_args(Action)),
    path=st.binary(),
    before=st.none() | states,
    after=st.none() | states,
    detected_by=st.sampled_from(get_args(DetectedBy)),
    time_ns=times,
    moved_from=st.none() | st.binary(),
    actor=st.none() | actors,
)


@given(change=changes)
def test_any_change_is_one_line_of_json_without_raw_control_characters(change: FileChange):
    identity, line = FileRenderer(NoNames()).render(change, HOST, "web1", "e:1")

    document = json.loads(line)
    assert BEGINNING.match(line)
    assert document["event"]["id"] == identity
    assert not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in line)
    line.encode()


@given(change=changes)
def test_an_entry_that_was_sent_gives_the_same_bytes_as_the_change_itself(change: FileChange):
    renderer = FileRenderer(NoNames())

    resent = decode_entry(encode_entry(change))

    assert isinstance(resent, FileChange)
    assert renderer.render(resent, HOST, "web1", "e:1") == renderer.render(change, HOST, "web1", "e:1")


def identified(change: FileChange) -> tuple[object, ...]:
    """Return what an id has to tell apart."""
    states_of = [
        state and state._replace(atime_ns=0, checked_ns=0, hash_state="") for state in (change.before, change.after)
    ]
    return change.action, change.path, change.moved_from, *states_of


@given(data=st.data(), one=changes)
def test_different_states_have_different_ids(data: st.DataObject, one: FileChange):
    field = data.draw(st.sampled_from(["action", "path", "moved_from", "before", "after"]))
    other = replace(one, **{field: getattr(data.draw(changes), field)})
    assume(identified(one) != identified(other))

    assert file_event_id(HOST, one, "e:1") != file_event_id(HOST, other, "e:1")


@pytest.mark.parametrize("field", sorted({*FileState._fields} - {"atime_ns", "checked_ns", "hash_state"}))
@pytest.mark.parametrize("side", ["before", "after"])
def test_each_attribute_makes_another_id(field: str, side: str):
    changed: dict[str, Any] = {
        field: {"target": b"", "hashes": hashes_of(b"", "md5"), "xattrs": b"x"}.get(field, 12345)
    }
    other = STATE._replace(**changed)
    states_of = {"before": STATE, "after": STATE}

    one = file_event_id(HOST, change_of(**states_of, action="updated"), "e:1")
    another = file_event_id(HOST, change_of(**states_of | {side: other}, action="updated"), "e:1")

    assert one != another


def test_neither_reading_nor_looking_nor_when_and_how_it_was_seen_makes_another_id():
    seen_later = STATE._replace(atime_ns=7, checked_ns=8, hash_state="unstable")

    one = file_event_id(HOST, change_of(STATE, STATE._replace(size=1), "updated"), "e:1")
    again = change_of(STATE, seen_later._replace(size=1), "updated", time_ns=9, detected_by="scan")

    assert file_event_id(HOST, again, "f:2") == one


def test_a_file_that_goes_and_comes_back_unaltered_has_an_id_for_each_time():
    # A directory that is moved out of what is watched and back leaves the times of all beneath it alone.
    first, second = STATE, STATE._replace(checked_ns=STATE.checked_ns + 10**9)
    changes_in_turn = [
        change_of(first, None, "deleted", time_ns=1),
        change_of(None, second, "created", time_ns=2),
        change_of(second, None, "deleted", time_ns=3),
        change_of(None, second, "created", time_ns=4),
    ]

    assert len({file_event_id(HOST, change, "e:1") for change in changes_in_turn}) == 4


def test_a_file_that_is_moved_there_and_back_with_a_directory_has_an_id_for_each_time():
    first = change_of(STATE, STATE, "moved", moved_from=b"/srv/old", time_ns=10**18)
    again = replace(first, time_ns=10**18 + 1)

    assert file_event_id(HOST, first, "1") != file_event_id(HOST, again, "1")


@pytest.mark.parametrize("action", ["config_change", "initial_scan"])
def test_what_may_come_again_with_the_same_states_has_its_place_in_the_outbox_in_its_id(action: Action):
    change = change_of(STATE, STATE, action)

    assert len({file_event_id(HOST, change, position) for position in ("e:1", "e:2", "f:1")}) == 3
