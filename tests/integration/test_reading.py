"""`auditline read` on the segments of a real service, whose files had the oddest names there are.

The numbers are those of the producer's contract with shippers.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ODD_NAMES = (
    b"two\nlines",
    b"\x1b[2Jclears",
    b'quo"te\\',
    b"\xff\xfe",
    b"\x7f\x9b",
    "\u2028ü€😀".encode(),
    b"\xed\xa0\x80",
)
LONGEST = b"\x1b" * 200
DEPTH = 15
LIMITS = (4000, 8000, 15900, 32000)
"""Of Fluent Bit's exec, rsyslog, Fluent Bit's stdin and tail, as they come."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@pytest.fixture(scope="module")
def segments(start_run_of_module, tmp_path_factory, wait_until):
    """Where a service wrote what it saw."""
    folder = tmp_path_factory.mktemp("reading")
    watched, directory = folder / "watched", folder / "segments"
    watched.mkdir()
    tables = f"""
[fim]
debounce_seconds = 0.05
[[fim.watch]]
path = "{watched}"
[outputs.stdout]
enabled = false
[outputs.segments]
enabled = true
directory = "{directory}"
"""
    run = start_run_of_module(audit="enabled = false", tables=tables)
    wait_until(lambda: b"first_walk" in read_all(directory), 30)
    deep = os.path.join(os.fsencode(watched), *([b"\x1b" * 250] * DEPTH))
    os.makedirs(deep)
    for name in (*ODD_NAMES, LONGEST):
        Path(os.fsdecode(os.path.join(deep, name))).write_bytes(name)
    wait_until(lambda: read_all(directory).count(b'"created"') >= DEPTH + len(ODD_NAMES) + 1, 30)
    os.rename(os.path.join(deep, LONGEST), os.path.join(deep, LONGEST + b"\x1b"))
    wait_until(lambda: b'"moved"' in read_all(directory), 30)
    run.process.terminate()
    run.wait(30)
    return directory


def read_all(directory):
    return b"".join(path.read_bytes() for path in sorted(directory.glob("*.jsonl")))


@pytest.fixture
def command(segments, tmp_path):
    """Return the words of a command that reads the segments with a cursor of this test."""
    return lambda *options: [
        *(sys.executable, "-m", "auditline.workers.supervisor", "read"),
        *("--cursor", str(tmp_path / "cursor"), *options, str(segments)),
    ]


@pytest.fixture
def read(command):
    return lambda *options: subprocess.run(command(*options), stdout=subprocess.PIPE, timeout=60, check=True).stdout


def refuse_constant(text):
    raise ValueError(f"{text} is no JSON")


def refuse_doubles(pairs):
    assert len(dict(pairs)) == len(pairs), f"a key comes twice: {pairs}"
    return dict(pairs)


def scalars_and_keys(value):
    """Return all that is no container in *value*, and all keys."""
    if isinstance(value, dict):
        return [*value, *(found for each in value.values() for found in scalars_and_keys(each))]
    if isinstance(value, list):
        return [found for each in value for found in scalars_and_keys(each)]
    return [value]


def keys_of(value):
    if isinstance(value, dict):
        return [*value, *(key for each in value.values() for key in keys_of(each))]
    return [key for each in value for key in keys_of(each)] if isinstance(value, list) else []


def ids_in(output):
    return [json.loads(line)["event"]["id"] for line in output.splitlines()]


def test_stdout_has_json_objects_and_nothing_else(read):
    """Point 1."""
    output = read()

    assert output.endswith(b"\n")
    assert all(
        line.startswith(b"{") and isinstance(json.loads(line.decode()), dict) for line in output.split(b"\n")[:-1]
    )
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", output)


def test_each_line_has_its_time_in_one_form_and_an_id_of_its_own_that_stays(read, tmp_path):
    """Point 3."""
    output = read()
    (tmp_path / "cursor").unlink()

    again = read()

    times = [json.loads(line)["@timestamp"] for line in output.splitlines()]
    assert [time for time in times if not TIME.fullmatch(time)] == []
    assert len(set(ids_in(output))) == len(times)
    assert again == output


@pytest.mark.parametrize("most_bytes", LIMITS)
def test_no_line_is_longer_than_asked_for_and_each_still_says_which_event_it_is(read, most_bytes, tmp_path):
    """Point 4."""
    everything = read("--max-line", "1000000")
    (tmp_path / "cursor").unlink()

    output = read("--max-line", str(most_bytes))

    assert max(map(len, everything.splitlines(keepends=True))) > most_bytes
    assert max(map(len, output.splitlines(keepends=True))) <= most_bytes
    assert ids_in(output) == ids_in(everything)


def test_documents_are_nested_and_have_no_value_that_a_reader_may_misread(read):
    """Point 5."""
    lines = read().splitlines()

    documents = [json.loads(line, object_pairs_hook=refuse_doubles, parse_constant=refuse_constant) for line in lines]

    values = scalars_and_keys(documents)
    assert [key for key in keys_of(documents) if "." in key] == []
    assert [value for value in values if isinstance(value, int) and not -(2**63) <= value < 2**63] == []
    assert [value for value in values if isinstance(value, str) and LONE_SURROGATE.search(value)] == []


@pytest.mark.parametrize("most_bytes", [4000, 1_000_000])
def test_all_of_it_goes_through_a_pipe_into_jq(read, command, tmp_path, most_bytes):
    everything = read()
    (tmp_path / "cursor").unlink()

    with subprocess.Popen(command("--max-line", str(most_bytes)), stdout=subprocess.PIPE) as reading:
        found = subprocess.run(["jq", "-r", ".event.id"], stdin=reading.stdout, capture_output=True, check=True)

    assert found.stdout.decode().split() == ids_in(everything)
    assert (reading.returncode, found.stderr) == (0, b"")
