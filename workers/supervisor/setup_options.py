"""`auditline setup elasticsearch`: its options."""

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from auditline.workers.common.errors import Exit, SettingsError
from auditline.workers.supervisor.command_line import add_command, add_config_option, add_group, load_chosen, to_path

if TYPE_CHECKING:
    from auditline.workers.supervisor.command_line import Commands

_DESCRIPTION = """\
Lets the cluster of each output of type elasticsearch have templates for its data streams: types for all fields, of
the Elastic Common Schema for schema ecs, and limits. What is there already stays; run it again after each upgrade.
It needs the cluster privilege manage_index_templates (manage_ilm, too, where data streams have no lifecycle), and with
--auditbeat-alias manage on data streams that are there. Without a configured output --dry-run and --export show what
the default one would need."""
_EXAMPLE = "auditline setup elasticsearch --dry-run"


def add_setup_commands(commands: "Commands") -> None:
    """Add the command."""
    destinations = add_group(
        commands, "setup", metavar="DESTINATION",
        summary="prepare a destination", example=_EXAMPLE,
        description="Gives a destination what it needs to take events. Files, stdout and shippers need nothing.",
    )  # fmt: skip
    elasticsearch = add_command(
        destinations, "elasticsearch", _setup_elasticsearch,
        summary="install templates for the data streams", description=_DESCRIPTION, example=_EXAMPLE,
    )  # fmt: skip
    _add_options(elasticsearch)
    add_config_option(elasticsearch)


def _add_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--dry-run", action="store_true", help="print the requests instead of sending them")
    export_help = "write the templates to files of this directory, and send nothing"
    add("--export", type=to_path, metavar="DIR", help=export_help)
    alias_help = "let readers of auditbeat-* find the data streams, as auditbeat-auditline"
    add("--auditbeat-alias", action="store_true", help=alias_help)


def _setup_elasticsearch(options: Namespace) -> Exit:
    from auditline.workers.common.settings import ElasticsearchSettings
    from auditline.workers.elasticsearch.setup import SetupOptions, setup_command

    settings = load_chosen(options)
    outputs = [output for output in settings.outputs if isinstance(output, ElasticsearchSettings)]
    chosen = SetupOptions(is_dry_run=options.dry_run, export=options.export, has_alias=options.auditbeat_alias)
    if not outputs:
        if chosen.sends:
            raise SettingsError([f"{settings.source or 'defaults'}: no output is of type elasticsearch"])
        outputs = [ElasticsearchSettings(name="elasticsearch")]
    return setup_command(outputs, chosen, sys.stdout)
