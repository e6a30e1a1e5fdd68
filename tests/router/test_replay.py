"""`auditline replay`: logs in, JSON lines out, the same for the same."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.errors import StorageError
from auditline.workers.common.host import host_id_of
from auditline.workers.router.replaying.reading import MAX_LINE_BYTES, read_chunks, split_lines

DATA = Path(__file__).parents[1] / "data"
SEED = DATA / "seed"
SEED_LOG = (SEED / "open-eacces.log").read_text()
COMMAND = [str(Path(sys.executable).with_name("auditline")), "replay"]
SEED_NAMES = ["--passwd", str(SEED / "passwd"), "--group", str(SEED / "group")]
EXEC = (
    'type=EXECVE msg=audit(1700000000.001:7): argc=2 a0="ls" a1="-l"\n'
    "type=SYSCALL msg=audit(1700000000.001:7): arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=4 items=0"
    ' ppid=1 pid=2 auid=0 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=1 comm="ls"'
    ' exe="/usr/bin/ls" key=(null)\n'
)

ReplayBytes = Callable[..., list[bytes]]
ReplayText = Callable[..., list[dict[str, Any]]]


def run(*arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([*COMMAND, *arguments], input=stdin, capture_output=True, check=False)


def test_the_seed_s_records_give_the_seed_s_document():
    wanted = json.loads((SEED / "open-eacces.json").read_text())

    done = run(*SEED_NAMES, str(SEED / "open-eacces.log"))

    document = json.loads(done.stdout)
    assert (document["@timestamp"], document["audit"]) == (wanted["@timestamp"], wanted["audit"])
    assert done.stdout.startswith(b'{"@timestamp":"2017-08-01T20:34:15.636Z","event":{"id":"')
    assert (done.returncode, done.stderr) == (0, b"")


def test_two_runs_give_the_same_bytes():
    logs = [str(path) for path in sorted((DATA / "audit").glob("*.log*"))]

    first, second = run(*logs), run(*logs)

    assert first.stdout == second.stdout != b""


@pytest.mark.parametrize(
    ("extension", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)]
)
def test_a_compressed_log_says_what_the_log_says(tmp_path, extension, compress):
    log = (DATA / "audit" / "accounts.log").read_bytes()
    path = tmp_path / f"audit.log.1{extension}"
    path.write_bytes(compress(log))

    done = run(str(path))

    assert done.stdout == run(str(DATA / "audit" / "accounts.log")).stdout
    assert done.returncode == 0


def test_standard_input_says_what_the_log_says():
    log = (DATA / "audit" / "accounts.log").read_bytes()

    asked_for, by_default = run("-", stdin=log), run(stdin=log)

    assert asked_for.stdout == by_default.stdout == run(str(DATA / "audit" / "accounts.log")).stdout


def test_standard_input_that_others_made_non_blocking_is_read_to_its_end():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with subprocess.Popen(COMMAND, stdin=reading, stdout=subprocess.PIPE) as process:
        os.close(reading)
        assert process.stdout is not None
        os.write(writing, SEED_LOG.encode() + b"type=USER_END msg=audit(1501619656.000:32796541): pid=1\n")
        first = process.stdout.readline()
        os.write(writing, EXEC.encode())
        os.close(writing)
        rest = process.stdout.read()

    assert b'"sequence":32796541' in first
    assert [json.loads(line)["audit"]["kernel"]["sequence"] for line in rest.splitlines()] == [32796540, 7]


def test_several_files_are_one_stream(tmp_path):
    lines = SEED_LOG.splitlines(keepends=True)
    (tmp_path / "older").write_text(lines[0])
    (tmp_path / "newer").write_text("".join(lines[1:]))

    done = run(str(tmp_path / "older"), str(tmp_path / "newer"))

    assert done.stdout == run(str(SEED / "open-eacces.log")).stdout


def test_dos_line_ends_and_a_missing_last_end_change_nothing(replay_bytes: ReplayBytes):
    log = (DATA / "audit" / "accounts.log").read_bytes()
    wanted = replay_bytes(log)

    assert replay_bytes(log.replace(b"\n", b"\r\n")) == wanted
    assert replay_bytes(log.removesuffix(b"\n")) == wanted
    assert replay_bytes(log.replace(b"\n", b"\r\n").removesuffix(b"\n")) == wanted


def test_what_ausearch_prints_between_events_is_no_record(replay_bytes: ReplayBytes):
    text = "----\ntime->Tue Aug  1 22:34:15 2017\n" + SEED_LOG + "\n"

    assert replay_bytes(text.encode()) == replay_bytes(SEED_LOG.encode())


def test_a_missing_file_is_told_by_name_and_what_was_read_before_is_written():
    done = run(str(SEED / "open-eacces.log"), "/nowhere/audit.log")

    assert done.returncode == 1
    assert done.stderr == b"auditline: /nowhere/audit.log: No such file or directory\n"
    assert json.loads(done.stdout)["audit"]["kernel"]["sequence"] == 32796540


def test_files_of_names_that_cannot_be_read_are_all_told():
    done = run("--passwd", "/nowhere/passwd", "--group", "/nowhere/group", str(SEED / "open-eacces.log"))

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.splitlines() == [
        b"auditline: /nowhere/passwd: No such file or directory",
        b"auditline: /nowhere/group: No such file or directory",
    ]


def test_a_folder_without_a_log_is_told_by_name(tmp_path):
    done = run(str(tmp_path))

    assert done.returncode == 1
    assert done.stderr == f"auditline: {tmp_path}: there is no audit.log in this directory\n".encode()


@pytest.mark.parametrize(
    ("extension", "compress"),
    [
        (".gz", gzip.compress),
        (".xz", partial(lzma.compress, preset=0)),
        (".bz2", partial(bz2.compress, compresslevel=1)),
    ],
)
def test_what_stands_before_damage_in_a_compressed_log_comes_out_and_the_damage_is_told(tmp_path, extension, compress):
    record = "type=USER_CMD msg=audit(1700000000.000:{}): pid={}"
    log = "\n".join(record.format(number, os.urandom(40).hex()) for number in range(8000))
    path = tmp_path / f"audit.log{extension}"
    whole = compress(log.encode())
    path.write_bytes(whole[: len(whole) * 3 // 4])

    done = run(str(path))

    assert done.returncode == 1
    assert done.stderr.startswith(f"auditline: {path}: ".encode())
    assert done.stdout.count(b"\n") > 4000


def test_damage_within_a_compressed_log_is_told(tmp_path):
    path = tmp_path / "audit.log.gz"
    whole = bytearray(gzip.compress(os.urandom(100_000)))
    whole[50_000:60_000] = bytes(10_000)
    path.write_bytes(whole)

    with pytest.raises(StorageError, match=r"audit\.log\.gz: "):
        list(read_chunks(str(path)))


def test_records_of_a_node_get_its_name_and_its_ids(replay_text: ReplayText):
    log = (DATA / "audit" / "nodes.log").read_text()

    documents = replay_text(log, node=None)

    assert {document["host"]["name"] for document in documents} == {"web1", "web2.example.org"}
    for document in documents:
        assert document["event"]["id"].startswith(host_id_of(document["host"]["name"]) + "-")


def test_records_of_two_nodes_with_one_time_and_serial_are_two_events(replay_text: ReplayText):
    log = "".join(f"node={node} {line}\n" for line in SEED_LOG.splitlines() for node in ("a", "b"))

    documents = replay_text(log)

    assert [document["host"]["name"] for document in documents] == ["a", "b"]
    assert documents[0]["audit"] == documents[1]["audit"]


def test_the_node_option_names_the_host_of_records_without_one(replay_text: ReplayText):
    log = SEED_LOG + "node=other type=USER_END msg=audit(1501619655.700:1): pid=1\n"

    documents = replay_text(log, node="web7")

    assert {document["host"]["name"]: document["event"]["id"][:16] for document in documents} == {
        "web7": host_id_of("web7"),
        "other": host_id_of("other"),
    }


@pytest.mark.parametrize("name", [b"", b"a b", b"\xff", b"\x1b[31m", b"a\n"])
def test_a_node_that_is_no_name_is_refused(name: bytes):
    done = run("--node", os.fsdecode(name), str(SEED / "open-eacces.log"))

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"auditline: --node: ")
    assert done.stderr.endswith(b" is no host name: wanted printable characters and no blanks\n")


def test_without_a_node_there_is_no_host(replay_text: ReplayText):
    documents = replay_text(SEED_LOG, node=None)

    assert "host" not in documents[0]


def test_names_that_auditd_wrote_go_before_those_of_this_host(replay_text: ReplayText, names):
    documents = replay_text((DATA / "audit" / "enriched.log").read_text(), names=names)

    by_serial = {document["audit"]["kernel"]["sequence"]: document["audit"]["kernel"] for document in documents}
    assert by_serial[101]["actor"]["attrs"]["uid"] == "alice"
    assert by_serial[101]["socket"] == {"family": "ipv4", "addr": "192.0.2.1", "port": "443"}
    assert (by_serial[102]["paths"][0]["ouid"], by_serial[102]["paths"][0]["ogid"]) == ("bob", "tty")
    assert by_serial[102]["key"] == "open"
    assert by_serial[103]["actor"]["primary"] == "alice"
    assert by_serial[104]["actor"]["secondary"] == "bob"
    assert by_serial[105]["actor"]["attrs"]["fsgid"] == "1007"
    assert all("\x1d" not in json.dumps(document) for document in documents)


@pytest.mark.parametrize(
    "forged",
    [
        "\x1dAUID=root",
        '\x1dAUID="root"',
        '\x1dAUID="root" X=',
        '\'\x1dAUID="root" X=',
        '\'\x1dAUID="root"',
        '\'\x1dAUID="root" SADDR={ ',
        "'\x1dAUID=root",
    ],
)
def test_a_sender_cannot_forge_the_names_that_auditd_adds(replay_text: ReplayText, forged):
    head = "type=USER_AUTH msg=audit(1700000000.001:1): pid=1 uid=0 auid=1000 ses=3 msg='op=login res=success"
    plain = replay_text(f"{head}{forged}'\n")
    enriched = replay_text(f'{head}{forged}\'\x1dUID="admin" AUID="mallory"\n')

    assert plain[0]["audit"]["kernel"]["actor"]["primary"] == "1000"
    assert enriched[0]["audit"]["kernel"]["actor"]["primary"] == "mallory"


@pytest.mark.parametrize(
    "name", ["UNKNOWN[1423]", "UNKNOWN[1999]", "LANDLOCK_SOMETHING", "x", "1423", "UNKNOWN[99999999]"]
)
def test_a_record_of_an_unknown_type_loses_nothing(replay_text: ReplayText, name):
    log = f'type={name} msg=audit(1700000000.001:9): domain=1 what="a b" and=more than this\n'

    (document,) = replay_text(log)

    assert document["audit"]["kernel"]["sequence"] == 9
    data = document["audit"]["kernel"]["data"]
    assert (data["domain"], data["what"], f"{data['and']} {data.get('msg', '')}".strip()) == (
        "1",
        "a b",
        "more than this",
    )


def test_types_that_nobody_knows_do_not_fill_the_memory(replay_bytes: ReplayBytes):
    log = "".join(f"type=T{number}{'X' * 50} msg=audit(1700000000.001:{number}): a=1\n" for number in range(6000))

    lines = replay_bytes(log.encode())

    assert len(lines) == 6000
    assert all(b'"a":"1"' in line for line in lines)


def test_a_name_too_long_for_a_type_makes_an_unparsed_record(replay_text: ReplayText):
    line = f"type={'X' * 100_000} msg=audit(1700000000.001:1): a=1"

    (document,) = replay_text(line)

    assert document["audit"]["kernel"]["record_type"] == "unparsed"


def test_a_line_of_megabytes_is_cut_and_none_of_it_is_lost(replay_text: ReplayText):
    line = "type=USER_CMD msg=audit(1700000000.001:1): pid=" + "7" * (3 * MAX_LINE_BYTES)

    documents = replay_text(line + "\n" + EXEC)

    kinds = [document["audit"]["kernel"]["record_type"] for document in documents]
    assert kinds[0] == "user_cmd"
    assert set(kinds[1:-1]) == {"unparsed"}
    assert kinds[-1] == "syscall"


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        "type=SYSCALL",
        "type=SYSCALL msg=",
        "type=SYSCALL msg=audit(1.1:1): a=1",
        "type=syscall msg=audit(1700000000.001:): a=1",
        "type=SYSCALL msg=audit(1700000000.001:99999999999): a=1",
        "type=SYSCALL msg=audit(99999999999999999.001:1): a=1",
        "type=UNKNOWN[1329] msg=?",
        "node= type=SYSCALL msg=audit(1700000000.001:1): a=1",
        "node=a b type=SYSCALL msg=audit(1700000000.001:1): a=1",
        "node=\x1b[31m type=SYSCALL msg=audit(1700000000.001:1): a=1",
        "node=a type=SYSCALL msg=audit(x",
        "type=SYS CALL msg=audit(1700000000.001:1): a=1",
        "\ufefftype=SYSCALL msg=audit(1700000000.001:1): a=1",
        "tab\tand \u0085\u2028 and \x7f",
    ],
)
def test_a_line_that_is_no_record_is_kept_as_it_stands_with_the_last_good_time(replay_text: ReplayText, line):
    documents = replay_text(f"{EXEC}{line}\n")

    unparsed = next(document for document in documents if document["audit"]["kernel"]["record_type"] == "unparsed")
    assert unparsed["audit"]["kernel"]["messages"] == [line]
    assert unparsed["@timestamp"] == "2023-11-14T22:13:20.001Z"
    assert unparsed["event"]["id"].startswith(host_id_of("host") + "-u-")
    assert unparsed["auditline"] == {"complete": False, "incomplete_reasons": ["unparsed"]}


def test_bytes_that_are_not_utf_8_are_kept_exactly(replay_bytes: ReplayBytes):
    (line,) = replay_bytes(b"garb\xffage \xed\xa0\x80\n")

    document = json.loads(line)
    assert document["audit"]["kernel"]["messages"] == ["garb\\xffage \\xed\\xa0\\x80"]
    assert document["auditline"]["raw_base64"] == "Z2FyYv9hZ2Ug7aCA"


def test_equal_lines_that_are_no_records_are_two_events(replay_text: ReplayText):
    first, second = replay_text("garbage\ngarbage\n")

    assert first["event"]["id"] != second["event"]["id"]


def test_text_behind_an_oddly_spelled_header_is_not_lost(replay_text: ReplayText):
    log = (
        "type=DAEMON_CONFIG msg=audit(1490239800.477:34) config changed, auid=0 pid=1512 res=success\n"
        "type=PROCTITLE msg=audit(1700000000.001:7):proctitle=6C73\n"
        f"{EXEC}"
        'type=CWD msg=audit(1700000000.001:7):   cwd="/"\n'
        "type=EOE msg=audit(1700000000.001:8):\n"
    )

    config, end, execve = replay_text(log)

    assert (config["audit"]["kernel"]["sequence"], config["audit"]["kernel"]["data"]["pid"]) == (34, "1512")
    assert (end["audit"]["kernel"]["sequence"], end["audit"]["kernel"]["record_type"]) == (8, "eoe")
    data = execve["audit"]["kernel"]["data"]
    assert (data["proctitle"], data["cwd"], data["cmdline"]) == ("ls", "/", "ls -l")


def test_a_time_beyond_all_calendars_is_their_last_second(replay_text: ReplayText):
    (document,) = replay_text("type=USER_END msg=audit(999999999999999.001:1): pid=1\n")

    assert document["@timestamp"] == "9999-12-31T23:59:59.001Z"


@given(cuts=st.lists(st.integers(1, 4000), max_size=8))
def test_how_a_pipe_hands_it_over_makes_no_difference(cuts):
    log = (DATA / "audit" / "accounts.log").read_bytes()
    pieces = [log[start:end] for start, end in pairwise([0, *accumulate(cuts), len(log)]) if log[start:end]]
    handed_over = iter([*pieces, b""])

    chunks = list(split_lines(lambda _: next(handed_over)))

    assert "\n".join(line for lines in chunks for line in lines) == log.decode().rstrip("\n")
