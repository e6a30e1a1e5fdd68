"""Approvals: decided when their file has its name, applied once, by whoever has the baseline."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.errors import StorageError
from auditline.workers.common.file_entry import Coverage, decode_entries
from auditline.workers.common.file_state import STABLE, FileState
from auditline.workers.fim.approval import (
    Approval,
    ApprovalWriter,
    apply,
    approval_path,
    last_approval,
    read_approval,
)
from auditline.workers.fim.approving import Approving
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.gaps import GAP_COUNTERS

STATE = FileState(0o100644, 0, 0, 5, 11, 22, 1, 1, 2, 3, 0, None, b"", STABLE, 4)
PATHS = st.lists(st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 47} & {*name}), max_size=3).map(
    b"/".join
)


def make_approval(kind="init", identity="scan-1"):
    return Approval(identity=identity, kind=kind, time_ns=5, who={"uid": 0, "user": "root"}, counts={"added": 1})


@pytest.fixture
def baseline(tmp_path):
    baseline = Baseline.open(tmp_path, "fim-test", b"/watched")
    yield baseline
    baseline.close()


@pytest.fixture
def decide(baseline):
    """Return what lets states be approved, as a person's command does."""

    def decide(states, **about):
        writer = ApprovalWriter(approval_path(baseline.path))
        for path, state in states.items():
            writer.put(path, state)
        writer.finish(make_approval(**about))

    return decide


def apply_all(baseline):
    steps = apply(baseline, approval_path(baseline.path))
    return [*steps]


def approved(baseline):
    found: dict[bytes, FileState] = {}
    for directory in baseline.approved.directories(b""):
        prefix = directory + b"/" if directory else b""
        found |= {prefix + name: state for name, state in baseline.approved.page_of(directory, b"", 1000)}
    return found


@given(states=st.dictionaries(PATHS.filter(bool), st.integers(0, 2**40).map(lambda size: STATE._replace(size=size))))
def test_all_that_is_approved_is_read_as_it_was_found(tmp_path_factory, states):
    folder = tmp_path_factory.mktemp("baseline")
    baseline = Baseline.open(folder, "fim-test", b"/watched")
    writer = ApprovalWriter(approval_path(baseline.path))
    for path, state in states.items():
        writer.put(path, state)
    writer.finish(make_approval())

    apply_all(baseline)

    assert approved(baseline) == states
    baseline.close()


def test_an_update_leaves_what_it_does_not_name_and_takes_away_what_is_gone(baseline, decide):
    decide({b"kept": STATE, b"gone": STATE, b"directory/changed": STATE})
    apply_all(baseline)
    changed = STATE._replace(size=6)
    decide({b"gone": None, b"directory/changed": changed}, kind="update", identity="scan-2")

    apply_all(baseline)

    assert approved(baseline) == {b"kept": STATE, b"directory/changed": changed}


def test_a_new_beginning_leaves_nothing_of_what_was_approved(baseline, decide):
    decide({b"old": STATE, b"directory/old": STATE})
    apply_all(baseline)
    decide({b"new": STATE}, identity="scan-2")

    apply_all(baseline)

    assert approved(baseline) == {b"new": STATE}


def test_what_was_seen_stays_as_it_is(baseline, decide):
    baseline.keep(b"file", STATE)
    decide({b"other": STATE})

    apply_all(baseline)

    assert baseline.known(b"file") == STATE
    assert [*baseline.known_beneath(b"")] == [b"file"]
    assert baseline.counts().seen_rows == 1


def test_a_renamed_directory_takes_nothing_of_what_is_approved_along(baseline, decide):
    baseline.keep(b"directory/file", STATE)
    decide({b"directory/file": STATE})
    apply_all(baseline)

    baseline.move_directory(b"directory", b"other")

    assert approved(baseline) == {b"directory/file": STATE}


def test_it_is_told_once_who_approved_what(baseline, decide):
    decide({b"file": STATE})
    apply_all(baseline)

    [(_, entry)] = decode_entries(baseline.read(baseline.last_number).payload)

    assert isinstance(entry, Coverage)
    assert entry.reason == "approved"
    assert entry.detail == {"kind": "init", "added": 1, "uid": 0, "user": "root"}
    assert entry.path == b"/watched"


def test_one_that_was_applied_and_not_yet_taken_away_is_not_told_again(baseline, decide):
    decide({b"file": STATE})
    content = approval_path(baseline.path).read_bytes()
    apply_all(baseline)
    approval_path(baseline.path).write_bytes(content)

    apply_all(baseline)

    assert baseline.last_number == 1
    assert read_approval(approval_path(baseline.path)) is None


def test_after_a_kill_in_the_middle_it_is_applied_from_its_beginning(baseline, decide):
    states = {b"file-%d" % number: STATE for number in range(5000)}
    decide(states)
    next(apply(baseline, approval_path(baseline.path)))

    apply_all(baseline)

    assert len([*baseline.approved.page_of(b"", b"", 10000)]) == 5000
    assert baseline.last_number == 1


@pytest.mark.parametrize("cut", [1, 40, 150, -1])
def test_of_one_that_is_damaged_nothing_is_approved_and_it_is_put_aside(baseline, decide, cut):
    decide({b"file": STATE})
    path = approval_path(baseline.path)
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(StorageError, match="damaged"):
        apply_all(baseline)

    assert approved(baseline) == {}
    assert not path.exists()


def test_one_that_is_never_finished_leaves_nothing_behind(baseline):
    writer = ApprovalWriter(approval_path(baseline.path))
    writer.put(b"file", STATE)

    writer.cancel()

    assert [path.name for path in baseline.path.parent.iterdir() if "approval" in path.name] == []


def test_the_last_one_is_known_beside_the_baseline(baseline, decide):
    decide({b"file": STATE})

    apply_all(baseline)

    assert last_approval(baseline.path) == make_approval()


def test_a_watcher_applies_what_waits(baseline, decide):
    approving = Approving(baseline, CounterPage.unshared(GAP_COUNTERS))
    decide({b"file": STATE})

    approving.go_on()
    while approving.is_busy:
        approving.go_on()

    assert approved(baseline) == {b"file": STATE}
