"""`auditline replay`: audit logs in, JSON lines out, in this one process."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from auditline.workers.common.errors import Exit, InputError, StorageError
from auditline.workers.common.host import host_id, host_id_of
from auditline.workers.common.memory import relax_collector
from auditline.workers.router.event import Event
from auditline.workers.router.grouping import Grouper
from auditline.workers.router.log_lines import UNPARSED, frame, read_chunks
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.render.fragments import FragmentRenderer
from auditline.workers.router.render.lines import timestamp_of_record
from auditline.workers.router.unparsed import unparsed_line


class Replay:
    """Turns log lines into JSON lines on *out*; the same lines give the same bytes."""

    def __init__(self, out: BinaryIO, names: IdNames, node: str | None) -> None:
        self._out = out
        self._node = node
        self._own_host = host_id(None) if node is None else host_id_of(node)
        self._hosts: dict[str, str] = {}
        self._renderer = FragmentRenderer(names)
        self._grouper = Grouper(self._take_event, self._take_unparsed)
        self._pending: list[str] = []
        self._unparsed_count = 0
        self._lines: list[str] = []
        self._originals: dict[str, str] | None = None

    def run(self, paths: Sequence[str]) -> None:
        """Read all *paths* as one stream and write what they hold.

        Raises:
            StorageError: one of them cannot be read; what was read before is written.
        """
        try:
            for path in paths:
                for self._lines in read_chunks(path):
                    kinds, payloads = frame(self._lines)
                    self._originals = None
                    self._grouper.feed(kinds, payloads, 0)
                    self._write()
        except StorageError:
            self._end()
            raise
        self._end()

    def _end(self) -> None:
        self._grouper.idle(0)
        self._write()

    def _take_event(self, event: Event) -> None:
        host, host_name = self._own_host, self._node
        if event.node is not None:
            host, host_name = self._host_of(event.node), event.node
        self._pending.append(self._renderer.render(event, host, host_name)[1])

    def _take_unparsed(self, kind: int, payload: str) -> None:
        raw = self._original(kind, payload).encode("utf-8", "surrogateescape")
        self._unparsed_count += 1
        time, position = timestamp_of_record(*self._grouper.last_good), str(self._unparsed_count)
        self._pending.append(unparsed_line(raw, (self._own_host, self._node), "replay", position, time)[1])

    def _original(self, kind: int, payload: str) -> str:
        """Return the line of a record as it stands in the log."""
        if kind == UNPARSED:
            return payload
        if self._originals is None:
            self._originals = {record: line for line in self._lines for record in frame([line])[1]}
        return self._originals.get(payload, payload)

    def _host_of(self, node: str) -> str:
        if node not in self._hosts:
            if len(self._hosts) > 4096:
                self._hosts.clear()
            self._hosts[node] = host_id_of(node)
        return self._hosts[node]

    def _write(self) -> None:
        if self._pending:
            self._pending.append("")
            self._out.write("\n".join(self._pending).encode())
            self._out.flush()
            self._pending.clear()


def replay_command(
    paths: Sequence[str], *, schema: str, passwd: Path | None, group: Path | None, resolve: bool, node: str | None
) -> Exit:
    """Replay *paths* (none: standard input) to standard output.

    Names come from files only, this host's unless others are given: a log must not look different because a
    name service was slow.

    Raises:
        InputError: *node* is no name, or *passwd* or *group* cannot be read.
        StorageError: a log cannot be read.
    """
    if schema != "audit":
        raise ValueError(schema)
    if node is not None and (not node.isprintable() or " " in node or not node):
        raise InputError([f"--node: {node!r} is no host name: wanted printable characters and no blanks"])
    _require_readable([path for path in (passwd, group) if path is not None])
    names = IdNames(passwd or Path("/etc/passwd"), group or Path("/etc/group")) if resolve else NoNames()
    relax_collector()
    Replay(sys.stdout.buffer, names, node).run(paths or ["-"])
    return Exit.OK


def _require_readable(files: Sequence[Path]) -> None:
    problems = []
    for path in files:
        try:
            path.read_bytes()
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    if problems:
        raise InputError(problems)
