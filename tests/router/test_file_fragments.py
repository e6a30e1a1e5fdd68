"""The fast way of rendering changes of files gives the bytes of the plain way, for whatever changes."""

import stat
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditline.workers.common.attributes import FLAGS, Xattr, XattrKind, pack_xattrs
from auditline.workers.common.file_entry import Action, DetectedBy, FileChange
from auditline.workers.common.file_state import HASHED, UNREAD, FileState
from auditline.workers.common.hashes import ALGORITHMS
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.render.file_event import FileRenderer
from auditline.workers.router.render.file_fragments import FileFragmentRenderer

HOST = "0123456789abcdef"
SECOND = 10**9
ODD = "\x00\n\x1b\x7f\x85\u2028\"\\/é\U0001f600 <>&'"
STATE = FileState(
    mode=0o100644, uid=0, gid=7, size=42, inode=77, device=0xFE00, links=1, mtime_ns=10**18, ctime_ns=10**18 + 1,
    atime_ns=10**18 + 2, rdev=0, target=None, hashes=b"\4" + b"h" * 32, hash_state="stable", checked_ns=10**18 + 3,
)  # fmt: skip
ACTOR = {
    "pid": 4711, "start": "2026-01-01T00:00:00.000Z", "entity_id": "x", "executable": "/usr/bin/vim", "name": "vim",
    "arguments": ["vim", "a b"], "parent": {"pid": 1}, "user": {"id": "0"}, "login_user": {"id": "1000"},
    "confidence": "exact", "source": "proc",
}  # fmt: skip

plain_names = st.text("abcXYZ019._- ~!#[]{}", min_size=1, max_size=12).map(str.encode)
odd_names = st.text(ODD + "ab.", max_size=8).map(str.encode) | st.binary(max_size=8)
paths = st.lists(plain_names | plain_names | odd_names, min_size=1, max_size=4).map(
    lambda names: b"/" + b"/".join(names)
)
times = st.sampled_from([0, 1, 10**18, 10**18 + 10**6, -1, -62135596800 * SECOND, (1 << 63) - 1, 1 << 63, 1 << 70])
numbers = st.sampled_from([0, 1, 7, 1000, 65534, 4294967295, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
modes = st.builds(
    lambda kind, bits: kind | bits,
    st.sampled_from([stat.S_IFREG] * 5 + [stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, 0]),
    st.sampled_from([0o644, 0o755, 0, 0o4755, 0o2755, 0o6777, 0o1777]),
)


@st.composite
def digests(draw: Callable[..., Any]) -> bytes:
    names = draw(st.lists(st.sampled_from(sorted(ALGORITHMS)), max_size=4, unique=True))
    return b"".join(bytes((ALGORITHMS[name].number,)) + b"\xab" * ALGORITHMS[name].digest_bytes for name in names)


packed = st.sampled_from([b"", b"", b"", pack_xattrs([Xattr(XattrKind.WHOLE, b"user.a", b"\xff", 1)]), b"damaged"])
states = st.builds(
    FileState,
    mode=modes, uid=numbers, gid=numbers, size=numbers, inode=numbers, device=numbers, links=numbers, mtime_ns=times,
    ctime_ns=times, atime_ns=times, rdev=st.integers(0, 1 << 20), target=st.none() | st.none() | odd_names,
    hashes=digests() | st.just(b"\4cut"), hash_state=st.sampled_from(["", "odd", "too_large", *HASHED, *UNREAD]),
    checked_ns=times, xattrs=packed, flags=st.sampled_from([0, 0, 0, FLAGS["immutable"], sum(FLAGS.values())]),
)  # fmt: skip


@st.composite
def usual_states(draw: Callable[..., Any]) -> FileState:
    fields = draw(st.lists(st.sampled_from(FileState._fields), max_size=4, unique=True))
    other = draw(states)
    return STATE._replace(**{field: getattr(other, field) for field in fields})


actors = st.sampled_from(
    [
        None,
        {},
        {"pid": 1},
        ACTOR,
        ACTOR | {"user": {"id": "4294967295"}, "container_id": "c" * 64, "event_id": "e", "match": "exact"},
        ACTOR | {"arguments": ["caf\xe9", "\udcff"]},
        ACTOR | {"name": "\u2028\x7f\x1b"},
    ]
)
some = st.none() | usual_states() | usual_states() | states
changes = st.builds(
    FileChange,
    action=st.sampled_from([*get_args(Action), "odd"]), path=paths, before=some, after=some,
    detected_by=st.sampled_from([*get_args(DetectedBy) * 4, "odd"]), time_ns=times,
    moved_from=st.none() | st.none() | paths, actor=actors,
)  # fmt: skip


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> IdNames:
    folder = tmp_path_factory.mktemp("names")
    (folder / "passwd").write_text('root:x:0:0::/:/bin/sh\nq"u\\o:x:1000:0::/:/bin/sh\n')
    (folder / "group").write_text("root:x:0:\ncafé:x:7:\n")
    return IdNames(folder / "passwd", folder / "group")


def rendered(renderer: FileRenderer | FileFragmentRenderer, change: FileChange, schema: str) -> tuple[str, str] | str:
    """Return what comes out, or that nothing does."""
    try:
        return renderer.render(change, HOST, 'we"b', "e:1:0", schema)
    except Exception as error:  # noqa: BLE001  # an entry that cannot be rendered is kept, whatever the error is
        return f"error {error!r}"[:5]


@pytest.mark.parametrize("schemas", [("audit", "ecs"), ("ecs", "audit")])
@given(some_changes=st.lists(changes, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_both_ways_give_the_same_bytes(names: IdNames, schemas: tuple[str, str], some_changes: list[FileChange]):
    plain, fast = FileRenderer(names), FileFragmentRenderer(names)

    results = [
        [rendered(renderer, change, schema) for change in some_changes for schema in schemas]
        for renderer in (plain, fast)
    ]

    assert results[0] == results[1]


CHANGED = STATE._replace(size=43, mtime_ns=10**18 + 10**9, hashes=b"\4" + b"i" * 32, checked_ns=10**18 + 2 * 10**9)


@pytest.mark.parametrize(
    ("action", "before", "after", "moved_from"),
    [
        ("created", None, STATE, None),
        ("deleted", STATE, None, None),
        ("updated", STATE, CHANGED, None),
        ("updated", STATE, CHANGED, b"/srv/temporary"),
        ("moved", STATE, STATE._replace(ctime_ns=10**18 + 10**9), b"/srv/old"),
        ("attributes_modified", STATE, STATE._replace(mode=0o104600, uid=1000), None),
        ("config_change", STATE, STATE._replace(hashes=STATE.hashes + b"\x0d" + b"b" * 32), None),
        ("created", None, STATE._replace(mode=0o040755), None),
    ],
)
@pytest.mark.parametrize("schema", ["audit", "ecs"])
def test_what_is_usual_goes_the_fast_way(names: IdNames, action, before, after, moved_from, schema, monkeypatch):
    change = FileChange(
        action=action, path=b"/srv/a b.txt", before=before, after=after, detected_by="event", time_ns=10**18,
        moved_from=moved_from, actor=ACTOR,
    )  # fmt: skip
    expected = FileRenderer(names).render(change, HOST, "web1", "e:1:0", schema)
    monkeypatch.delattr(FileRenderer, "render")

    assert FileFragmentRenderer(names).render(change, HOST, "web1", "e:1:0", schema) == expected


def test_names_that_have_changed_are_used_from_then_on(tmp_path):
    passwd, group = tmp_path / "passwd", tmp_path / "group"
    passwd.write_text("old:x:0:0::/:\n")
    group.write_text("")
    names = IdNames(passwd, group)
    renderer = FileFragmentRenderer(names)
    change = FileChange(
        action="created", path=b"/a", before=None, after=STATE, detected_by="event", time_ns=1, actor=ACTOR
    )
    renderer.render(change, HOST, "web1", "e:1:0")
    passwd.write_text("newer:x:0:0::/:\n")

    has_changed = names.refresh()
    renderer.forget_names()
    _, line = renderer.render(change, HOST, "web1", "e:1:1")

    assert has_changed
    assert line.count('"newer"') == 2
    assert "old" not in line


def test_a_change_that_nobody_may_send_is_an_error_on_both_ways():
    change = FileChange(action="odd", path=b"/a", before=None, after=STATE, detected_by="event", time_ns=1)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="neither the action"):
        FileFragmentRenderer(NoNames()).render(change, HOST, "web1", "e:1:0")
