"""However the service ends, and whenever: the kernel is as it was, and nobody and nothing is left."""

import os
import signal
import time

import psutil
import pytest

pytestmark = pytest.mark.kernel

TITLES = ("control", "audit reader", "router", "names")


def descendants(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def sockets_of(run):
    return [path for path in (run.folder / "run").rglob("*") if path.is_socket()]


def handles_term(run):
    """Whether the process has come so far that SIGTERM does not end it by itself."""
    with open(f"/proc/{run.pid}/status") as file:
        caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


START_MOMENTS = [
    *((number * 150, (number + 1) * 150) for number in range(4)),
    *(pytest.param(number * 10, (number + 1) * 10, marks=pytest.mark.soak) for number in range(60)),
]


@pytest.mark.parametrize(("earliest_ms", "latest_ms"), START_MOMENTS)
def test_a_term_signal_at_any_moment_of_the_start_leaves_nothing(
    start_run, kernel_state, chance, wait_until, earliest_ms, latest_ms, are_gone
):
    before = kernel_state()
    run = start_run()
    wait_until(lambda: handles_term(run))
    time.sleep(chance.uniform(earliest_ms, latest_ms) / 1000)
    family = descendants(run.pid)

    run.process.send_signal(signal.SIGTERM)
    code = run.wait(5)

    assert code == 0, run.stderr
    assert kernel_state() == before
    assert are_gone(family)
    assert sockets_of(run) == []


@pytest.mark.parametrize("repetition", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, 10))])
def test_a_term_signal_before_the_interpreter_runs_our_code_finds_nothing_touched(
    start_run, kernel_state, chance, repetition
):
    before = kernel_state()
    run = start_run()
    time.sleep(chance.uniform(0, 0.03))

    run.process.send_signal(signal.SIGTERM)
    code = run.wait(5)

    # Until then the signal does what it does to any program.
    assert code in (0, -signal.SIGTERM)
    assert run.stderr == ""
    assert kernel_state() == before
    assert not (run.folder / "run").exists()
    assert not (run.folder / "state").exists()


@pytest.mark.parametrize("repetition", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, 8))])
def test_a_term_signal_under_load_leaves_nothing_but_what_the_next_start_delivers(
    loaded, kernel_state, at_moments, repetition, are_gone
):
    before = kernel_state()
    run = loaded.start(segments=True)
    family = run.family()
    opener = loaded.open_names("term", per_second=2000, seconds=2)

    for _ in at_moments([None], 1):
        run.process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    code = run.wait(5)

    assert code == 0, run.stderr
    assert time.monotonic() - start < 5
    assert kernel_state() == before
    assert are_gone(family)
    assert sockets_of(run) == []
    opener.wait()
    loaded.start(segments=True)
    loaded.wait_until_done()
    loaded.stop()
    events = loaded.segments
    events.assert_well_formed()
    # From the first name to the one at which the rules were taken out.
    numbers = sorted(int(name.rpartition("-")[2]) for name in events.names)
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("repetition", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, 8))])
def test_a_supervisor_killed_under_load_takes_everybody_along_and_the_kernel_is_restored(
    loaded, kernel_state, at_moments, wait_until, repetition, are_gone
):
    before = kernel_state()
    run = loaded.start(segments=True)
    family = run.family()
    loaded.open_names("orphan", per_second=1000, seconds=3)

    for _ in at_moments([None], 1):
        os.kill(run.pid, signal.SIGKILL)
    start = time.monotonic()
    run.wait(5)
    wait_until(lambda: are_gone(family[1:]))
    seconds = time.monotonic() - start

    assert seconds < 2
    assert kernel_state() == before
    loaded.start(segments=True)
    loaded.stop()
    assert kernel_state() == before
    assert sockets_of(run) == []


@pytest.mark.parametrize("repetition", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, 8))])
def test_a_supervisor_killed_with_control_under_load_leaves_a_kernel_that_the_next_start_restores(
    loaded, kernel_state, at_moments, wait_until, repetition, are_gone
):
    before = kernel_state()
    run = loaded.start(segments=True)
    family = run.family()
    control = loaded.worker("control")
    loaded.open_names("orphan", per_second=1000, seconds=3)

    for _ in at_moments([None], 1):
        # Stopped first, or control could be done before its own signal comes.
        control.suspend()
        os.kill(run.pid, signal.SIGKILL)
        control.kill()
    start = time.monotonic()
    run.wait(5)
    wait_until(lambda: are_gone(family[1:]))
    seconds = time.monotonic() - start

    assert seconds < 2
    assert kernel_state() != before
    loaded.start(segments=True)
    loaded.stop()
    assert kernel_state() == before
    assert sockets_of(run) == []


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_five_hundred_kills_of_workers_freeze_nobody_and_silence_nobody(loaded, kernel_state, chance, wait_until):
    before = kernel_state()
    # So that control has something to say at each of its starts.
    run = loaded.start(segments=True, audit='rules_files = ["missing-*.rules"]')
    wait_until(lambda: all(run.worker(title) for title in TITLES))
    supervisor = psutil.Process(run.pid)
    descriptors, threads = supervisor.num_fds(), supervisor.num_threads()
    opener = loaded.open_names("kills", per_second=200, seconds=60)

    for _ in range(500):
        # Often still in their start.
        time.sleep(chance.uniform(0, 0.15))
        loaded.kill(chance.choice(TITLES))
    opener.wait()
    said = len(run.stderr)
    loaded.kill("control")

    wait_until(lambda: "no rules file matches" in run.stderr[said:])
    wait_until(lambda: all(run.worker(title) for title in TITLES))
    wait_until(lambda: supervisor.num_threads() <= threads)
    wait_until(lambda: supervisor.num_fds() <= descriptors)
    loaded.wait_until_quiet()
    loaded.stop()
    assert kernel_state() == before
    events = loaded.segments
    events.assert_well_formed()
    events.assert_ledger(loaded.names, killed_readers=500)
