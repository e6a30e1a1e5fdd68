import os
import shutil
import stat
import time


def _names(directory):
    return sorted(path.name for path in directory.glob("*.jsonl"))


def _data(lines):
    return [line.data for line in lines]


def test_lines_are_in_the_segments_in_order_and_done_when_written(tmp_path, open_segments, make_lines, lines_in):
    output = open_segments()
    lines = make_lines(1, 100)

    output.write(lines[:60])
    output.pump()
    assert output.done_sequence == 60
    output.write(lines[60:])
    assert output.done_sequence == 60
    output.pump()

    assert output.done_sequence == 100
    assert lines_in(tmp_path / "log") == _data(lines)
    assert output.counts() == {
        "events": 100, "written": 100, "filtered": 0, "missed": 0, "rejected": 0, "pending": 0,
    }  # fmt: skip


def test_nothing_is_begun_before_the_first_line(tmp_path, open_segments):
    output = open_segments()

    output.pump()

    assert _names(tmp_path / "log") == []


def test_a_segment_ends_before_the_line_that_would_not_fit(tmp_path, open_segments, make_lines):
    output = open_segments(segment_bytes=4096)

    output.write(make_lines(1, 9, 1000))
    output.pump()

    assert [path.stat().st_size for path in sorted((tmp_path / "log").glob("*.jsonl"))] == [4000, 4000, 1000]


def test_a_line_longer_than_a_segment_has_one_of_its_own(tmp_path, open_segments, make_line, lines_in):
    output = open_segments(segment_bytes=4096)
    lines = [make_line(1), make_line(2, 10_000), make_line(3)]

    output.write(lines)
    output.pump()

    assert [path.stat().st_size for path in sorted((tmp_path / "log").glob("*.jsonl"))] == [200, 10_000, 200]
    assert lines_in(tmp_path / "log") == _data(lines)


def test_what_came_in_one_turn_is_one_write(open_segments, make_lines, monkeypatch):
    output = open_segments(segment_bytes=1 << 20)
    sizes: list[int] = []
    write = os.write

    def note_and_write(descriptor: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", note_and_write)

    output.write(make_lines(1, 500))
    output.pump()

    assert sizes == [100_000]


def test_names_count_up_and_are_never_used_again(tmp_path, open_segments, abandon, make_lines):
    output = open_segments()
    output.write(make_lines(1, 1))
    output.pump()
    abandon(output)
    shutil.rmtree(tmp_path / "log")

    output = open_segments()
    output.write(make_lines(2, 40))
    output.pump()

    assert [name.split("-")[1] for name in _names(tmp_path / "log")] == ["000000000002", "000000000003"]


def test_modes_do_not_depend_on_the_umask(tmp_path, open_segments, make_lines):
    umask = os.umask(0o077)
    try:
        output = open_segments()
        output.write(make_lines(1, 1))
        output.pump()
    finally:
        os.umask(umask)

    [path] = (tmp_path / "log").glob("*.jsonl")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


def test_a_second_instance_on_the_same_directory_waits_for_the_first(tmp_path, open_segments, clock, caplog):
    first = open_segments()
    second = open_segments(name="other")
    told = f"outputs.other: {tmp_path}/log cannot be used: another instance writes there; it is tried again each second"
    assert caplog.messages == [told]
    assert (second.is_blocked, os.strerror(second.error_number)) == (True, "Device or resource busy")

    first.close(5)
    clock.now += 1
    second.pump()

    assert (second.is_blocked, second.error_number) == (False, 0)


def test_several_outputs_write_side_by_side(tmp_path, open_segments, make_lines, lines_in):
    one, two = open_segments(tmp_path / "one", "one"), open_segments(tmp_path / "two", "two")

    for output in (one, two):
        output.write(make_lines(1, 50))
        output.pump()

    assert lines_in(tmp_path / "one") == lines_in(tmp_path / "two") == _data(make_lines(1, 50))


def test_a_directory_that_cannot_be_made_blocks_the_only_output_until_it_can(
    tmp_path, open_segments, make_lines, lines_in, clock, caplog
):
    (tmp_path / "file").touch()
    output = open_segments(tmp_path / "file" / "log")
    assert output.is_blocked
    assert caplog.messages == [
        f"outputs.segments: {tmp_path}/file/log cannot be used: Not a directory; it is tried again each second"
    ]

    (tmp_path / "file").unlink()
    clock.now += 1
    output.pump()
    output.write(make_lines(1, 3))
    output.pump()

    assert not output.is_blocked
    assert lines_in(tmp_path / "file" / "log") == _data(make_lines(1, 3))


def test_a_directory_that_cannot_be_made_detaches_where_another_output_goes_on(
    tmp_path, open_segments, make_lines, lines_in, clock
):
    (tmp_path / "file").touch()
    output = open_segments(tmp_path / "file")
    output.others_attached = True
    output.write(make_lines(1, 2))
    output.pump()
    assert (output.is_attached, output.is_blocked, output.done_sequence) == (False, False, 2)
    assert os.strerror(output.error_number) == "Not a directory"

    (tmp_path / "file").unlink()
    clock.now += 1
    output.pump()
    output.write(make_lines(3, 4))
    output.pump()

    assert lines_in(tmp_path / "file") == _data(make_lines(3, 4))
    wanted = {"events": 4, "written": 2, "filtered": 0, "missed": 2, "rejected": 0, "pending": 0}
    assert output.counts() == wanted


def test_a_directory_that_everybody_may_write_to_is_not_used(tmp_path, open_segments, caplog):
    (tmp_path / "log").mkdir()
    (tmp_path / "log").chmod(0o1777)

    output = open_segments()

    assert output.is_blocked
    assert "log cannot be used: all users may write to it" in caplog.text


def test_what_a_predecessor_wrote_is_known_also_where_the_directory_comes_back_late(
    tmp_path, open_segments, abandon, make_lines, lines_in, clock
):
    first = open_segments()
    first.write(make_lines(1, 5))
    first.pump()
    abandon(first)
    (tmp_path / "log").rename(tmp_path / "away")
    (tmp_path / "log").touch()
    second = open_segments()
    assert second.is_blocked

    (tmp_path / "log").unlink()
    (tmp_path / "away").rename(tmp_path / "log")
    clock.now += 1
    second.pump()
    second.write(make_lines(4, 7))
    second.pump()

    assert lines_in(tmp_path / "log") == _data(make_lines(1, 7))
    assert second.counts()["events"] == second.counts()["written"] == 7


def test_a_segment_deleted_by_somebody_else_is_left_for_a_new_one(
    tmp_path, open_segments, make_lines, lines_in, caplog
):
    output = open_segments(segment_bytes=1 << 20)
    output.write(make_lines(1, 3))
    output.pump()
    [path] = (tmp_path / "log").glob("*.jsonl")

    path.unlink()
    output.write(make_lines(4, 6))
    output.pump()

    assert lines_in(tmp_path / "log") == _data(make_lines(4, 6))
    assert "was moved or deleted: a new segment is begun" in caplog.text


def test_a_segment_moved_or_cut_by_somebody_else_is_left_for_a_new_one(tmp_path, open_segments, make_lines, lines_in):
    output = open_segments(segment_bytes=1 << 20)
    for turn, harm in enumerate([lambda path: path.rename(tmp_path / "moved"), lambda path: os.truncate(path, 10)]):
        output.write(make_lines(turn, turn))
        output.pump()
        harm(max((tmp_path / "log").glob("*.jsonl")))

    output.write(make_lines(3, 6))
    output.pump()

    assert lines_in(tmp_path / "log")[-4:] == _data(make_lines(3, 6))
    assert len(_names(tmp_path / "log")) == 2


def test_a_removed_directory_is_made_and_locked_again(tmp_path, open_segments, make_lines, lines_in):
    output = open_segments()
    output.write(make_lines(1, 3))
    output.pump()

    shutil.rmtree(tmp_path / "log")
    output.write(make_lines(4, 6))
    output.pump()

    assert lines_in(tmp_path / "log") == _data(make_lines(4, 6))
    assert open_segments(name="other").is_blocked


def _pump_until(output, condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        output.pump()


def test_with_sync_batch_a_line_is_done_only_when_it_was_synced(open_segments, make_lines, monkeypatch):
    may_sync = False
    synced = []

    def fdatasync(descriptor):
        while not may_sync:
            time.sleep(0.001)
        synced.append(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    output = open_segments(sync="batch", segment_bytes=1 << 20)
    output.write(make_lines(1, 10))
    output.pump()
    output.write(make_lines(11, 20))
    output.pump()

    assert output.done_sequence == 0
    may_sync = True
    _pump_until(output, lambda: output.done_sequence == 20)
    assert len(synced) == 2


def test_with_sync_batch_segments_that_are_left_are_synced_too(open_segments, make_lines):
    output = open_segments(sync="batch", segment_bytes=4096)

    output.write(make_lines(1, 500))

    _pump_until(output, lambda: output.done_sequence == 500)


def test_with_sync_interval_there_is_one_sync_a_second(open_segments, make_lines, clock, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    output = open_segments(sync="interval", segment_bytes=1 << 20)

    for turn in range(1, 31):
        output.write(make_lines(turn, turn))
        output.pump()
        assert output.done_sequence == turn
        _pump_until(output, lambda: output._series._syncer.is_idle)
        clock.now += 0.1

    assert len(synced) == 3


def test_a_failed_sync_is_said_and_does_not_stop_the_output(open_segments, make_lines, monkeypatch, caplog):
    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    output = open_segments(sync="batch")
    output.write(make_lines(1, 1))

    _pump_until(output, lambda: output.done_sequence == 1)
    _pump_until(output, lambda: "may not be on the disk: Input/output error" in caplog.text)


def test_closing_syncs_what_was_written(open_segments, make_lines):
    output = open_segments(sync="batch")
    output.write(make_lines(1, 100))

    output.close(5)

    assert output.done_sequence == 100
