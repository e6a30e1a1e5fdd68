"""What all commands have in common: help that teaches, and the configuration that they are told to use."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from auditline.workers.common.errors import Exit

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from auditline.workers.common.settings import Places, Settings

    Commands = _SubParsersAction[ArgumentParser]


def add_command(
    commands: "Commands",
    name: str,
    command: Callable[[Namespace], Exit],
    *,
    summary: str,
    description: str,
    example: str,
) -> ArgumentParser:
    """Add a command, which *command* runs."""
    parser = _add_parser(commands, name, summary, description, example)
    parser.set_defaults(command=command)
    return parser


def add_group(
    commands: "Commands", name: str, *, summary: str, description: str, example: str, metavar: str = "ACTION"
) -> "Commands":
    """Add a word that commands stand behind; return what these are added to."""
    parser = _add_parser(commands, name, summary, description, example)
    return parser.add_subparsers(metavar=metavar, required=True)


def _add_parser(commands: "Commands", name: str, summary: str, description: str, example: str) -> ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_config_option(parser: ArgumentParser) -> None:
    """Let the command be told which configuration to use."""
    parser.add_argument(
        "--config",
        type=to_path,
        metavar="FILE",
        help="configuration (default: /etc/auditline/auditline.toml if it is there)",
    )


def to_path(text: str) -> Path:
    """Return the path that an argument names.

    Raises:
        ArgumentTypeError: it is empty, such as that of an unset variable; that would be the working directory.
    """
    if not text:
        raise ArgumentTypeError("a name is wanted, not ''")
    return Path(text)


def load_chosen(options: Namespace) -> "Settings":
    """Return the settings in the file that `--config` names, or in the default one.

    Raises:
        SettingsError: all that is wrong with it.
    """
    from auditline.workers.common.settings_loading import load_settings

    return load_settings(options.config, is_root=os.geteuid() == 0, environment=os.environ)


def find_chosen_places() -> "Places":
    """Return the directories that are used where the configuration names none."""
    from auditline.workers.common.settings import find_places

    return find_places(is_root=os.geteuid() == 0, environment=os.environ)
