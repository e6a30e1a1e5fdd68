"""Cut, damaged and hostile logs: nothing fails, nothing is lost, and every line can be trusted."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ReplayBytes = Callable[..., list[bytes]]

HEADER = re.compile(r"type=\S+ msg=audit\([0-9]{1,15}\.[0-9]{3}:[0-9]{1,10}\)(?:[: ]|\Z)")
LINE_BEGINS = re.compile(
    rb'\{"@timestamp":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z",'
    rb'"event":\{"id":"[0-9a-f]{16}-(?:[0-9]+\.[0-9]{3}-[0-9]+(?:-p[0-9a-f]{8})?|u-[0-9a-f]{32})"\}'
)
RAW_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
CUTS_OF_A_LONG_RECORD = 100


def parse(line: bytes) -> dict[str, Any]:
    """Parse a line of the output as strictly as its contract is."""
    assert LINE_BEGINS.match(line), line[:200]
    text = line.decode("utf-8")
    assert RAW_CONTROLS.search(text) is None
    document: dict[str, Any] = json.loads(text, object_pairs_hook=without_doubles, parse_constant=pytest.fail)
    assert_no_surrogates(document)
    assert "undecodable" not in document["auditline"].get("incomplete_reasons", []), document
    assert document["auditline"]["complete"] is (not document["auditline"].get("incomplete_reasons"))
    return document


def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), keys
    return dict(pairs)


def assert_no_surrogates(value: Any) -> None:
    json.dumps(value, ensure_ascii=False).encode("utf-8")


def records_of_each_shape(lines: Iterator[str]) -> list[str]:
    """Return one record per type and sequence of keys."""
    found: dict[str, str] = {}
    for line in lines:
        shape = re.sub(r"\x1d.*", "\x1d", line).partition("): ")
        keys = re.findall(r"(?:^|[ '])([A-Za-z0-9_.\-\[\]]+)=", shape[2])
        found.setdefault(f"{line.partition(' msg=')[0]} {keys}", line)
    return list(found.values())


def test_every_truncation_of_every_record_is_an_event_or_kept_as_it_stands(
    any_log: Path, all_lines: Callable[[Path], Iterator[str]], replay_bytes: ReplayBytes
):
    for record in records_of_each_shape(line for line in all_lines(any_log) if line):
        raw = record.encode("utf-8", "surrogateescape")
        step = max(1, len(raw) // CUTS_OF_A_LONG_RECORD)
        cuts = [raw[:length] for length in range(1, len(raw), step)]

        for cut in cuts:
            assert_is_or_keeps(cut, replay_bytes(cut))


def assert_is_or_keeps(cut: bytes, lines: list[bytes]) -> None:
    text = cut.decode("utf-8", "backslashreplace")
    (document,) = map(parse, lines)
    kernel, ours = document["audit"]["kernel"], document["auditline"]
    if HEADER.match(re.sub(r"^node=\S+ ", "", text)):
        assert kernel["record_type"] != "unparsed"
        if "truncated_record" in ours.get("incomplete_reasons", []):
            assert kernel["warnings"]
    else:
        assert kernel["record_type"] == "unparsed"
        assert kernel["messages"] == [text]
        assert ours["incomplete_reasons"] == ["unparsed"]
        assert base64.b64decode(ours.get("raw_base64", base64.b64encode(cut))) == cut


def test_no_record_as_the_kernel_wrote_it_is_called_damaged(
    any_log: Path, all_lines: Callable[[Path], Iterator[str]], replay_bytes: ReplayBytes
):
    log = "\n".join(records_of_each_shape(all_lines(any_log))).encode("utf-8", "surrogateescape")

    damaged = [
        document["audit"]["kernel"]
        for document in map(parse, replay_bytes(log))
        if "truncated_record" in document["auditline"].get("incomplete_reasons", [])
    ]

    assert damaged == []


@pytest.mark.parametrize(
    ("cut", "warning"),
    [
        ('type=PATH msg=audit(1.001:1): item=0 name="/usr/bin/ba', "a quoted value does not end"),
        ('type=PATH msg=audit(1.001:1): item=0 name="/usr/bin/bash" inode=26', "no field nametype"),
        ('type=PATH msg=audit(1.001:1): item=0 name="/bin/ls" inode=2 rdev=00:00 nametype=NORMAL cap_f',
         "text that is no field"),
        ("type=SYSCALL msg=audit(1.001:1): arch=c000003e syscall=59 success=yes exit=", "exit has no value"),
        ('type=SYSCALL msg=audit(1.001:1): arch=c000003e syscall=59 comm="x" exe="/x"', "no field key"),
        ("type=PROCTITLE msg=audit(1.001:1): proctitle=2F62696", "proctitle is neither quoted nor hexadecimal"),
        ("type=SOCKADDR msg=audit(1.001:1): saddr=02000", "saddr is not hexadecimal"),
        ("type=CWD msg=audit(1.001:1): ", "no field cwd"),
        ("type=EXECVE msg=audit(1.001:1): ar", "no field argc"),
        ("type=OBJ_PID msg=audit(1.001:1): opid=1 oauid=-1 ouid=0", "no field ocomm"),
        ("type=USER_CMD msg=audit(1.001:1): pid=1 uid=0 auid=0 ses=1 msg='cwd=\"/\" cmd=2E2F", "msg does not end"),
        ('type=AVC msg=audit(1.001:1): apparmor="DENIED" operation="op', "a quoted value does not end"),
    ],
)  # fmt: skip
def test_a_record_that_is_cut_says_so_and_is_kept_whole(replay_bytes: ReplayBytes, cut: str, warning: str):
    (line,) = replay_bytes(cut.encode())

    document = parse(line)
    assert "truncated_record" in document["auditline"]["incomplete_reasons"]
    assert warning in document["audit"]["kernel"]["warnings"]
    assert document["audit"]["kernel"]["messages"] == [cut]


def test_lines_without_a_record_are_kept_each_as_it_is(replay_bytes: ReplayBytes):
    log = b"type=P\ntype=PATH msg=\ntype=P msg=x\ntype=PATH msg=x\ntype=P"

    documents = list(map(parse, replay_bytes(log)))

    assert [document["audit"]["kernel"]["messages"] for document in documents] == [
        ["type=P"], ["type=PATH msg="], ["type=P msg=x"], ["type=PATH msg=x"], ["type=P"],
    ]  # fmt: skip


def test_line_that_begins_like_a_record_but_is_none_joins_no_event(replay_bytes: ReplayBytes):
    record = b'type=PATH msg=audit(1.001:7): item=0 name="/x" inode=1 nametype=NORMAL'
    torn = b'audit(1.001:7): item=1 name="/etc/shadow" nametype=NORMAL'

    documents = list(map(parse, replay_bytes(record + b"\n" + torn + b"\n" + torn.replace(b":7", b":8") + b"\n")))

    *unparsed, event = (document["audit"]["kernel"] for document in documents)
    assert [kernel["messages"] for kernel in unparsed] == [[torn.decode()], [torn.replace(b":7", b":8").decode()]]
    assert (event["sequence"], len(event["paths"])) == (7, 1)


@settings(max_examples=200)
@given(log=st.binary(max_size=400))
def test_arbitrary_bytes_give_lines_that_can_be_trusted(replay_bytes: ReplayBytes, log: bytes):
    for line in replay_bytes(log):
        parse(line)


PARTS = [
    "type=", "SYSCALL", "PATH", "EXECVE", "USER_CMD", "SOCKADDR", "AVC", "LOGIN", "EOE", " msg=", "audit(", "1.001:1",
    "):", " ", "=", '"', "'", "msg='", "\x1d", "node=a ", "\n", "\r\n", "avc: denied {", "} for ", "a0=", "a1[0]=",
    "argc=2", "name=", "41", "FF", "key=", "subj=a:b:c", "uid=0", "(null)", "?", "\\", "saddr=", "exit=-13",
    "arch=c000003e", "\x00", "\x1b[31m", "\x7f", "\u0085", "\u2028", "\ud800", "é", "\U0001f600", "items=1", "{", "]",
]  # fmt: skip


@settings(max_examples=300)
@given(words=st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=5)), max_size=40))
def test_text_made_of_records_parts_gives_lines_that_can_be_trusted(replay_bytes: ReplayBytes, words: list[str]):
    for line in replay_bytes("".join(words).encode("utf-8", "surrogatepass")):
        parse(line)


@st.composite
def damaged_logs(draw: st.DrawFn, corpus: list[str]) -> bytes:
    """Some lines of the corpus with bytes changed, dropped and put in."""
    first = draw(st.integers(0, len(corpus) - 1))
    log = bytearray("\n".join(corpus[first : first + draw(st.integers(1, 8))]).encode("utf-8", "surrogateescape"))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(log)))
        log[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(log)


class Corpus(list[str]):
    def __repr__(self) -> str:
        return f"<{len(self)} lines>"


@pytest.fixture(scope="session")
def short_corpus(corpus: list[str]) -> Corpus:
    return Corpus(line for line in corpus if len(line) < 2000)


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_logs_give_lines_that_can_be_trusted(
    short_corpus: Corpus, replay_bytes: ReplayBytes, data: st.DataObject
):
    log = data.draw(damaged_logs(short_corpus))

    lines = replay_bytes(log)

    assert lines or not log.strip(b"- \t\r\n")
    for line in lines:
        parse(line)


@settings(max_examples=100)
@given(data=st.data())
def test_no_line_of_a_damaged_log_goes_without_an_event(
    short_corpus: Corpus, replay_bytes: ReplayBytes, data: st.DataObject
):
    log = data.draw(damaged_logs(short_corpus))

    documents = list(map(parse, replay_bytes(log)))

    serials = {document["audit"]["kernel"].get("sequence") for document in documents}
    kept = {message for document in documents for message in document["audit"]["kernel"].get("messages", [])}
    for line in log.replace(b"\r\n", b"\n").split(b"\n"):
        text = line.removesuffix(b"\r").decode("utf-8", "backslashreplace")
        header = HEADER.match(re.sub(r"^node=\S+ ", "", text))
        if header is not None and text in kept:
            continue
        if header is not None:
            assert int(re.findall(r":([0-9]{1,10})\)", header[0])[-1]) in serials
        elif text.strip("- \t") and not text.startswith("time->"):
            assert text in kept


def test_every_record_of_a_log_is_in_an_event(
    any_log: Path, all_lines: Callable[[Path], Iterator[str]], replay_bytes: ReplayBytes
):
    lines = [line for line in all_lines(any_log) if line][:20_000]
    serials = {int(found[1]) for line in lines if (found := re.search(r"audit\([0-9]+\.[0-9]+:([0-9]+)\)", line))}

    documents = list(map(parse, replay_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))))

    assert {document["audit"]["kernel"].get("sequence") for document in documents} - {None} == serials
    unparsed = [document for document in documents if document["audit"]["kernel"]["record_type"] == "unparsed"]
    assert len(unparsed) == sum("audit(" not in line for line in lines)


@pytest.mark.parametrize(
    "line",
    [
        "A" * 900_000,
        "type=PATH msg=audit(1.001:1): " + "A" * 900_000,
        "type=PATH msg=audit(1.001:1): " + "a=" * 450_000,
        "type=PATH msg=audit(1.001:1): " + 'a="' * 300_000,
        "type=AVC msg=audit(1.001:1): avc: denied {" + " " * 900_000,
        "type=AVC msg=audit(1.001:1): avc:  " + "\t" * 900_000,
        "type=USER_CMD msg=audit(1.001:1): msg='" + "A" * 900_000,
        "type=USER_CMD msg=audit(1.001:1): msg='op=" + " x" * 450_000,
        "type=USER_CMD msg=audit(1.001:1): msg='op=" + " " * 900_000 + "x=",
        "type=USER_CMD msg=audit(1.001:1): msg='" + 'a="b"c' * 150_000,
        "type=USER_CMD msg=audit(1.001:1): msg='" + "'" * 900_000,
        "type=USER_CMD msg=audit(1.001:1): msg='x'" + "\x1dA=" * 300_000,
        "type=USER_CMD msg=audit(1.001:1): msg='x'\x1d" + 'A="' * 300_000,
        "type=EXECVE msg=audit(1.001:1): argc=999999 a999998=" + "41" * 400_000,
        "type=EXECVE msg=audit(1.001:1): argc=999999 " + " ".join(f"a{number}=41" for number in range(80_000)),
        "type=EXECVE msg=audit(1.001:1): " + " ".join(f"a0[{number}]=41" for number in range(80_000)),
        "node=" + "n" * 900_000 + " type=PATH msg=audit(1.001:1): a=1",
        "type=SYSCALL msg=audit(1.001:1): exit=-" + "9" * 900_000,
        "type=SYSCALL msg=audit(1.001:1): arch=" + "c" * 900_000 + " syscall=" + "1" * 5000,
        "type=PATH msg=audit(1.001:1): mode=" + "7" * 900_000,
    ],
    ids=range(20),
)
@pytest.mark.timeout(20)
def test_a_megabyte_of_malice_takes_no_longer_than_any_megabyte(replay_bytes: ReplayBytes, line: str):
    (rendered,) = replay_bytes(line.encode())

    parse(rendered)


def test_a_few_bytes_do_not_become_megabytes(replay_bytes: ReplayBytes):
    (line,) = replay_bytes(b"type=EXECVE msg=audit(1.001:1): argc=999999 a999998=41")

    assert len(line) < 10_000
    assert parse(line)["auditline"]["incomplete_reasons"] == ["argc_mismatch", "syscall_missing"]
