"""The status as it is printed for people."""

import pytest

from auditline.workers.status.text import show_age, show_status


def show(spoil, changes, *reasons):
    status, _ = spoil(changes)
    return show_status({**status, "state": "degraded" if reasons else "ok"}, reasons)


def test_it_begins_with_the_state(spoil):
    first, second, *_ = show(spoil, {}).splitlines()

    assert first.startswith("auditline 0.1.0, pid 100, up ")
    assert first.endswith(": OK")
    assert second == ""


def test_reasons_stand_below_the_state(spoil):
    first, second, third, *_ = show(spoil, {}, "router is down", "/etc is not there").splitlines()

    assert first.endswith(": DEGRADED")
    assert (second, third) == ("  ! router is down", "  ! /etc is not there")


def test_the_rest_is_tables_of_what_there_is(spoil):
    text = show(spoil, {}).partition("\n\n")[2]

    assert text == (
        "processes     pid  state    restarts    cpu   memory\n"
        "  supervisor  100  started         0  1.2 s  30.0 MB\n"
        "  control     101  started         0  1.2 s  30.0 MB\n"
        "  router      102  started         0  1.2 s  30.0 MB\n"
        "  audit       103  started         0  1.2 s  30.0 MB\n"
        "  fim-etc     104  started         0  1.2 s  30.0 MB\n"
        "\n"
        "outputs   type    state     events  waiting  behind\n"
        "  stdout  stdout  attached  12,345        0       -\n"
        "\n"
        "watches  backend   state     known\n"
        "  /etc   fanotify  watching  1,234\n"
        "\n"
        "kernel  read as the audit daemon, audit on, 9 rules of ours, 3 records wait, 0 lost\n"
        "\n"
        "cursors                    behind          moved\n"
        "  /var/lib/shipper/cursor     0 B  1 h 6 min ago\n"
    )


def test_a_damaged_cursor_is_shown_as_one(spoil):
    cursor = {"lag_bytes": None, "age_seconds": 4.0, "problem": "it is empty"}

    assert "\n  /c          -  damaged\n" in show(spoil, {"status.cursors": {"/c": cursor}})


def test_losses_are_told_only_when_there_are_any(spoil):
    with_losses = show(spoil, {"status.loss.serial_gaps": 1200})

    assert "\nlost    serial_gaps 1,200\n" in with_losses
    assert "lost    " not in show(spoil, {})


def test_what_is_not_there_leaves_no_empty_table(spoil):
    text = show(spoil, {"status.watches": {}, "status.cursors": {}})

    assert "watches" not in text
    assert "cursors" not in text


def test_a_hostile_path_cannot_act_on_the_terminal(spoil):
    path = "/tmp/\x1b[2J\n\udcff"
    text = show(spoil, {"status.watches": {path: {"backend": None, "state": "down", "files": None}}}, f"{path} is down")

    assert "\x1b" not in text
    assert "  ! /tmp/\\x1b[2J\\n\\udcff is down\n" in text
    assert "\n  /tmp/\\x1b[2J\\n\\udcff  -        down   " in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3661, "1 h 1 min"), (90_000, "1 d 1 h"), (86_400, "1 d 0 h")],
)
def test_ages_have_two_units(seconds, text):
    assert show_age(seconds) == text
