"""A pipe's reader that stops, goes away or is slow, under load."""

import json
import shutil
import signal
import subprocess
import time

import pytest

pytestmark = pytest.mark.kernel

SHORT_AND_LONG = [pytest.param(1.5, 3, id="short"), pytest.param(4, 8, id="long", marks=pytest.mark.soak)]


@pytest.mark.parametrize(("stopped_seconds", "seconds"), SHORT_AND_LONG)
def test_a_reader_that_stops_for_a_while_misses_nothing(loaded, make_pipe, stopped_seconds, seconds):
    pipe = make_pipe()
    loaded.start(pipe=pipe)
    loaded.open_names("stop", per_second=1000, seconds=seconds)
    time.sleep(0.5)

    pipe.pause()
    time.sleep(stopped_seconds)
    pipe.resume()
    loaded.wait_until_done()
    loaded.stop()

    events = pipe.events
    events.assert_well_formed()
    events.assert_ledger(loaded.names)


def test_what_a_reader_that_goes_away_left_is_delivered_by_the_next_start(loaded, make_pipe, kernel_state):
    before = kernel_state()
    pipe, later_pipe = make_pipe(), make_pipe()
    loaded.start(pipe=pipe)
    loaded.open_names("read", per_second=1000, seconds=0.3).wait()
    pipe.pause()
    loaded.open_names("left", per_second=1000, seconds=1.5).wait()

    pipe.close()
    assert loaded.run.wait(5) == 0
    assert kernel_state() == before
    loaded.start(pipe=later_pipe)
    loaded.wait_until_done()
    loaded.stop()

    later = later_pipe.events
    later.assert_well_formed()
    assert loaded.names == pipe.events.names.keys() | later.names.keys()
    assert later.records["open"] == 0


@pytest.mark.soak
@pytest.mark.parametrize("repetition", range(5))
def test_a_reader_that_goes_away_under_load_costs_nothing_that_was_audited(
    loaded, make_pipe, at_moments, wait_until, repetition
):
    pipe, later_pipe = make_pipe(), make_pipe()
    loaded.start(pipe=pipe)
    opener = loaded.open_names("gone", per_second=1000, seconds=4)

    for _ in at_moments([None], 3):
        pipe.close()
    assert loaded.run.wait(5) == 0
    opener.wait()
    loaded.start(pipe=later_pipe)
    loaded.wait_until_done()
    loaded.stop()

    later = later_pipe.events
    later.assert_well_formed()
    names = pipe.events.names.keys() | later.names.keys()
    # From the first name to the one at which the rules were taken out.
    numbers = sorted(int(name.rpartition("-")[2]) for name in names)
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("seconds", [3, pytest.param(8, marks=pytest.mark.soak)])
def test_a_router_killed_while_the_pipe_is_full_leaves_every_line_whole(loaded, make_pipe, seconds):
    pipe = make_pipe()
    loaded.start(pipe=pipe)
    pipe.pause()
    loaded.open_names("full", per_second=1000, seconds=seconds)

    for _ in range(3):
        # Each has written to the pipe, or has found it full, before it is killed.
        time.sleep(seconds / 4)
        loaded.kill("router")
    pipe.resume()
    loaded.wait_until_done()
    loaded.stop()

    events = pipe.events
    events.assert_well_formed(may_repeat=True)
    events.assert_ledger(loaded.names)


@pytest.mark.parametrize("seconds", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_a_stopped_stdout_does_not_hold_up_the_segments_beside_it(loaded, make_pipe, wait_until, seconds):
    pipe = make_pipe()
    loaded.start(pipe=pipe, segments=True)
    pipe.pause()

    opener = loaded.open_names("beside", per_second=1000, seconds=seconds)
    opener.wait()
    start = time.monotonic()
    wait_until(lambda: loaded.segments.names.keys() == loaded.names)
    seconds_behind = time.monotonic() - start
    # The pipe is still full.
    loaded.stop()

    assert seconds_behind < 2
    loaded.segments.assert_well_formed()


def test_what_a_detached_stdout_missed_is_counted_line_by_line(loaded, make_pipe, wait_until):
    pipe = make_pipe()
    segments = f'[outputs.segments]\nenabled = true\ndirectory = "{loaded.segments_directory}"\n'
    run = loaded.start_into(pipe.write_fd, tables=f"{segments}[outputs.stdout]\nstall_seconds = 0.5\n")
    pipe.give_away()
    pipe.pause()
    loaded.open_names("missed", per_second=1000, seconds=1.5).wait()
    wait_until(lambda: "outputs.stdout: its reader stalls: detached" in run.stderr)

    pipe.resume()
    wait_until(lambda: "outputs.stdout: attached again" in run.stderr)
    later = loaded.open_names("later", per_second=500, seconds=0.5)
    loaded.wait_until_done()
    loaded.stop()

    events, on_pipe = loaded.segments, pipe.events
    events.assert_well_formed()
    events.assert_balance()
    on_pipe.assert_well_formed()
    assert events.names.keys() == loaded.names
    assert later.names <= on_pipe.names.keys()
    missed = events.health["balance"]["outputs"]["stdout"]["missed"]
    assert missed == len(events.lines_by_id) - len(on_pipe.lines_by_id) > 0
    assert events.losses == {"rejected": missed}


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_jq_behind_the_pipe_reads_every_line_over_a_stop_of_its_own_and_a_kill_of_the_router(loaded, make_pipe):
    pipe = make_pipe()
    jq = subprocess.Popen(
        ["jq", "--compact-output", "--unbuffered", ".audit.kernel.thing.primary"],
        stdin=subprocess.PIPE,
        stdout=pipe.write_fd,
    )
    assert jq.stdin is not None
    loaded.start_into(jq.stdin.fileno())
    jq.stdin.close()
    loaded.open_names("jq", per_second=1000, seconds=3)
    time.sleep(0.5)

    jq.send_signal(signal.SIGSTOP)
    time.sleep(1)
    loaded.kill("router")
    jq.send_signal(signal.SIGCONT)
    loaded.wait_until_done()
    loaded.stop()

    assert jq.wait(5) == 0
    pipe.give_away()
    pipe.wait_for_end()
    assert loaded.names <= {json.loads(line) for line in pipe.lines}
