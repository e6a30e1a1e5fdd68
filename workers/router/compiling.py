"""The hottest functions of the router in C, where they could be built; what they do stands in Python, too."""

import importlib
import logging
from collections.abc import Callable
from typing import Any, Protocol, cast

from auditline.workers.router.fingerprint import make_fingerprint

logger = logging.getLogger(__name__)

MODULE = "auditline.workers.router.compiled"


class Compiled(Protocol):
    """The functions of compiled_source/, each named like its twin in Python.

    The first argument of each is a tuple of tools: what its twin has at hand, and the twin itself for what is not of
    the plainest form.
    """

    cut: Callable[..., Any]
    feed: Callable[..., Any]
    make_directory: Callable[..., Any]
    make_frame: Callable[..., Any]
    make_path: Callable[..., Any]
    make_tail: Callable[..., Any]
    make_title: Callable[..., Any]
    fingerprint: str
    """That of the sources it was built of."""


def find_compiled() -> Compiled | None:
    """Return the compiled module; None where there is none, or one that was built of other sources than these.

    An older one would stop the router, or answer by older rules without a word: an update of the sources alone leaves
    it where it was.
    """
    try:
        found = cast("Compiled", importlib.import_module(MODULE))
    except ImportError:
        return None
    try:
        wanted = make_fingerprint()
    except OSError as error:
        logger.warning("%s is not used: what it was built of cannot be read: %s", MODULE, error)
        return None
    if getattr(found, "fingerprint", None) != wanted:
        logger.warning("%s is not used: it was built of other sources; install auditline again to build it", MODULE)
        return None
    return found


COMPILED = find_compiled()
"""None where there was no compiler when auditline was installed; the rest is slower then, and the same."""


def tell_what_runs() -> None:
    """Log which of both is used: without a word, two thirds more time of the processor would have no visible cause."""
    logger.info("grouping and cutting run %s", "in Python" if COMPILED is None else "compiled")
