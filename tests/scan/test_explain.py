"""`auditline explain`: what is known of one path."""

from auditline.workers.common.errors import Exit
from auditline.workers.supervisor.cli import main


def explain(scanned, path, capsys):
    code = main(["explain", "--config", str(scanned.configuration), str(path)])
    lines = capsys.readouterr().out.splitlines()
    return code, {line[2:12].strip() or line.strip(): line[12:] for line in lines[1:]}


def test_a_path_that_is_as_approved_says_so(scanned, capsys):
    scanned.run("--init")

    code, told = explain(scanned, scanned.tree / "script", capsys)

    assert code == Exit.OK
    assert told["watch"] == f"{scanned.tree}: changes of this path are reported"
    assert told["profile"] == "static"
    assert told["approved"].startswith("type=file owner=")
    assert told["backend"].startswith("none now: not running")


def test_a_path_outside_of_all_watches_says_so(scanned, capsys):
    _, told = explain(scanned, "/proc/version", capsys)

    assert told == {"watch": "none: no [[fim.watch]] has it"}


def test_a_path_that_is_left_out_says_why(scanned, capsys):
    scanned.configure('exclude = ["glob:**/script"]\n')

    _, told = explain(scanned, scanned.tree / "script", capsys)

    assert "left out by include or exclude" in told["watch"]


def test_an_override_is_named(scanned, capsys):
    scanned.configure('[[fim.watch.override]]\nmatch = ["glob:**/script"]\nprofile = "log"\n')

    _, told = explain(scanned, scanned.tree / "script", capsys)

    assert told["profile"] == "log; it may grow"


def test_without_a_baseline_nothing_is_known(scanned, capsys):
    _, told = explain(scanned, scanned.tree / "script", capsys)

    assert told["seen"] == "nothing: there is no baseline yet"
