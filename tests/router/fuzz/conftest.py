"""Real records, damaged at random by somebody who knows how records are made, and what their lines are held to."""

import itertools
import json
import os
import random
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from auditline.workers.router.event import Event
from auditline.workers.router.grouping import Grouper
from auditline.workers.router.log_lines import frame
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.audit import AuditRenderer
from auditline.workers.router.render.ecs import EcsRenderer
from auditline.workers.router.render.lines import DEFAULT_KEEP, Keep
from auditline.workers.router.render.schemas import open_renderer

Render = Callable[[Event, str, str | None], tuple[str, str, bool]]

HOST = "0123456789abcdef"
HEADER = re.compile(r"audit\((\d+)\.(\d+):(\d+)\)")
SEPARATORS = [":", " ", "", ":  "]
"""What does not belong between a header and its body."""
LINE_BEGINS = re.compile(
    r'\{"@timestamp":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z",'
    r'"event":\{"id":"([0-9a-f]{16}-[0-9]+\.[0-9]{3}-[0-9]+(?:-p[0-9a-f]{8})?)"'
)
RAW_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

VALUES = [
    "", "0", "-1", "?", "(null)", "(none)", "unset", "4294967295", "18446744073709551616", "9" * 400, "-13", "-115",
    "FF", "C3A9", "0", "00", "6101620163", "6", "zz", "²", "0x10", "1e9", "NaN", "true", "00:00", "fe:00",
    '""', '"a"', '"', "'", '"a"b"', "'x'", '"a b"', '"\\"', '"%s%n"', '"é"', '"\u202e"', "\udcff\udcc3", "\x1d", "\x00",
    "uid=0", '"x" uid=0', "a:b:c", "a:b:c:d:e:f", ":::", "c000003e", "40000003", "c00000b7", "xyz", "59", "42", "322",
    "020001BBC0000207", "0100", "010000FF00", "0A00", "10000000", "11" * 60, "0100644", "040777", "PARENT", "DELETE",
    "success", "no", "denied", "{ read }", "9999999999999999999999", "7ffc" * 4, "FFFFFFFFFFFFFFFF", "80000000",
]  # fmt: skip
KEYS = [
    "a0", "a1", "a2", "a3", "a0[0]", "a1[3]", "a1_len", "argc", "arch", "syscall", "exit", "success", "items", "key",
    "name", "item", "mode", "nametype", "inode", "dev", "ouid", "saddr", "auid", "uid", "euid", "gid", "ses", "pid",
    "subj", "obj", "comm", "exe", "cwd", "proctitle", "tty", "msg", "res", "op", "acct", "addr", "hostname", "terminal",
    "old", "new", "sig", "opid", "ocomm", "fd0", "flags", "oflag", "tcontext", "scontext", "prog-id", "list", "x", "",
    "é", "data", "cmdline", "path", "id", "fam", "hash", "ip", "ARCH", "UID", "AUID", "SADDR", "__proto__", "a" * 300,
]  # fmt: skip
TYPES = [
    "SYSCALL", "PATH", "CWD", "EXECVE", "SOCKADDR", "PROCTITLE", "EOE", "AVC", "OBJ_PID", "MMAP", "FD_PAIR", "IPC",
    "CAPSET", "BPRM_FCAPS", "NETFILTER_PKT", "SECCOMP", "KERN_MODULE", "OPENAT2", "URINGOP", "BPF", "TIME_INJOFFSET",
    "USER_LOGIN", "USER_CMD", "USER_AVC", "CONFIG_CHANGE", "LOGIN", "DAEMON_START", "ANOM_ABEND", "INTEGRITY_DATA",
    "TTY", "MQ_OPEN", "FANOTIFY", "FEATURE_CHANGE", "SELINUX_ERR", "ADD_USER", "CRYPTO_KEY_USER", "SERVICE_START",
    "UNKNOWN[1999]", "UNKNOWN[99999]", "REPLACE", "KERNEL", "1300", "NOSUCH",
]  # fmt: skip
TAILS = ['\x1dUID="root"', '\x1dAUID="x" UID="y\\"', "\x1d", "\x1dARCH=x86_64 SYSCALL=openat", "\x1dOUID=\udcff OGID="]
CHARACTERS = [*" \"'\\=:;/?[](){},\t\r\x00\x01\x1b\x1d\x7f\x85é\u2028\u202e\ufeff", "\udcff", "\udcc3", "\U0001f600"]


def _header_of(record: str) -> str:
    match = HEADER.search(record)
    return "" if match is None else match[0]


class Mutator:
    """Makes endless logs from the records of real ones; the same seed makes the same."""

    def __init__(self, records: list[str], seed: int) -> None:
        self._chance = random.Random(seed)
        self._records = records
        self._events = [list(group) for _, group in itertools.groupby(records, _header_of)]
        self._serial = 1000
        self._time = 1_700_000_000_000
        self._ways: list[Callable[[list[str]], None]] = [
            self._drop,
            self._double,
            self._swap,
            self._set_value,
            self._set_value,
            self._set_key,
            self._insert,
            self._put_characters,
            self._cut,
            self._splice,
        ]

    def events(self) -> Iterator[list[str]]:
        """Yield the records of one event after the other, as a log has them."""
        while True:
            yield self._event()

    def _event(self) -> list[str]:
        chance = self._chance
        self._serial += 1
        self._time += chance.choice((0, 0, 0, 1, 4, 40))
        if chance.random() < 0.001:
            self._time += chance.choice((-3_600_000, -1000, 5000, 3_600_000, 10**13))
            self._serial = chance.choice((0, 1, 2**31, 2**32 - 1, self._serial + 100))
        header = f"audit({self._time // 1000}.{self._time % 1000:03d}:{self._serial % 2**32})"
        records = [HEADER.sub(header, record, count=1) for record in chance.choice(self._events)[:40]]
        for _ in range(chance.choice((0, 1, 1, 2, 4))):
            position = chance.randrange(len(records))
            records[position] = self._mutate(records[position])
        if chance.random() < 0.1:
            self._rearrange(records)
        return records

    def _rearrange(self, records: list[str]) -> None:
        chance = self._chance
        position, other = chance.randrange(len(records)), chance.randrange(len(records))
        way = chance.randrange(4)
        if way == 0:
            records[position], records[other] = records[other], records[position]
        elif way == 1:
            records.insert(other, records[position])
        elif way == 2 and len(records) > 1:
            del records[position]
        else:
            records.insert(position, chance.choice(self._records))

    def _mutate(self, record: str) -> str:
        chance = self._chance
        match = HEADER.search(record)
        if match is None:
            return record
        prefix, header, body = record[: match.start()], match[0], record[match.end() :].removeprefix(": ")
        way = chance.random()
        if way < 0.06:
            prefix = re.sub(r"type=\S+", f"type={chance.choice(TYPES)}", prefix, count=1)
        elif way < 0.09:
            prefix = prefix.partition(" ")[2] if prefix.startswith("node=") else f"node={chance.choice(KEYS)} {prefix}"
        elif way < 0.12:
            header = self._other_header(match)
        elif way < 0.16:
            body = body.partition("\x1d")[0] + chance.choice(TAILS)
        else:
            words = body.split(" ")
            for _ in range(chance.choice((1, 1, 2, 5))):
                chance.choice(self._ways)(words)
            body = " ".join(words)
        separator = ": " if way > 0.02 else chance.choice(SEPARATORS)
        return f"{prefix}{header}{separator}{body}".replace("\n", " ")

    def _other_header(self, match: "re.Match[str]") -> str:
        chance = self._chance
        seconds, milliseconds, serial = match.groups()
        changed = int(serial) + chance.choice((-1, 1, 1000, 2**32))
        return chance.choice(
            (
                f"audit({seconds}.{milliseconds}:{changed % 2**33})",
                f"audit({int(seconds) + chance.choice((-1, 1, 100))}.{milliseconds}:{serial})",
                f"audit({seconds}.{milliseconds}:)",
                f"audit({seconds}.{milliseconds[:2]}:{serial})",
                f"audit({seconds}.{milliseconds}:{serial}",
                f"audit({'9' * chance.randrange(1, 30)}.000:{serial})",
            )
        )

    def _value(self) -> str:
        chance = self._chance
        if chance.random() < 0.6:
            return chance.choice(VALUES)
        raw = chance.randbytes(chance.choice((0, 1, 2, 3, 16, 120)))
        text = raw.hex().upper() if chance.random() < 0.5 else raw.decode("utf-8", "surrogateescape")
        return f'"{text}"' if chance.random() < 0.2 else text

    def _drop(self, words: list[str]) -> None:
        if words:
            del words[self._chance.randrange(len(words))]

    def _double(self, words: list[str]) -> None:
        if words:
            words.insert(self._chance.randrange(len(words)), self._chance.choice(words))

    def _swap(self, words: list[str]) -> None:
        if words:
            one, other = self._chance.randrange(len(words)), self._chance.randrange(len(words))
            words[one], words[other] = words[other], words[one]

    def _set_value(self, words: list[str]) -> None:
        if words:
            position = self._chance.randrange(len(words))
            words[position] = f"{words[position].partition('=')[0]}={self._value()}"

    def _set_key(self, words: list[str]) -> None:
        if words:
            position = self._chance.randrange(len(words))
            words[position] = f"{self._chance.choice(KEYS)}={words[position].partition('=')[2]}"

    def _insert(self, words: list[str]) -> None:
        words.insert(self._chance.randint(0, len(words)), f"{self._chance.choice(KEYS)}={self._value()}")

    def _put_characters(self, words: list[str]) -> None:
        text = " ".join(words)
        position = self._chance.randint(0, len(text))
        put = "".join(self._chance.choices(CHARACTERS, k=self._chance.randint(1, 3)))
        words[:] = (text[:position] + put + text[position + self._chance.randint(0, 2) :]).split(" ")

    def _cut(self, words: list[str]) -> None:
        text = " ".join(words)
        words[:] = text[: self._chance.randint(0, len(text))].split(" ")

    def _splice(self, words: list[str]) -> None:
        other = self._chance.choice(self._records).partition("): ")[2].split(" ")
        words[self._chance.randint(0, len(words)) :] = other[self._chance.randrange(len(other)) :]


class Examiner:
    """Groups records, renders each event in all ways, and checks its lines."""

    def __init__(self, names: IdNames) -> None:
        self.records = self.events = self.unparsed = self.incomplete = 0
        self._grouper = Grouper(self._take_event, self._count_unparsed)
        self._usual = _renderers(names, DEFAULT_KEEP)
        self._keeping = _renderers(names, Keep(raw=True, warnings=True))

    def take(self, records: list[str]) -> None:
        """Take the records of a batch."""
        self.records += len(records)
        self._grouper.feed(*frame(records), 0)

    def end(self) -> None:
        """No more will come."""
        self._grouper.idle(0)

    def _count_unparsed(self, _kind: int, _payload: str) -> None:
        self.unparsed += 1

    def _take_event(self, event: Event) -> None:
        self.events += 1
        try:
            self._examine(event)
        except Exception as error:
            error.add_note(f"of these records:\n{_shown(event)}")
            raise

    def _examine(self, event: Event) -> None:
        usual = _check_all(self._usual, event)
        self.incomplete += not usual["complete"]
        if self.events % 8 == 0:
            assert _check_all(self._keeping, event) == usual


def _renderers(names: IdNames, keep: Keep) -> list[tuple[Render, Render]]:
    """Return for each schema the way that the product takes, and the plain one, which fails where it is wrong."""
    return [
        (open_renderer("audit", names, keep).render, AuditRenderer(names, keep).render),
        (open_renderer("ecs", names, keep).render, EcsRenderer(names, keep).render),
    ]


def _check_all(renderers: list[tuple[Render, Render]], event: Event) -> dict[str, Any]:
    """Check what all renderers make of an event; return the object `auditline`, the same in all."""
    objects = []
    for taken, plain in renderers:
        rendered = plain(event, HOST, event.node)
        assert taken(event, HOST, event.node) == rendered
        objects.append(_check(*rendered))
    assert objects[0] == objects[1]
    return objects[0]


def _check(identity: str, line: str, is_complete: bool) -> dict[str, Any]:
    """Return the object `auditline` of a line that is as every line has to be."""
    found = LINE_BEGINS.match(line)
    assert found is not None, line[:200]
    assert found[1] == identity
    assert RAW_CONTROLS.search(line) is None
    # Fails where a lone surrogate is in it.
    raw = line.encode()
    document: dict[str, Any] = json.loads(raw, object_pairs_hook=_without_doubles, parse_constant=_no_constant)
    # Escaped, they would pass.
    json.dumps(document, ensure_ascii=False).encode()
    ours: dict[str, Any] = document["auditline"]
    assert ours["complete"] is is_complete
    assert is_complete is not bool(ours.get("incomplete_reasons"))
    assert "undecodable" not in ours.get("incomplete_reasons", ())
    return ours


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    assert len(document) == len(pairs), [key for key, _ in pairs]
    return document


def _no_constant(text: str) -> None:
    raise AssertionError(text)


def _shown(event: Event) -> str:
    return "\n".join(f"{kind} {event.header}): {body!r}" for kind, body in zip(event.types, event.bodies, strict=True))


@pytest.fixture
def seed() -> int:
    """What all chance comes of; a failure shows it, and AUDITLINE_TEST_SEED gives the same again."""
    seed = int(os.environ.get("AUDITLINE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    sys.stdout.write(f"AUDITLINE_TEST_SEED={seed}\n")
    return seed


@pytest.fixture
def mutated_events(corpus: list[str], seed: int) -> Iterator[list[str]]:
    """Endless events, made from those of our own small corpus."""
    records = [record for record in corpus if _header_of(record) and len(record) < 4000]
    return Mutator(records, seed).events()


@pytest.fixture
def examiner(names: IdNames) -> Examiner:
    """Renders and checks."""
    return Examiner(names)
