"""Modules in C, where they could be built: found, and believed only if they were built of the sources beside them."""

import importlib
import logging
from pathlib import Path
from types import ModuleType

from auditline.workers.common.fingerprint import make_fingerprint

logger = logging.getLogger(__name__)


def find_compiled(name: str, folder: Path) -> ModuleType | None:
    """Return the module *name*, whose sources lie in *folder*; None: there is none, or it was built of other sources.

    An older one would stop its process, or answer by older rules without a word: an update of the sources alone leaves
    it where it was.
    """
    try:
        found = importlib.import_module(name)
    except ImportError:
        return None
    try:
        wanted = make_fingerprint(folder)
    except OSError as error:
        logger.warning("%s is not used: what it was built of cannot be read: %s", name, error)
        return None
    if getattr(found, "fingerprint", None) != wanted:
        logger.warning("%s is not used: it was built of other sources; install auditline again to build it", name)
        return None
    return found
