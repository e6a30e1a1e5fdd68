"""Events as Linux 6.18 writes them, with other values in them, and processes in a /proc of the test's own."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.router.event import Event

_IDS = "auid={auid} uid={uid} gid={uid} euid={uid} suid={uid} fsuid={uid} egid={uid} sgid={uid} fsgid={uid}"
_TAIL = "cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0"
CALLS = {"openat": 257, "renameat2": 316, "execve": 59, "clone": 56, "fchmodat": 268, "connect": 42, "fchmod": 91}


def call_lines(
    call: str,
    *records: str,
    pid: int = 4711,
    ppid: int = 4000,
    exe: str = "/usr/bin/touch",
    returned: int = 3,
    given: tuple[str, str, str, str] = ("ffffff9c", "7ffe9f052abd", "941", "1b6"),
    serial: int = 1,
    time_ns: int | None = None,
    auid: int = 1000,
    uid: int = 65534,
    key: str = '"mine"',
) -> list[str]:
    """Return the lines of one event; *records* are type and body, such as `PATH item=0 name="x"`."""
    milliseconds = (time.time_ns() if time_ns is None else time_ns) // 1_000_000
    header = f"msg=audit({milliseconds // 1000}.{milliseconds % 1000:03}:{serial}):"
    registers = " ".join(f"a{number}={value}" for number, value in enumerate(given))
    success = "yes" if returned >= 0 else "no"
    items = sum(record.startswith("PATH") for record in records)
    ids = _IDS.format(auid=auid, uid=uid)
    syscall = (
        f"arch=c000003e syscall={CALLS[call]} success={success} exit={returned} {registers} items={items}"
        f' ppid={ppid} pid={pid} {ids} tty=pts0 ses=3 comm="{exe.rpartition("/")[2]}" exe="{exe}" key={key}'
    )
    bodies = [("SYSCALL", syscall), *(record.split(" ", 1) for record in records), ("EOE", "")]
    return [f"type={kind} {header} {body}" for kind, body in bodies]


def path_record(name: str, name_type: str, item: int = 1) -> str:
    """Return a PATH record of a regular file; *name* is in quotes, in hex, or (null)."""
    return (
        f"PATH item={item} name={name} inode=786440 dev=fe:00 mode=0100644 ouid=65534 ogid=65534 rdev=00:00"
        f" nametype={name_type} {_TAIL}"
    )


def write_lines(name: str = '"f"', cwd: str = "/watched", name_type: str = "CREATE", **values: object) -> list[str]:
    """Return the lines of an openat() for writing."""
    records = (f'CWD cwd="{cwd}"', path_record('"/watched"', "PARENT", 0), path_record(name, name_type))
    return call_lines("openat", *records, **values)  # type: ignore[arg-type]


@pytest.fixture
def make_call(group_lines: Callable[[list[str]], list[Event]]) -> Callable[..., Event]:
    """Return one event: see `call_lines`."""

    def make(call: str, *records: str, **values: Any) -> Event:
        (event,) = group_lines(call_lines(call, *records, **values))
        return event

    return make


@pytest.fixture
def make_write(group_lines: Callable[[list[str]], list[Event]]) -> Callable[..., Event]:
    """Return one event of an openat() for writing: see `write_lines`."""

    def make(name: str = '"f"', **values: Any) -> Event:
        (event,) = group_lines(write_lines(name, **values))
        return event

    return make


@pytest.fixture
def make_path() -> Callable[..., str]:
    """Return a PATH record: see `path_record`."""
    return path_record


@pytest.fixture
def put_process(proc: Path) -> Callable[..., None]:
    """Let a pid be that of a process that started so many seconds ago."""

    def put(pid: int, age_seconds: float) -> None:
        (proc / str(pid)).mkdir(exist_ok=True)
        ticks = int((time.clock_gettime(time.CLOCK_BOOTTIME) - age_seconds) * 100)
        (proc / str(pid) / "stat").write_text(f"{pid} (x) S 1 {'0 ' * 17}{ticks} 0\n")

    return put
