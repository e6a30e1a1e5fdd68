"""What Elasticsearch says of the documents of a bulk request, and what that means for each."""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, NamedTuple


class Verdict(Enum):
    """What becomes of a document."""

    STORED = auto()
    """The server has it, from this request or from an earlier one."""
    LATER = auto()
    """The server cannot take it now: it is sent again until it is taken."""
    NEVER = auto()
    """The server will not take it, whatever happens: it becomes a dead letter."""
    FORBIDDEN = auto()
    """We may not, or what it belongs to is not there: somebody has to put that right, and it is sent again."""


class Answer(NamedTuple):
    """What was said of one document."""

    verdict: Verdict
    status: int
    reason: str = ""
    was_there: bool = False
    """It was stored by an earlier request."""


STORED = Answer(Verdict.STORED, 201)
"""What is said of nearly all documents."""
_DUPLICATE = Answer(Verdict.STORED, 409, was_there=True)
_FORBIDDEN = frozenset({401, 403, 404})


def read_answers(response: Mapping[str, Any], count: int) -> list[Answer]:
    """Return the answer for each of *count* documents of a bulk request, in their order.

    Raises:
        ValueError: *response* is not the answer to a bulk request of so many documents.
    """
    items = response.get("items")
    if not isinstance(items, list) or len(items) != count:
        found = f"{len(items)}" if isinstance(items, list) else "none"
        raise ValueError(f"an answer for {count} documents was wanted, not for {found}")
    if response.get("errors") is False:
        return [STORED] * count
    return [_read_item(item) for item in items]


def judge(status: int, reason: str) -> Answer:
    """Return what a status means: of one document, or of a whole request for each document in it."""
    if status in (200, 201):
        return STORED
    if status == 409:
        return _DUPLICATE
    if status in _FORBIDDEN:
        return Answer(Verdict.FORBIDDEN, status, reason)
    if status == 429 or status >= 500:
        return Answer(Verdict.LATER, status, reason)
    return Answer(Verdict.NEVER, status, reason)


def reason_of(error: Any) -> str:
    """Return in words what the server says is wrong, however it says it."""
    if isinstance(error, Mapping):
        cause = error.get("caused_by")
        words = [error.get("type"), error.get("reason"), cause.get("reason") if isinstance(cause, Mapping) else None]
        return ": ".join(str(word) for word in words if word)
    return str(error) if error else ""


def _read_item(item: Any) -> Answer:
    try:
        [result] = item.values()
        status, error = int(result["status"]), result.get("error")
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise ValueError(f"an answer for a document says its status, not {item!r}") from problem
    return STORED if status == 201 else judge(status, reason_of(error))
