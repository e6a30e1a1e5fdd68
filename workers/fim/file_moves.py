"""Renamed files: one change with both names, as soon as it is due; what they hold is verified after it."""

import os

from auditline.workers.common.file_state import FileState, state_of
from auditline.workers.fim.compare import is_same_file, is_to_be_hashed
from auditline.workers.fim.coverage import now_ns
from auditline.workers.fim.dirty import DirtyPath
from auditline.workers.fim.in_hand import InHand
from auditline.workers.fim.record import Recorder
from auditline.workers.fim.unhashed import Unhashed
from auditline.workers.fim.watch import Watch


class FileMoves:
    """Records that what was known under one name has another now; call it within a transaction of the baseline."""

    def __init__(self, watch: Watch, recorder: Recorder, in_hand: InHand, unhashed: Unhashed) -> None:
        self._watch = watch
        self._recorder = recorder
        self._in_hand = in_hand
        self._unhashed = unhashed

    def record(self, dirty: DirtyPath, status: os.stat_result) -> bool:
        """Record that what is known as `dirty.moved_from` is at `dirty.path` now, where `lstat` gives *status*.

        Returns False if it is not so, or if two have changed places: then each is to be compared by itself.
        """
        watch, new, old = self._watch, dirty.path, dirty.moved_from
        if old is None or watch.root is None or watch.scope.is_own(status):
            return False
        moved, there, at_old = watch.baseline.known(old), watch.baseline.known(new), watch.find(old)
        if at_old is None:
            # What a hasher has read of it was told of, if ever, under the name that it had then.
            self._in_hand.make_void(old)
        if moved is None or not is_same_file(moved, status) or (there is not None and there.is_directory):
            return False
        if at_old is not None and (is_same_file(moved, at_old) or (there is not None and is_same_file(there, at_old))):
            return False
        after = self._state(new, status, moved)
        if after is None:
            return False
        self._recorder.change(
            "moved" if there is None else "updated",
            new,
            moved if there is None else there,
            after,
            dirty.detected_by,
            moved_from=old,
            processes=dirty.processes,
        )
        for path in (old, new):
            self._in_hand.make_void(path)
        if is_to_be_hashed(status, watch.settings):
            watch.dirty.put_back(dirty._replace(is_new=False, is_content=True, moved_from=None))
        return True

    def _state(self, path: bytes, status: os.stat_result, known: FileState) -> FileState | None:
        """Return what is at *path* now, as far as is known without reading it; None: it is gone again."""
        if not is_to_be_hashed(status, self._watch.settings):
            return self._unhashed.state(path, status)
        # It was looked at when it had its old name: so whoever compares it next finds that it must be hashed again.
        return state_of(
            status,
            checked_ns=min(known.checked_ns, now_ns()),
            hashes=known.hashes,
            hash_state=known.hash_state,
            xattrs=known.xattrs,
            flags=known.flags,
        )
