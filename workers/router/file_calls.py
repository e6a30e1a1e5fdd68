"""Which events of system calls say that a process changed files, or began: read in short, without decoding them.

For who only wants to know whose process it was; documents are made elsewhere.
"""

import os
import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from auditline.workers.common.tables.lookup import architecture_name, syscall_name
from auditline.workers.router.decode import types
from auditline.workers.router.decode.calls import find_call
from auditline.workers.router.decode.places import join_path
from auditline.workers.router.decode.text import decode_hex, is_hex
from auditline.workers.router.event import Event

_HEAD = re.compile(r"arch=([0-9a-f]{1,8}) syscall=([0-9]{1,10}) success=yes").fullmatch
_REGISTERS = re.compile(
    r" exit=(-?[0-9]+) a0=([0-9a-f]+) a1=([0-9a-f]+) a2=([0-9a-f]+) a3=([0-9a-f]+) items=[0-9]+"
    r" ppid=([0-9]{1,10}) pid=([0-9]{1,10})"
).search
_NAMED = re.compile(r"name=(\"[^\"]*\"|[0-9A-F]+) .*?(?:nametype|objtype)=([A-Z]+)").search
_MADE = re.compile(r"name=(\"[^\"]*\"|[0-9A-F]+) inode=([0-9]+ dev=[0-9a-f]+:[0-9a-f]+) .*?nametype=CREATE").search
_FLAGS = re.compile(r"oflag=0?([0-7]+)").search
_ACCESS_MODE, _TRUNCATE = 3, 0o1000
"""Of the flags of open(2). Source: asm-generic/fcntl.h; alpha, whose O_TRUNC is another one, is not met."""
_FDCWD = "ffffff9c"
"""How AT_FDCWD ends; only the lower half of the register counts."""
_SECOND_NS, _MILLISECOND_NS = 1_000_000_000, 1_000_000

_OPENS = {"open": 1, "openat": 2, "open_by_handle_at": 2}
"""Which register has the flags."""
_WRITES = frozenset(
    {
        "creat", "truncate", "truncate64", "fallocate", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "unlink",
        "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "chmod", "fchmodat",
        "fchmodat2", "chown", "chown32", "lchown", "lchown32", "fchownat", "setxattr", "lsetxattr", "setxattrat",
        "removexattr", "lremovexattr", "removexattrat", "utime", "utimes", "futimesat", "utimensat",
        "utimensat_time64", "file_setattr",
    }
)  # fmt: skip
_FORKS = frozenset({"fork", "vfork", "clone", "clone3"})
_EXECUTIONS = frozenset({"execve", "execveat"})


class Kind(Enum):
    """What a call that succeeded says."""

    OPENS = "opens"
    """It has changed a file if it made it, or may write to it."""
    WRITES = "writes"
    FORKS = "forks"
    EXECUTES = "executes"


class Call(NamedTuple):
    """What a record says up to the call's success."""

    kind: Kind
    name: str
    directories: tuple[int, ...] | None
    """Registers with descriptors of directories that names are relative to; None: it is not known to what."""


class Registers(NamedTuple):
    """What was returned, what was given, and who did it."""

    returned: int
    given: tuple[str, ...]
    parent_pid: int
    pid: int


def call_of(event: Event) -> Call | None:
    """Return what a system call did; None: nothing that matters here, or it failed, or it is none."""
    if event.types[0] != types.SYSCALL:
        return None
    body = event.bodies[0]
    return _call(body[: body.find(" exit=")])


@lru_cache(maxsize=1024)
def _call(head: str) -> Call | None:
    match = _HEAD(head)
    architecture = architecture_name(int(match[1], 16)) if match else None
    name = syscall_name(architecture, int(match[2])) if match and architecture else None
    if architecture is None or name is None:
        return None
    if name in _OPENS or name == "openat2":
        kind = Kind.OPENS
    elif name in _WRITES:
        kind = Kind.WRITES
    elif name in _FORKS:
        kind = Kind.FORKS
    elif name in _EXECUTIONS:
        kind = Kind.EXECUTES
    else:
        return None
    return Call(kind, name, find_call(architecture, name).directories)


def registers_of(event: Event) -> Registers | None:
    """Return what the SYSCALL record, the first one of *event*, has between its success and the ids."""
    match = _REGISTERS(event.bodies[0])
    if match is None:
        return None
    returned, *given, parent_pid, pid = match.groups()
    return Registers(int(returned), tuple(given), int(parent_pid), int(pid))


def changed_paths(event: Event, call: Call, registers: Registers) -> list[str]:
    """Return what was changed: absolute paths, and names alone where it is not known what they are relative to.

    Bytes that are not UTF-8 are lone surrogates.
    """
    may_write = call.kind is Kind.WRITES or _may_write(event, call, registers)
    directory = _directory(event) if _is_relative_to_cwd(call, registers) else None
    return [
        _path(name, directory)
        for name, name_type in _names(event)
        if name_type not in ("PARENT", "UNKNOWN") and (may_write or name_type == "CREATE")
    ]


def made_files(event: Event, call: Call, registers: Registers) -> list[tuple[str, str]]:
    """Return the `file_key` and the last part of the name of what was made by a name that does not tell its path."""
    if _is_relative_to_cwd(call, registers):
        return []
    found = (_MADE(body) for kind, body in zip(event.types, event.bodies, strict=True) if kind == types.PATH)
    return [(match[2], _path(text_of(match[1]), None)) for match in found if match]


def time_ns_of(event: Event) -> int:
    """Return the event's time in nanoseconds since 1970."""
    return int(event.seconds) * _SECOND_NS + int(event.milliseconds) * _MILLISECOND_NS


def text_of(value: str) -> str:
    """Return a value in quotes or in hex as text; bytes that are not UTF-8 are lone surrogates."""
    if value[:1] == '"':
        return value[1:-1]
    return os.fsdecode(decode_hex(value)) if is_hex(value) else value


def _may_write(event: Event, call: Call, registers: Registers) -> bool:
    if call.name == "openat2":
        body = event.bodies[event.types.index(types.OPENAT2)] if types.OPENAT2 in event.types else ""
        match = _FLAGS(body)
        flags = int(match[1], 8) if match else 0
    else:
        flags = int(registers.given[_OPENS[call.name]], 16)
    return bool(flags & (_ACCESS_MODE | _TRUNCATE))


def _is_relative_to_cwd(call: Call, registers: Registers) -> bool:
    """Tell whether names are relative to the working directory."""
    if call.directories is None:
        return False
    return all(
        register < len(registers.given) and registers.given[register].endswith(_FDCWD) for register in call.directories
    )


def _directory(event: Event) -> str | None:
    for kind, body in zip(event.types, event.bodies, strict=True):
        if kind == types.CWD and body.startswith("cwd="):
            return text_of(body[4:])
    return None


def _names(event: Event) -> Iterator[tuple[str, str]]:
    for kind, body in zip(event.types, event.bodies, strict=True):
        if kind == types.PATH and (match := _NAMED(body)):
            yield text_of(match[1]), match[2]


def _path(name: str, directory: str | None) -> str:
    """Return an absolute path if that is known, else the last part of *name*."""
    if name.startswith("/"):
        directory = "/"
    if directory is None:
        return name.rstrip("/").rpartition("/")[2]
    return os.fsdecode(join_path(os.fsencode(directory), os.fsencode(name)))
