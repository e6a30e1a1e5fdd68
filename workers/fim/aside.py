"""Where damaged baselines are kept, for people to look at."""

import logging
import os
from datetime import UTC, datetime
from pathlib import Path

logger = logging.getLogger(__name__)

_COMPANIONS = ("", "-wal", "-shm")
"""The files of one sqlite database, by what follows its name; the database itself first."""
MOST_KEPT = 3


def put_aside(path: Path) -> None:
    """Rename the database at *path*, with its companions, to `<name>.damaged-<time>`; delete the oldest such.

    The database goes first: without it, the next start takes what is left of the companions for leftovers.

    Raises:
        OSError: they cannot be renamed.
    """
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    place = path.with_name(f"{path.stem}.damaged-{time}")
    for companion in _COMPANIONS:
        source = path.with_name(path.name + companion)
        if os.path.lexists(source):
            os.replace(source, f"{place}{companion}")
    _delete_oldest(path)


def _delete_oldest(path: Path) -> None:
    places = sorted(
        place
        for place in path.parent.glob(f"{path.stem}.damaged-*")
        if not place.name.endswith(tuple(filter(None, _COMPANIONS)))
    )
    for place in places[:-MOST_KEPT]:
        for companion in _COMPANIONS:
            try:
                place.with_name(place.name + companion).unlink(missing_ok=True)
            except OSError as error:
                logger.warning("cannot delete %s%s: %s", place, companion, error.strerror)
