"""An approval: what a person has decided to be right, written down whole before anything of it is applied.

    line of JSON: identity, kind, time, who, counts
    rows: length of the path, length of the state, path, state as `rows.encode_state` packs it; none: nothing is there
    last: two zero lengths and a checksum of all before it

From the moment that the file has its name, it is decided: whoever may write the baseline applies it, the watcher if one
runs and whoever scans if none does, again from its beginning after a kill, and takes the file away at the end. Whoever
compares waits for that.
"""

import json
import os
import struct
import zlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Self

from auditline.workers.common.disk import replace_file, sync_directory
from auditline.workers.common.errors import StorageError
from auditline.workers.common.file_entry import Coverage
from auditline.workers.common.file_state import FileState
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.rows import decode_row, encode_state

REASON = "approved"
"""Of the entry that tells of it."""
NOTE = "approved"
"""Under which a baseline keeps the last approval."""
_LENGTHS = struct.Struct("<II")
_CHECKSUM = struct.Struct("<I")
_NOTHING = 0xFFFFFFFF
"""In place of a state's length."""
_ROWS_AT_ONCE = 2000
_FILE_MODE = 0o640


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Who approved what, and when."""

    identity: str
    """Differs for each."""
    kind: str
    """`init`: nothing that was approved before stays; `update`: the rest does."""
    time_ns: int
    who: Mapping[str, int | str]
    counts: Mapping[str, int]
    """How many paths were added, removed, changed."""

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Return the approval that a baseline keeps; None: nothing was ever approved."""
        return cls(**json.loads(text)) if text else None

    @property
    def occasion(self) -> str:
        """When it was, and whose, as people read it."""
        return f"{timestamp_of_ns(self.time_ns)} by {self.who.get('user', self.who.get('uid'))}"

    def to_text(self) -> str:
        """Return it as a baseline keeps it."""
        return json.dumps(asdict(self))


def approval_path(baseline: Path) -> Path:
    """Return where an approval for the baseline in that file lies until it is applied."""
    return baseline.with_suffix(".approval")


def last_approval(baseline: Path) -> Approval | None:
    """Return what was approved last, as a file beside the baseline says: one that was put back does not know.

    Raises:
        StorageError: the file is damaged, or cannot be read.
    """
    return read_approval(_last_path(baseline))


class ApprovalWriter:
    """Writes the file; it counts from `finish` on."""

    def __init__(self, path: Path) -> None:
        """Begin the file that is to be at *path*.

        Raises:
            StorageError: it cannot be made.
        """
        self._path = path
        self._unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
        self._rows = self._open(self._unfinished.with_suffix(".rows"))

    def put(self, path: bytes, state: FileState | None) -> None:
        """Approve that *path* has *state*; None: that nothing is there."""
        packed = b"" if state is None else encode_state(0, path, state)
        head = _LENGTHS.pack(len(path), _NOTHING if state is None else len(packed))
        self._rows.write(head + path + packed)

    def finish(self, approval: Approval) -> None:
        """Let it be decided.

        Raises:
            StorageError: it cannot be stored.
        """
        try:
            self._assemble(approval)
            os.replace(self._unfinished, self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Leave nothing of it behind."""
        self._rows.close()
        for path in (self._unfinished, self._unfinished.with_suffix(".rows")):
            path.unlink(missing_ok=True)

    def _assemble(self, approval: Approval) -> None:
        self._rows.seek(0)
        checksum = 0
        with self._open(self._unfinished) as file:
            chunk = approval.to_text().encode() + b"\n"
            while chunk:
                checksum = zlib.crc32(chunk, checksum)
                file.write(chunk)
                chunk = self._rows.read(1 << 20)
            end = _LENGTHS.pack(0, 0)
            file.write(end + _CHECKSUM.pack(zlib.crc32(end, checksum)))
            file.flush()
            os.fsync(file.fileno())

    def _open(self, path: Path) -> IO[bytes]:
        try:
            return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE), "w+b")
        except OSError as error:
            raise StorageError(f"{path}: cannot be made: {error.strerror}") from error


def read_approval(path: Path) -> Approval | None:
    """Return what waits to be applied; None: nothing does.

    Raises:
        StorageError: the file is damaged, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _read_head(path, file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error


def apply(baseline: Baseline, path: Path) -> Generator[None, None, Approval | None]:
    """Apply what waits at *path*, a transaction each turn; return what it was, None if nothing waits.

    Raises:
        StorageError: the file is damaged, and put aside; or the baseline cannot be written, and it waits on.
    """
    if not path.exists():
        return None
    _check(path)
    approval = read_approval(path)
    if approval is None:
        return None
    last = Approval.of(baseline.note(NOTE))
    if last is None or last.identity != approval.identity:
        if approval.kind == "init":
            with baseline.transaction():
                baseline.approved.drop()
        rows = _read_rows(path)
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            with baseline.transaction():
                for relative, state in some:
                    baseline.approved.put(relative, state)
            yield
        with baseline.transaction():
            baseline.set_note(NOTE, approval.to_text())
            baseline.append(_entry(baseline, approval), None, None)
    _note_last(baseline.path, approval)
    path.unlink(missing_ok=True)
    return approval


def _note_last(baseline: Path, approval: Approval) -> None:
    path = _last_path(baseline)
    try:
        replace_file(path, f"{approval.to_text()}\n".encode())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error


def _last_path(baseline: Path) -> Path:
    return baseline.with_suffix(".approved")


def _entry(baseline: Baseline, approval: Approval) -> Coverage:
    detail = {"kind": approval.kind, **approval.counts, **approval.who}
    root = baseline.root
    start = approval.time_ns
    return Coverage(
        identity=approval.identity, path=root, reason=REASON, action="approved", start_ns=start, end_ns=start,
        detail=detail,
    )  # fmt: skip


def _read_head(path: Path, file: IO[bytes]) -> Approval:
    try:
        approval = Approval.of(file.readline().decode())
    except (ValueError, TypeError) as error:
        raise StorageError(f"{path} is damaged: {error}") from error
    if approval is None:
        raise StorageError(f"{path} is damaged: it is empty")
    return approval


def _check(path: Path) -> None:
    checksum, last = 0, b""
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            both = last + chunk
            last = both[-_CHECKSUM.size :]
            checksum = zlib.crc32(both[: -_CHECKSUM.size], checksum)
    if last != _CHECKSUM.pack(checksum):
        aside = path.with_suffix(".approval-damaged")
        path.replace(aside)
        raise StorageError(f"{path} is damaged: nothing of it is approved; it is put aside as {aside}")


def _read_rows(path: Path) -> Iterator[tuple[bytes, FileState | None]]:
    with path.open("rb") as file:
        _read_head(path, file)
        while True:
            path_bytes, state_bytes = _LENGTHS.unpack(file.read(_LENGTHS.size))
            if (path_bytes, state_bytes) == (0, 0):
                return
            relative = file.read(path_bytes)
            state = None
            if state_bytes != _NOTHING:
                state = decode_row((0, relative, file.read(state_bytes)))
            yield relative, state
