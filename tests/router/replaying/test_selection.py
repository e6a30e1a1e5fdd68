"""Which events are asked for."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from auditline.workers.common.errors import InputError
from auditline.workers.router.decode import facts as decoding
from auditline.workers.router.replaying import selection as selecting
from auditline.workers.router.replaying.selection import Wanted, parse_wanted

DATA = Path(__file__).parents[2] / "data"
NOW = datetime(2026, 11, 26, 14, 19, 8)  # noqa: DTZ001
IDS = "ppid=1 pid=2 auid=0 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=1"
CALL = f'arch=c000003e syscall=2 success=yes exit=3 a0=1 a1=0 a2=0 a3=0 items=1 {IDS} comm="cat" exe="/usr/bin/cat"'
LOG = f"""\
type=SYSCALL msg=audit(1700000000.000:1): {CALL} key="identity"
type=PATH msg=audit(1700000000.000:1): item=0 name="/etc/network" inode=1 dev=08:01 mode=0100644 ouid=0 ogid=0
type=SYSCALL msg=audit(1700000000.999:2): {CALL} key=6964656E74697479016E6574776F726B
type=PATH msg=audit(1700000000.999:2): item=0 name="/etc/hosts" inode=1 dev=08:01 mode=0100644 ouid=0 ogid=0
type=EOE msg=audit(1700000000.999:2):
type=SYSCALL msg=audit(1700000001.000:3): {CALL} key=(null)
garbage
type=USER_LOGIN msg=audit(1700000002.000:4): pid=1 uid=0 auid=0 ses=1 msg='op=login acct="identity" res=success'
type=CONFIG_CHANGE msg=audit(1700000003.000:5): auid=0 ses=1 op=add_rule key="identity" list=4 res=1
"""


@pytest.fixture
def serials(replay_text):
    """Replay LOG and return the serials of the events that are selected; 0 is the line that is no record."""

    def select(**wanted):
        documents = replay_text(LOG, selection=parse_wanted(Wanted(**wanted), NOW))
        return sorted(document["audit"]["kernel"].get("sequence", 0) for document in documents)

    return select


def test_without_a_wish_there_is_nothing_to_look_at():
    assert parse_wanted(Wanted(), NOW) is None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"since": "1700000001"}, [0, 3, 4, 5]),
        ({"since": "1700000000.999"}, [0, 2, 3, 4, 5]),
        ({"since": "1700000000.9995"}, [0, 2, 3, 4, 5]),
        ({"until": "1700000000"}, [1, 2]),
        ({"until": "1700000000.998"}, [1]),
        ({"since": "2023-11-14T22:13:21Z", "until": "2023-11-14T22:13:22Z"}, [0, 3, 4]),
        ({"since": "today"}, []),
    ],
)
def test_both_ends_of_a_time_belong_to_it(serials, wanted, found):
    assert serials(**wanted) == found


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (["identity"], [1, 2, 5]),
        (["network"], [2]),
        (["network", "identity"], [1, 2, 5]),
        (["ident"], []),
        (["identity\x01network"], []),
        (["cat"], []),
        (["(null)"], []),
        ([".*"], []),
    ],
)
def test_an_event_has_one_of_the_keys_in_whatever_form(serials, keys, found):
    assert serials(keys=keys) == found


@pytest.mark.parametrize(
    ("types", "found"),
    [
        (["SYSCALL"], [1, 2, 3]),
        (["path"], [1, 2]),
        (["1302"], [1, 2]),
        (["UNKNOWN[1302]"], [1, 2]),
        (["EOE"], [2]),
        (["USER_LOGIN", "CONFIG_CHANGE"], [4, 5]),
        (["1999"], []),
    ],
)
def test_an_event_has_a_record_of_one_of_the_types(serials, types, found):
    assert serials(types=types) == found


def test_all_wishes_must_be_fulfilled(serials):
    assert serials(since="1700000000.5", until="1700000002", keys=["identity"], types=["SYSCALL"]) == [2]


def test_what_is_selected_is_the_same_line_as_without_a_selection(replay_bytes):
    everything = replay_bytes(LOG.encode() + b"more garbage\n")

    selected = replay_bytes(LOG.encode() + b"more garbage\n", selection=parse_wanted(Wanted(since="1700000001"), NOW))

    assert selected == [line for line in everything if json.loads(line)["@timestamp"] >= "2023-11-14T22:13:21"]


def test_an_event_that_cannot_have_the_key_is_not_decoded(serials, monkeypatch):
    decoded = []

    def gather(event):
        decoded.append(event.serial)
        return decoding.gather_facts(event)

    monkeypatch.setattr(selecting, "gather_facts", gather)

    assert serials(keys=["network"]) == [2]
    assert sorted(decoded) == [1, 2]


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"since": "yesteryear"}, "--since: 'yesteryear' is no time: wanted YYYY-MM-DD"),
        ({"until": "2024-13-01"}, "--until: '2024-13-01' is no time: month must be in 1..12"),
        ({"since": "now", "until": "-1h"}, "--until -1h is before --since now"),
        ({"types": ["SYSCAL"]}, "--type: 'SYSCAL' is no record type; did you mean SYSCALL?"),
        ({"types": ["99999"]}, "--type: '99999' is no record type: wanted a name as in the log, or a number"),
        ({"keys": [""]}, "--key: a key has at least one character"),
    ],
)
def test_a_wish_that_cannot_be_fulfilled_is_told(wanted, problem):
    with pytest.raises(InputError) as refused:
        parse_wanted(Wanted(**wanted), NOW)

    (told,) = refused.value.problems
    assert told.startswith(problem)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(InputError) as refused:
        parse_wanted(Wanted(since="x", until="y", types=["z"], keys=[""]), NOW)

    assert len(refused.value.problems) == 4


@pytest.mark.parametrize(("since", "until"), [("12:00:00.5", "12:00:00"), ("today", "today")])
def test_a_second_is_long_enough(since, until):
    assert parse_wanted(Wanted(since=since, until=until), NOW) is not None
