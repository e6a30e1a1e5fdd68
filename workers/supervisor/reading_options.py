"""`auditline read` and `stream`: their options."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from auditline.workers.common.errors import Exit
from auditline.workers.supervisor.command_line import add_command, add_config_option, load_chosen, to_path

if TYPE_CHECKING:
    from auditline.workers.reading.commands import ReadOptions
    from auditline.workers.supervisor.command_line import Commands

_READ_DESCRIPTION = """\
Prints the events that the segments hold behind the cursor, waits until they are read, moves the cursor on and ends:
for a shipper that runs a command every few seconds. Nothing is printed when nothing is new. A kill at any moment
costs at most lines that come twice. One reader per cursor: a second one ends with 75."""
_READ_EXAMPLE = "auditline read --cursor /var/lib/fluent-bit/auditline.cursor --max-events 5000"
_STREAM_DESCRIPTION = """\
Prints the events that the segments hold behind the cursor and those that come, until it is stopped or nobody reads
any more: for a shipper that keeps a command running. The cursor follows what has been read. SIGTERM ends it within
0.2 s."""
_STREAM_EXAMPLE = "auditline stream --cursor /var/lib/syslog-ng/auditline.cursor"
DEFAULT_MAX_LINE = 32_000


def add_reading_commands(commands: "Commands") -> None:
    """Add both commands."""
    read = add_command(
        commands, "read", _read,
        summary="print what is new in the segments of a running service, and end",
        description=_READ_DESCRIPTION, example=_READ_EXAMPLE,
    )  # fmt: skip
    _add_read_options(read)
    stream = add_command(
        commands, "stream", _stream,
        summary="print what is new in the segments of a running service, and what comes",
        description=_STREAM_DESCRIPTION, example=_STREAM_EXAMPLE,
    )  # fmt: skip
    _add_stream_options(stream)
    for command in (read, stream):
        add_config_option(command)


def _add_read_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    _add_common(parser)
    add("--max-events", type=_count, metavar="N", help="end after so many events (default: no limit)")
    add("--max-seconds", type=_seconds, metavar="S", help="end after so long (default: no limit)")


def _add_stream_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    _add_common(parser)
    add(
        "--heartbeat-seconds",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="print a line every so often (default: 0, never)",
    )
    add("--stop-on-stdin-eof", action="store_true", help="end when standard input does")


def _read(options: Namespace) -> Exit:
    from auditline.workers.reading.commands import read_command

    own = _options(options)
    return read_command(replace(own, max_events=options.max_events, max_seconds=options.max_seconds))


def _stream(options: Namespace) -> Exit:
    from auditline.workers.reading.commands import stream_command

    own = _options(options)
    beat_seconds, stops = options.heartbeat_seconds, options.stop_on_stdin_eof
    return stream_command(replace(own, heartbeat_seconds=beat_seconds, stops_with_stdin=stops))


def _add_common(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--cursor", type=_file, required=True, metavar="FILE", help="keeps up to where events were delivered")
    line_help = f"longer lines lose their longest texts, and say so (default: {DEFAULT_MAX_LINE})"
    add("--max-line", type=_count, default=DEFAULT_MAX_LINE, metavar="BYTES", help=line_help)
    directory_help = "where the segments are (default: outputs.segments.directory)"
    add("directory", nargs="?", type=to_path, metavar="DIRECTORY", help=directory_help)


def _options(options: Namespace) -> "ReadOptions":
    from auditline.workers.common.settings import SegmentsSettings
    from auditline.workers.reading.commands import ReadOptions

    settings = load_chosen(options)
    segments = next((each for each in settings.outputs if isinstance(each, SegmentsSettings)), None)
    directory = options.directory or (segments or SegmentsSettings(name="segments")).directory
    return ReadOptions(
        directory=directory,
        cursor=options.cursor,
        state_directory=settings.state.directory,
        max_line_bytes=options.max_line,
    )


def _file(text: str) -> Path:
    if text.endswith("/") or not (path := Path(text)).name:
        raise ArgumentTypeError(f"{text!r} is no name of a file")
    return path


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no number of seconds from 0 on")
    return seconds
