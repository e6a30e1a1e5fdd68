"""Elasticsearch, the router's part: events go to private segments, from which a process of their own sends them.

The router never waits for a network: an outage costs room on the disk, up to `spool_bytes`.
"""

from collections.abc import Sequence
from pathlib import Path

from auditline.plugins.outputs.api import Line, OutputContext
from auditline.plugins.outputs.segments import SegmentsOutput
from auditline.workers.common.settings import ElasticsearchSettings, SegmentsSettings

KINDS = ("audit", "fim", "health")
"""A data stream, and a series of segments, for each."""
RESEND = "resend"
"""One more series: dead letters that somebody has given back."""
_SEGMENT_BYTES = 16 * 1024**2
_SHARES = {"audit": 0.8, "fim": 0.15, "health": 0.05}
"""Of the room on the disk."""


def kind_of(event_id: str) -> str:
    """Return which kind of event has that id: DESIGN 4 says how ids are made."""
    word = event_id[17:].partition("-")[0]
    return {"f": "fim", "coverage": "fim", "health": "health"}.get(word, "audit")


def data_stream(settings: ElasticsearchSettings, kind: str) -> str:
    """Return the name of the data stream for events of *kind*."""
    return settings.data_stream.replace("{kind}", kind).replace("{namespace}", settings.namespace)


def spool_directory(state_directory: Path, name: str, kind: str) -> Path:
    """Return where the segments for a data stream are."""
    return state_directory / "outputs" / name / kind


def cursor_path(state_directory: Path, name: str, kind: str) -> Path:
    """Return where it is kept up to where a data stream has them."""
    return state_directory / "outputs" / name / f"{kind}.cursor"


def dead_letter_directory(state_directory: Path, name: str) -> Path:
    """Return where the documents are kept that the server will never take."""
    return state_directory / "outputs" / name / "dead-letters"


def resend_directory(state_directory: Path, name: str) -> Path:
    """Return where those of them are that are to be sent again."""
    return state_directory / "outputs" / name / RESEND


class ElasticsearchOutput:
    """Done is what is in the segments."""

    def __init__(self, settings: ElasticsearchSettings, context: OutputContext) -> None:
        self.name = settings.name
        self.schema = settings.schema
        self.takes_all = True
        self.is_gone = False
        self.write_fd: int | None = None
        self._others_attached = False
        self._last_taken = 0
        self._series = {kind: _open(settings, kind, context) for kind in KINDS}

    @property
    def others_attached(self) -> bool:
        """See `Output`."""
        return self._others_attached

    @others_attached.setter
    def others_attached(self, value: bool) -> None:
        self._others_attached = value
        for series in self._series.values():
            series.others_attached = value

    @property
    def done_sequence(self) -> int:
        """See `Output`; a series that has nothing to write holds nothing back."""
        return min(self._done(series) for series in self._series.values())

    @property
    def pending_bytes(self) -> int:
        """See `Output`."""
        return sum(series.pending_bytes for series in self._series.values())

    @property
    def is_blocked(self) -> bool:
        """See `Output`."""
        return any(series.is_blocked for series in self._series.values())

    @property
    def is_attached(self) -> bool:
        """See `Output`."""
        return all(series.is_attached for series in self._series.values())

    @property
    def error_number(self) -> int:
        """See `Output`."""
        return next((series.error_number for series in self._series.values() if series.error_number), 0)

    def write(self, lines: Sequence[Line]) -> None:
        """Give each line to the series of its kind."""
        if not lines:
            return
        self._last_taken = lines[-1].sequence
        chosen: dict[str, list[Line]] = {kind: [] for kind in KINDS}
        for line in lines:
            chosen[kind_of(line.event_id)].append(line)
        for kind, own in chosen.items():
            self._series[kind].write(own)

    def pump(self) -> None:
        """See `Output`."""
        for series in self._series.values():
            series.pump()

    def confirm(self, sequence: int) -> None:
        """See `Output`."""
        for series in self._series.values():
            series.confirm(sequence)

    def end_resends(self) -> None:
        """See `Output`."""
        for series in self._series.values():
            series.end_resends()

    def counts(self) -> dict[str, int]:
        """Return the balance of all series together."""
        counts = [series.counts() for series in self._series.values()]
        return {key: sum(each[key] for each in counts) for key in counts[0]}

    def close(self, deadline_seconds: float) -> None:
        """See `Output`."""
        for series in self._series.values():
            series.close(deadline_seconds / len(self._series))

    def _done(self, series: SegmentsOutput) -> int:
        return series.done_sequence if series.pending_bytes else self._last_taken


def _open(settings: ElasticsearchSettings, kind: str, context: OutputContext) -> SegmentsOutput:
    state = context.state_directory
    total_bytes = int(settings.spool_bytes * _SHARES[kind])
    own = SegmentsSettings(
        name=f"{settings.name}.{kind}",
        enabled=True,
        schema=settings.schema,
        directory=spool_directory(state, settings.name, kind),
        segment_bytes=min(_SEGMENT_BYTES, total_bytes // 4),
        # What the server has is of no more use.
        keep_bytes=4096,
        total_bytes=total_bytes,
        cursors=(cursor_path(state, settings.name, kind),),
        sync="interval",
    )
    return SegmentsOutput(own, context, is_private=True)
