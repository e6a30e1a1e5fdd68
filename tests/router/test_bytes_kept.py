"""Whatever bytes a name, an argument or a text has, a reader of the document can have them back exactly."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from auditline.workers.router.decode import types
from auditline.workers.router.event import Event
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.audit import AuditRenderer
from auditline.workers.router.render.fragments import FragmentRenderer
from auditline.workers.router.unparsed import unparsed_line

HOST = "0" * 16
USER_LOGIN, USER_CMD, TEST = 1112, 1123, 1120
RENDERERS = (AuditRenderer(NoNames()), FragmentRenderer(NoNames()))

odd_bytes = st.sampled_from(
    [
        b"\\xff", b"\xff", b"\xc3", b"a b", b"?", b"(null)", b"4142", b'"', b"'", b"\\", b"\n", b"\x1b", b"\x1d",
        b"\x7f", b"\x85", "é".encode(), "\u2028".encode(), "\u202e".encode(), b"@x", b"key=x", b" ", b"x ", b" x", b"=",
        b"a=b",
    ]
)  # fmt: skip
parts = st.one_of(
    st.binary(max_size=6), st.text(max_size=4).map(lambda text: text.encode("utf-8", "replace")), odd_bytes
)
any_bytes = st.lists(parts, max_size=5).map(b"".join)
names = any_bytes.map(lambda raw: raw.replace(b"\0", b""))
"""The kernel's own strings end with NUL."""
names_with_something = names.filter(bool)


def encode(raw: bytes) -> str:
    """Write *raw* as the kernel does. Source: kernel/audit.c, audit_log_n_untrustedstring()."""
    is_plain = all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in raw)
    return f'"{raw.decode()}"' if is_plain else raw.hex().upper()


def encode_for_sender(raw: bytes) -> str:
    """The same as libaudit does it. Source: lib/audit_logging.c, audit_value_needs_encoding()."""
    is_plain = all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in raw)
    return f'"{raw.decode()}"' if is_plain else raw.hex().upper()


def encode_arguments(arguments: Sequence[bytes], piece_bytes: int) -> list[str]:
    """Return EXECVE records of a kernel that has so little room. Source: kernel/auditsc.c, audit_log_execve_info()."""
    records = [f"argc={len(arguments)}"]
    for number, argument in enumerate(arguments):
        if len(argument) <= piece_bytes:
            records[-1] += f" a{number}={encode(argument)}"
            continue
        is_plain = encode(argument)[0] == '"'
        records[-1] += f" a{number}_len={len(argument) * (1 if is_plain else 2)}"
        for position in range(0, len(argument), piece_bytes):
            piece = argument[position : position + piece_bytes]
            text = f'"{piece.decode()}"' if is_plain else piece.hex().upper()
            field = f"a{number}[{position // piece_bytes}]={text}"
            records = [*records[:-1], f"{records[-1]} {field}"] if position == 0 else [*records, field]
    return records


def system_call(comm: bytes = b"x", exe: bytes = b"/x", key: bytes | None = None, items: int = 0) -> tuple[int, str]:
    head = f"arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=4 items={items} ppid=1 pid=2"
    ids = "auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=1"
    program = f"comm={encode(comm)} exe={encode(exe)} key={'(null)' if key is None else encode(key)}"
    return types.SYSCALL, f"{head} {ids} {program}"


def render(*records: tuple[int, str]) -> dict[str, Any]:
    """Return the document, which is the same both ways to render."""
    lines = []
    for renderer in RENDERERS:
        event = Event("audit(1700000000.000:1", None, "1700000000", "000", 1)
        event.has_eoe = True
        event.types, event.bodies = [kind for kind, _ in records], [body for _, body in records]
        lines.append(renderer.render(event, HOST, None)[1])
    assert lines[0] == lines[1]
    assert lines[0].isprintable() or not lines[0].isascii()
    document: dict[str, Any] = json.loads(lines[0])
    return document


def bytes_at(document: dict[str, Any], place: str) -> bytes:
    """Return what a reader takes for the bytes of a place: those of its entry, or else the text's."""
    ours = document["auditline"]
    entries = {entry["field"]: base64.b64decode(entry["base64"]) for entry in ours.get("undecodable", [])}
    if place in entries:
        return entries[place]
    decoded = ours.get("decoded", {})
    if place == "data.proctitle" and "title" in decoded:
        return "\0".join(decoded["title"]).encode()
    value: Any = {**document["audit"]["kernel"], "args": decoded.get("args")}
    for step in place.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
    raw: bytes = value.encode()
    if place == "data.proctitle":
        return raw.replace(b" ", b"\0")
    return b"\0" + raw[1:] if place == "socket.path" and raw[:1] == b"@" else raw


def all_bytes_at(document: dict[str, Any], place: str) -> list[bytes]:
    """Return the same of a field that may have several values."""
    section, _, key = place.rpartition(".")
    kernel = document["audit"]["kernel"]
    value = (kernel[section] if section else kernel).get(key, [])
    return [bytes_at(document, place)] if isinstance(value, str) else [
        bytes_at(document, f"{place}.{number}") for number in range(len(value))
    ]  # fmt: skip


@given(comm=names, exe=names_with_something, cwd=names_with_something, title=any_bytes.filter(bool))
def test_names_of_a_program_come_back(comm: bytes, exe: bytes, cwd: bytes, title: bytes):
    document = render(
        system_call(comm, exe), (types.CWD, f"cwd={encode(cwd)}"), (types.PROCTITLE, f"proctitle={encode(title)}")
    )

    assert bytes_at(document, "data.comm") == comm
    assert bytes_at(document, "data.exe") == exe
    assert bytes_at(document, "data.cwd") == cwd
    assert bytes_at(document, "data.proctitle") == title


@pytest.mark.parametrize(
    "title", [b"ls\0-l", b"ls -l", b"sh\0-c\0a b", b"ls\0", b"ls\0\0-l", b"\0", b" ", b"?", b"a\xff"]
)
def test_blanks_and_nuls_of_a_title_are_told_apart(title: bytes):
    document = render(system_call(), (types.PROCTITLE, f"proctitle={encode(title)}"))

    assert bytes_at(document, "data.proctitle") == title


@given(paths=st.lists(names, max_size=4))
def test_names_of_files_come_back(paths: list[bytes]):
    rest = "inode=1 dev=fe:00 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0"
    records = [(types.PATH, f"item={number} name={encode(path)} {rest}") for number, path in enumerate(paths)]

    document = render(system_call(items=len(paths)), *records)

    assert [bytes_at(document, f"paths.{number}.name") for number in range(len(paths))] == paths


@given(arguments=st.lists(names, min_size=1, max_size=5), piece_bytes=st.integers(1, 7))
@example(arguments=[b"sh", b"x" * 30, b"\xff" * 30, "é".encode() * 10], piece_bytes=3)
def test_arguments_come_back_however_they_were_split(arguments: list[bytes], piece_bytes: int):
    records = [(types.EXECVE, body) for body in encode_arguments(arguments, piece_bytes)]

    document = render(system_call(), *records)

    assert document["auditline"]["complete"]
    assert [bytes_at(document, f"args.{number}") for number in range(len(arguments))] == arguments


@given(keys=st.lists(names_with_something.map(lambda raw: raw.replace(b"\x01", b"") or b"x"), min_size=1, max_size=3))
@example(keys=[b"a", b"a"])
@example(keys=[b"key="])
@example(keys=[b"a\xff", b"a\\xff"])
def test_keys_come_back(keys: list[bytes]):
    document = render(system_call(key=b"\x01".join(keys)))

    assert all_bytes_at(document, "key") == keys


@pytest.mark.parametrize("key", [b"\x01", b"a\x01", b"\x01a", b"a\x01\x01b"])
def test_a_key_of_separators_comes_back_whole(key: bytes):
    document = render(system_call(key=key))

    entries = {entry["field"]: base64.b64decode(entry["base64"]) for entry in document["auditline"]["undecodable"]}
    assert entries["key"] == key


@given(path=names_with_something, padding=st.integers(0, 3))
def test_paths_of_sockets_come_back(path: bytes, padding: int):
    address = b"\x01\0" + path + bytes(padding)

    document = render(system_call(), (types.SOCKADDR, f"saddr={address.hex().upper()}"))

    assert bytes_at(document, "socket.path") == path


@given(name=any_bytes.filter(lambda raw: bool(raw.strip(b"\0"))))
@example(name=b"a\0b")
@example(name=b"a\0\0")
@example(name=b"@a")
@example(name=b"\xff\0")
def test_abstract_names_of_sockets_come_back(name: bytes):
    address = b"\x01\0\0" + name

    document = render(system_call(), (types.SOCKADDR, f"saddr={address.hex().upper()}"))

    assert bytes_at(document, "socket.path") == b"\0" + name


@given(raw=st.binary(min_size=2, max_size=40).filter(lambda raw: raw[:2] not in (b"\1\0", b"\2\0", b"\n\0")))
def test_addresses_of_other_families_come_back(raw: bytes):
    assume(raw[:2] not in (b"\x10\0", b"\x28\0"))

    document = render(system_call(), (types.SOCKADDR, f"saddr={raw.hex().upper()}"))

    assert bytes.fromhex(document["audit"]["kernel"]["socket"]["saddr"]) == raw


@given(ones=st.lists(names, min_size=1, max_size=4))
@example(ones=[b"\xff", b"\\xff", b"\xff"])
@example(ones=[b"a", b"\xff", b"b\xff"])
@example(ones=[b"\xff", b"\xfe"])
def test_the_same_field_of_several_records_comes_back_with_all_its_values(ones: list[bytes]):
    records = [(types.OBJ_PID, f"opid=1 oauid=-1 ouid=0 oses=-1 ocomm={encode(one)}") for one in ones]

    document = render(system_call(), *records)

    assert all_bytes_at(document, "data.ocomm") == list(dict.fromkeys(ones))


@given(comm=names, name=names, other=names)
def test_what_two_denials_say_comes_back(comm: bytes, name: bytes, other: bytes):
    denials = [
        (
            types.AVC,
            f"avc:  denied  {{ read }} for  pid=2 comm={encode(comm)} name={encode(one)} scontext=a:b:c tcontext=d:e:f",
        )
        for one in (name, other)
    ]

    document = render(system_call(comm), *denials)

    assert all_bytes_at(document, "data.name") == list(dict.fromkeys([name, other]))
    assert bytes_at(document, "data.comm") == comm


@given(acct=names_with_something, command=names_with_something, cwd=names_with_something)
def test_what_user_space_encodes_comes_back(acct: bytes, command: bytes, cwd: bytes):
    assume(acct != b"?")
    text = f"cwd={encode_for_sender(cwd)} cmd={encode_for_sender(command)} acct={encode_for_sender(acct)} res=success"

    document = render((USER_CMD, f"pid=1 uid=0 auid=0 ses=1 msg='{text}'"))

    assert bytes_at(document, "data.acct") == acct
    assert bytes_at(document, "data.cmd") == command
    assert bytes_at(document, "data.cwd") == cwd


@given(text=names_with_something.map(lambda raw: raw.replace(b"=", b"-")))
@example(text=b"a  b\t\x1d\x85c ")
@example(text=b"x'\x1dUID root")
@example(text=b" \xff: ,")
def test_free_text_of_user_space_comes_back(text: bytes):
    assume(text.strip(b" ") and not text.startswith(b"avc:"))

    document = render((TEST, f"pid=1 uid=0 auid=0 ses=1 msg='{text.decode('utf-8', 'surrogateescape')}'"))

    assert bytes_at(document, "data.msg") == text


@given(value=names_with_something)
def test_a_value_of_user_space_that_is_not_encoded_comes_back(value: bytes):
    assume(not set(value) & set(b' \t\n\r\f\v"=') and value not in (b"?", b"?,", b"(null)"))

    document = render(
        (USER_LOGIN, f"pid=1 msg='op=login hostname={value.decode('utf-8', 'surrogateescape')} res=failed'")
    )

    assert bytes_at(document, "data.hostname") == value


@given(raw=st.binary(max_size=60))
@example(raw=b"x" * 10_000)
def test_a_line_that_is_no_record_comes_back(raw: bytes):
    document = json.loads(unparsed_line(raw, (HOST, None), "log", "0", "2026-01-01T00:00:00.000Z")[1])

    ours = document["auditline"]
    text = document["audit"]["kernel"]["messages"][0]
    assert (base64.b64decode(ours["raw_base64"]) if "raw_base64" in ours else text.encode()) == raw


def test_bytes_of_a_record_are_those_of_the_line_of_the_log(group_lines: Callable[[list[str]], list[Event]]):
    line = b"type=TEST msg=audit(1700000000.000:1): pid=1 msg='\xff\xc3\x28 x'".decode("utf-8", "surrogateescape")
    (event,) = group_lines([line])

    document = json.loads(RENDERERS[0].render(event, HOST, None)[1])

    assert bytes_at(document, "data.msg") == b"\xff\xc3\x28 x"
