"""The configuration that a command was told to use."""

import os
from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditline.workers.common.settings import Settings


def load_chosen(options: Namespace) -> "Settings":
    """Return the settings in the file that `--config` names, or in the default one.

    Raises:
        SettingsError: all that is wrong with it.
    """
    from auditline.workers.common.settings_loading import load_settings

    return load_settings(options.config, is_root=os.geteuid() == 0, environment=os.environ)
