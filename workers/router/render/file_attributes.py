"""What is known of a file, attribute by attribute, as words of a document."""

from collections.abc import Mapping
from types import MappingProxyType

from auditline.workers.common.file_state import (
    FORBIDDEN,
    GROWING,
    QUARANTINED,
    STABLE,
    TIME_LIMIT,
    TOO_LARGE,
    UNREADABLE,
    UNSTABLE,
)

HASH_LABELS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        STABLE: {"hash_state": "stable"},
        GROWING: {"hash_state": "growing"},
        UNSTABLE: {"hash_state": "unstable"},
        TOO_LARGE: {"hash_state": "partial", "hash_reason": "too_large"},
        TIME_LIMIT: {"hash_state": "partial", "hash_reason": "time_limit"},
        UNREADABLE: {"hash_state": "partial", "hash_reason": "read_error"},
        FORBIDDEN: {"hash_state": "partial", "hash_reason": "forbidden"},
        QUARANTINED: {"hash_state": "partial", "hash_reason": "quarantined"},
    }
)
"""What is said of a file's hashes, by `FileState.hash_state`."""
