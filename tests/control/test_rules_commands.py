import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from auditline.workers.common.errors import Exit, InputError
from auditline.workers.control.commands import check_command, compile_command
from auditline.workers.control.compile import compile_rule
from auditline.workers.control.language import parse_rules

OPEN = "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -k open"


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def err() -> io.StringIO:
    return io.StringIO()


def rules_file(folder: Path, *lines: str, name: str = "a.rules") -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")
    return path


@pytest.mark.parametrize(
    ("lines", "answer"),
    [([OPEN], "1 rule is good\n"), (["-D", OPEN, "-a never,task"], "2 rules are good\n")],
)
def test_check_counts_good_rules(tmp_path: Path, out: io.StringIO, lines: list[str], answer: str) -> None:
    path = rules_file(tmp_path, *lines)

    code = check_command([path], out)

    assert (code, out.getvalue()) == (Exit.OK, answer)


def test_check_tells_every_problem_of_every_file(tmp_path: Path, out: io.StringIO) -> None:
    first = rules_file(tmp_path, OPEN, "-b many", "-a always,exit -S nosuch -F arch=b64")
    second = rules_file(tmp_path, "-w caf\udce9", name="b.rules")
    missing = tmp_path / "missing.rules"

    code = check_command([first, second, missing], out)

    assert code is Exit.USAGE
    assert [line.partition(": ")[0] for line in out.getvalue().splitlines()] == [
        f"{first}:2",
        f"{first}:3",
        f"{second}:1",
        str(missing),
    ]


def test_check_warns_about_what_only_this_host_lacks(tmp_path: Path, out: io.StringIO) -> None:
    path = rules_file(tmp_path, f"-a always,exit -F dir={tmp_path}/nowhere -F perm=wa")

    code = check_command([path], out)

    assert code is Exit.OK
    assert out.getvalue().splitlines() == [
        f"warning: {path}:1: this host cannot load it now: {tmp_path}/nowhere does not exist",
        "1 rule is good",
    ]


def test_compile_prints_one_json_line_per_rule(tmp_path: Path, out: io.StringIO, err: io.StringIO) -> None:
    path = rules_file(tmp_path, "# comment", OPEN, "-w /etc/passwd -k ü")

    code = compile_command([path], "json", out, err)

    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (code, err.getvalue()) == (Exit.OK, "")
    assert list(first) == ["file", "line", "rule", "data"]
    assert (first["file"], first["line"]) == (str(path), 2)
    assert first["rule"] == "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -F key=open"
    assert base64.b64decode(first["data"]) == compile_rule(parse_rules(OPEN, "").rules[0])
    assert second["rule"] == "-w /etc/passwd -p rwxa -k ü"


def test_compile_prints_canonical_text_on_demand(tmp_path: Path, out: io.StringIO, err: io.StringIO) -> None:
    compile_command([rules_file(tmp_path, "-a task,never -F uid=root")], "text", out, err)

    assert out.getvalue() == "-a never,task -F uid=0\n"


def test_compile_prints_the_good_rules_and_tells_the_others(tmp_path: Path, out: io.StringIO, err: io.StringIO) -> None:
    path = rules_file(tmp_path, "-a never,task", "-a nonsense")

    code = compile_command([path], "json", out, err)

    assert code is Exit.USAGE
    assert len(out.getvalue().splitlines()) == 1
    assert err.getvalue().startswith(f"{path}:2: ")


def test_compile_knows_no_other_format(out: io.StringIO, err: io.StringIO) -> None:
    with pytest.raises(InputError, match="--format must be one of json, text, not 'xml'"):
        compile_command([], "xml", out, err)


def test_a_file_whose_name_is_no_text_gives_whole_json_lines(
    tmp_path: Path, out: io.StringIO, err: io.StringIO
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.rules"))
    path.write_text("-a never,task\n", encoding="utf-8")

    compile_command([path], "json", out, err)

    assert json.loads(out.getvalue())["file"] == rf"{tmp_path}/\xe9.rules"


def test_the_commands_start_without_the_service_s_libraries() -> None:
    probe = (
        "import sys, auditline.workers.control.commands, auditline.workers.control.kernel_commands;"
        "print([m for m in ('zmq', 'psutil', 'multiprocessing', 'sqlite3', 'elasticsearch') if m in sys.modules])"
    )

    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert answer.stdout == "[]\n"


@pytest.mark.parametrize(("option", "code"), [("-i", Exit.OK), ("-c", Exit.USAGE)])
def test_check_tells_what_a_file_wants_ignored_and_ends_as_auditctl_would(
    tmp_path: Path, out: io.StringIO, option: str, code: Exit
) -> None:
    path = rules_file(tmp_path, option, "-a nonsense", OPEN)

    ended = check_command([path], out)

    assert ended is code
    assert out.getvalue().startswith(f"ignored: {path}:2: ")


def test_check_warns_of_a_mount_that_is_not_there(tmp_path: Path, out: io.StringIO) -> None:
    path = rules_file(tmp_path, f"-q /,{tmp_path}/nowhere")

    code = check_command([path], out)

    assert code is Exit.OK
    assert f"this host cannot do it now: {tmp_path}/nowhere does not exist" in out.getvalue()


def test_compile_gives_the_rules_of_a_file_without_what_else_is_in_it(
    tmp_path: Path, out: io.StringIO, err: io.StringIO
) -> None:
    path = rules_file(tmp_path, "-D", "-b 8192", "-f 1", "-i", OPEN, "-w /etc/x", "-W /etc/x", "-e 2")

    code = compile_command([path], "json", out, err)

    assert code is Exit.OK
    assert [json.loads(line)["line"] for line in out.getvalue().splitlines()] == [5]
