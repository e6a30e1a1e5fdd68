"""Adds to the service's answer what it says nothing of, because it lies on a disk: cursors, and what is behind them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditline.plugins.outputs.elasticsearch import KINDS, cursor_path, spool_directory
from auditline.plugins.outputs.positions import find_position
from auditline.plugins.outputs.segment_files import list_segments
from auditline.workers.status.positions import Lag, look_at_cursor, measure


def complete(status: dict[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return *status* with what is known of the outputs' cursors, and with the cursors of readers."""
    outputs = {
        name: _complete_output(name, output, about["outputs"].get(name, {}), Path(about["state_directory"]))
        for name, output in status["outputs"].items()
    }
    return {**status, "outputs": outputs, "cursors": _describe_cursors(about["outputs"])}


def _complete_output(name: str, output: dict[str, Any], more: Mapping[str, Any], state: Path) -> dict[str, Any]:
    if output["type"] == "segments":
        return {**output, "cursor": _end_of(Path(more["directory"]))}
    if output["type"] != "elasticsearch":
        return output
    cursors = {kind: find_position(cursor_path(state, name, kind)) for kind in KINDS}
    lags = [measure(spool_directory(state, name, kind), cursors[kind]) for kind in KINDS]
    known = [lag for lag in lags if lag is not None]
    return {
        **output,
        "pending": output["pending"] + sum(lag.events for lag in known),
        "lag_seconds": round(max(output["lag_seconds"], _longest(known)), 1),
        "cursor": {kind: position and position._asdict() for kind, position in cursors.items()},
    }


def _longest(lags: list[Lag]) -> float:
    return max((lag.seconds for lag in lags), default=0.0)


def _end_of(directory: Path) -> dict[str, Any] | None:
    """Return up to where a segments output has written."""
    try:
        segments = list_segments(directory)
    except OSError:
        return None
    return {"segment": segments[-1].path.name, "offset": segments[-1].size} if segments else None


def _describe_cursors(outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the cursors that keep segments from being deleted: those that `outputs.<name>.cursors` names."""
    described = {}
    for output in outputs.values():
        for cursor in output.get("cursors", ()):
            found = look_at_cursor(Path(cursor))
            described[cursor] = {
                "lag_bytes": found.measure_bytes(Path(output["directory"])),
                "age_seconds": None if found.age_seconds is None else round(found.age_seconds, 1),
                "problem": found.problem,
            }
    return described
