"""`auditline status`, `test output` and `check-shipper`: their options, and the destinations that are tried."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from auditline.workers.common.errors import Exit, SettingsError
from auditline.workers.common.text import make_safe, tell
from auditline.workers.supervisor.command_line import (
    add_command,
    add_config_option,
    add_group,
    find_chosen_places,
    load_chosen,
    to_path,
)
from auditline.workers.supervisor.reading_options import DEFAULT_MAX_LINE

if TYPE_CHECKING:
    from auditline.workers.common.settings import ElasticsearchSettings, OutputSettings, Settings
    from auditline.workers.supervisor.command_line import Commands

_STATUS = """\
Asks the running service how it is: its processes, outputs, watches, the kernel's audit, readers' cursors, losses.
Ends with 0 if all is well, with 4 if it is degraded, with the reasons first, and with 3 if it does not run."""
_TEST_OUTPUT = """\
Tries each enabled output and says in a line what came of it: Elasticsearch gets one document in its data stream of
health events, files a probe that is taken away again. Works beside a running service, and without one. Ends with 0
if all of them would take events."""
_CHECK_SHIPPER = """\
Prints what a shipper of the segments must be able to take: their names, the longest line so far, and which shippers'
limits that exceeds; and how far those are whose cursors the configuration names. Reads all segments once."""


def add_status_commands(commands: "Commands") -> None:
    """Add the three commands."""
    shown = add_command(
        commands, "status", _status,
        summary="say how the running service is", description=_STATUS, example="auditline status --json | jq .outputs",
    )  # fmt: skip
    shown.add_argument("--json", action="store_true", help="print a JSON object; reasons are told on stderr")
    run_directory_help = "ask the service with this run.directory, whatever the configuration says"
    shown.add_argument("--run-directory", type=to_path, metavar="DIR", help=run_directory_help)
    tested = add_group(
        commands, "test", metavar="WHAT", summary="try what is configured", example="auditline test output",
        description="Tries whether what the configuration names would work, and says what keeps it from working.",
    )  # fmt: skip
    output = add_command(
        tested, "output", _test_output,
        summary="try each destination", description=_TEST_OUTPUT, example="auditline test output",
    )  # fmt: skip
    checked = add_command(
        commands, "check-shipper", _check_shipper,
        summary="say what a shipper must be able to take", description=_CHECK_SHIPPER,
        example="auditline check-shipper /var/log/auditline",
    )  # fmt: skip
    directory_help = "where the segments are (default: outputs.segments.directory)"
    checked.add_argument("directory", nargs="?", type=to_path, metavar="DIRECTORY", help=directory_help)
    for command in (shown, output, checked):
        add_config_option(command)


def _status(options: Namespace) -> Exit:
    from auditline.workers.status.commands import status_command

    directories = _run_directories(options) if options.run_directory is None else [options.run_directory]
    return status_command(directories, sys.stdout, as_json=options.json)


def _run_directories(options: Namespace) -> list[Path]:
    """Return where the service may be asked: another user who names no run directory means the system's service."""
    from auditline.workers.common.settings import Places
    from auditline.workers.common.settings_loading import find_run_directory

    places = find_chosen_places()
    try:
        directory = load_chosen(options).run.directory
    except SettingsError as error:
        # The service goes on with what it has read, also where somebody has made a mistake since.
        directory = find_run_directory(options.config, places)
        tell(*error.problems, f"asking the service whose run.directory is {directory}; --run-directory names another")
    return list(dict.fromkeys([directory, *([Places().run] if directory == places.run else [])]))


def _test_output(options: Namespace) -> Exit:
    settings = load_chosen(options)
    results = []
    for output in settings.enabled_outputs:
        is_good, text = _probe(output, settings)
        results.append(is_good)
        sys.stdout.write(f"{'ok  ' if is_good else 'FAIL'}  outputs.{output.name}: {make_safe(text)}\n")
        sys.stdout.flush()
    return Exit.OK if all(results) else Exit.FAILURE


def _probe(output: "OutputSettings", settings: "Settings") -> tuple[bool, str]:
    """Return whether *output* would take events, and what there is to say."""
    from auditline.workers.common.settings import ElasticsearchSettings, SegmentsSettings
    from auditline.workers.status.files_probe import probe_segments, probe_spool

    try:
        if isinstance(output, SegmentsSettings):
            return True, probe_segments(output)
        if isinstance(output, ElasticsearchSettings):
            probe_spool(output, settings.state.directory)
            return _probe_elasticsearch(output)
    except OSError as error:
        return False, f"{error.filename} cannot be written: {error.strerror}"
    return True, "stdout is what `auditline run` writes to; nothing was written there"


def _probe_elasticsearch(output: "ElasticsearchSettings") -> tuple[bool, str]:
    from auditline.workers.common.host import host_id
    from auditline.workers.elasticsearch.probe import probe_elasticsearch

    return probe_elasticsearch(output, host_id(None))


def _check_shipper(options: Namespace) -> Exit:
    from auditline.workers.common.settings import SegmentsSettings
    from auditline.workers.status.shipper import check_shipper

    outputs = [each for each in load_chosen(options).outputs if isinstance(each, SegmentsSettings)]
    wanted = options.directory.absolute() if options.directory else None
    default = outputs[0] if outputs else SegmentsSettings(name="segments")
    chosen = next((each for each in outputs if each.directory == wanted), None)
    cursors = chosen.cursors if chosen else (default.cursors if wanted is None else ())
    return check_shipper(wanted or default.directory, cursors, sys.stdout, read_line_bytes=DEFAULT_MAX_LINE)
