"""The `auditline` command: its arguments, and how its errors are told.

Each command imports what it needs when it is called: `replay` starts without zmq, psutil and multiprocessing.
"""

import gc
import os
import signal
import sys
from argparse import Action, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from auditline.workers.common.errors import AuditlineError, Exit, InputError, RuleError
from auditline.workers.common.text import make_safe, tell
from auditline.workers.supervisor import dead_letter_options, reading_options, setup_options, status_options
from auditline.workers.supervisor.chosen_settings import load_chosen
from auditline.workers.supervisor.replay_options import DESCRIPTION, EXAMPLE, add_replay_options, join_times, replay

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from auditline.workers.common.settings import Settings

    Commands = _SubParsersAction[ArgumentParser]


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
        tell(str(error))
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
            _check_rules(settings)
        from auditline.workers.supervisor.service import run_command

        return run_command(settings)
    finally:
        gc.enable()
        # One that waits would end us before it is told why we end.
        if signal.SIGHUP not in signal.sigpending():
            signal.pthread_sigmask(signal.SIG_SETMASK, found_mask)


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(Exit.OK)


def _config_check(options: Namespace) -> Exit:
    settings = load_chosen(options)
    from auditline.workers.supervisor.stdin_source import find_idle_settings

    for warning in (*_check_rules(settings), *find_idle_settings(settings.audit), *_check_watches(settings)):
        sys.stdout.write(f"warning: {make_safe(warning)}\n")
    sys.stdout.write(f"{make_safe(str(settings.source or 'no file, the defaults'))}: ok\n")
    return Exit.OK


def _check_rules(settings: "Settings") -> Sequence[str]:
    """Return the warnings about the configured rules.

    Raises:
        RuleError: what is wrong with them, all of it; better not started than started and blind.
    """
    from auditline.workers.control.rulesets import load_rule_files

    audit = settings.audit
    rules = load_rule_files(audit.rules_files, audit.rules, Path("/"), ignores_errors=audit.ignore_rule_errors)
    if rules.problems:
        raise RuleError(rules.problems)
    return (*rules.ignored, *rules.warnings)


def _check_watches(settings: "Settings") -> Iterator[str]:
    from auditline.workers.common.watch_plan import plan_watches

    for plan in plan_watches(settings.fim.watch).plans:
        try:
            os.lstat(plan.path)
        except FileNotFoundError:
            yield f"fim.watch: {os.fsdecode(plan.path)} does not exist; it is watched when it appears"
        except OSError as error:
            yield f"fim.watch: {os.fsdecode(plan.path)} cannot be watched: {error.strerror}"


def _config_show(options: Namespace) -> Exit:
    from auditline.workers.common.settings import show_settings

    # TOML is UTF-8, whatever the locale says.
    sys.stdout.buffer.write(show_settings(load_chosen(options)).encode())
    return Exit.OK


def _rules_check(options: Namespace) -> Exit:
    from auditline.workers.control.commands import check_command

    return check_command(options.files, sys.stdout)


def _rules_compile(options: Namespace) -> Exit:
    from auditline.workers.control.commands import compile_command

    return compile_command(options.files, options.format, sys.stdout, sys.stderr)


def _rules_list(options: Namespace) -> Exit:
    from auditline.workers.control.kernel_commands import list_command, list_kernel_command

    if options.kernel:
        return list_kernel_command(sys.stdout)
    return list_command(load_chosen(options), options.files, sys.stdout)


def _rules_load(options: Namespace) -> Exit:
    from auditline.workers.control.kernel_commands import load_command

    return load_command(load_chosen(options), options.files, sys.stdout, deletes_others=options.delete_others)


def _rules_delete(options: Namespace) -> Exit:
    from auditline.workers.control.kernel_commands import delete_command

    return delete_command(load_chosen(options), options.files, sys.stdout, deletes_all=options.all)


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
    _add_replay(commands)
    _add_reading(commands)
    status_options.add_status_commands(commands, _add_command, _add_config_option)
    _add_setup(commands)
    dead_letter_options.add_dead_letter_commands(commands, _add_command, _add_config_option)
    _add_config(commands)
    _add_rules(commands)
    return parser


def _add_run(commands: "Commands") -> None:
    parser = _add_command(
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
    _add_config_option(parser)


def _add_replay(commands: "Commands") -> None:
    parser = _add_command(
        commands,
        "replay",
        replay,
        summary="turn audit logs into JSON lines",
        description=DESCRIPTION,
        example=EXAMPLE,
    )
    add_replay_options(parser)


def _add_reading(commands: "Commands") -> None:
    read = _add_command(
        commands,
        "read",
        reading_options.read,
        summary="print what is new in the segments of a running service, and end",
        description=reading_options.READ_DESCRIPTION,
        example=reading_options.READ_EXAMPLE,
    )
    reading_options.add_read_options(read)
    stream = _add_command(
        commands,
        "stream",
        reading_options.stream,
        summary="print what is new in the segments of a running service, and what comes",
        description=reading_options.STREAM_DESCRIPTION,
        example=reading_options.STREAM_EXAMPLE,
    )
    reading_options.add_stream_options(stream)
    for command in (read, stream):
        _add_config_option(command)


def _add_setup(commands: "Commands") -> None:
    parser = commands.add_parser("setup", help="prepare a destination", allow_abbrev=False)
    elasticsearch = _add_command(
        parser.add_subparsers(metavar="DESTINATION", required=True),
        "elasticsearch",
        setup_options.setup_elasticsearch,
        summary="install templates for the data streams",
        description=setup_options.DESCRIPTION,
        example=setup_options.EXAMPLE,
    )
    setup_options.add_setup_options(elasticsearch)
    _add_config_option(elasticsearch)


def _add_config(commands: "Commands") -> None:
    parser = commands.add_parser("config", help="check or show the configuration", allow_abbrev=False)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = _add_command(
        actions,
        "check",
        _config_check,
        summary="say all that is wrong with the configuration",
        description="""\
Reads the configuration and the rules that it names, and says all that is wrong, a line each; then ends with 2.""",
        example="auditline config check --config ./auditline.toml",
    )
    show = _add_command(
        actions,
        "show",
        _config_show,
        summary="print the configuration in effect",
        description="Prints every setting in effect, defaults included, as TOML that can be used as a configuration.",
        example="auditline config show > auditline.toml",
    )
    _add_config_option(check)
    _add_config_option(show)


def _add_rules(commands: "Commands") -> None:
    parser = commands.add_parser("rules", help="check, list and load audit rules", allow_abbrev=False)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = _add_command(
        actions,
        "check",
        _rules_check,
        summary="say what is wrong with rules files",
        description="Reads rules as auditctl writes them and says for each wrong one what is wrong, as FILE:LINE.",
        example="auditline rules check /etc/audit/rules.d/*.rules",
    )
    check.add_argument("files", nargs="+", type=Path, metavar="FILE", help="rules as auditctl reads them")
    compile_ = _add_command(
        actions,
        "compile",
        _rules_compile,
        summary="print rules in the kernel's binary form",
        description="""\
Prints a JSON object per rule, a line each: file, line, rule (in canonical form) and data, which is base64 of
the bytes that the kernel is sent. With `--format text` the canonical rule alone. Nothing is loaded.""",
        example="auditline rules compile /etc/audit/rules.d/*.rules | jq -r .rule",
    )
    compile_.add_argument("--format", choices=["json", "text"], default="json", help="default: json")
    compile_.add_argument("files", nargs="+", type=Path, metavar="FILE", help="rules as auditctl reads them")
    _add_kernel_rules(actions)


def _add_kernel_rules(actions: "Commands") -> None:
    file_help = "rules as auditctl reads them; @NAME is a set that comes with auditline"
    list_ = _add_command(
        actions,
        "list",
        _rules_list,
        summary="print the configured rules, or the kernel's",
        description="""\
Prints rules as `auditctl -l` does: those of the files, or without any those of the configuration. What is printed
can be loaded again, and gives the same rules. With --kernel: what is loaded now; that needs CAP_AUDIT_CONTROL.""",
        example="auditline rules list --kernel > now.rules",
    )
    list_.add_argument("--kernel", action="store_true", help="the rules that the kernel has now")
    list_.add_argument("files", nargs="*", metavar="FILE", help=file_help)
    load = _add_command(
        actions,
        "load",
        _rules_load,
        summary="load rules into the kernel, without the service",
        description="""\
Makes the rules of the files those that this command has loaded: new ones are added, those of the last time that
are in no file now go. Rules of others stay, unless a file has -D, and those of a running service in any case.""",
        example="auditline rules load /etc/audit/rules.d/*.rules",
    )
    load.add_argument("--delete-others", action="store_true", help="take the rules of others out, as -D does")
    load.add_argument("files", nargs="+", metavar="FILE", help=file_help)
    delete = _add_command(
        actions,
        "delete",
        _rules_delete,
        summary="take rules out of the kernel",
        description="""\
Takes out the rules of the files, or without any those that `auditline rules load` has loaded. Those of a running
service stay in any case.""",
        example="auditline rules delete",
    )
    delete.add_argument("--all", action="store_true", help="the rules of others, too")
    delete.add_argument("files", nargs="*", metavar="FILE", help=file_help)
    for command in (list_, load, delete):
        _add_config_option(command)


def _add_command(
    commands: "Commands",
    name: str,
    command: Callable[[Namespace], Exit],
    *,
    summary: str,
    description: str,
    example: str,
) -> ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    return parser


def _add_config_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration (default: /etc/auditline/auditline.toml if it is there)",
    )


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


def _abandon_stdout() -> None:
    """Make the interpreter's last flush of stdout succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _die_interrupted() -> NoReturn:
    """End by SIGINT itself, so that a shell's loop around us ends too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    raise SystemExit(128 + signal.SIGINT)
