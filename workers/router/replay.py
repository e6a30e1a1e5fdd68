"""`auditline replay`: audit logs in, JSON lines out, in this one process."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from auditline.workers.common.errors import Exit, InputError, StorageError
from auditline.workers.common.host import host_id, host_id_of
from auditline.workers.common.memory import relax_collector
from auditline.workers.common.progress import Progress
from auditline.workers.common.stopping import StopRequest
from auditline.workers.common.text import tell
from auditline.workers.router.event import Event
from auditline.workers.router.grouping import Grouper
from auditline.workers.router.log_lines import UNPARSED, LinesByRecord, frame, unparsed_text
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.render.lines import DEFAULT_KEEP, Keep, timestamp_of_record
from auditline.workers.router.render.schemas import open_renderer
from auditline.workers.router.replaying.following import FollowedLog, Tell, Wait, follow
from auditline.workers.router.replaying.reading import COMPRESSED, STDIN, read_chunks, total_bytes
from auditline.workers.router.replaying.rotation import oldest_first
from auditline.workers.router.replaying.selection import Selection, Wanted, parse_wanted
from auditline.workers.router.replaying.syslog import SyslogLines, find_record
from auditline.workers.router.replaying.writing import write_all
from auditline.workers.router.unparsed import unparsed_line


class Replay:
    """Turns log lines into JSON lines on *out*; the same lines give the same bytes."""

    def __init__(
        self,
        out: BinaryIO | FileIO,
        names: IdNames,
        node: str | None,
        schema: str = "audit",
        keep: Keep = DEFAULT_KEEP,
        selection: Selection | None = None,
    ) -> None:
        self._out = out
        self._node = node
        self._own_host = host_id(None) if node is None else host_id_of(node)
        self._hosts: dict[str, str] = {}
        self._schema = schema
        self._renderer = open_renderer(schema, names, keep)
        self._selection = selection
        self._grouped: list[Event] = []
        """Rendered together, which takes a tenth less than grouping and rendering by turns."""
        self._grouper = Grouper(self._grouped.append, self._take_unparsed)
        self._syslog = SyslogLines()
        self._pending: list[str] = []
        self._unparsed_count = 0
        self._lines: list[str] = []
        self._originals: LinesByRecord | None = None

    def remarks(self) -> Iterator[str]:
        """Yield what is to be said of the logs as a whole."""
        if self._syslog.skipped_lines:
            yield f"{self._syslog.skipped_lines} lines of other programs, without an audit record, were skipped"
        if self._syslog.suppressed_records:
            yield f"{self._syslog.suppressed_records} records were left out of its log by the kernel itself"

    def run(self, paths: Iterable[str], advance: Callable[[int], None] = lambda _: None) -> None:
        """Read all *paths* as one stream and write what they hold; *advance* is told of bytes that have been read.

        Raises:
            StorageError: one of them cannot be read; what was read before is written.
        """
        before = 0
        try:
            for path in paths:
                taken = 0
                self.begin_log()
                for lines, taken in read_chunks(path):
                    self.take(lines)
                    advance(before + taken)
                before += taken
        except StorageError:
            self.take_idle()
            raise
        self.take_idle()

    def follow(self, paths: Sequence[str], wait: Wait, tell: Tell) -> None:
        """Read all *paths*, and go on with what is written to the last of them, until *wait* says so.

        Raises:
            StorageError: one of them cannot be read; what was read before is written.
        """
        try:
            for lines in self._lines_to_follow(paths, wait, tell):
                if lines is None:
                    self.take_idle()
                else:
                    self.take(lines)
        except StorageError:
            self.take_idle()
            raise
        self.take_idle()

    def _lines_to_follow(self, paths: Sequence[str], wait: Wait, tell: Tell) -> Iterator[list[str] | None]:
        for path in paths[:-1]:
            self.begin_log()
            for lines, _ in read_chunks(path):
                yield lines
                if wait(0):
                    return
        self.begin_log()
        with closing(FollowedLog(paths[-1], tell)) as log:
            yield from follow(log, wait)

    def begin_log(self) -> None:
        """Expect lines of another file."""
        self._syslog.begin_log()

    def take(self, lines: list[str]) -> None:
        """Write the events that these lines complete."""
        self._lines, self._originals = lines, None
        kinds, payloads = frame(lines, self._syslog.take)
        self._grouper.feed(kinds, payloads, 0)
        self._write()

    def take_idle(self) -> None:
        """Write the events that are open: they will not become more."""
        self._grouper.idle(0)
        self._write()

    def _render_grouped(self) -> None:
        for event in self._grouped:
            self._take_event(event)
        self._grouped.clear()

    def _take_event(self, event: Event) -> None:
        if self._selection is not None and not self._selection.takes(event):
            return
        host, host_name = self._own_host, self._node
        if event.node is not None:
            host, host_name = self._host_of(event.node), event.node
        self._pending.append(self._renderer.render(event, host, host_name)[1])

    def _take_unparsed(self, kind: int, payload: str) -> None:
        self._render_grouped()
        # Counted also where it is not asked for, so that a selection changes nothing in what it selects.
        self._unparsed_count += 1
        seconds, milliseconds = self._grouper.last_good
        if self._selection is not None and not self._selection.takes_unparsed(seconds, milliseconds):
            return
        raw = self._original(kind, payload).encode("utf-8", "surrogateescape")
        time, position = timestamp_of_record(seconds, milliseconds), str(self._unparsed_count)
        host = (self._own_host, self._node)
        self._pending.append(unparsed_line(raw, host, "replay", position, time, schema=self._schema)[1])

    def _original(self, kind: int, payload: str) -> str:
        """Return the line of a record as it stands in the log."""
        if kind == UNPARSED:
            return unparsed_text(payload)
        if self._originals is None:
            self._originals = LinesByRecord(self._lines, find_record)
        return self._originals.take(payload)

    def _host_of(self, node: str) -> str:
        if node not in self._hosts:
            if len(self._hosts) > 4096:
                self._hosts.clear()
            self._hosts[node] = host_id_of(node)
        return self._hosts[node]

    def _write(self) -> None:
        self._render_grouped()
        if self._pending:
            self._pending.append("")
            write_all(self._out, "\n".join(self._pending).encode())
            self._pending.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What the command's options say."""

    schema: str = "audit"
    keep: Keep = DEFAULT_KEEP
    passwd: Path | None = None
    group: Path | None = None
    resolves: bool = True
    """Names come from files only, this host's unless others are given: a log must not look different because a name
    service was slow."""
    node: str | None = None
    wanted: Wanted = field(default_factory=Wanted)
    follows: bool = False


def replay_command(paths: Sequence[str], options: ReplayOptions) -> Exit:
    """Replay *paths* (none: standard input) to standard output.

    Raises:
        InputError: an option's value cannot be used.
        StorageError: a log cannot be read.
    """
    _require_node(options.node)
    selection = parse_wanted(options.wanted, datetime.now())  # noqa: DTZ005 (times without a zone are local)
    _require_readable([path for path in (options.passwd, options.group) if path is not None])
    paths = oldest_first(paths or [STDIN])
    if options.follows:
        _require_followable(paths[-1])
    relax_collector()
    names: IdNames = NoNames()
    if options.resolves:
        names = IdNames(options.passwd or Path("/etc/passwd"), options.group or Path("/etc/group"))
    # Python's own is with or without a buffer, as the environment says (PYTHONUNBUFFERED).
    out = FileIO(sys.stdout.fileno(), "wb", closefd=False)
    replay = Replay(out, names, options.node, options.schema, options.keep, selection)
    try:
        if options.follows:
            stop = StopRequest()
            stop.take_signals()
            replay.follow(paths, stop.wait, tell)
        else:
            with Progress(total_bytes(paths)) as progress:
                replay.run(paths, progress.advance)
    except StorageError:
        tell(*replay.remarks())
        raise
    tell(*replay.remarks())
    return Exit.OK


def _require_node(node: str | None) -> None:
    if node is not None and (not node.isprintable() or " " in node or not node):
        raise InputError([f"--node: {node!r} is no host name: wanted printable characters and no blanks"])


def _require_followable(path: str) -> None:
    if path == STDIN:
        raise InputError(["--follow: wanted a file; standard input is read until it ends in any case"])
    if path.endswith(tuple(COMPRESSED)):
        raise InputError([f"--follow: {path} is compressed, nobody writes on in it"])


def _require_readable(files: Sequence[Path]) -> None:
    problems = []
    for path in files:
        try:
            path.read_bytes()
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    if problems:
        raise InputError(problems)
