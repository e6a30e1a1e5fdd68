"""The hottest functions of the router in C, where they could be built; what they do stands in Python, too."""

import importlib
from collections.abc import Callable
from typing import Any, Protocol, cast


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


def _find() -> Compiled | None:
    try:
        return cast("Compiled", importlib.import_module("auditline.workers.router.compiled"))
    except ImportError:
        return None


COMPILED = _find()
"""None where there was no compiler when auditline was installed; the rest is slower then, and the same."""
