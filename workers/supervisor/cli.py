"""The `auditline` command: its arguments, and how its errors are told.

Each command imports what it needs when it is called: `replay` starts without zmq, psutil and multiprocessing.
"""

import gc
import os
import signal
import sys
from argparse import Action, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from errno import EBADF, EDQUOT, EFBIG, EIO, ENOSPC
from typing import TYPE_CHECKING, NoReturn

from auditline.workers.common.errors import AuditlineError, Exit, InputError
from auditline.workers.common.text import tell
from auditline.workers.supervisor.command_line import add_command, add_config_option, load_chosen
from auditline.workers.supervisor.config_options import add_config_commands, check_rules
from auditline.workers.supervisor.dead_letter_options import add_dead_letter_commands
from auditline.workers.supervisor.reading_options import add_reading_commands
from auditline.workers.supervisor.replay_options import add_replay_command, join_times
from auditline.workers.supervisor.rules_options import add_rules_commands
from auditline.workers.supervisor.scan_options import add_scan_commands
from auditline.workers.supervisor.setup_options import add_setup_commands
from auditline.workers.supervisor.status_options import add_status_commands

if TYPE_CHECKING:
    from auditline.workers.supervisor.command_line import Commands

_CANNOT_BE_WRITTEN = frozenset({ENOSPC, EDQUOT, EFBIG, EIO, EBADF})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what went wrong is told on stderr, a line per problem."""
    _open_standard_descriptors()
    options = _build_parser().parse_args(join_times(sys.argv[1:] if arguments is None else arguments))
    try:
        code: Exit = options.command(options)
        sys.stdout.flush()
    except AuditlineError as error:
        tell(*(error.problems if isinstance(error, InputError) else str(error).splitlines()))
        return error.exit
    except KeyboardInterrupt:
        _die_interrupted()
    except BrokenPipeError:
        _abandon_stdout()
        return Exit.OK
    except OSError as error:
        _abandon_stdout()
        tell(_describe(error))
        return Exit.FAILURE
    return code


def _run(options: Namespace) -> Exit:
    # It would end us, and auditd may have just started us. The service unblocks it when it can take it.
    found_mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    # Until the service has its own handlers: nothing has been touched yet that would have to be put back.
    signal.signal(signal.SIGTERM, _leave)
    # What is imported stays: to look through it again and again would be a tenth of the start. Once started, the
    # service and each worker turn the collector on.
    gc.disable()
    try:
        settings = load_chosen(options)
        if settings.audit.enabled and settings.audit.socket != "stdin":
            check_rules(settings)
        from auditline.workers.supervisor.service import run_command

        return run_command(settings)
    finally:
        gc.enable()
        # One that waits would end us before it is told why we end.
        if signal.SIGHUP not in signal.sigpending():
            signal.pthread_sigmask(signal.SIG_SETMASK, found_mask)


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(Exit.OK)


def _build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="auditline",
        description="Turns a Linux host's audit events and file changes into one JSON object per event, a line each.",
        epilog="example:\n  sudo auditline run | jq -c .audit",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    add_replay_command(commands)
    add_scan_commands(commands)
    add_reading_commands(commands)
    add_status_commands(commands)
    add_setup_commands(commands)
    add_dead_letter_commands(commands)
    add_config_commands(commands)
    add_rules_commands(commands)
    return parser


def _add_run(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "run",
        _run,
        summary="write this host's kernel events and file changes out until stopped",
        description="""\
Reads this host's audit events, watches directories for changes, and writes both to the configured outputs;
without a configuration it watches /etc and the programs' directories and writes to stdout. As root it loads its
audit rules and takes them out again at the end. If another audit daemon is at work, it listens beside it and
leaves the rules alone. SIGTERM or ctrl-C ends it cleanly, SIGHUP reads the rules and the watches again.""",
        example="sudo auditline run | jq -c .audit.kernel.action",
    )
    add_config_option(parser)


class _ShowVersion(Action):
    """Looks the version up only when it is asked for: the metadata are slow to read."""

    def __call__(self, parser: ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        sys.stdout.write(f"auditline {version('auditline')}\n")
        parser.exit()


def _open_standard_descriptors() -> None:
    """Fill gaps among descriptors 0 to 2, or the first file opened would become stdout."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # For reading only, so that writing to it fails instead of losing events silently.
            os.open(os.devnull, os.O_RDONLY)
    # Python found the gap before us and made these None, which `print` would take without a word.
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _describe(error: OSError) -> str:
    # What has no file's name and is about writing was written to stdout: whoever writes other files tells their errors.
    is_of_stdout = error.filename is None and error.errno in _CANNOT_BE_WRITTEN
    name = "stdout" if is_of_stdout else error.filename
    return f"{os.fsdecode(name)}: {error.strerror}" if isinstance(name, str | bytes) else str(error)


def _abandon_stdout() -> None:
    """Make the interpreter's last flush of stdout succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _die_interrupted() -> NoReturn:
    """End by SIGINT itself, so that a shell's loop around us ends too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    raise SystemExit(128 + signal.SIGINT)
