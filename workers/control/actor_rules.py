"""The rules by which the kernel tells who changes files: what `[fim] actor = "audit"` loads beside all others."""

import os
from collections.abc import Callable, Iterable, Mapping

from auditline.workers.common.resolving import resolve_paths
from auditline.workers.common.settings import FimSettings
from auditline.workers.common.watch_plan import plan_watches
from auditline.workers.control.paths import is_directory
from auditline.workers.control.words import join_word

ACTOR_KEY = "auditline-fim"
"""The router takes an event with this key, and no other, for one that is for this only: `router/actors.py`."""
LINES_NAME = "[fim] actor"
"""Where messages say that such a rule comes from."""

# Of a shell's search for a program only what is found tells of a process.
_EXECUTIONS = tuple(
    f"-a always,exit -F arch={side} -S execve,execveat -F success=1 -F key={ACTOR_KEY}" for side in ("b64", "b32")
)


def actor_lines(
    fim: FimSettings, resolve: Callable[[Iterable[bytes]], Mapping[bytes, bytes | None]] = resolve_paths
) -> tuple[str, ...]:
    """Return the rules' lines, none unless they are wanted. Forks: see `resolve_paths`.

    What is not there is taken for a directory, until it is there.
    """
    if fim.actor != "audit" or not fim.watch:
        return ()
    return (*_EXECUTIONS, *(_line(os.fsdecode(plan.path)) for plan in plan_watches(fim.watch, resolve).plans))


def _line(path: str) -> str:
    field = "dir" if is_directory(path) or not os.path.lexists(path) else "path"
    return f"-a always,exit -F {join_word(f'{field}={path}')} -F perm=wa -F key={ACTOR_KEY}"
