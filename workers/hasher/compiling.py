"""The calls that nearly every file takes, made one after the other in C, where that could be built."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from auditline.workers.common.compiled import find_compiled

MODULE = "auditline.workers.hasher.compiled"


class Compiled(Protocol):
    """The function of compiled_source/."""

    read_whole: Callable[[int, bytes, int, int, memoryview, Callable[[int], bytes]], tuple[Any, ...] | None]
    """Read a small regular file into a buffer.

    Called with the descriptor of its directory, its name, the descriptor of /proc/self/fd, the most bytes, the buffer,
    and what reads the extended attributes of a descriptor. Returns the first eleven values of a `FileState`, these
    attributes, and those of `struct statx` that are set; None: it is something else, or something has gone wrong.
    """
    fingerprint: str


COMPILED = cast("Compiled | None", find_compiled(MODULE, Path(__file__).parent))
"""None where there was no compiler when auditline was installed; each file takes nearly twice the time then."""
