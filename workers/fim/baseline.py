"""What a watcher knows of the paths beneath its root, and the changes that the router has not yet done.

An sqlite database with one writer; others may read it meanwhile. `seen` holds one state per path, and moves on in the
transaction that puts the entry about it into the outbox, where that stays until it is done: whoever has the one has
the other. All that was committed survives kill -9.
"""

import logging
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.errors import StorageError
from auditline.workers.common.file_entry import Entry
from auditline.workers.common.file_state import FileState
from auditline.workers.common.host import boot_id
from auditline.workers.fim.approved import Approved
from auditline.workers.fim.claim import Claim
from auditline.workers.fim.database import BaselineDamaged, Database
from auditline.workers.fim.directories import Directories, prefix_of
from auditline.workers.fim.opening import open_or_make
from auditline.workers.fim.outbox import Outbox, Position
from auditline.workers.fim.schema import STORE_META, Meta, MetaValue, meta_row
from auditline.workers.fim.seen import Seen
from auditline.workers.fim.shelves import Shelves

__all__ = ["Baseline", "BaselineDamaged", "Counts"]

logger = logging.getLogger(__name__)

BASELINES = "baselines"
"""The directory for them, in that of the state."""
MOST_OUTBOX_ENTRIES = 100_000
_DIRECTORY_MODE = 0o750
_TELL_EVERY = 1000
_STATES_AT_ONCE = 256


class Counts(NamedTuple):
    """How much a baseline holds."""

    seen_rows: int
    outbox_entries: int


class Baseline:
    """Implements `common.batch.Store`; paths are relative to the root, which itself is b"".

    Within a `transaction`, all that is read shows what was written. What is written outside of one is a transaction
    of its own. Whatever raises `BaselineDamaged` is to be closed and opened anew, which makes a new baseline.
    """

    def __init__(self, name: str, database: Database, claim: Claim, meta: Meta, max_outbox_entries: int) -> None:
        self._name = name
        self.path = database.path
        """Of the database; what else belongs to it lies beside it."""
        self._database = database
        self._claim = claim
        self._meta = meta
        self._max_outbox_entries = max_outbox_entries
        self._directories = Directories(database)
        self._seen = Seen(database, self._directories)
        self._shelves = Shelves(database, self._directories)
        self.approved = Approved(self._seen, self._directories, self._shelves)
        self._done = Position(int(meta["done_number"]), int(meta["done_entry"]))
        self._outbox = Outbox(database, self._done)
        self._unstored: tuple[Position, bytes] | None = None
        self._failures = 0
        self.was_rebuilt = str(meta["rebuilt"])
        """Why it was made in place of another one; "" if it was not, or if its first walk had ended before."""
        self.is_behind = claim.transactions > self._transactions
        """It is older than it was once: a part of it was damaged, or somebody put a copy in its place."""

    @classmethod
    def open(
        cls, directory: Path, name: str, root: bytes, *, max_outbox_entries: int = MOST_OUTBOX_ENTRIES
    ) -> "Baseline":
        """Open or make the baseline *name* in *directory*, that of what lies beneath *root*.

        One that is damaged or of another root or version is put aside, and a new one made: see `was_rebuilt`.

        Raises:
            BusyError: another process has it open, or holds a lock on the database.
            StorageError: it cannot be opened or made.
        """
        path = directory / f"{name}.sqlite"
        try:
            directory.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"baseline {path}: cannot be made: {error.strerror}") from error
        with ExitStack() as opened:
            claim = Claim(directory / f"{name}.claim")
            opened.callback(claim.close)
            connection, meta = open_or_make(path, root, claim)
            database = Database(path, connection, claim.tell_damage)
            opened.callback(database.close)
            baseline = cls(name, database, claim, meta, max_outbox_entries)
            baseline._begin_epoch()
            opened.pop_all()
        return baseline

    @property
    def source(self) -> str:
        """See `Store`."""
        return self._name

    @property
    def root(self) -> bytes:
        """The directory that it is about."""
        root = self._meta["root"]
        return root if isinstance(root, bytes) else b""

    @property
    def epoch(self) -> str:
        """See `Store`; also new in another boot, because a power cut may have taken what was sent."""
        return str(self._meta["epoch"])

    @property
    def done_number(self) -> int:
        """See `Store`."""
        return self._done.number

    @property
    def done_entry(self) -> int:
        """See `Recorder`."""
        return self._done.entry

    @property
    def done_state(self) -> bytes:
        """See `Store`."""
        state = self._meta["done_state"]
        return state if isinstance(state, bytes) else b""

    @property
    def last_number(self) -> int:
        """See `Store`; what is not committed has no number yet."""
        return self._outbox.last.number

    @property
    def last_entry(self) -> int:
        """See `Recorder`."""
        return self._outbox.last.entry

    @property
    def is_full(self) -> bool:
        """Whether the outbox holds as many entries as it may: append nothing until some are done.

        What `forget` could not store counts as done, because the next transaction stores it.
        """
        return self._outbox.appended_entries - self._told.entry >= self._max_outbox_entries

    @property
    def is_walked(self) -> bool:
        """Whether a first walk has ended."""
        return bool(self._meta["walked"])

    def counts(self) -> Counts:
        """Return how much it holds."""
        return Counts(self._seen.count(), self._outbox.appended_entries - self._done.entry)

    def known(self, path: bytes) -> FileState | None:
        """Return the state of *path*; None: it is not known, or known to be gone."""
        return self._seen.get(path)

    def look_ahead(self, paths: Collection[bytes]) -> None:
        """Read what `known` and `has_directory` will be asked for each of *paths*, in less time than one by one."""
        self._seen.look_ahead(paths)

    def must_look_for(self, directory: bytes) -> bool:
        """Say whether a statement is needed to find out if anything in *directory* is known."""
        return not self._directories.is_remembered(directory)

    def look_for(self, directories: Iterable[bytes]) -> None:
        """Find out if anything in each of *directories* is known, in less time than one by one."""
        self._directories.look_ahead(directories)

    def known_page(self, directory: bytes, after: bytes, most: int) -> list[tuple[bytes, FileState]]:
        """Return what lies directly in *directory*: *most* names greater than *after*, in order, fewer at the end."""
        return self._seen.page_of(directory, after, most)

    def known_beneath(self, directory: bytes) -> Iterator[bytes]:
        """Yield the paths beneath *directory* that are known, each directory before what is in it.

        The caller may write meanwhile; a path that comes or goes meanwhile may be yielded or not.
        """
        return self._seen.beneath(directory)

    def known_backwards(self, directory: bytes) -> Iterator[bytes]:
        """Yield the same, each directory after what is in it."""
        return self._seen.beneath_backwards(directory)

    def known_states(self) -> Iterator[tuple[bytes, FileState]]:
        """Yield all paths that are known with their states, one directory after the other, as `known_beneath` does."""
        self._seen.write()
        for _, directory in self._directories.beneath(b""):
            last, prefix = b"", prefix_of(directory)
            while page := self._seen.page_of(directory, last, _STATES_AT_ONCE):
                for name, state in page:
                    yield prefix + name, state
                last = page[-1][0]

    def known_directories(self) -> Iterator[bytes]:
        """Yield the paths of all directories with something known in them, each before those in it.

        The caller may write meanwhile.
        """
        self._seen.write()
        for _, path in self._directories.beneath(b""):
            yield path

    def has_directory(self, path: bytes) -> bool:
        """Say whether anything directly in a directory of that path is known, or has been until lately."""
        return self._directories.has(path)

    def has_beneath(self, path: bytes) -> bool:
        """Say the same of all directories beneath that path."""
        return self._directories.has_beneath(path)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written in it is committed together at its end, or, after an error, not at all.

        Within another one it is a part of that.

        Raises:
            StorageError: something cannot be written, such as on a full disk; it may be tried again later.
        """
        if self._database.is_writing:
            yield
            return
        self._database.begin()
        before = dict(self._meta)
        try:
            yield
            self._seen.write()
            self._outbox.close_batch()
            done = self._apply_done()
            self._shelves.delete_some()
            self._set_meta("transactions", self._transactions + 1)
            self._database.commit()
        except BaseException:
            self._database.roll_back()
            self._directories.forget_ids()
            self._seen.is_rolled_back()
            self._shelves.is_rolled_back()
            self._outbox.is_rolled_back()
            self._meta = before
            raise
        self._outbox.is_committed()
        if done is not None:
            self._done, self._unstored = done, None
        self._claim.tell(self.epoch, self._transactions)
        self._database.shrink()

    def keep(self, path: bytes, state: FileState | None) -> None:
        """Let *state* be what was seen of *path*, without an entry; None: nothing is there."""
        if self._database.is_writing:
            self._seen.put(path, state)
        else:
            with self.transaction():
                self._seen.put(path, state)

    def append(self, entry: Entry, path: bytes | None, state: FileState | None) -> None:
        """Put *entry* into the outbox, and let *state* be what was seen of *path* (None: nothing is there).

        With *path* None, nothing becomes of it. A batch has as many of a transaction's entries as it may hold. Ask
        `is_full` before.
        """
        if not self._database.is_writing:
            with self.transaction():
                self.append(entry, path, state)
            return
        if path is not None:
            self._seen.put(path, state)
        self._outbox.append(entry)

    def move_directory(self, old: bytes, new: bytes) -> None:
        """Let what is known in and beneath *old* be known in and beneath *new* instead; neither may be the root.

        Of what was known there before, nothing is: record that before. The rows of *old* and *new* themselves, which
        lie in other directories, stay as they are.
        """
        with self.transaction():
            self._seen.write()
            self._shelves.move(old, new)

    def exchange_directories(self, one: bytes, other: bytes) -> None:
        """Let what is known in and beneath *one* be known in and beneath *other* instead, and the other way round.

        Neither may lie in the other. Their own rows stay as they are.
        """
        with self.transaction():
            self._seen.write()
            self._shelves.exchange(one, other)

    def shelve(self, directory: bytes, key: bytes) -> None:
        """Know nothing any more in and beneath *directory*, until it is taken back from the shelf *key*.

        There is room for `MOST_SHELVES`: then the oldest is dropped, as is one with the same key. The row of
        *directory* itself, which lies in another one, stays as it is.
        """
        with self.transaction():
            self._seen.write()
            self._shelves.put(directory, key)

    def unshelve(self, directory: bytes, key: bytes) -> bool:
        """Know again, in and beneath *directory*, what is on the shelf *key*, nothing else; False: there is none."""
        with self.transaction():
            self._seen.write()
            return self._shelves.take(directory, key)

    def mark_walked(self) -> None:
        """Keep that a first walk has ended."""
        with self.transaction():
            self._set_meta("walked", 1)
            self._set_meta("rebuilt", "")

    def note(self, name: str) -> str:
        """Return the text that `set_note` was given; "" if it was not."""
        return str(self._meta.get(f"note {name}", ""))

    def set_note(self, name: str, text: str) -> None:
        """Keep a small text under *name*."""
        with self.transaction():
            self._set_meta(f"note {name}", text)

    def read(self, number: int) -> Batch:
        """See `Store`."""
        if not self._done.number < number <= self._outbox.last.number:
            raise StorageError(f"baseline {self._name}: batch {number} is not kept")
        return Batch(number, BatchKind.FILE, b"", self._outbox.read(number))

    def forget(self, number: int, state: bytes) -> None:
        """See `Store`.

        When it cannot be stored, such as on a full disk, that is told, and `done_number` follows with the next
        transaction that succeeds.

        Raises:
            BaselineDamaged: the database is damaged.
        """
        number = min(number, self._outbox.last.number)
        if number <= self._told.number:
            return
        self._unstored = (self._outbox.position(number), state)
        if self._database.is_writing:
            return
        try:
            with self.transaction():
                pass
        except BaselineDamaged:
            raise
        except StorageError as error:
            self._tell_failure(error)

    def close(self) -> None:
        """Let go of the files and of the lock."""
        self._database.close()
        self._claim.close()

    def _begin_epoch(self) -> None:
        """Choose a new epoch if numbers may have been given that are not in the database, and in another boot."""
        if self.is_behind or self._claim.epoch != self.epoch or self._meta["boot"] != boot_id():
            with self.transaction():
                self._set_meta("epoch", secrets.token_hex(8))
                self._set_meta("boot", boot_id())
        self._claim.tell(self.epoch, self._transactions)

    @property
    def _told(self) -> Position:
        """The last batch that the router said is done, stored or not."""
        return self._unstored[0] if self._unstored else self._done

    @property
    def _transactions(self) -> int:
        return int(self._meta["transactions"])

    def _apply_done(self) -> Position | None:
        """Write what `forget` left to be written; return the batch that is done then."""
        if self._unstored is None:
            return None
        done, state = self._unstored
        self._outbox.delete(done.number)
        self._set_meta("done_number", done.number)
        self._set_meta("done_entry", done.entry)
        if state != self.done_state:
            self._set_meta("done_state", state)
        return done

    def _tell_failure(self, error: StorageError) -> None:
        self._failures += 1
        if self._failures % _TELL_EVERY == 1:
            logger.error("%s (%d times so far)", error, self._failures)

    def _set_meta(self, name: str, value: MetaValue) -> None:
        self._database.change(STORE_META, meta_row(name, value))
        self._meta[name] = value
