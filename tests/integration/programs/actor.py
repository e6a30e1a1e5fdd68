"""Becomes nobody, does what a piece of Python says, and tries to open a file that it may not.

usage: actor.py FOLDER MARKER CODE [ARGUMENT …]

Writes what came of its system calls to stdout, a JSON list: the name of the error, or what was returned.
"""

import contextlib
import ctypes
import errno
import json
import os
import sys

NOBODY = 65534
PR_SET_DUMPABLE = 4

libc = ctypes.CDLL(None, use_errno=True)
told: list[int | str] = []


def call(name: str, *arguments: int | bytes | None) -> int:
    """Make a system call by the C library's function of that name, and tell what came of it."""
    returned = int(getattr(libc, name)(*arguments))
    told.append(errno.errorcode[ctypes.get_errno()] if returned == -1 else returned)
    return returned


def run(*words: str | bytes) -> None:
    """Run a program, by its path, to its end."""
    told.append(os.spawnv(os.P_WAIT, words[0], words))


def become_nobody() -> None:
    """Give up all rights."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # As after an exec by nobody: else it may not even write to files of its own in /proc.
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def main() -> None:
    """Act in FOLDER; CODE has the arguments as `arguments`, bytes."""
    folder, marker, code = sys.argv[1:4]
    become_nobody()
    os.chdir(folder)
    arguments = list(map(os.fsencode, sys.argv[4:]))
    exec(code, {"os": os, "errno": errno, "told": told, "call": call, "run": run, "arguments": arguments})
    with contextlib.suppress(PermissionError):
        os.close(os.open(marker, os.O_RDONLY))
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
