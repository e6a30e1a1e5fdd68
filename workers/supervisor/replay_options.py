"""`auditline replay`: its options."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auditline.workers.common.errors import Exit
from auditline.workers.supervisor.command_line import add_command

if TYPE_CHECKING:
    from auditline.workers.supervisor.command_line import Commands

_DESCRIPTION = """\
Reads logs that auditd wrote, or any text of audit records, and prints the events as JSON lines, just as
`auditline run` would have. Needs no privilege. A log's rotated parts are read oldest first, in whatever order they are
given; of a directory those of its audit.log. Files may be compressed (.gz, .xz, .bz2, .zst), lines may be those of
syslog, journalctl or dmesg.

TIME is YYYY-MM-DD, "YYYY-MM-DD HH:MM[:SS]" or HH:MM[:SS] in local time, the same with a zone as in RFC 3339, now,
today, yesterday, a time back (-2h, -1d12h), or seconds since 1970."""
_EXAMPLE = "auditline replay --node web1 --passwd web1/passwd --since yesterday --key identity /var/log/audit"


def add_replay_command(commands: "Commands") -> None:
    """Add the command."""
    parser = add_command(
        commands, "replay", _replay,
        summary="turn audit logs into JSON lines", description=_DESCRIPTION, example=_EXAMPLE,
    )  # fmt: skip
    add_replay_options(parser)


def add_replay_options(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    add = parser.add_argument
    add("--schema", choices=["audit", "ecs"], default="audit", help="shape of the events (default: audit)")
    add("--raw", action="store_true", help="keep the records in the events, as they came")
    add("--warnings", action="store_true", help="keep in the events what is odd about their records")
    add("--passwd", type=Path, metavar="FILE", help="user names of the logs' host, not this one's")
    add("--group", type=Path, metavar="FILE", help="group names of the logs' host, not this one's")
    add("--no-resolve", dest="resolve", action="store_false", help="leave ids as numbers")
    add("--node", metavar="NAME", help="host name for records that come without one")
    add("--since", metavar="TIME", help="only events from then on")
    add("--until", metavar="TIME", help="only events up to then")
    add("--key", action="append", default=[], help="only events of rules with this key, or one of these")
    add("--type", action="append", default=[], help="only events with a record of this type (or one of these)")
    add("--follow", action="store_true", help="go on with what is written to the last file, until stopped")
    add("files", nargs="*", metavar="FILE", help="logs or directories; none or -: stdin")


def join_times(arguments: Sequence[str]) -> list[str]:
    """Make `--since=-2h` of `--since -2h`, whose second word argparse takes for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--since", "--until") and argument[:1] == "-" and argument[1:2].isdigit():
            joined[-1] = f"{joined[-1]}={argument}"
        else:
            joined.append(argument)
    return joined


def _replay(options: Namespace) -> Exit:
    from auditline.workers.router.render.lines import Keep
    from auditline.workers.router.replay import ReplayOptions, replay_command
    from auditline.workers.router.replaying.selection import Wanted

    chosen = ReplayOptions(
        schema=options.schema,
        keep=Keep(options.raw, options.warnings),
        passwd=options.passwd,
        group=options.group,
        resolves=options.resolve,
        node=options.node,
        wanted=Wanted(since=options.since, until=options.until, keys=options.key, types=options.type),
        follows=options.follow,
    )
    return replay_command(options.files, chosen)
