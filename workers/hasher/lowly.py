"""How a hasher steps back behind everything else on the host."""

import ctypes
import os

NICENESS = 10
_SYS_IOPRIO_SET = {
    "x86_64": 251,
    "i686": 289,
    "aarch64": 30,
    "riscv64": 30,
    "armv7l": 314,
    "ppc64le": 273,
    "s390x": 282,
}
"""By `os.uname().machine`. Source: the kernel's syscall tables of the architectures."""
_WHO_PROCESS = 1  # linux/ioprio.h
_CLASS_IDLE = 3 << 13


def lower_priority() -> None:
    """Give this thread little of the processor and of the disk only what nobody else wants.

    What the kernel refuses, or has no number for here, is left as it is.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    number = _SYS_IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        ctypes.CDLL(None).syscall(number, _WHO_PROCESS, 0, _CLASS_IDLE)
