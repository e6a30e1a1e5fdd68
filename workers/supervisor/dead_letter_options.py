"""`auditline dead-letters list` and `resend`: their options, and what they print."""

import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from auditline.workers.common.errors import Exit, SettingsError
from auditline.workers.common.text import make_safe
from auditline.workers.supervisor.command_line import add_command, add_config_option, add_group, load_chosen

if TYPE_CHECKING:
    from auditline.workers.common.settings import ElasticsearchSettings
    from auditline.workers.elasticsearch.resending import KeptLetter
    from auditline.workers.supervisor.command_line import Commands

_LIST = """\
Prints the documents that Elasticsearch has refused for good, a line each: how long ago, the HTTP status, data stream,
event.id, and the server's reason. Those that were given back and are not answered yet say so."""
_RESEND = """\
Gives the documents that Elasticsearch has refused back to the sender, once what it refused them for has been put right,
a mapping for example. It sends them again once; without a running service that is when it runs. Those that are
refused again are dead letters again, with the new reason."""


def add_dead_letter_commands(commands: "Commands") -> None:
    """Add both commands."""
    actions = add_group(
        commands, "dead-letters", summary="see to what Elasticsearch has refused",
        description="Events that Elasticsearch has refused for good are kept with its reason: see them, and try again.",
        example="auditline dead-letters list",
    )  # fmt: skip
    listed = add_command(
        actions, "list", _list,
        summary="print what was refused", description=_LIST,
        example="auditline dead-letters list --json | jq -r .reason | sort | uniq -c",
    )  # fmt: skip
    listed.add_argument("--json", action="store_true", help="print a JSON object for each, a line each")
    resent = add_command(
        actions, "resend", _resend,
        summary="have them sent again", description=_RESEND, example="auditline dead-letters resend",
    )  # fmt: skip
    for command in (listed, resent):
        command.add_argument("--output", metavar="NAME", help="of this output only (default: of all)")
        add_config_option(command)


def _list(options: Namespace) -> Exit:
    from auditline.workers.elasticsearch.resending import list_letters

    state_directory, outputs = _load(options)
    show = _to_json if options.json else _to_text
    now = time.time()
    for output in outputs:
        for kept in list_letters(state_directory, output.name):
            sys.stdout.write(f"{show(output.name, kept, now)}\n")
    return Exit.OK


def _resend(options: Namespace) -> Exit:
    from auditline.workers.elasticsearch.resending import give_back, is_sender_running

    state_directory, outputs = _load(options)
    for output in outputs:
        given_back = give_back(state_directory, output)
        if not given_back.documents and not given_back.left:
            sys.stdout.write(f"{output.name}: there are no dead letters\n")
            continue
        when = "now" if is_sender_running(state_directory, output.name) else "when the service runs"
        sys.stdout.write(f"{output.name}: {given_back.documents} documents are sent again {when}\n")
        if given_back.left:
            sys.stdout.write(f"{output.name}: {given_back.left} more when those are answered: call this again then\n")
    return Exit.OK


def _load(options: Namespace) -> tuple[Path, list["ElasticsearchSettings"]]:
    from auditline.workers.common.settings import ElasticsearchSettings

    settings = load_chosen(options)
    outputs = [output for output in settings.outputs if isinstance(output, ElasticsearchSettings)]
    chosen = [output for output in outputs if options.output in (None, output.name)]
    if not chosen:
        which = "is of type elasticsearch" if options.output is None else f"of type elasticsearch is {options.output}"
        raise SettingsError([f"{settings.source or 'defaults'}: no output {which}"])
    return settings.state.directory, chosen


def _to_json(output: str, kept: "KeptLetter", now: float) -> str:
    letter = kept.letter
    return json.dumps(
        {
            "output": output,
            "id": letter.event_id,
            "data_stream": letter.stream,
            "status": letter.status,
            "reason": letter.reason,
            "timestamp": letter.timestamp,
            "age_seconds": _age_seconds(letter.timestamp, now),
            "is_sent_again": kept.is_waiting,
        }
    )


def _to_text(output: str, kept: "KeptLetter", now: float) -> str:
    from auditline.workers.status.text import show_age

    letter = kept.letter
    again = "sent again: " if kept.is_waiting else ""
    age = show_age(_age_seconds(letter.timestamp, now))
    identity = letter.event_id or "without an id"
    return make_safe(f"{age:>11}  {output}  {letter.stream}  {identity}  {again}{letter.status} {letter.reason}")


def _age_seconds(timestamp: str, now: float) -> int:
    from auditline.workers.common.timestamps import seconds_since

    return round(seconds_since(timestamp, now))
