import pytest


@pytest.fixture
def ballast(small_disk):
    """Take up all of the small disk but 64 KiB; deleting it makes room."""
    path = small_disk / "ballast"
    path.write_bytes(bytes(192 * 1024))
    return path


def test_a_chunk_cut_off_by_a_full_disk_is_finished_exactly_when_there_is_space(
    small_disk, ballast, open_segments, make_lines, lines_in, clock
):
    lines = make_lines(1, 100, 1000)
    output = open_segments(small_disk / "log", segment_bytes=1 << 20)
    output.write(lines)
    output.pump()
    assert output.is_blocked
    assert 0 < output.done_sequence < 100

    ballast.unlink()
    output.pump()
    assert output.is_blocked, "it is tried again each second, not each turn"
    clock.now += 1
    output.pump()

    assert not output.is_blocked
    assert output.done_sequence == 100
    assert lines_in(small_disk / "log") == [line.data for line in lines]
    assert output.counts()["missed"] == 0


def test_a_full_disk_detaches_where_another_output_goes_on_and_every_event_is_counted(
    small_disk, ballast, open_segments, make_lines, lines_in, clock, caplog
):
    output = open_segments(small_disk / "log", segment_bytes=1 << 20)
    output.others_attached = True
    output.write(make_lines(1, 100, 1000))
    output.pump()
    written = output.counts()["written"]
    assert not output.is_attached
    assert not output.is_blocked
    assert output.done_sequence == 100

    output.write(make_lines(101, 110, 1000))
    clock.now += 1
    output.pump()
    assert not output.is_attached
    ballast.unlink()
    (small_disk / "half").write_bytes(bytes(100))
    clock.now += 1
    output.pump()

    # A probe needs 1 MiB and the disk has 256 KiB: this one never comes back on its own.
    assert not output.is_attached
    output.others_attached = False
    output.pump()
    output.write(make_lines(111, 112, 1000))
    output.pump()

    assert output.is_attached
    expected = make_lines(1, written + 1, 1000) + make_lines(111, 112, 1000)
    assert lines_in(small_disk / "log") == [line.data for line in expected]
    assert output.counts() == {
        "events": 112, "written": written + 2, "filtered": 0, "missed": 110 - written, "rejected": 0, "pending": 0,
    }  # fmt: skip
    assert "No space left on device" in caplog.text


def test_a_detached_output_comes_back_within_a_second_of_space(
    small_disk, ballast, open_segments, make_lines, clock, monkeypatch
):
    monkeypatch.setattr("auditline.plugins.outputs.segment_series.PROBE_BYTES", 32 * 1024)
    output = open_segments(small_disk / "log", segment_bytes=1 << 20)
    output.others_attached = True
    output.write(make_lines(1, 100, 1000))
    output.pump()
    assert not output.is_attached

    ballast.unlink()
    clock.now += 1
    output.pump()

    assert output.is_attached
    assert [path.name for path in (small_disk / "log").iterdir() if path.suffix != ".jsonl"] == []


def test_a_full_disk_first_costs_the_oldest_segments_beyond_keep_bytes(
    small_disk, open_segments, make_lines, lines_in, clock
):
    output = open_segments(small_disk / "log", segment_bytes=16 * 1024, keep_bytes=32 * 1024)
    # So that only the full disk makes it look at the directory.
    output._series._retention_at = clock.now + 1e9

    for first in range(1, 1001, 10):
        output.write(make_lines(first, first + 9, 1000))
        output.pump()
        output._series._retention_at = clock.now + 1e9

    assert output.done_sequence == 1000
    assert output.counts()["missed"] == 0
    assert lines_in(small_disk / "log")[-1] == make_lines(1000, 1000, 1000)[0].data


def test_no_space_for_a_new_file_is_waited_for(small_disk, open_segments, make_lines, lines_in, clock):
    ballast = small_disk / "ballast"
    output = open_segments(small_disk / "log")
    with ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096 and ballast.stat().st_size < 256 * 1024:
            pass
    output.write(make_lines(1, 3))
    output.pump()
    assert output.is_blocked

    ballast.unlink()
    clock.now += 1
    output.pump()

    assert lines_in(small_disk / "log") == [line.data for line in make_lines(1, 3)]


def test_a_segment_taken_away_in_the_middle_of_a_line_does_not_cost_that_line(
    small_disk, ballast, open_segments, make_lines, lines_in, clock
):
    lines = make_lines(1, 100, 1000)
    output = open_segments(small_disk / "log", segment_bytes=1 << 20)
    output.write(lines)
    output.pump()
    written = output.counts()["written"]
    [path] = (small_disk / "log").glob("*.jsonl")

    path.unlink()
    clock.now += 1
    output.pump()

    assert lines_in(small_disk / "log")[0] == lines[written].data
