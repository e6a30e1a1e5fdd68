"""Dead letters for people: which there are, and giving them back to the sender.

The sender alone talks to the server. What is to be sent again is one more series of segments that it follows, and a
segment gets there by being renamed: whoever is killed, and when, it is in one place or the other.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from auditline.plugins.outputs.elasticsearch import RESEND, cursor_path, dead_letter_directory, resend_directory
from auditline.plugins.outputs.positions import Position, find_position, offset_behind
from auditline.plugins.outputs.segment_files import DirectoryLock, SegmentFile, list_segments, segment_name
from auditline.workers.common.disk import sync_directory
from auditline.workers.common.errors import BusyError, StorageError
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.dead_letters import read_letters
from auditline.workers.elasticsearch.documents import Letter


class KeptLetter(NamedTuple):
    """One dead letter."""

    letter: Letter
    is_waiting: bool
    """It was given back, and the server has not answered yet."""


class GivenBack(NamedTuple):
    """What came of giving dead letters back."""

    documents: int
    left: int
    """For these there is no room before those are answered that wait."""


def list_letters(state_directory: Path, output: str) -> Iterator[KeptLetter]:
    """Yield the dead letters of an output, those first that were given back.

    Raises:
        StorageError: they cannot be read.
    """
    done = find_position(cursor_path(state_directory, output, RESEND))
    try:
        for segment in list_segments(resend_directory(state_directory, output)):
            yield from (KeptLetter(letter, is_waiting=True) for letter in _read_behind(segment, done))
        for segment in list_segments(dead_letter_directory(state_directory, output)):
            yield from (KeptLetter(letter, is_waiting=False) for letter in _read_behind(segment, None))
    except OSError as error:
        raise _unusable(output, error) from error


def give_back(state_directory: Path, settings: ElasticsearchSettings) -> GivenBack:
    """Give the sender all dead letters of an output, oldest first, as far as half of their room takes.

    The other half is for those that the server refuses meanwhile, so that none has to be deleted.

    Raises:
        BusyError: somebody else does so now.
        StorageError: they cannot be moved.
    """
    letters, resends = (find(state_directory, settings.name) for find in (dead_letter_directory, resend_directory))
    try:
        segments = list_segments(letters)
        if not segments:
            return GivenBack(0, 0)
        lock = DirectoryLock(resends)
        try:
            done = find_position(cursor_path(state_directory, settings.name, RESEND))
            given_back = _move(segments, resends, done, settings)
            sync_directory(resends)
            sync_directory(letters)
        finally:
            lock.release()
    except BlockingIOError as error:
        raise BusyError(f"outputs.{settings.name}: dead letters are given back by another command now") from error
    except OSError as error:
        raise _unusable(settings.name, error) from error
    return given_back


def is_sender_running(state_directory: Path, output: str) -> bool:
    """Return whether somebody follows what is given back."""
    cursor = cursor_path(state_directory, output, RESEND)
    with suppress(FileNotFoundError), cursor.with_name(f"{cursor.name}.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _move(
    segments: list[SegmentFile], directory: Path, done: Position | None, settings: ElasticsearchSettings
) -> GivenBack:
    waiting = list_segments(directory)
    held_bytes = sum(segment.size for segment in waiting)
    # Behind all that the sender has ever followed there.
    counter = max([segment.counter for segment in waiting] + ([done.counter] if done else [0]))
    count = left = 0
    for segment in segments:
        if left or (held_bytes and held_bytes + segment.size > settings.dead_letter_bytes // 2):
            left += _count_letters(segment.path)
            continue
        counter += 1
        path = directory / segment_name(counter)
        with suppress(FileNotFoundError):  # deleted by the sender, which had no more room
            os.rename(segment.path, path)
            held_bytes += segment.size
            count += _count_letters(path)
    return GivenBack(count, left)


def _count_letters(path: Path) -> int:
    with suppress(FileNotFoundError):
        return sum(1 for _ in read_letters(path))
    return 0


def _read_behind(segment: SegmentFile, done: Position | None) -> Iterator[Letter]:
    with suppress(FileNotFoundError):  # sent, or given back, since it was listed
        yield from read_letters(segment.path, offset_behind(segment, done))


def _unusable(output: str, error: OSError) -> StorageError:
    return StorageError(f"outputs.{output}: dead letters cannot be used: {error.filename}: {error.strerror}")
