"""Times as events have them: UTC, three decimals, `Z`."""

import re
import time
from datetime import datetime
from functools import lru_cache

_FIRST_SECOND, _LAST_SECOND = -62135596800, 253402300799
"""0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: others have no timestamp that Elasticsearch or jq would read."""

_WITH_ZONE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})"
).fullmatch


def parse_timestamp(text: str) -> datetime | None:
    """Return the time that a text like `2026-01-31T12:00:00.000Z` names, to the microsecond; None: it names none."""
    try:
        return datetime.fromisoformat(text) if _WITH_ZONE(text) else None
    except ValueError:
        return None


def seconds_since(timestamp: str, now: float) -> float:
    """Return by how much a timestamp is before *now*, in seconds since 1970; 0: it is not, or is no timestamp."""
    moment = parse_timestamp(timestamp)
    return max(0.0, now - moment.timestamp()) if moment else 0.0


@lru_cache(maxsize=64)
def timestamp_of_second(seconds: str) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS` in UTC; a time beyond the year 9999 is its last second."""
    return _date_and_time(min(int(seconds), _LAST_SECOND))


@lru_cache(maxsize=1024)
def timestamp_of_ns(nanoseconds: int) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.mmmZ`; of a time before the year 1 or beyond 9999 the nearest that has one."""
    seconds, milliseconds = divmod(nanoseconds // 1_000_000, 1000)
    if seconds < _FIRST_SECOND:
        return f"{_date_and_time(_FIRST_SECOND)}.000Z"
    if seconds > _LAST_SECOND:
        return f"{_date_and_time(_LAST_SECOND)}.999Z"
    return f"{_date_and_time(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=256)
def _date_and_time(seconds: int) -> str:
    when = time.gmtime(seconds)
    # strftime() gives the year 800 three digits.
    return f"{when.tm_year:04d}-{time.strftime('%m-%dT%H:%M:%S', when)}"
