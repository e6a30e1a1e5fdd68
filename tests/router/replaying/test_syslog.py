"""Records in lines of syslog, the journal and the kernel's own log; lines of others that are skipped."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.tables.lookup import record_type_number
from auditline.workers.router.decode import types
from auditline.workers.router.log_lines import UNPARSED, frame, unparsed_text
from auditline.workers.router.replaying.syslog import SyslogLines, find_record

DATA = Path(__file__).parents[2] / "data"
SEED_LINES = (DATA / "seed" / "open-eacces.log").read_text().splitlines()
HEADER = "audit(1700000000.001:7)"
RECORD = f"type=SYSCALL msg={HEADER}: arch=c000003e syscall=59"
PRINTED = f"audit: type=1300 {HEADER}: arch=c000003e syscall=59"
PREFIXES = {
    "plugin for syslog": "Jan  1 00:00:00 web1 audispd: ",
    "plugin, with its pid": "Nov 26 14:19:08 web1 audisp-syslog[812]: ",
    "rsyslog, a file": "Nov 26 14:19:08 web1 tag_audit_log: ",
    "rsyslog, a file without a tag": "Nov 26 14:19:08 web1 ",
    "rsyslog, a tag without a colon": "Nov 26 14:19:08 web1 auditlog ",
    "from the network": "<13>Nov 26 14:19:08 web1 audispd: ",
    "with a year": "Nov 26 2026 14:19:08 web1 audispd: ",
    "rsyslog, new form": "2026-11-26T14:19:08.123456+01:00 web1 audispd: ",
    "RFC 5424": "<13>1 2026-11-26T14:19:08.123456Z web1 audispd - - - ",
    "RFC 5424 with data": '<13>1 2026-11-26T14:19:08Z web1 audispd 8 ID47 [a@1 b="c]\\"d"][e@1 f="g"] \ufeff',
    "RFC 5424 with a type": '<13>1 2026-11-26T14:19:08Z web1 audispd - - [a@1 type="c"] ',
    "journalctl short-precise": "Nov 26 14:19:08.123456 web1 audisp-syslog[812]: ",
    "journalctl short-iso": "2026-11-26T14:19:08+0100 web1 audisp-syslog[812]: ",
    "journalctl short-full": "Thu 2026-11-26 14:19:08 UTC web1 audisp-syslog[812]: ",
    "journalctl short-unix": "1764166748.123456 web1 audisp-syslog[812]: ",
    "journalctl short-monotonic": "[   12.345678] web1 audisp-syslog[812]: ",
    "address for a host": "Nov 26 14:19:08 fe80::1 audispd: ",
}
KERNEL_PREFIXES = {
    "syslog": "Jan  1 00:00:00 web1 kernel: [   12.345678] ",
    "syslog without the kernel's time": "Jan  1 00:00:00 web1 kernel: ",
    "journalctl short-iso": "2026-11-26T14:19:08+01:00 web1 kernel: ",
    "RFC 5424": "<5>1 2026-11-26T14:19:08Z web1 kernel - - - [   12.345678] ",
}
WITHOUT_HOST = {
    "journalctl --no-hostname": "Nov 26 14:19:08 kernel: ",
    "journalctl -o cat": "",
    "dmesg": "[   12.345678] ",
    "dmesg --raw": "<5>[   12.345678] ",
    "dmesg -T": "[Thu Nov 26 14:19:08 2026] ",
    "dmesg --time-format iso": "2026-11-26T14:19:08,123456+01:00 ",
    "RFC 5424 without a host": "<5>1 - - kernel - - - ",
}


def cases(prefixes):
    return pytest.mark.parametrize("prefix", prefixes.values(), ids=prefixes.keys())


@cases(PREFIXES)
def test_a_record_behind_a_prefix_is_that_of_the_host_in_the_prefix(prefix):
    host = "fe80::1" if "fe80" in prefix else "web1"

    assert find_record(prefix + RECORD) == (types.SYSCALL, f"node={host} {HEADER}: arch=c000003e syscall=59")


@cases(PREFIXES)
def test_the_node_of_a_record_goes_before_the_host_of_the_line(prefix):
    found = find_record(f"{prefix}node=db1.example.org {RECORD}")

    assert found == (types.SYSCALL, f"node=db1.example.org {HEADER}: arch=c000003e syscall=59")


@cases(KERNEL_PREFIXES)
def test_a_record_that_the_kernel_printed_is_found(prefix):
    assert find_record(prefix + PRINTED) == (types.SYSCALL, f"node=web1 {HEADER}: arch=c000003e syscall=59")


@cases(WITHOUT_HOST)
def test_a_line_without_a_host_gives_a_record_without_a_node(prefix):
    assert find_record(prefix + PRINTED) == (types.SYSCALL, f"{HEADER}: arch=c000003e syscall=59")


def test_old_kernels_print_no_word_before_the_record():
    assert find_record(f"Jan  1 00:00:00 web1 kernel: {PRINTED.removeprefix('audit: ')}") is not None


@pytest.mark.parametrize(
    "line",
    [
        "Jan  1 00:00:00 web1 sudo: anna : COMMAND=/bin/echo " + RECORD,
        "Jan  1 00:00:00 web1 sshd[12]: Accepted publickey for anna",
        "Jan  1 00:00:00 web1 kernel: [   12.345678] audit: kauditd_printk_skb: 27 callbacks suppressed",
        "Jan  1 00:00:00 web1 kernel: type=disk msg=full",
        "<13>1 2026-11-26T14:19:08Z web1 app 8 - [broken " + RECORD,
        "2026-11-26T14:19:08Z",
        "last message repeated 3 times",
    ],
)
def test_what_a_program_says_further_on_is_no_record(line):
    assert find_record(line) is None


def test_lines_of_other_programs_are_skipped_and_counted():
    syslog = SyslogLines()
    lines = [
        "Jan  1 00:00:00 web1 sshd[12]: Accepted publickey for anna",
        f"Jan  1 00:00:00 web1 audispd: {RECORD}",
        "    and more of a message of several lines",
        "last message repeated 3 times",
    ]

    kinds, _ = frame(lines, syslog.take)

    assert (kinds, syslog.skipped_lines) == ([types.SYSCALL], 3)


@pytest.mark.parametrize("prefix", ["[25510.285359] ", "Jan  1 00:00:00 web1 kernel: [   12.345678] audit: "])
def test_records_that_the_kernel_did_not_print_are_counted_apart(prefix):
    syslog = SyslogLines()

    taken = syslog.take(f"{prefix}kauditd_printk_skb: 27 callbacks suppressed")

    assert (taken, syslog.suppressed_records, syslog.skipped_lines) == (None, 27, 0)


def test_in_a_log_without_prefixes_no_line_is_skipped():
    syslog = SyslogLines()

    kinds, payloads = frame([RECORD, "garbage", "word " + RECORD], syslog.take)

    assert (kinds, syslog.skipped_lines) == ([types.SYSCALL, UNPARSED, UNPARSED], 0)
    assert [unparsed_text(payload) for payload in payloads[1:]] == ["garbage", "word " + RECORD]


def test_each_log_is_of_its_own_kind():
    syslog = SyslogLines()
    syslog.take("Jan  1 00:00:00 web1 sshd[12]: bye")

    syslog.begin_log()

    assert syslog.take("garbage") == (UNPARSED, "garbage")


@pytest.mark.parametrize(
    "tag", ["audit[812]: SYSCALL arch=c000003e", "audit: CONFIG_CHANGE op=set", "audit: <audit-1334> x"]
)
def test_a_record_from_which_the_journal_has_taken_the_header_is_kept_as_unparsed(tag):
    line = f"Nov 26 14:19:08 web1 {tag}"

    assert SyslogLines().take(line) == (UNPARSED, line)


@pytest.mark.parametrize("line", ["-- Journal begins at Thu 2026-11-26. --", "-- Boot 0b1c --", "-- No entries --"])
def test_what_journalctl_prints_between_messages_is_neither_kept_nor_counted(line):
    syslog = SyslogLines()

    assert (syslog.take(line), syslog.skipped_lines) == (None, 0)


@pytest.mark.parametrize("separator", [" ", "#035", "\x1d"])
@pytest.mark.parametrize("record", (DATA / "audit" / "enriched.log").read_text().strip("\n").split("\n"))
def test_names_that_auditd_added_are_told_apart_however_syslog_writes_their_separator(separator, record):
    line = f"Nov 26 14:19:08 web1 audispd: {record.replace(chr(0x1D), separator)}"

    found = find_record(line)

    assert found is not None
    assert found == find_record(f"Nov 26 14:19:08 web1 audispd: {record}")


@pytest.mark.parametrize(
    "body",
    [
        'pid=1 uid=0 auid=1000 ses=3 msg=\'op=login AUID="root" UID="root"\'',
        "pid=1 uid=0 auid=1000 ses=3 msg='op=login#035AUID=\"root\"'",
        'item=0 name="a#035OUID=x" inode=1',
        'item=0 name="aOUID=x" inode=1',
    ],
)
def test_a_sender_cannot_forge_the_names_that_auditd_adds(body):
    found = find_record(f"Nov 26 14:19:08 web1 audispd: type=USER_AUTH msg={HEADER}: {body}")

    assert found == (record_type_number("USER_AUTH"), f"node=web1 {HEADER}: {body}")


def test_syslog_s_lines_give_the_events_of_the_log(replay_text):
    prefixed = "".join(f"Jan  1 00:00:00 web1 audispd: {line}\n" for line in SEED_LINES)

    assert replay_text(prefixed, node=None) == replay_text("\n".join(SEED_LINES), node="web1")


def test_a_node_that_is_asked_for_does_not_replace_the_host_of_a_line(replay_text):
    log = f"Jan  1 00:00:00 web1 audispd: {SEED_LINES[0]}\n{PRINTED}\n"

    documents = replay_text(log, node="here")

    assert {document["host"]["name"] for document in documents} == {"web1", "here"}


def test_two_hosts_with_one_time_and_serial_are_two_events(replay_text):
    log = "".join(f"Jan  1 00:00:00 {host} audispd: {line}\n" for line in SEED_LINES for host in ("a", "b"))

    documents = replay_text(log)

    assert [document["host"]["name"] for document in documents] == ["a", "b"]
    assert all(document["auditline"]["complete"] for document in documents)


def test_a_damaged_header_is_kept_with_the_whole_line(replay_text):
    line = "Jan  1 00:00:00 web1 audispd: type=SYSCALL msg=audit(x): a=1"

    (document,) = replay_text(line)

    assert document["audit"]["kernel"]["messages"] == [line]


@given(line=st.text(st.sampled_from("Jan 1 0:<>[]-=.TZ\"'\\type=msgaudit()#035\x1d\ufeff\udcff"), max_size=200))
def test_any_line_is_read(line):
    taken = SyslogLines().take(line)

    assert taken is None or isinstance(taken[0], int)


@pytest.mark.parametrize(
    "long",
    [
        "[a" * 300_000,
        " A=1" * 200_000 + "'",
        '"' * 600_000,
        "-" * 600_000,
        "x " * 300_000,
        "#035A=1 " * 100_000,
        "a:" * 300_000,
    ],
)
@pytest.mark.parametrize("prefix", ["<13>1 - h a p m ", "Jan  1 00:00:00 web1 ", f"Jan  1 00:00:00 web1 a: {RECORD}"])
def test_a_hostile_line_takes_no_longer_than_its_length(prefix, long):
    syslog = SyslogLines()

    start = time.process_time()
    syslog.take(prefix + long)

    assert time.process_time() - start < 5
