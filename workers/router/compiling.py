"""The hottest functions of the router in C, where they could be built; what they do stands in Python, too."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from auditline.workers.common.compiled import find_compiled

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


COMPILED = cast("Compiled | None", find_compiled(MODULE, Path(__file__).parent))
"""None where there was no compiler when auditline was installed; the rest is slower then, and the same."""


def tell_what_runs() -> None:
    """Log which of both is used: without a word, two thirds more time of the processor would have no visible cause."""
    logger.info("grouping and cutting run %s", "in Python" if COMPILED is None else "compiled")
