"""What becomes of all that is known when file systems are mounted or unmounted: nothing counts as deleted for that.

What is known of a place belongs to what is mounted there. When that is hidden or taken away, it is put on a shelf of
the baseline, and it is taken back, and compared, when the same shows again. What was never seen there is taken as
found. All of it is kept in the baseline, so it is the same whether anybody watched meanwhile or not.
"""

import json
import logging
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from auditline.workers.common.file_state import FileState, from_plain, to_plain
from auditline.workers.common.watch_plan import is_within
from auditline.workers.fim.coverage import now_ns
from auditline.workers.fim.look import Look
from auditline.workers.fim.mounts import Mounted, Places
from auditline.workers.fim.shelves import MOST_SHELVES
from auditline.workers.fim.walk import Walker
from auditline.workers.fim.watch import Watch

logger = logging.getLogger(__name__)

_PLACES, _HIDDEN = "mounted", "hidden by mounts"
_REASON = "mount"

Store = Callable[[Callable[[], None]], bool]
"""Runs something within a transaction; returns whether it was stored."""


class MountsChanged(Exception):
    """What was looked at may be on another file system than what it was compared with."""


class Hidden(NamedTuple):
    """What was known at a place while something else stood there."""

    place: bytes
    """Absolute."""
    key: str
    """Of what stood there."""
    own: FileState | None
    """What was known of the place itself; what lies beneath is on the shelf."""
    is_whole: bool
    """All of it had been looked at."""
    root: bytes
    """What paths were relative to then; absolute."""

    @property
    def shelf(self) -> bytes:
        """The name of the shelf."""
        return self.place + b"\0" + os.fsencode(self.key)


class MountChanges:
    """Keeps what is known in line with what is mounted at and beneath the root."""

    def __init__(self, watch: Watch, walker: Walker, store: Store, leave_root: Callable[[], None]) -> None:
        """*leave_root* is called before anything else is known of the root: something else stands there now."""
        self._watch = watch
        self._walker = walker
        self._store = store
        self._leave_root = leave_root
        self._is_pending = True
        self._is_applying = False
        self.has_other_root = False
        """Something else stands at the root since it was opened; whoever opens it sets this back."""

    @property
    def is_due(self) -> bool:
        """Whether `look` has something to see."""
        return self._is_pending or self._watch.mounts.have_changed()

    def look(self) -> bool:
        """See what is mounted now, if that may have changed; return False if what it means could not be stored."""
        if not self.is_due:
            return True
        self._is_pending = True
        stood, found = self._stored_places(), self._find_places()
        changed = self._find_changed(stood, found)
        for place in changed:
            if place == self._watch.scope.root:
                self._leave_root()
                self.has_other_root = True
            self._walker.drop(self._watch.scope.relative(place))
            self._walker.examiner.inode_numbers.forget()
        self._is_applying = True
        self._is_pending = found != stood and not self._store(lambda: self._apply(stood, found, changed))
        self._is_applying = False
        return not self._is_pending

    @property
    def has_hidden(self) -> bool:
        """Whether anything is known that does not show now."""
        return bool(self._stored_hidden())

    def are_seen(self) -> bool:
        """Say whether `look` has seen what is mounted: if not, what was looked at since may be something else."""
        if self._is_applying or not self.is_due:
            return True
        self._is_pending = True
        return not self._find_changed(self._stored_places(), self._find_places())

    def _find_places(self) -> Places:
        """Return what is mounted where it is our affair."""
        scope = self._watch.scope
        places = self._watch.mounts.places(scope.root)
        scope.set_mount_points(scope.relative(place) for place in places)
        return {place: mounted for place, mounted in places.items() if place == scope.root or self._is_ours(place)}

    def _is_ours(self, place: bytes) -> bool:
        scope, relative = self._watch.scope, self._watch.scope.relative(place)
        if scope.single is not None:
            return relative == scope.single
        return scope.enters(relative.rpartition(b"/")[0]) and (scope.enters(relative) or scope.reports(relative))

    def _find_changed(self, stood: Places, found: Places) -> list[bytes]:
        """Return the places where something else stands now, each before those beneath it."""
        root = self._watch.scope.root
        places = {*stood, *found, *(hidden.place for hidden in self._stored_hidden() if hidden.root == root)}
        return sorted(
            place
            for place in places
            if is_within(place, root)
            and (was := _at(stood, place)) is not None
            and (now := _at(found, place)) is not None
            and was.key != now.key
        )

    def _apply(self, stood: Places, found: Places, changed: list[bytes]) -> None:
        hidden = self._stored_hidden()
        own = {place for place in changed if place in stood or place in found or not _has_above(place, changed)}
        # What is mounted within another one first, or its shelf would lie on that one's.
        for place in reversed(changed):
            hidden.append(self._hide(place, _stands(stood, place), _stands(found, place), is_told=place in own))
        shown: dict[bytes, bool] = {}
        for place in changed:
            now = _stands(found, place)
            known = self._take_back(place, now, hidden)
            if known is not None or place in found or not _has_above(place, changed):
                self._expect(place, _stands(stood, place), now, is_known=known is not None)
                shown[self._watch.scope.relative(place)] = known is None or not known.is_whole
        self._give_up(hidden[:-MOST_SHELVES])
        self._watch.baseline.set_note(_PLACES, json.dumps(_plain_places(found)))
        self._watch.baseline.set_note(_HIDDEN, json.dumps([_plain_hidden(each) for each in hidden[-MOST_SHELVES:]]))
        self._walker.scans.take_as_found(place for place, is_found in shown.items() if is_found)
        self._compare(shown)

    def _hide(self, place: bytes, was: Mounted, now: Mounted, *, is_told: bool) -> Hidden:
        """Put what is known of a place on its shelf, and say so."""
        baseline, relative = self._watch.baseline, self._watch.scope.relative(place)
        is_whole = not self._walker.scans.expect_new(relative) and baseline.is_walked
        hidden = Hidden(place, was.key, baseline.known(relative), is_whole, self._watch.scope.root)
        is_known = hidden.own is not None or self._watch.knows_directory(relative, None)
        baseline.shelve(relative, hidden.shelf)
        baseline.keep(relative, None)
        if is_known and is_told:
            self._tell_hidden(place, was, now)
        return hidden

    def _tell_hidden(self, place: bytes, was: Mounted, now: Mounted) -> None:
        gaps = self._watch.gaps
        names = {"mounted": now.shown, "hidden": was.shown}
        if now.is_point and (not was.is_point or now.is_stacked):
            action = "mounted over it: what is hidden is kept as it was known"
        elif was.is_point and was.is_volatile:
            gaps.tell(_REASON, place, "unmounted: what it held is gone with it", now_ns(), **names)
            return
        elif was.is_point and not now.is_point:
            action = "unmounted: what it held is kept as it was known"
        else:
            action = "another file system is there: what was known is kept"
        gaps.begin(_REASON, place, action, None, was.key, **names)
        logger.info("%s: %s (%s, %s)", os.fsdecode(place), action, was.shown, now.shown)

    def _take_back(self, place: bytes, now: Mounted, hidden: list[Hidden]) -> Hidden | None:
        """Know again what was known when the same stood at *place*; None: it never did."""
        baseline, relative = self._watch.baseline, self._watch.scope.relative(place)
        for known in hidden:
            if (known.place, known.key, known.root) == (place, now.key, self._watch.scope.root):
                hidden.remove(known)
                if not baseline.unshelve(relative, known.shelf):
                    return None
                if known.own is not None:
                    baseline.keep(relative, known.own)
                return known
        return None

    def _expect(self, place: bytes, was: Mounted, now: Mounted, *, is_known: bool) -> None:
        """Let the comparison tell, when it has ended, what was made of what stands there now."""
        gaps = self._watch.gaps
        names = {"mounted": now.shown, "hidden": was.shown}
        action = "compared with what was known before" if is_known else "taken as found"
        if gaps.is_open(_REASON, place, now.key):
            gaps.take_up(_REASON, place, action, now.key, **names)
        else:
            gaps.expect(_REASON, now_ns(), place, action, **names)

    def _give_up(self, hidden: list[Hidden]) -> None:
        """Say of what the baseline has no shelf left for."""
        for each in hidden:
            self._watch.gaps.end(_REASON, each.place, "given up: too much is hidden", each.key)

    def _compare(self, shown: dict[bytes, bool]) -> None:
        """Compare what stands at these places with what is known; the root's own turn comes when it is opened."""
        watch, scope = self._watch, self._watch.scope
        if watch.root is None:
            return
        for place, is_found in shown.items():
            status = watch.find(place)
            # The comparison tells whether it is gone.
            if status is not None and scope.reports(place):
                self._walker.examiner.look(place, status, Look(watch.baseline.known(place), "scan", is_found=is_found))
        self._walker.scans.compare([place for place in shown if scope.enters(place)])

    def _stored_places(self) -> Places:
        stored = json.loads(self._watch.baseline.note(_PLACES) or "{}")
        return {os.fsencode(place): Mounted(*values) for place, values in stored.items()}

    def _stored_hidden(self) -> list[Hidden]:
        return [
            Hidden(os.fsencode(place), key, from_plain(own), is_whole, os.fsencode(root))
            for place, key, own, is_whole, root in json.loads(self._watch.baseline.note(_HIDDEN) or "[]")
        ]


def _at(places: Places, path: bytes) -> Mounted | None:
    """Return what *path* is on; None: that is not known."""
    while path not in places and path not in {b"/", b""}:
        path = path.rpartition(b"/")[0] or b"/"
    return places.get(path)


def _stands(places: Places, path: bytes) -> Mounted:
    """Return what stands at *path*, of which it is known what it is on."""
    if path in places:
        return places[path]
    above = path.rpartition(b"/")[0] or b"/"
    return _stands(places, above)._replace(is_point=False, is_stacked=False)


def _has_above(place: bytes, places: list[bytes]) -> bool:
    return any(other != place and is_within(place, other) for other in places)


def _plain_places(places: Places) -> dict[str, Any]:
    return {os.fsdecode(place): list(mounted) for place, mounted in places.items()}


def _plain_hidden(hidden: Hidden) -> list[Any]:
    place, root = os.fsdecode(hidden.place), os.fsdecode(hidden.root)
    return [place, hidden.key, to_plain(hidden.own), hidden.is_whole, root]
