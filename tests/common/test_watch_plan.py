import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.settings import WatchSettings
from auditline.workers.common.watch_plan import WatchPlan, is_within, plan_watches, watch_name


def watch(path, **settings) -> WatchSettings:
    return WatchSettings(path=Path(path), **settings)


def paths(plans) -> list[bytes]:
    return [plan.path for plan in plans]


def as_bytes(path) -> bytes:
    return os.fsencode(path)


def as_written(paths) -> dict[bytes, bytes]:
    return {path: path for path in paths}


@pytest.fixture
def folder(tmp_path):
    """A folder whose own path has no symbolic link."""
    return tmp_path.resolve()


def test_every_watch_is_planned_with_its_settings(folder):
    first: dict[str, Any] = {
        "recursive": False,
        "include": ("x",),
        "exclude": ("y",),
        "backend": "poll",
        "rescan_seconds": 60.0,
        "max_depth": 2,
        "one_filesystem": True,
    }

    planned = plan_watches([watch(folder / "a", **first), watch(folder / "b", rescan_seconds=0.0)])

    assert planned.plans == (
        WatchPlan(path=as_bytes(folder / "a"), **first),
        WatchPlan(path=as_bytes(folder / "b")),
    )
    assert planned.notes == ()


def test_a_link_and_what_it_names_are_watched_once(folder):
    (folder / "usr-bin").mkdir()
    (folder / "bin").symlink_to("usr-bin")

    planned = plan_watches([watch(folder / "bin"), watch(folder / "usr-bin")])

    assert paths(planned.plans) == [as_bytes(folder / "usr-bin")]
    assert planned.notes == (f"{folder}/bin is {folder}/usr-bin: watched once",)


def test_a_link_alone_is_watched_where_it_leads(folder):
    (folder / "real").mkdir()
    (folder / "link").symlink_to(folder / "real")

    planned = plan_watches([watch(folder / "link" / "beneath")])

    assert paths(planned.plans) == [as_bytes(folder / "real" / "beneath")]
    assert planned.notes == (f"{folder}/link/beneath is {folder}/real/beneath: watched under that name",)


def test_of_two_names_with_different_settings_the_first_holds(folder):
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")

    planned = plan_watches([watch(folder / "link", exclude=("a",)), watch(folder / "real")])

    assert [plan.exclude for plan in planned.plans] == [("a",)]
    assert planned.notes[1:] == (
        f"{folder}/real is named 2 times with different settings: those of {folder}/link hold",
    )


def test_what_does_not_exist_is_planned_all_the_same(folder):
    planned = plan_watches([watch(folder / "later" / "x")])

    assert paths(planned.plans) == [as_bytes(folder / "later" / "x")]


def test_a_loop_of_links_is_planned_as_it_stands(folder):
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")

    planned = plan_watches([watch(folder / "a")])

    assert len(planned.plans) == 1


def test_a_path_belongs_to_the_most_specific_watch(folder):
    planned = plan_watches([watch(folder), watch(folder / "ssl"), watch(folder / "ssl" / "private")])

    assert planned.plans[0].inner == ((as_bytes(folder / "ssl"), 0),)
    assert planned.plans[1].inner == ((as_bytes(folder / "ssl" / "private"), 0),)
    assert planned.plans[2].inner == ()
    assert f"{folder}/ssl is left to its own watch by that of {folder}" in planned.notes


def test_what_lies_beneath_a_flat_inner_watch_stays_with_the_outer_one(folder):
    planned = plan_watches([watch(folder), watch(folder / "a", recursive=False), watch(folder / "a" / "b" / "c")])

    assert planned.plans[0].inner == ((as_bytes(folder / "a"), 1), (as_bytes(folder / "a" / "b" / "c"), 0))
    assert planned.plans[1].inner == ()


def test_a_flat_watch_leaves_alone_what_is_directly_in_it_only(folder):
    planned = plan_watches([watch(folder, recursive=False), watch(folder / "a"), watch(folder / "b" / "c")])

    assert planned.plans[0].inner == ((as_bytes(folder / "a"), 0),)


def test_what_lies_deeper_than_an_inner_watch_reaches_stays_with_the_outer_one(folder):
    planned = plan_watches([watch(folder), watch(folder / "a", max_depth=3)])

    assert planned.plans[0].inner == ((as_bytes(folder / "a"), 3),)


def test_a_watch_of_a_certain_depth_has_no_watches_within_it_that_lie_deeper(folder):
    planned = plan_watches([watch(folder, max_depth=2), watch(folder / "a" / "b"), watch(folder / "a" / "c" / "d")])

    assert planned.plans[0].inner == ((as_bytes(folder / "a" / "b"), 0),)


def test_a_watch_that_is_not_recursive_has_the_depth_of_one_step():
    plans = plan_watches([watch("/nothing/a", recursive=False, max_depth=5)], as_written).plans

    assert [plan.depth for plan in plans] == [1]


def test_a_neighbour_whose_name_only_begins_alike_is_not_within(folder):
    planned = plan_watches([watch(folder / "etc"), watch(folder / "etcfoo")])

    assert [plan.inner for plan in planned.plans] == [(), ()]


def test_everything_is_within_the_root_of_the_host():
    planned = plan_watches([watch("/"), watch("/etc")])

    assert planned.plans[0].inner == ((b"/etc", 0),)
    assert is_within(b"/etc", b"/")
    assert not is_within(b"/", b"/etc")


def test_notes_have_no_character_that_a_terminal_acts_on(folder):
    (folder / "real\x1b[2J\n").mkdir()
    (folder / "link").symlink_to("real\x1b[2J\n")

    planned = plan_watches([watch(folder / "link")])

    assert planned.notes == (f"{folder}/link is {folder}/real\\x1b[2J\\n: watched under that name",)


def test_what_cannot_be_resolved_is_watched_as_written(folder):
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")

    planned = plan_watches([watch(folder / "x" / ".." / "link"), watch(folder / "real")], dict.fromkeys)

    assert paths(planned.plans) == [as_bytes(folder / "link"), as_bytes(folder / "real")]
    assert planned.notes == (
        f"{folder}/x/../link is watched as written: where it leads was not found out within 2 seconds",
        f"{folder}/real is watched as written: where it leads was not found out within 2 seconds",
        f"{folder}/x/../link is {folder}/link: watched under that name",
    )


@given(st.sets(st.lists(st.sampled_from(["a", "b", "A", "a-b", "é", "1"]), max_size=3).map("/".join), max_size=6))
def test_names_of_watches_differ(found):
    names = {watch_name(as_bytes("/" + path)) for path in found}

    assert len(names) == len(found)


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(["a", "b"]), max_size=3).map("/".join), st.booleans(), st.integers(0, 2)),
        max_size=6,
    ),
    st.lists(st.sampled_from(["a", "b"]), max_size=4).map("/".join),
)
def test_every_path_has_at_most_one_owner(watches, path):
    base = "/nothing-is-here"
    plans = plan_watches(
        [watch(f"{base}/{name}", recursive=recursive, max_depth=depth) for name, recursive, depth in watches],
        as_written,
    ).plans
    path = as_bytes(f"{base}/{path}".rstrip("/"))

    owners = [plan for plan in plans if owns(plan, path)]

    covered = any(is_covered(path, plan.path, plan.depth) for plan in plans)
    assert len(owners) == covered


def is_covered(path: bytes, directory: bytes, depth: int) -> bool:
    return is_within(path, directory) and (not depth or path.count(b"/") - directory.count(b"/") <= depth)


def owns(plan: WatchPlan, path: bytes) -> bool:
    inner = (is_covered(path, *each) for each in plan.inner)
    return is_covered(path, plan.path, plan.depth) and not any(inner)
