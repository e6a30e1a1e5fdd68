"""Slots of the counters pages that are no counts: how things stand, for `auditline status`.

Health events leave them out. Times are seconds since the epoch, 0: never.
"""

LOSS_TOLD_AT = "status_loss_told_at"
"""Of the router: when it last told that something was lost."""
KERNEL_TOLD_AT = "status_kernel_told_at"
"""Of the control process: when the kernel last told its status,"""
KERNEL_ENABLED = "status_kernel_enabled"
"""and whether audit was on: 0, 1, or 2, locked."""
DRIFTING = "status_drifting"
"""1: rules or status of the kernel are not as they should be now."""
WATCH_STATE = "status_watch_state"
"""Of a watcher: a place in `WATCH_STATES`."""
FILES_KNOWN = "status_files_known"
"""Of a watcher: how many files, directories and whatever else there were when it last counted."""

WATCH_STATES = ("starting", "missing", "first walk", "watching", "cannot store")
OUTPUT_STATES = ("starting", "attached", "blocked", "detached", "gone")


def output_state(name: str) -> str:
    """Return the router's slot for the state of an output, a place in `OUTPUT_STATES`."""
    return f"status_output_{name}_state"


def output_error(name: str) -> str:
    """Return the router's slot for the number of the error that keeps an output from writing now; 0: none does."""
    return f"status_output_{name}_error"


def output_waits_since(name: str) -> str:
    """Return the router's slot for the time since when an event waits for an output; 0: none does."""
    return f"status_output_{name}_waits_since"
