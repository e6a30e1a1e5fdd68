"""Why a directory is listed."""

from typing import NamedTuple

from auditline.workers.common.file_entry import DetectedBy


class Visit(NamedTuple):
    """Why a directory is listed, and what that says of what is found in it."""

    detected_by: DetectedBy = "scan"
    in_scan: bool = False
    """The whole tree is compared."""
    is_new: bool = False
    """An event said that the directory was made: all that is in it is new."""
    is_found: bool = False
    """It could not be read before: what is not known in it is not new for that."""
    is_turn: bool = False
    """It is polled, and its turn has come."""
    is_deep: bool = False
    """All beneath it is compared as well."""

    since_ns: int = 0
    """An event said that it was made after this, in nanoseconds since 1970: who made what is in it may be asked."""

    def merged(self, other: "Visit | None") -> "Visit":
        """Return one for both."""
        if other is None:
            return self
        detected_by: DetectedBy = "event" if "event" in (self.detected_by, other.detected_by) else "scan"
        flags = (mine or its for mine, its in zip(self[1:-1], other[1:-1], strict=True))
        since_ns = min(filter(None, (self.since_ns, other.since_ns)), default=0)
        return Visit(detected_by, *flags)._replace(since_ns=since_ns)
