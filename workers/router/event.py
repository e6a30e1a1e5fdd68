"""One kernel event: records with the same time and serial, as grouped, and what they say once decoded."""

from dataclasses import dataclass, field
from typing import Any

RECORD_BYTES = 100
"""What a record in memory takes beside its text, about."""


class Event:
    """The raw records of one event, in order of arrival, and how the event ended."""

    __slots__ = (
        "amends",
        "begun",
        "bodies",
        "counted_bytes",
        "deadline",
        "has_eoe",
        "header",
        "may_lack",
        "milliseconds",
        "node",
        "reasons",
        "records_by_batch",
        "seconds",
        "serial",
        "types",
    )

    def __init__(self, header: str, node: str | None, seconds: str, milliseconds: str, serial: int) -> None:
        self.header = header
        """`audit(SECONDS.MILLIS:SERIAL`, with `node=NAME ` before it where records carry one: the grouping key."""
        self.node = node
        self.seconds = seconds
        self.milliseconds = milliseconds
        self.serial = serial
        self.types: list[int] = []
        self.bodies: list[str] = []
        self.has_eoe = False
        self.reasons: tuple[str, ...] = ()
        """Why grouping thinks that records are missing; decoding may find more."""
        self.amends = False
        """True if its records came after the event had gone out."""
        self.may_lack = False
        """True if rules may keep records of it from us."""
        self.deadline = 0
        """Stream time in seconds at which it is no longer waited for."""
        self.begun = 0
        """How many events had begun before it."""
        self.records_by_batch: dict[int, int] | None = None
        """How many records it has in each batch, if it goes on beyond its first one."""
        self.counted_bytes = 0
        """Of these records, with what each takes beside its text."""

    def count_records(self, batch: int) -> None:
        """Note which of the records so far came in *batch*, the latest one."""
        if self.records_by_batch is None:
            self.records_by_batch = {}
        count = len(self.types) + self.has_eoe - sum(self.records_by_batch.values())
        if count:
            self.records_by_batch[batch] = self.records_by_batch.get(batch, 0) + count
            self.counted_bytes += sum(map(len, self.bodies[-count:])) + RECORD_BYTES * count


Names = dict[tuple[str, str], str]
"""Names of ids: ("uid", "0") is `root`, ("gid", "0") likewise."""


@dataclass(slots=True)
class Facts:
    """What the records of one event say, decoded and merged; ids are still numbers."""

    record_type: int
    """The type that names the event."""
    result: str = "unknown"
    session: str | None = None
    ids: dict[str, str] = field(default_factory=dict)
    """The subject's auid, uid, euid … gid …."""
    selinux: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """Keys of the rules that matched."""
    data: dict[str, str | list[str]] = field(default_factory=dict)
    listed: set[tuple[str, str, bytes | None]] = field(default_factory=set)
    """The values in the lists of *data*, by key, with their exact bytes where the text does not give them back."""
    paths: list[dict[str, str]] = field(default_factory=list)
    socket: dict[str, str] = field(default_factory=dict)
    arguments: list[str] | None = None
    names: Names = field(default_factory=dict)
    """Names of ids that auditd wrote behind the records, those of *paths* apart."""
    path_names: list[Names] = field(default_factory=list)
    """The same for each of *paths*."""
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    exact: dict[str, bytes] = field(default_factory=dict)
    """Exact bytes by place, while the facts are gathered."""
    undecodable: list[tuple[str, bytes]] = field(default_factory=list)
    """Where a text does not give its bytes back (`data.exe`, `paths.0.name`), and the exact bytes."""
    suspicious: list[dict[str, Any]] = field(default_factory=list)
    """Where a text looks as if somebody means to deceive its reader: `field` as above, and `reasons`."""

    def value(self, key: str) -> str | None:
        """Return a field of the event by its name, wherever it was put; of several values the first."""
        # Ids first: in data there may be what a sender of text claims them to be.
        found = self.ids.get(key) or self.data.get(key)
        return found[0] if isinstance(found, list) else found


@dataclass(frozen=True, slots=True)
class Meaning:
    """Who did what to whom and how: the part of an event that the mapping tables give."""

    action: str | None
    what: str | None
    primary: str | None
    secondary: str | None
    actor_primary: tuple[str, str] | None
    """The field and its value: whether that is an id, which can have a name, is told by the field."""
    actor_secondary: tuple[str, str] | None
    how: str | None
    thing_selinux: dict[str, str]
    path: dict[str, str] | None
    """Which of the event's paths the thing is, where it is one."""
    categories: tuple[str, ...]
    """The class of the event, and its sub-class in *types*, in the words of the Elastic Common Schema."""
    types: tuple[str, ...]
    people: dict[str, str | None]
    """`user`, `user.effective`, `user.target` or `group`: whom the event is about, by id or name; None: nobody."""
    source: tuple[str, str] | None
    """The field and its value: the address that somebody came from."""
