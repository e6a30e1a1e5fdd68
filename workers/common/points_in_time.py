"""Points in time as a person names them: `2026-01-31 12:00`, `yesterday`, `-2h`, `@1700000000`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

_DATE_AND_TIME = re.compile(
    r"(?P<date>(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2}))?(?(date)(?:(?:[Tt]|[ ]+)(?=[0-9])|\Z))"
    r"(?:(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"(?:[ ]?(?P<zone>Z|z|UTC|[+-][0-9]{2}:?[0-9]{2}))?)?"
).fullmatch
_SINCE_1970 = re.compile(r"(?:@([0-9]{1,12})|([0-9]{9,12}))(?:\.([0-9]{1,9}))?").fullmatch
"""Plain digits only from 1973 on: `2024` or `20240131` is rather a date that is not understood."""
_AGO = re.compile(r"-((?:[0-9]{1,9} ?(?:w|d|h|min|m|s) ?)+)").fullmatch
_PART_OF_AGO = re.compile(r"([0-9]+) ?(w|d|h|min|m|s)").findall
_SECONDS = {"w": 7 * 86400, "d": 86400, "h": 3600, "min": 60, "m": 60, "s": 1}
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}

WANTED = (
    "wanted YYYY-MM-DD, YYYY-MM-DD HH:MM[:SS], HH:MM[:SS], RFC 3339, now, today, yesterday, "
    "a time back as in -2h or -1d12h, or seconds since 1970"
)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time, and the end of the second that it is in if it was named to the second only."""

    first_ms: int
    """Milliseconds since 1970."""
    last_ms: int


def parse_moment(text: str, now: datetime) -> Moment:
    """Return the point in time that *text* names; what has no zone is in that of *now*'s host.

    A date alone is its first second, a time alone is of today.

    Raises:
        ValueError: *text* names none; the message says what was wanted.
    """
    try:
        moment = _read(text.strip(), now)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time: {error}") from error
    if moment is None:
        raise ValueError(f"{text!r} is no time: {WANTED}")
    return moment


def _read(text: str, now: datetime) -> Moment | None:
    if text == "now":
        return _moment(_milliseconds(now), is_exact=True)
    if text in _DAYS:
        midnight = datetime(now.year, now.month, now.day) + timedelta(days=_DAYS[text])  # noqa: DTZ001 (local time)
        return _moment(_milliseconds(midnight))
    if since_1970 := _SINCE_1970(text):
        at, plain, fraction = since_1970.groups()
        return _moment(int(at or plain) * 1000 + _thousandths(fraction), is_exact=fraction is not None)
    if ago := _AGO(text):
        seconds = sum(int(count) * _SECONDS[unit] for count, unit in _PART_OF_AGO(ago[1]))
        return _moment(_milliseconds(now) - seconds * 1000, is_exact=True)
    match = _DATE_AND_TIME(text)
    return _read_date_and_time(match, now) if text and match else None


def _read_date_and_time(match: "re.Match[str]", now: datetime) -> Moment:
    if match["date"]:
        year, month, day = int(match["year"]), int(match["month"]), int(match["day"])
    else:
        year, month, day = now.year, now.month, now.day
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    named = datetime(year, month, day, hour, minute, second, tzinfo=_zone(match["zone"]))
    return _moment(_milliseconds(named) + _thousandths(match["fraction"]), is_exact=match["fraction"] is not None)


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text in ("Z", "z", "UTC"):
        return UTC
    ahead = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-ahead if text[0] == "-" else ahead)


def _thousandths(fraction: str | None) -> int:
    return int(f"{fraction or ''}000"[:3])


def _milliseconds(when: datetime) -> int:
    # Not timestamp() times 1000, which is inexact.
    return int(when.replace(microsecond=0).timestamp()) * 1000 + when.microsecond // 1000


def _moment(milliseconds: int, *, is_exact: bool = False) -> Moment:
    return Moment(milliseconds, milliseconds if is_exact else milliseconds + 999)
