"""Paths are whole where the records say them for sure; the records are those of Linux 6.18 for real calls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.router.decode import types
from auditline.workers.router.decode.calls import acted_path, decode_call
from auditline.workers.router.decode.places import join_path
from auditline.workers.router.event import Facts

CWD = "/home/me"
HERE = "ffffff9c"

Items = list[tuple[str, str]]


def facts_of(call: str, items: Items, cwd: str = CWD, **data: str) -> Facts:
    paths = [{"nametype": name_type, "name": name} for name_type, name in items]
    return Facts(record_type=types.SYSCALL, data={"arch": "x86_64", "syscall": call, "cwd": cwd, **data}, paths=paths)


def places_of(facts: Facts) -> dict[str, str]:
    return {name: value for name, value in decode_call(facts).members.items() if name != "arguments"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("f", "/home/me/f"),
        ("./sub//f", "/home/me/sub/f"),
        ("sub/", "/home/me/sub"),
        (".", "/home/me"),
        ("..", "/home"),
        ("../../../etc/passwd", "/etc/passwd"),
        ("./../f", "/home/f"),
        ("link/../f", "/home/me/link/../f"),
        ("../link/../../f", "/home/link/../../f"),
        ("new\nline \x1b", "/home/me/new\nline \x1b"),
    ],
)
def test_name_is_joined_with_the_working_directory(name: str, path: str):
    assert places_of(facts_of("open", [("NORMAL", name)])) == {"path": path}
    assert places_of(facts_of("openat", [("NORMAL", name)], a0=HERE)) == {"path": path}
    assert places_of(facts_of("openat", [("NORMAL", name)], a0="ffffffffffffff9c")) == {"path": path}


@pytest.mark.parametrize(
    "facts",
    [
        facts_of("open", [("NORMAL", "/etc/passwd")]),
        facts_of("openat", [("NORMAL", "f")], a0="3"),
        facts_of("openat", [("PARENT", CWD), ("CREATE", "f")], a0="3"),
        facts_of("openat", [("NORMAL", "f")]),
        facts_of("openat", [("NORMAL", "f")], a0="no number"),
        facts_of("openat", [("NORMAL", "")], a0=HERE),
        facts_of("open", [("NORMAL", "f")], cwd="/gone (deleted)"),
        facts_of("open", [("NORMAL", "f")], cwd="not absolute"),
        facts_of("mq_open", [("NORMAL", "queue")]),
        facts_of("fsconfig", [("NORMAL", "f")]),
        facts_of("999", [("NORMAL", "f")]),
        facts_of("fchmod", [("NORMAL", "")], a0="3"),
        facts_of("openat2", [("NORMAL", "f")], a0=HERE),
        facts_of("openat2", [("NORMAL", "f")], a0=HERE, resolve="0x10"),
        facts_of("move_mount", [("NORMAL", "f")], a0="4", a2=HERE),
    ],
    ids=range(15),
)
def test_nothing_is_said_that_is_not_known(facts: Facts):
    assert places_of(facts) == {}


def test_openat2_that_resolves_as_usual_has_a_path():
    facts = facts_of("openat2", [("NORMAL", "f")], a0=HERE, resolve="0x8")

    assert places_of(facts) == {"path": "/home/me/f"}


RENAMES = [
    ("rename",
     [("PARENT", CWD), ("PARENT", CWD), ("DELETE", "a"), ("CREATE", "b")],
     {"old_path": "/home/me/a", "new_path": "/home/me/b"}),
    ("rename",
     [("PARENT", CWD), ("PARENT", CWD), ("DELETE", "a"), ("DELETE", "b"), ("CREATE", "b")],
     {"old_path": "/home/me/a", "new_path": "/home/me/b"}),
    ("rename",
     [("PARENT", "other/"), ("PARENT", "sub/"), ("DELETE", "sub/s"), ("CREATE", "other/s")],
     {"old_path": "/home/me/sub/s", "new_path": "/home/me/other/s"}),
    ("rename",
     [("PARENT", "other/"), ("PARENT", CWD), ("DELETE", "m3/"), ("CREATE", "other/m4/")],
     {"old_path": "/home/me/m3", "new_path": "/home/me/other/m4"}),
    ("rename",
     [("PARENT", "/etc/"), ("PARENT", CWD), ("DELETE", "b"), ("CREATE", "/etc/b")],
     {"old_path": "/home/me/b", "new_path": "/etc/b"}),
    ("rename", [("PARENT", CWD), ("PARENT", CWD)], {}),
    ("rename", [("UNKNOWN", "nodir/n2"), ("PARENT", CWD)], {}),
    ("link",
     [("PARENT", "sub/"), ("NORMAL", "f"), ("CREATE", "sub/f")],
     {"old_path": "/home/me/f", "new_path": "/home/me/sub/f"}),
    ("link", [("PARENT", CWD), ("NORMAL", "f")], {"old_path": "/home/me/f"}),
    ("link", [("UNKNOWN", "l"), ("UNKNOWN", "nope")], {}),
]  # fmt: skip


@pytest.mark.parametrize(("call", "items", "wanted"), RENAMES)
def test_both_names_of_a_rename_or_link_are_whole(call: str, items: Items, wanted: dict[str, str]):
    assert places_of(facts_of(call, items)) == wanted


EXCHANGE = [
    ("PARENT", "sub/"), ("PARENT", CWD), ("DELETE", "e1"), ("DELETE", "sub/e2"), ("CREATE", "sub/e2"), ("CREATE", "e1"),
]  # fmt: skip


def test_exchange_has_the_names_in_the_order_of_the_call():
    facts = facts_of("renameat2", EXCHANGE, a0=HERE, a2=HERE)

    assert places_of(facts) == {"old_path": "/home/me/e1", "new_path": "/home/me/sub/e2"}


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (HERE, "4", {"old_path": "/home/me/a"}),
        ("4", HERE, {"new_path": "/home/me/b"}),
        ("4", "5", {}),
    ],
)
def test_each_name_is_relative_to_its_own_descriptor(old: str, new: str, wanted: dict[str, str]):
    items = [("PARENT", CWD), ("PARENT", CWD), ("DELETE", "a"), ("CREATE", "b")]

    assert places_of(facts_of("renameat", items, a0=old, a2=new)) == wanted


def test_names_are_not_told_apart_if_one_may_be_missing():
    facts = facts_of("rename", [("PARENT", CWD), ("DELETE", "b"), ("CREATE", "b")])
    facts.reasons.append("missing_path_items")

    assert places_of(facts) == {}


@pytest.mark.parametrize(
    ("call", "items", "a1", "wanted"),
    [
        ("symlink", [("PARENT", CWD), ("UNKNOWN", "/etc/hosts"), ("CREATE", "hosts")], "0",
         {"target": "/etc/hosts", "path": "/home/me/hosts"}),
        ("symlink", [("PARENT", "/tmp/d/"), ("UNKNOWN", "/etc/hosts"), ("CREATE", "/tmp/d/hosts")], "0",
         {"target": "/etc/hosts", "path": "/tmp/d/hosts"}),
        ("symlink", [("PARENT", "sub/"), ("CREATE", "abc/host2")], "0",
         {"target": "abc/host2", "path": "/home/me/sub/host2"}),
        ("symlink", [("PARENT", CWD), ("CREATE", "selfie")], "0", {"target": "selfie", "path": "/home/me/selfie"}),
        ("symlink", [("PARENT", "sub/"), ("CREATE", "abcXhost")], "0", {"target": "abcXhost"}),
        ("symlink", [("PARENT", "sub/"), ("CREATE", "abc")], "0", {"target": "abc", "path": "/home/me/sub/abc"}),
        ("symlink", [("PARENT", CWD), ("UNKNOWN", "b")], "0", {"target": "b"}),
        ("symlinkat", [("PARENT", CWD), ("CREATE", "host4")], "3", {"target": "host4"}),
        ("symlinkat", [("PARENT", CWD), ("UNKNOWN", "abc/host5"), ("CREATE", "host5")], "3", {"target": "abc/host5"}),
        ("symlinkat", [("PARENT", CWD), ("UNKNOWN", "x"), ("CREATE", "y")], HERE,
         {"target": "x", "path": "/home/me/y"}),
    ],
    ids=range(10),
)  # fmt: skip
def test_symbolic_link_has_its_path_and_what_it_points_to(call: str, items: Items, a1: str, wanted: dict[str, str]):
    assert places_of(facts_of(call, items, a1=a1)) == wanted


MOUNT = [("NORMAL", "mnt"), ("NORMAL", "src")]


def test_mount_has_the_paths_of_what_and_where():
    facts = facts_of("mount", MOUNT)

    assert places_of(facts) == {"path": "/home/me/src", "mount_point": "/home/me/mnt"}
    assert acted_path(facts) == "/home/me/src"


def test_mount_of_no_file_has_the_path_of_where_it_is_as_that_of_the_thing():
    assert places_of(facts_of("mount", [("NORMAL", "mnt")])) == {"path": "/home/me/mnt"}


def test_mount_point_is_not_named_if_an_item_before_may_be_missing():
    facts = facts_of("mount", [("NORMAL", "src"), ("NORMAL", "x")])
    facts.reasons.append("missing_path_items")

    assert "mount_point" not in places_of(facts)


def test_link_in_the_root_under_its_targets_name_could_be_either():
    facts = facts_of("symlink", [("PARENT", "/"), ("CREATE", "abc")], cwd="/")

    assert places_of(facts) == {"target": "abc"}


def test_path_that_is_not_utf_8_keeps_its_bytes():
    facts = facts_of("open", [("NORMAL", "f\\xff")], cwd="/d\\xfe")
    facts.undecodable = [("data.cwd", b"/d\xfe"), ("paths.0.name", b"f\xff")]

    decoded = decode_call(facts)

    assert decoded.members["path"] == "/d\\xfe/f\\xff"
    assert decoded.undecodable == [("decoded.path", b"/d\xfe/f\xff")]


@pytest.mark.parametrize(
    ("facts", "path"),
    [
        (facts_of("open", [("NORMAL", "/etc//passwd")]), "/etc/passwd"),
        (facts_of("open", [("PARENT", CWD), ("CREATE", "f")]), "/home/me/f"),
        (facts_of("openat", [("PARENT", CWD)], a0=HERE), "/home/me"),
        (facts_of("openat", [("PARENT", CWD)], a0="3"), None),
        (facts_of("openat", [("PARENT", "/etc/")], a0="3"), "/etc"),
        (facts_of("openat", [("NORMAL", "f")], a0="3"), None),
        (facts_of("openat2", [("NORMAL", "/f")], a0="3", resolve="0x10"), None),
        (facts_of("rename", [("PARENT", CWD), ("PARENT", CWD), ("DELETE", "a"), ("CREATE", "b")]), "/home/me/a"),
        (facts_of("symlink", [("PARENT", "sub/"), ("CREATE", "abc/host2")]), "/home/me/sub/host2"),
        (facts_of("open", []), None),
    ],
    ids=range(10),
)
def test_whole_path_of_what_was_acted_on(facts: Facts, path: str | None):
    assert acted_path(facts) == path


_PARTS = st.lists(st.sampled_from([b"a", b"..", b".", b"", b"\xff"]), max_size=6).map(b"/".join)


@given(_PARTS, _PARTS)
def test_joined_path_is_absolute_and_has_no_empty_part(directory: bytes, name: bytes):
    path = join_path(b"/" + directory.replace(b".", b"d"), name)

    assert path.startswith(b"/")
    assert b"//" not in path
    assert b"/./" not in path
