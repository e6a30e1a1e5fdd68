"""`auditline run` on full disks: what fits nowhere is counted and said, and with space all goes on."""

import signal

import pytest

pytestmark = pytest.mark.kernel

SEGMENTS_ALONE = """
[outputs.stdout]
enabled = false
[outputs.segments]
enabled = true
directory = "{}"
segment_bytes = 4096
keep_bytes = 1048576
[health]
period_seconds = 0.5
"""


@pytest.fixture
def start_loaded(kernel_audit, small_disk, start_run, wait_until):
    # After small_disk, so that the service has ended before the disk goes.
    def start(**choices):
        run = start_run(**choices)
        wait_until(lambda: "audit rules of ours are loaded" in run.stderr)
        return run

    return start


def stop(run):
    run.process.send_signal(signal.SIGTERM)
    return run.wait(6)


def test_a_full_state_directory_is_told_at_the_start(kernel_audit, small_disk, start_run):
    before = kernel_audit.list_rules()
    small_disk("first/state").fill()

    run = start_run()
    code = run.wait()

    assert code == 1
    (line,) = run.stderr.splitlines()
    assert f"{run.folder}/state cannot be used: No space left on device" in line
    assert kernel_audit.list_rules() == before


def test_a_state_directory_that_was_used_before_and_is_full_is_told_too(
    kernel_audit, small_disk, start_loaded, start_run
):
    disk = small_disk("first/state")
    assert stop(start_loaded()) == 0
    before = kernel_audit.list_rules()
    disk.fill()

    run = start_run()
    code = run.wait()

    assert code == 1
    assert f"{run.folder}/state cannot be used: No space left on device" in run.stderr
    assert kernel_audit.list_rules() == before


def test_what_a_full_journal_cannot_take_is_counted_and_said_until_there_is_space(
    small_disk, start_loaded, open_denied, wait_until
):
    disk = small_disk("first/state")
    run = start_loaded(tables="[health]\nperiod_seconds = 0.5")
    open_denied("/root/before")
    wait_until(lambda: "/root/before" in run.opened_names)

    disk.fill()
    wait_until(lambda: (open_denied("/root/meanwhile"), "records are being lost" in run.stderr)[1])
    wait_until(lambda: run.health.get("loss", {}).get("overflow"))
    disk.make_room()
    wait_until(lambda: (open_denied("/root/after"), "/root/after" in run.opened_names)[1])
    wait_until(lambda: run.health["balance"]["records"]["open"] == 0)

    assert "No space left on device" in run.stderr
    assert "the journal takes records again" in run.stderr
    balance = run.health["balance"]["records"]
    assert balance["dropped"] == run.health["loss"]["overflow"]
    assert balance["received"] == balance["written"] + balance["filtered"] + balance["dropped"]
    assert stop(run) == 0


def test_segments_on_a_full_disk_keep_all_upstream_and_get_each_event_once(
    small_disk, start_loaded, open_denied, wait_until
):
    disk = small_disk("first/log")
    run = start_loaded(tables=SEGMENTS_ALONE.format(disk.path))
    open_denied("/root/before")
    wait_until(lambda: "/root/before" in run.names_in(run.lines_of(disk.path)))

    disk.fill()
    names = [f"/root/{number}-meanwhile" for number in range(20)]
    open_denied(*names)
    wait_until(lambda: "outputs.segments: cannot write: No space left on device" in run.stderr)
    wait_until(lambda: names[-1].encode() in run.journal)
    disk.make_room()
    open_denied("/root/after")
    wait_until(lambda: "/root/after" in run.names_in(run.lines_of(disk.path)))

    assert stop(run) == 0
    events = run.lines_of(disk.path)
    assert [name for name in run.names_in(events) if name in names] == names
    ids = [event["event"]["id"] for event in events]
    assert len(ids) == len(set(ids))
