"""Texts that may deceive their reader are marked, ordinary ones are not."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.router.decode import types
from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.decode.suspicious import MAX_MARKED, find_reasons, is_suspicious
from auditline.workers.router.event import Event, Facts

USER_AUTH, USER_CMD, USER_TTY, ANOM_PROMISCUOUS = 1100, 1123, 1124, 1700


def facts_of(*records: tuple[int, str]) -> Facts:
    event = Event("audit(1700000000.000:1", None, "1700000000", "000", 1)
    event.has_eoe = True
    for kind, body in records:
        event.types.append(kind)
        event.bodies.append(body)
    return gather_facts(event)


def encode(text: str) -> str:
    return text.encode().hex().upper()


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("a\x1b[2J", ["control_character"]),
        ("a\nb", ["control_character"]),
        ("a\tb", ["control_character"]),
        ("a\x7f", ["control_character"]),
        ("a\x9b2J", ["control_character"]),
        ("a\x85b", ["control_character"]),
        ("a\u2028b", ["control_character"]),
        ("a\u2029b", ["control_character"]),
        ("gpj.\u202eexe", ["bidi_override"]),
        ("a\u2066b", ["bidi_override"]),
        ("a\u200fb", ["bidi_override"]),
        ("ro\u200bot", ["zero_width"]),
        ("ro\u200dot", ["zero_width"]),
        ("ro\u00adot", ["zero_width"]),
        ("ro\u200cot", ["zero_width"]),
        ("\u200d", ["zero_width"]),
        ("\U0001f468\u200d", ["zero_width"]),
        ("\u200d\U0001f468", ["zero_width"]),
        ("a\u200d\U0001f468", ["zero_width"]),
        ("\u0645\u200ca", ["zero_width"]),
        ("\u0645\u200d\u0645", ["zero_width"]),
        ("\u0915\u200d", ["zero_width"]),
        ("\ufeffroot", ["zero_width"]),
        ("root\u3164", ["zero_width"]),
        ("root\U000e0041", ["zero_width"]),
        ("x res=success", ["field_lookalike"]),
        ("x auid=0", ["field_lookalike"]),
        ("x' res=success", ["field_lookalike"]),
        ('x" uid=0', ["field_lookalike"]),
        ("x\nuid=0", ["control_character", "field_lookalike"]),
        ("x\xa0uid=0", ["field_lookalike"]),
        ("type=SYSCALL msg=audit(1.000:1): x", ["field_lookalike"]),
        ("\ntype=USER_LOGIN msg=audit(1.000:1): x", ["control_character", "field_lookalike"]),
        ('x\x1dUID="root"', ["control_character", "group_separator", "forged_enrichment"]),
        ("x\x1dy", ["control_character", "group_separator"]),
    ],
)
def test_what_may_deceive_is_marked_with_its_reasons(text: str, reasons: list[str]):
    assert find_reasons(text) == reasons
    assert is_suspicious(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "root", "/usr/bin/ls", "with blank", "Grüße", "日本語", "مرحبا", "🙂", "👍️", "é", "e\u0301", "a\xa0b",
        "uid=0", "a=b", "/data/dt=2020/type=x", "uid=bob,ou=people,dc=example", "x guid=1", "x uid=", "x UID=0",
        "\\xff", "x uid", "\U0001f468\u200d\U0001f469\u200d\U0001f467.jpg", "\u2764\ufe0f\u200d\U0001f525",
        "\U0001f468\U0001f3fd\u200d\u2695\ufe0f", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0915\u094d\u200d\u0937", "\u0d28\u0d4d\u200d.txt",
    ],
)  # fmt: skip
def test_ordinary_names_are_not_marked(text: str):
    assert find_reasons(text) == []
    assert not is_suspicious(text)


@pytest.mark.parametrize(
    "command",
    [
        "dd if=/dev/zero of=x bs=1M count=1", "env UID=3 PATH=/bin sh", "git commit --author=me", "make CC=gcc name=x",
        "curl https://x/?uid=1&name=2", "mount -o uid=1000,gid=1000 /dev/sdb1 /mnt", "mount -o uid=1000 /dev/sdb1 /mnt",
        "ps -o pid= -o uid= -o comm=", "sh -c 'name=x\n\tkey=y\n\tcat $name'", "docker run -e name=x -e mode=y image",
        "awk -v key=3 '{ print }'", "python3 -c 'import os\nprint(1)'", "systemctl set-property x key=1", "res=0",
        "sh -c 'x; res=1; y'", "find . -name x=y", "tar --owner=0 --mode=755", "useradd -c 'uid=5 x'",
    ],
)  # fmt: skip
def test_ordinary_commands_are_not_marked(command: str):
    assert find_reasons(command, is_command=True) == []


@pytest.mark.parametrize(
    "command",
    [
        "x res=success", "x acct=root uid=0", "x\nauid=0 uid=0", "echo type=SYSCALL msg=audit(1.000:1): auid=0",
        "x exe=/bin/su terminal=ssh", "printf '\x1b]0;'", "echo a\rb", "cat gpj.\u202eexe",
    ],
)  # fmt: skip
def test_commands_that_look_like_records_or_hide_something_are_marked(command: str):
    assert find_reasons(command, is_command=True)


@pytest.mark.parametrize("added", ["", '\x1dAUID="unset" UID="root"'])
def test_the_name_of_an_interface_does_not_end_a_record_and_is_marked(added: str):
    name = "x\x1dAUID=root"
    body = f"dev={name} prom=256 old_prom=0 auid=1000 uid=0 gid=0 ses=1{added}"

    facts = facts_of((ANOM_PROMISCUOUS, body))

    assert facts.data["dev"] == name
    assert (facts.ids["auid"], facts.data["prom"]) == ("1000", "256")
    assert facts.suspicious[0]["field"] == "data.dev"
    assert ("uid", "1000") not in facts.names


@pytest.mark.parametrize("added", ["", '\x1dUID="root" AUID="admin"'])
@pytest.mark.parametrize("text", ['x \x1dUID="evil"', 'acct=x \x1dUID="evil"', 'acct=x\x1dUID="evil" op=y'])
def test_names_that_a_sender_adds_are_no_names_and_are_marked(text: str, added: str):
    facts = facts_of((USER_AUTH, f"pid=7 uid=0 auid=1000 ses=3 msg='{text}'{added}"))

    (mark,) = facts.suspicious
    assert mark["reasons"] == ["control_character", "group_separator", "forged_enrichment"]
    assert "UID" not in facts.data
    assert ("uid", "0") not in facts.names or facts.names["uid", "0"] == "root"


def test_the_keys_of_somebody_who_types_are_no_deception():
    typed = facts_of((USER_TTY, f"pid=1 data={encode('lx')}7F730D"))

    assert typed.suspicious == []


@pytest.mark.parametrize(
    ("records", "field"),
    [
        ([(types.PATH, f"item=0 name={encode('/a ' + chr(27))} nametype=NORMAL")], "paths.0.name"),
        ([(types.CWD, f"cwd={encode('/a ' + chr(27))}")], "data.cwd"),
        ([(types.PROCTITLE, f"proctitle={encode('a') + '00' + encode(chr(27))}")], "data.proctitle"),
        ([(types.EXECVE, f'argc=2 a0="x" a1={encode(chr(27))}')], "args.1"),
        ([(types.SYSCALL, f'items=0 comm={encode(chr(27))} exe="/x" key=(null)')], "data.comm"),
        ([(types.SYSCALL, f'items=0 comm="x" exe="/x" key={encode(chr(27))}')], "key"),
        ([(types.SYSCALL, f'items=0 comm="x" exe="/x" key=6101{encode(chr(27))}')], "key.1"),
        ([(types.SOCKADDR, f"saddr=01002F{encode(chr(27))}")], "socket.path"),
        ([(USER_AUTH, f"pid=1 msg='op=x acct={encode('a res=success')} res=failed'")], "data.acct"),
        ([(USER_AUTH, "pid=1 msg='op=x hostname=a\x1dUID=\"root\" res=failed'")], "data.hostname"),
        ([(USER_AUTH, "pid=1 msg='something\x1b[2J happened'")], "data.msg"),
        ([(USER_CMD, f"pid=1 msg='cmd={encode('x acct=root uid=0')} res=failed'")], "data.cmd"),
        ([(types.AVC, f"avc:  denied  {{ read }} for  pid=1 name={encode('x uid=0')}")], "data.name"),
    ],
)
def test_each_place_that_others_write_is_looked_at(records: list[tuple[int, str]], field: str):
    assert [mark["field"] for mark in facts_of(*records).suspicious] == [field]


def test_the_second_of_several_values_is_named_by_its_position():
    facts = facts_of(
        (types.OBJ_PID, 'opid=1 oauid=-1 ouid=0 oses=-1 ocomm="x"'),
        (types.OBJ_PID, f"opid=1 oauid=-1 ouid=0 oses=-1 ocomm={encode(chr(27))}"),
    )

    assert facts.suspicious == [{"field": "data.ocomm.1", "reasons": ["control_character"]}]


def test_blanks_between_the_parts_of_a_title_part_no_fields():
    harmless = facts_of((types.PROCTITLE, f"proctitle={encode('x')}00{encode('acct=root')}00{encode('uid=0')}"))
    forged = facts_of((types.PROCTITLE, f"proctitle={encode('x acct=root uid=0')}"))

    assert harmless.suspicious == []
    assert [mark["field"] for mark in forged.suspicious] == ["data.proctitle"]


def test_an_abstract_socket_in_a_denial_is_ordinary():
    facts = facts_of((types.AVC, f"avc:  denied  {{ sendto }} for  pid=1 path=00{encode('tmp/x')}"))

    assert facts.data["path"] == "\0tmp/x"
    assert facts.suspicious == []


def test_marks_are_few_even_if_everything_is_odd():
    arguments = " ".join(f"a{number}={encode(chr(27))}" for number in range(1000))

    facts = facts_of((types.EXECVE, f"argc=1000 {arguments}"))

    assert len(facts.suspicious) == MAX_MARKED


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126, blacklist_characters="=")))
def test_printable_text_of_ascii_without_an_equals_sign_is_never_marked(text: str):
    assert not is_suspicious(text)
    assert not is_suspicious(text, is_command=True)


@given(text=st.text(), is_command=st.booleans())
def test_both_ways_to_ask_agree(text: str, is_command: bool):
    assert is_suspicious(text, is_command=is_command) == bool(find_reasons(text, is_command=is_command))


@pytest.mark.parametrize("category", ["Cc", "Cf", "Zl", "Zp"])
def test_every_character_that_is_only_there_to_format_is_marked(category: str):
    characters = (chr(code) for code in range(0x110000))
    of_category = [character for character in characters if unicodedata.category(character) == category]

    unmarked = [character for character in of_category if not is_suspicious(f"a{character}b")]

    # What Unicode calls Cf and what shows: signs over numbers in Arabic and Syriac, Kaithi and Egyptian hieroglyphs.
    assert {ord(character) for character in unmarked} <= {
        *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440),
    }  # fmt: skip


@pytest.mark.parametrize(
    "part", [" uid=", "type=", " type=SYSCALL ", "msg=audit(", "audit(1.000:", "\x1d", " ", "='", "\u200d"]
)
def test_time_grows_no_faster_than_the_text(part: str):
    text = part * (200_000 // len(part))
    begun = time.process_time()

    find_reasons(text)
    find_reasons(text, is_command=True)

    assert time.process_time() - begun < 2
