"""The status as an operator reads it: on one screen, first of all whether anything is wrong."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from auditline.workers.common.progress import show_bytes
from auditline.workers.common.text import make_safe
from auditline.workers.common.timestamps import seconds_since

Json = Mapping[str, Any]

_ENABLED = {None: "audit state unknown", 0: "audit off", 1: "audit on", 2: "audit locked until the next boot"}
_MODES = {
    "unicast": "read as the audit daemon",
    "multicast": "read beside another audit daemon",
    "stdin": "read from standard input",
    "off": "not read: audit.enabled is false",
    "none": "NOT READ",
}
_RIGHT = ">"
"""Before a column's title: its cells are numbers."""


def show_status(status: Json, reasons: Sequence[str]) -> str:
    """Return the text, some lines; *reasons* are why the service is degraded."""
    lines = [
        *_show_state(status, reasons),
        *_show_table("processes", (">pid", "state", ">restarts", ">cpu", ">memory"), _process_rows(status)),
        *_show_table("outputs", ("type", "state", ">events", ">waiting", ">behind"), _output_rows(status)),
        *_show_table("watches", ("backend", "state", ">known"), _watch_rows(status)),
        *_show_kernel(status["kernel"]),
        *_show_table("cursors", (">behind", ">moved"), _cursor_rows(status)),
        *_show_losses(status["loss"]),
    ]
    return "".join(f"{make_safe(line)}\n" for line in lines)


def show_age(seconds: float) -> str:
    """Return a duration in its two largest units: `3 h 5 min`."""
    rest = int(seconds)
    words: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or words or unit == "s":
            words.append(f"{count} {unit}")
    return " ".join(words[:2])


def _show_state(status: Json, reasons: Sequence[str]) -> Iterator[str]:
    up_seconds = seconds_since(status["since"], time.time())
    yield f"auditline {status['version']}, pid {status['pid']}, up {show_age(up_seconds)}: {status['state'].upper()}"
    yield from (f"  ! {reason}" for reason in reasons)


def _show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield nothing if there are no rows."""
    cells = list(rows)
    if not cells:
        return
    table = [(title, *(column.lstrip(_RIGHT) for column in columns)), *((f"  {row[0]}", *row[1:]) for row in cells)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    is_right = [False, *(column.startswith(_RIGHT) for column in columns)]
    yield ""
    for row in table:
        shown = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_right, strict=True)
        ]
        yield "  ".join(shown).rstrip()


def _process_rows(status: Json) -> Iterator[tuple[str, ...]]:
    for process in status["processes"]:
        yield (
            process["name"],
            str(process["pid"]),
            process["state"],
            str(process["restarts"]),
            f"{process['cpu_seconds']:.1f} s",
            show_bytes(process["rss_bytes"]),
        )


def _output_rows(status: Json) -> Iterator[tuple[str, ...]]:
    for name, output in status["outputs"].items():
        behind = show_age(output["lag_seconds"]) if output["lag_seconds"] >= 1 else "-"
        numbers = (f"{output['events']:,}", f"{output['pending']:,}", behind)
        yield name, output["type"], output["state"], *numbers


def _watch_rows(status: Json) -> Iterator[tuple[str, ...]]:
    for path, watch in status["watches"].items():
        files = watch["files"]
        yield make_safe(path), watch["backend"] or "-", watch["state"], "-" if files is None else f"{files:,}"


def _show_kernel(kernel: Json) -> Iterator[str]:
    yield ""
    known = kernel["enabled"] is not None
    numbers = [f"{kernel[name]:,} {words}" for name, words in _KERNEL_NUMBERS if kernel[name] is not None]
    yield f"kernel  {', '.join([_MODES[kernel['mode']], *([_ENABLED[kernel['enabled']]] if known else []), *numbers])}"


_KERNEL_NUMBERS = (("rules", "rules of ours"), ("backlog", "records wait"), ("lost", "lost"))


def _cursor_rows(status: Json) -> Iterator[tuple[str, ...]]:
    for path, cursor in status["cursors"].items():
        behind, age = cursor["lag_bytes"], cursor["age_seconds"]
        moved = "damaged" if cursor["problem"] else "never" if age is None else f"{show_age(age)} ago"
        yield make_safe(path), "-" if behind is None else show_bytes(behind), moved


def _show_losses(loss: Json) -> Iterator[str]:
    lost = [f"{kind} {count:,}" for kind, count in loss.items() if count]
    if lost:
        yield ""
        yield f"lost    {', '.join(lost)}"
