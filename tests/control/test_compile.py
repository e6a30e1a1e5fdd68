import base64
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditline.workers.common.errors import RuleError
from auditline.workers.control.canonical import rule_text
from auditline.workers.control.compile import comparable, compile_rule, read_kernel_rule
from auditline.workers.control.language import parse_rules
from auditline.workers.control.words import join_word

GOLDENS = Path(__file__).parent.parent / "data" / "go-libaudit" / "rule"
WORDS = struct.Struct("=260I")
EQUAL = 0x40000000


def compiled(line: str, machine: str = "x86_64") -> bytes:
    found = parse_rules(line, "a.rules", machine)
    assert found.problems == ()
    [rule] = found.rules
    return compile_rule(rule)


def golden_rules() -> Iterator[tuple[str, bytes]]:
    """Yield each recorded rule and its bytes; of YAML the files have `flags:`, which may go on, and `bytes:`."""
    for path in sorted(GOLDENS.glob("*.yml")):
        for entry in path.read_text(encoding="utf-8").split("- flags: ")[1:]:
            flags, _, encoded = entry.partition("  bytes: !!binary |\n")
            yield " ".join(flags.split()), base64.b64decode(re.sub(r"\s", "", encoded))


def is_recorded_where_the_watched_path_is_a_directory(flags: str) -> bool:
    # The golden was made where /tmp/audit-test/etc/sudoers.d/ existed; -w looks at the host, here it is not there.
    return flags.startswith("-w ") and "sudoers.d/" in flags


@pytest.mark.parametrize(("flags", "data"), list(golden_rules()))
def test_a_rule_compiles_to_what_a_kernel_listed_for_auditctl(flags: str, data: bytes) -> None:
    if is_recorded_where_the_watched_path_is_a_directory(flags):
        flags = "-a always,exit -F dir=/tmp/audit-test/etc/sudoers.d -F perm=wa -F key=actions"

    assert comparable(compiled(flags)) == comparable(data)


def test_the_goldens_are_there() -> None:
    assert sum(1 for _ in golden_rules()) == 51


def test_every_part_of_a_rule_has_its_place_in_the_bytes() -> None:
    data = compiled("-A never,exit -F arch=b64 -S open,2031 -F path=/etc/passwd -F exit!=-13 -k one -k two")

    words = WORDS.unpack_from(data)
    assert words[:3] == (4 | 0x10, 0, 4)
    assert [words[3], words[3 + 63]] == [1 << 2, 1 << 2031 % 32]
    assert words[67:72] == (11, 105, 103, 210, 0)
    assert words[131:136] == (0xC000003E, 11, 0xFFFFFFF3, 7, 0)
    assert words[195:200] == (EQUAL, EQUAL, 0x30000000, EQUAL, 0)
    assert words[259] == 18
    assert data[1040:] == b"/etc/passwdone\x01two"


def test_a_rule_without_system_calls_has_every_bit_of_the_mask() -> None:
    assert set(WORDS.unpack_from(compiled("-a never,user"))[3:67]) == {0xFFFFFFFF}


def test_a_rule_of_the_task_list_has_no_bit_of_the_mask() -> None:
    assert set(WORDS.unpack_from(compiled("-a never,task"))[3:67]) == {0}


def test_the_key_is_the_last_field_wherever_it_was_written() -> None:
    early, late = "-F key=k -F uid=0", "-F uid=0 -F key=k"

    assert compiled(f"-a always,exit -S open {early}") == compiled(f"-a always,exit -S open {late}")


def test_what_was_sent_equals_what_the_kernel_lists() -> None:
    sent = compiled("-A always,exit -F path=/etc/x -F perm=w")
    listed = list(WORDS.unpack_from(sent))
    listed[0], listed[66] = 4, 0xFFFF

    assert comparable(WORDS.pack(*listed) + b"/etc/x\0\0") == comparable(sent)


def test_rules_that_differ_stay_different() -> None:
    lines = ["-a always,exit -S open", "-a never,exit -S open", "-a always,exit -S 2031", "-a always,exit -S all"]

    assert len({comparable(compiled(line)) for line in lines}) == 4


@pytest.mark.parametrize("length", [0, 1039])
def test_bytes_that_are_no_rule_are_refused(length: int) -> None:
    with pytest.raises(RuleError, match="at least 1040 bytes"):
        comparable(bytes(length))
    with pytest.raises(RuleError, match="at least 1040 bytes"):
        read_kernel_rule(bytes(length))


@pytest.mark.parametrize(("word", "value"), [(2, 65), (259, 1), (131, 9)])
def test_counts_and_lengths_beyond_the_rule_are_refused(word: int, value: int) -> None:
    words = list(WORDS.unpack_from(compiled("-a always,exit -F dir=/etc")))
    words[word] = value

    with pytest.raises(RuleError):
        read_kernel_rule(WORDS.pack(*words))


@pytest.mark.parametrize(
    "line",
    [
        "-w /etc/passwd -p wa -k identity",
        "-w /etc/passwd -p rwxa -k one -k two",
        "-a always,exit -F arch=b64 -S open,openat -F exit=-EACCES -F auid>=1000 -F auid!=-1 -F key=access",
        "-a always,exit -F arch=b32 -S all",
        "-a always,exit -F arch=aarch64 -S openat",
        "-a always,exit -S all -C uid!=euid",
        "-a always,exit -F uid=0 -F arch=b64 -S open",
        "-A never,exit -S all -F ppid=7",
        "-a never,exit -S all -F path=/etc/passwd -F perm=wa",
        "-a always,exit -S all -F dir=/etc/selinux/ -F perm=wa -F key=mac",
        "-a always,exclude -F msgtype=CWD",
        "-a always,exclude -F msgtype=1999",
        "-a never,filesystem -F fstype=tracefs -F key=x",
        "-a never,task -F uid=65534",
        "-a always,exit -S all -F filetype=dir -F a1&0x40 -F a2&=0x3",
        r"-w /folder\ with\ space -p wa -k it\'s",
    ],
)
def test_a_canonical_text_stands_for_itself(line: str) -> None:
    assert rule_text(compiled(line), "x86_64") == line


@pytest.mark.parametrize(
    ("line", "canonical"),
    [
        ("-a exit,always -S 2,open", "-a always,exit -S open"),
        ("-a always,exit -F loginuid=unset -F exit=13", "-a always,exit -S all -F auid=-1 -F exit=13"),
        ("-a always,exit -F path=/etc/passwd -F perm=aw -k k", "-w /etc/passwd -p wa -k k"),
        ("-a always,exit -F perm=wa -F path=/etc/x", "-a always,exit -S all -F perm=wa -F path=/etc/x"),
        ("-a always,exit -F gid=4294967294", "-a always,exit -S all -F gid=4294967294"),
        ("-a always,exit -F a0=16", "-a always,exit -S all -F a0=0x10"),
    ],
)
def test_a_canonical_text_is_as_auditctl_lists_the_rule(line: str, canonical: str) -> None:
    assert rule_text(compiled(line), "x86_64") == canonical


def test_a_watch_of_what_is_a_directory_by_now_is_not_listed_as_a_watch(tmp_path: Path) -> None:
    as_file = compiled(f"-w {tmp_path}/x -p wa")
    (tmp_path / "x").mkdir()

    assert rule_text(as_file) == f"-a always,exit -S all -F path={tmp_path}/x -F perm=wa"


def test_a_foreign_rule_that_we_could_not_write_is_shown_all_the_same() -> None:
    words = [7, 1, 2, *[0] * 257]
    words[67:69], words[131:133], words[195:197] = [999, 15], [5, 4], [EQUAL, 1]
    words[259] = 4

    assert (
        rule_text(WORDS.pack(*words) + b"\xe9\x1b[m") == r"-a 1,io_uring -S , -F f999=5 -F subj_type<0x1>$'\xe9\x1b[m'"
    )


ORDER = st.sampled_from(["=", "!=", "<", ">", "<=", ">="])
EQUALITY = st.sampled_from(["=", "!="])
BITS = st.sampled_from(["&", "&="])
NUMBER = st.integers(0, 2**32 - 2).map(str)
SIGNED = st.integers(-(2**31), 2**32 - 1).map(str)
READABLE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
ANYTHING = st.binary(min_size=1, max_size=12).map(lambda text: os.fsdecode(text.replace(b"\0", b"")) or "x")
TEXT = (READABLE | ANYTHING).map(join_word)
FILE = (READABLE | ANYTHING).map(lambda name: join_word("/" + name.replace("/", "-")))
IDS = st.sampled_from(
    ["uid", "auid", "euid", "suid", "fsuid", "obj_uid", "gid", "egid", "sgid", "fsgid", "obj_gid", "pid", "ppid"]
)
CONDITIONS = st.one_of(
    st.tuples(IDS, ORDER, NUMBER),
    st.tuples(st.sampled_from(["a0", "a1", "a2", "a3"]), ORDER | BITS, SIGNED),
    st.tuples(st.sampled_from(["pers", "devminor"]), ORDER | BITS, NUMBER),
    st.tuples(st.sampled_from(["auid", "sessionid"]), EQUALITY, st.just("unset")),
    st.tuples(st.just("exit"), ORDER, SIGNED | st.sampled_from(["-EACCES", "EPERM", "-enoent"])),
    st.tuples(st.just("success"), EQUALITY, st.sampled_from(["0", "1"])),
    st.tuples(st.just("filetype"), EQUALITY, st.sampled_from(["file", "dir", "socket", "link", "block", "fifo"])),
    st.tuples(st.just("perm"), st.just("="), st.text("rwxa", min_size=1, max_size=4)),
    st.tuples(st.just("saddr_fam"), ORDER, st.integers(0, 45).map(str)),
    st.tuples(st.sampled_from(["subj_user", "obj_type"]), EQUALITY, TEXT),
    st.tuples(st.sampled_from(["subj_sen", "obj_lev_low"]), ORDER, TEXT),
).map("".join)
PLACES = st.one_of(
    st.tuples(st.sampled_from(["path=", "dir="]), FILE).map("".join),
    st.tuples(st.just("inode"), EQUALITY, NUMBER).map("".join),
)
ARCHES = st.sampled_from(["b64", "b32", "aarch64", "arm", "s390x", "ppc64le", "i686"]).map("arch={}".format)
SYSCALLS = st.sets(st.integers(0, 2031), min_size=1, max_size=6).map(lambda numbers: ",".join(map(str, numbers)))


@st.composite
def exit_rules(draw: st.DrawFn) -> str:
    conditions = draw(st.lists(CONDITIONS, max_size=4)) + draw(st.lists(PLACES, max_size=1))
    conditions = draw(st.permutations([*conditions, *draw(st.lists(ARCHES, max_size=1))]))
    words = [draw(st.sampled_from(["-a always,exit", "-A exit,never"])), *(f"-F {one}" for one in conditions)]
    words += [f"-S {calls}" for calls in draw(st.lists(SYSCALLS | st.just("all"), min_size=1, max_size=2))]
    return " ".join([*words, *(f"-k {key}" for key in draw(st.lists(TEXT, max_size=2)))])


@settings(deadline=None)
@given(exit_rules(), st.sampled_from(["x86_64", "aarch64"]))
def test_the_canonical_text_of_a_rule_compiles_to_the_same_bytes(line: str, machine: str) -> None:
    data = compiled(line, machine)

    assert compiled(rule_text(data, machine), machine) == data


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 258), st.integers(0, 300) | st.integers(0, 2**32 - 1), max_size=20),
    st.integers(0, 65),
    st.binary(max_size=300),
)
def test_any_bytes_become_printable_text_or_an_error(changed: dict[int, int], count: int, buffer: bytes) -> None:
    words = [changed.get(at, 0) for at in range(260)]
    words[2], words[259] = count, len(buffer)

    try:
        text = rule_text(WORDS.pack(*words) + buffer)
    except RuleError:
        text = ""

    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", text)
