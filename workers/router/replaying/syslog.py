"""Finds audit records in lines of syslog, of the journal and of the kernel's own log.

auditd's plugin for syslog writes its records behind the prefix of a syslog line, rsyslog those of a file that it
watches, and the kernel prints them itself where no daemon takes them: `kernel: audit: type=1300 audit(…): …`.
"""

import re
from functools import lru_cache

from auditline.workers.router.decode.fields import GROUP_SEPARATOR
from auditline.workers.router.log_lines import UNPARSED, parse_prefix
from auditline.workers.router.record_names import type_number

_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 0-9][0-9]"
_ISO = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ]{_TIME}"

_NEW_PREFIX = re.compile(
    rf"<[0-9]{{1,3}}>1 (?:-|{_ISO}(?:Z|[+-][0-9]{{2}}:[0-9]{{2}})) (?P<host>\S{{1,255}}) \S+ \S+ \S+ "
    r'(?:-|\[(?:[^\]\\"]|"(?:[^"\\]|\\.)*")*\])+ ?'
).match
"""RFC 5424, 6: priority and version, time, host, program, process, kind of message, structured data."""

_PREFIX = re.compile(
    rf"(?:<[0-9]{{1,3}}>)?(?:"
    rf"{_MONTH}(?: [0-9]{{4}})? {_TIME}"
    rf"|{_ISO}(?:Z|[+-][0-9]{{2}}:?[0-9]{{2}})?"
    rf"|{_DAY} {_ISO} [A-Z0-9+-]{{1,6}}"
    r"|[0-9]{9,11}\.[0-9]{6}"
    rf"|\[(?: *[0-9]{{1,10}}\.[0-9]{{6}}|{_DAY} {_MONTH} {_TIME} [0-9]{{4}})\]"
    r") +(?:(?P<host>[^\s=]{0,254}[^\s=:\]]) +)?"
).match
"""RFC 3164, 4.1, with or without the priority; rsyslog's `RSYSLOG_FileFormat`; `journalctl --output` in its forms of
one line (`short`, `-full`, `-iso`, `-monotonic`, `-unix`, with or without the host); dmesg(1)."""

_RECORD = re.compile(
    r"(?:[^\s=]{1,255} +)?(?:\[ *[0-9]{1,10}\.[0-9]{6}\] +)?(?:audit: +)?\ufeff?((?:type|node)=.*)", re.DOTALL
).match
"""What stands before the record: the program, the kernel's time since the boot, and who speaks within the kernel."""

_PRINTED = re.compile(r"(?:audit: +)?type=([0-9]{1,5}) (audit\(.*)", re.DOTALL).fullmatch
"""As the kernel prints it.  Source: kernel/audit.c, kauditd_printk_skb()."""

_JOURNAL_RECORD = re.compile(r"audit(?:\[[0-9]+\])?: +[A-Z<]").match
"""What journald itself takes from the kernel: a type's name and the text, without the time and the serial.

Source: systemd, src/journal/journald-audit.c.
"""

_JOURNAL_MARK = re.compile(r"-- (?:Journal begins|Logs begin|Boot |Reboot|No entries).*--\s*").fullmatch
"""What journalctl prints between messages."""

_SUPPRESSED = re.compile(r"(?:audit: +)?kauditd_printk_skb: ([0-9]{1,9}) callbacks suppressed").search
"""The kernel prints only so many records in five seconds.  Source: kernel/audit.c, kauditd_printk_skb()."""

_MAX_BEFORE = 1024
"""So long at most are a prefix and a node."""

_ADDED_PAIR = r'[A-Z0-9_-]+=(?:\{[^{}]*\}|"[^"]*"|[^\s"\'{}]*)'
_ADDED = re.compile(rf"{_ADDED_PAIR}(?: +{_ADDED_PAIR})* *").fullmatch
_FIRST_ADDED = re.compile(r" (?=[A-Z][A-Z0-9_-]*=)").search

Record = tuple[int, str]
"""The type, and `audit(…): body`, with `node=NAME ` before it where that is known."""


class SyslogLines:
    """Takes what is no line of auditd's own log, and counts what belongs to other programs."""

    def __init__(self) -> None:
        self.skipped_lines = 0
        """Lines of other programs: messages that hold no record."""
        self.suppressed_records = 0
        """Records of which the kernel itself says that it has not printed them."""
        self._has_prefixes = False

    def begin_log(self) -> None:
        """Another file begins, which may be of another kind."""
        self._has_prefixes = False

    def take(self, line: str) -> Record | None:
        """Return the record in a line, the line with type UNPARSED where it ought to be one, None where not.

        In a log without prefixes every line ought to be one.
        """
        record = _record_behind_prefix(line)
        if record is not None:
            self._has_prefixes = True
            return record
        return _read_printed(line) or self._take_other(line)

    def _take_other(self, line: str) -> Record | None:
        prefix = _NEW_PREFIX(line) or _PREFIX(line)
        if prefix is None:
            if _JOURNAL_MARK(line):
                return None
            if not self._has_prefixes:
                return UNPARSED, line
        else:
            self._has_prefixes = True
            if _JOURNAL_RECORD(line, prefix.end()):
                return UNPARSED, line
            if suppressed := _SUPPRESSED(line, prefix.end()):
                self.suppressed_records += int(suppressed[1])
                return None
        self.skipped_lines += 1
        return None


def find_record(line: str) -> Record | None:
    """Return the record that stands at the beginning of a line's message; the line may be the message alone.

    Only there: what a program says further on is its own choice. The host of the line is the record's node, unless
    it has one.
    """
    return _record_behind_prefix(line) or _read_printed(line)


def _record_behind_prefix(line: str) -> Record | None:
    # Structured data may have such a word, too.
    structured = _NEW_PREFIX(line)
    start = line.find("type=", structured.end() if structured else 0)
    if not 0 < start <= _MAX_BEFORE or (node := _node_before(line[:start])) is None:
        return None
    text = line[start:]
    if (printed := _read_printed(text)) is not None:
        return printed[0], node + printed[1]
    type_text, _, record = text.partition(" msg=")
    kind, _ = parse_prefix(type_text)
    if kind == UNPARSED or not record.startswith("audit("):
        return None
    return kind, node + _restore_separator(record)


@lru_cache(maxsize=1024)
def _node_before(before: str) -> str | None:
    """Return `node=NAME `, or nothing, for a record that stands behind this text; None if that is no prefix."""
    prefix = _NEW_PREFIX(before) or _PREFIX(before)
    record = prefix and _RECORD(f"{before}type=", prefix.end())
    if not prefix or not record:
        return None
    kind, node = parse_prefix(f"{record[1]}X")
    if kind == UNPARSED:
        return None
    host = prefix["host"]
    if not node and host and host != "-" and host.isprintable():
        return f"node={host} "
    return node


def _read_printed(message: str) -> Record | None:
    printed = _PRINTED(message)
    return None if printed is None else (type_number(printed[1]), printed[2])


def _restore_separator(record: str) -> str:
    """Put back what stands before the names that auditd has added to a record.

    auditd's plugin for syslog writes a blank in its place, rsyslog `#035`.
    Source: audit-userspace, audisp/plugins/syslog/audisp-syslog.c, write_syslog(); rsyslog,
    `$EscapeControlCharactersOnReceive`.
    """
    if GROUP_SEPARATOR in record:
        return record
    before, escaped, added = record.rpartition("#035")
    if escaped and _ADDED(added):
        return f"{before}{GROUP_SEPARATOR}{added}"
    # A sender may write such pairs between the quotes of `msg='…'`, the kernel encodes blanks in what it is given.
    position = record.rfind("' ") + 1 if "msg='" in record else 0
    first = _FIRST_ADDED(record, position)
    if first is None or not _ADDED(record, first.end()):
        return record
    return f"{record[: first.start()]}{GROUP_SEPARATOR}{record[first.end() :]}"
