"""A condition holds exactly where a plain reading of the parsed document says so."""

import ipaddress
import json
import re
from datetime import datetime

import pytest
import ujson
from hypothesis import given
from hypothesis import strategies as st

from auditline.plugins.outputs.conditions import any_of, compile_condition
from auditline.workers.common.filter_settings import ConditionSettings

DOCUMENT = {
    "@timestamp": "2026-01-31T12:00:00.500Z",
    "event": {"category": ["process", "file"], "outcome": "success", "severity": 21, "code": None},
    "process": {"executable": "/usr/lib/systemd/systemd", "args": ["-l", "/tmp"], "interactive": True},
    "source": {"ip": "192.0.2.7"},
    "host": {"ip": ["fd00::7", "::ffff:10.1.2.3"]},
    "auditd": {"paths": [{"name": "/etc/passwd", "inode": 18446744073709551617}, {"name": "/etc"}], "data": {}},
}


def holds(**condition):
    return compile_condition(ConditionSettings(**condition))(DOCUMENT)


@pytest.mark.parametrize(
    "condition",
    [
        {"field": "event.outcome", "equals": "success"},
        {"field": "event.severity", "equals": 21},
        {"field": "event.severity", "equals": 21.0},
        {"field": "process.interactive", "equals": True},
        {"field": "event.category", "equals": "file"},
        {"field": "event.category", "one_of": ("network", "file")},
        {"field": "process.executable", "prefix": "/usr/lib/"},
        {"field": "process.args", "prefix": "/t"},
        {"field": "process.executable", "regex": "systemd$"},
        {"field": "process.executable", "regex": "glob:/usr/**"},
        {"field": "event.severity", "above": 20, "below": 21.5},
        {"field": "auditd.paths.inode", "equals": 18446744073709551617},
        {"field": "@timestamp", "above": "2026-01-31T12:00:00Z", "below": "2026-01-31T13:00:01+01:00"},
        {"field": "source.ip", "network": ("198.51.100.0/24", "192.0.2.0/24")},
        {"field": "host.ip", "network": ("fd00::/8",)},
        {"field": "host.ip", "network": ("10.0.0.0/8",)},
        {"field": "auditd.paths.name", "equals": "/etc"},
        {"field": "auditd.data", "exists": True},
        {"field": "auditd.paths.name", "exists": True},
        {"field": "event.code", "exists": False},
        {"field": "event.reason.x", "exists": False},
    ],
)
def test_what_is_so_holds(condition):
    assert holds(**condition)


@pytest.mark.parametrize(
    "condition",
    [
        {"field": "event.severity", "equals": "21"},
        {"field": "process.interactive", "equals": 1},
        {"field": "process.interactive", "above": 0},
        {"field": "event.severity", "above": 21},
        {"field": "event.severity", "below": 21},
        {"field": "event.outcome", "above": 1},
        {"field": "event.outcome", "below": "2027-01-01T00:00:00Z"},
        {"field": "event", "equals": "success"},
        {"field": "event", "prefix": "s"},
        {"field": "source.ip", "network": ("192.0.3.0/24", "::/0")},
        {"field": "event.outcome", "network": ("0.0.0.0/0",)},
        {"field": "event.code", "exists": True},
        {"field": "process.args", "prefix": "-l", "regex": "tmp"},
    ],
)
def test_what_is_not_so_does_not_hold(condition):
    assert not holds(**condition)


@pytest.mark.parametrize(
    "operator",
    [
        {"equals": "x"},
        {"one_of": ("x", 0, False)},
        {"prefix": "x"},
        {"regex": "^"},
        {"above": -1},
        {"below": 1},
        {"below": "2027-01-01T00:00:00Z"},
        {"network": ("0.0.0.0/0", "::/0")},
        {"exists": True},
    ],
)
def test_of_a_missing_field_nothing_holds_but_that_it_does_not_exist(operator):
    assert not holds(field="event.reason", **operator)
    assert holds(field="event.reason", exists=False)


def test_groups_of_conditions_are_all_any_and_none_of_them():
    yes = ConditionSettings(field="event.outcome", equals="success")
    no = ConditionSettings(field="event.outcome", equals="failure")

    assert holds(all=(yes, yes), any=(no, yes), none=(no, no))
    assert not holds(all=(yes, no))
    assert not holds(any=(no, no))
    assert not holds(none=(no, yes))
    assert not holds(field="event.severity", equals=22, all=(yes,))
    assert any_of([no, yes])(DOCUMENT)


words = st.sampled_from(
    ["a", "ab", "b", "10.0.0.1", "fd00::1", "2026-01-01T00:00:00.000Z", "2025-12-31T23:59:59+00:00"]
)
leaves = words | st.integers(-2, 2) | st.floats(-2, 2) | st.booleans() | st.none() | st.integers(2**64, 2**70)
documents = st.recursive(
    st.dictionaries(st.sampled_from("xyz"), leaves, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner | leaves | st.lists(inner | leaves, max_size=3)),
    max_leaves=8,
)
paths = st.lists(st.sampled_from("xyz"), min_size=1, max_size=3).map(".".join)
scalars = words | st.integers(-2, 2) | st.booleans() | st.integers(2**64, 2**70)
moments = st.just("2026-01-01T00:00:00Z")
operators = st.one_of(
    st.fixed_dictionaries({"equals": scalars}),
    st.fixed_dictionaries({"one_of": st.lists(scalars, min_size=1).map(tuple)}),
    st.fixed_dictionaries({"prefix": st.sampled_from(["a", "ab", "2"])}),
    st.fixed_dictionaries({"regex": st.sampled_from(["b$", "^a", "[0-9]:"])}),
    st.fixed_dictionaries({"above": st.integers(-2, 2) | moments}),
    st.fixed_dictionaries({"below": st.floats(-2, 2) | moments}),
    st.fixed_dictionaries({"network": st.lists(st.sampled_from(["10.0.0.0/8", "fd00::/8"]), min_size=1).map(tuple)}),
    st.fixed_dictionaries({"exists": st.booleans()}),
)


@given(document=documents, field=paths, operator=operators)
def test_a_condition_is_what_a_plain_reading_says(document, field, operator):
    condition = compile_condition(ConditionSettings(field=field, **operator))

    assert condition(ujson.loads(json.dumps(document))) == plainly(document, field, operator)


def plainly(document, field, operator):
    [(name, wanted)] = operator.items()
    found = [value for value in reach([document], field.split(".")) if value is not None]
    return bool(found) is wanted if name == "exists" else any(PLAIN[name](value, wanted) for value in found)


def reach(values, path):
    flat = [each for value in values for each in (reach(value, []) if isinstance(value, list) else [value])]
    if not path:
        return flat
    return reach([value[path[0]] for value in flat if isinstance(value, dict) and path[0] in value], path[1:])


def same(value, wanted):
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


def order(value, wanted):
    """Return how far a value is above a limit; None: they are not of one kind."""
    if isinstance(wanted, str):
        is_time = isinstance(value, str) and value.startswith("202")
        limit = datetime.fromisoformat(wanted)
        return (datetime.fromisoformat(value) - limit).total_seconds() if is_time else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value - wanted if is_number else None


def within(value, network):
    try:
        return isinstance(value, str) and ipaddress.ip_address(value) in ipaddress.ip_network(network)
    except ValueError:
        return False


PLAIN = {
    "equals": same,
    "one_of": lambda value, wanted: any(same(value, each) for each in wanted),
    "prefix": lambda value, wanted: isinstance(value, str) and value.startswith(wanted),
    "regex": lambda value, wanted: isinstance(value, str) and bool(re.search(wanted, value)),
    "above": lambda value, wanted: (order(value, wanted) or 0) > 0,
    "below": lambda value, wanted: (order(value, wanted) or 0) < 0,
    "network": lambda value, wanted: any(within(value, network) for network in wanted),
}
