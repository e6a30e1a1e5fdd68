"""Whatever the order of writes, moves, acknowledgements, errors and kills: a baseline is what a plain dict says."""

import copy
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from auditline.workers.common.file_entry import Entry, FileChange, decode_entries
from auditline.workers.common.file_state import FileState
from auditline.workers.fim.baseline import Baseline

STATE = FileState(0o100644, 0, 0, 0, 1234, 2049, 1, 3, 4, 5, 0, None, b"\x04" + bytes(32), "stable", 6)
PATHS = [b"", b"a", b"b", b"a/x", b"a/y", b"a/x/q", b"a.b/z", b"a0/z", b"\xff\n/\x01", b"d" * 255 + b"/" + b"n" * 255]
DIRECTORIES = sorted({path.rpartition(b"/")[0] for path in PATHS})
KEYS = [b"", b"7:1", b"7:1/", b"\0\xff"]
SIZES = [0, 1, 2**63 - 1, 2**63, 2**80]

paths = st.sampled_from(PATHS)
states = st.one_of(
    st.none(),
    st.builds(
        lambda size, target: STATE._replace(size=size, target=target),
        st.sampled_from(SIZES),
        st.sampled_from([None, b"", b"t"]),
    ),
)
writes = st.one_of(
    st.tuples(st.just("keep"), paths, states),
    st.tuples(st.just("append"), st.one_of(st.none(), paths), states),
    st.tuples(st.just("note"), paths, st.none()),
    st.tuples(st.just("walked"), paths, st.none()),
    st.tuples(st.just("look ahead"), st.none(), st.none()),
)
moves = st.one_of(
    st.tuples(st.just("move"), st.sampled_from(DIRECTORIES[1:]), st.sampled_from(DIRECTORIES[1:])),
    st.tuples(st.just("shelve"), st.sampled_from(DIRECTORIES), st.sampled_from(KEYS)),
    st.tuples(st.just("unshelve"), st.sampled_from(DIRECTORIES), st.sampled_from(KEYS)),
)
steps = st.one_of(writes, moves)
Write = tuple[str, bytes | None, FileState | bytes | None]


def entry_of(path: bytes | None, state: FileState | None) -> FileChange:
    return FileChange(action="updated", path=path or b"", before=None, after=state, detected_by="event", time_ns=1)


def read_batch(baseline: Baseline, number: int) -> list[Entry | ValueError]:
    return [entry for _, entry in decode_entries(baseline.read(number).payload)]


class Interrupted(Exception):
    """Ends a transaction."""


class Model:
    """What a baseline should be."""

    def __init__(self) -> None:
        self.seen: dict[bytes, FileState] = {}
        self.shelves: dict[bytes, dict[bytes, FileState]] = {}
        self.gathered: list[FileChange] = []
        """Entries of the transaction that is open."""
        self.batches: list[list[FileChange]] = []
        """Of all numbers from 1."""
        self.done = 0
        self.note = ""
        self.is_walked = False

    def write(self, kind: str, path: bytes | None, what: FileState | bytes | None) -> None:
        if isinstance(what, bytes):
            self.move(kind, path or b"", what)
        elif kind == "note":
            self.note = repr(path)
        elif kind == "walked":
            self.is_walked = True
        elif path is not None:
            self.seen.pop(path, None)
            if what is not None:
                self.seen[path] = what
        if kind == "append" and not isinstance(what, bytes):
            self.gathered.append(entry_of(path, what))

    def commit(self) -> None:
        if self.gathered:
            self.batches.append(self.gathered)
            self.gathered = []

    def count_entries(self, last: int | None = None) -> int:
        """Return how many there are in the batches up to *last*, or in all."""
        return sum(map(len, self.batches[:last]))

    def move(self, kind: str, directory: bytes, what: bytes) -> None:
        if kind == "move":
            moved = self.take_out(directory)
            self.take_out(what)
            self.put_in(what, moved)
        elif kind == "shelve":
            self.shelves[what] = self.take_out(directory)
        elif what in self.shelves:
            self.take_out(directory)
            self.put_in(directory, self.shelves.pop(what))

    def take_out(self, directory: bytes) -> dict[bytes, FileState]:
        prefix = directory + b"/" if directory else b""
        inner = [path for path in self.seen if path and path.startswith(prefix)]
        return {path[len(prefix) :]: self.seen.pop(path) for path in inner}

    def put_in(self, directory: bytes, inner: dict[bytes, FileState]) -> None:
        prefix = directory + b"/" if directory else b""
        self.seen |= {prefix + path: state for path, state in inner.items()}


class BaselineMachine(RuleBasedStateMachine):
    """A baseline and its model take the same."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.model = Model()
        self.baseline = self._open()
        self.epoch = self.baseline.epoch

    def _open(self) -> Baseline:
        return Baseline.open(self.folder, "fim-etc", b"/etc", max_outbox_entries=5)

    def _write(self, kind: str, path: bytes | None, what: FileState | bytes | None) -> None:
        if isinstance(what, bytes):
            self._move(kind, path or b"", what)
        elif kind == "append":
            self.baseline.append(entry_of(path, what), path, what)
        elif kind == "note":
            self.baseline.set_note("name", repr(path))
        elif kind == "walked":
            self.baseline.mark_walked()
        elif kind == "look ahead":
            self.baseline.look_ahead(PATHS)
            self.baseline.look_for(DIRECTORIES)
        elif path is not None:
            self.baseline.keep(path, what)
        self.model.write(kind, path, what)

    def _move(self, kind: str, directory: bytes, what: bytes) -> None:
        if kind == "move":
            self.baseline.move_directory(directory, what)
        elif kind == "shelve":
            self.baseline.shelve(directory, what)
        else:
            assert self.baseline.unshelve(directory, what) == (what in self.model.shelves)

    @rule(write=steps)
    def write(self, write: Write):
        self._write(*write)
        self.model.commit()

    @rule(some=st.lists(steps, max_size=12))
    def write_in_one_transaction(self, some: list[Write]):
        with self.baseline.transaction():
            for write in some:
                self._write(*write)
            self._reads_are_right()
        self.model.commit()

    @rule(some=st.lists(steps, max_size=12))
    def write_and_roll_back(self, some: list[Write]):
        model, self.model = self.model, copy.deepcopy(self.model)
        with suppress(Interrupted), self.baseline.transaction():
            for write in some:
                self._write(*write)
            self._paths_are_right()
            raise Interrupted
        self.model = model

    @rule(ahead=st.integers(0, 12))
    def forget(self, ahead: int):
        number = min(self.model.done + ahead, len(self.model.batches))
        self.baseline.forget(self.model.done + ahead, b"state %d" % number)
        self.model.done = max(self.model.done, number)

    @rule(some=st.lists(steps, max_size=5), ahead=st.integers(0, 4))
    def forget_within_a_transaction(self, some: list[Write], ahead: int):
        number = min(self.model.done + ahead, len(self.model.batches))
        with self.baseline.transaction():
            self.baseline.forget(number, b"state")
            for write in some:
                self._write(*write)
        self.model.commit()
        self.model.done = max(self.model.done, number)

    @rule()
    def restart(self):
        self.baseline.close()
        self.baseline = self._open()

    @rule()
    def kill(self):
        folder = Path(tempfile.mkdtemp()) / "after"
        shutil.copytree(self.folder, folder)
        self.baseline.close()
        shutil.rmtree(self.folder)
        self.folder = folder
        self.baseline = self._open()

    @invariant()
    def everything_is_right(self):
        self._reads_are_right()
        model, baseline = self.model, self.baseline
        last_number, done_entry, last_entry = len(model.batches), model.count_entries(model.done), model.count_entries()
        assert (baseline.done_number, baseline.last_number) == (model.done, last_number)
        assert (baseline.done_entry, baseline.last_entry) == (done_entry, last_entry)
        assert [read_batch(baseline, number) for number in range(model.done + 1, last_number + 1)] == model.batches[
            model.done :
        ]
        assert baseline.counts() == (len(model.seen), last_entry - done_entry)
        assert baseline.is_full == (last_entry - done_entry >= 5)
        assert (baseline.epoch, baseline.was_rebuilt, baseline.is_behind) == (self.epoch, "", False)
        assert self._directories_in_use() == self._directories_kept() == set(baseline.known_directories())

    def _reads_are_right(self) -> None:
        self._paths_are_right()
        assert (self.baseline.note("name"), self.baseline.is_walked) == (self.model.note, self.model.is_walked)

    def _paths_are_right(self) -> None:
        known, baseline = self.model.seen, self.baseline
        assert {path: baseline.known(path) for path in PATHS} == {path: known.get(path) for path in PATHS}
        for directory in DIRECTORIES:
            prefix = directory + b"/" if directory else b""
            beneath = list(baseline.known_beneath(directory))
            assert baseline.has_directory(directory) == (
                directory in {path.rpartition(b"/")[0] for path in known if path}
            )
            assert sorted(beneath) == sorted(path for path in known if path and path.startswith(prefix))
            assert dict(baseline.known_page(directory, b"", 1000)) == {
                path[len(prefix) :]: state
                for path, state in known.items()
                if path and path.rpartition(b"/")[0] == directory
            }

    def _directories_in_use(self) -> set[bytes]:
        return {path.rpartition(b"/")[0] for path in self.model.seen if path}

    def _directories_kept(self) -> set[bytes]:
        with closing(sqlite3.connect(self.folder / "fim-etc.sqlite")) as connection:
            return {path for (path,) in connection.execute("SELECT path FROM directories") if path[:1] != b"\0"}

    def teardown(self):
        if hasattr(self, "baseline"):
            self.baseline.close()
            shutil.rmtree(self.folder)


BaselineMachine.TestCase.settings = settings(deadline=None, max_examples=30, stateful_step_count=30)
TestBaselineMachine = BaselineMachine.TestCase
