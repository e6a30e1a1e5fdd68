"""What the service itself writes to, so that no watcher reports it: each report would be the cause of the next one."""

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from auditline.workers.common.segment_names import SEGMENT_PATTERN
from auditline.workers.common.settings import SegmentsSettings, Settings

Identity = tuple[int, int]
"""Device and inode: the same directory or file under whatever path it can be reached."""

_SEGMENT = re.compile(SEGMENT_PATTERN.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFiles:
    """Our own directories and files; paths are absolute, symbolic links resolved."""

    directories: tuple[bytes, ...] = ()
    """State and run directory: ours with all that is in them."""
    segment_directories: tuple[bytes, ...] = ()
    """Directories of which only our segments are ours."""
    identities: Mapping[Identity, bytes] = field(default_factory=dict)
    """All of these, and the directories in them, with their paths: mounted a second time they have others as well."""
    file_identities: frozenset[Identity] = frozenset()
    """What stdout and stderr write to."""


def find_own_files(settings: Settings, descriptors: Sequence[int] = (1, 2)) -> OwnFiles:
    """Return what is ours, once the directories are made; *descriptors* are those of stdout and stderr.

    Only the supervisor can say: the workers have neither.
    """
    directories = [_resolve(path) for path in (settings.state.directory, settings.run.directory)]
    segments = [
        _resolve(output.directory) for output in settings.enabled_outputs if isinstance(output, SegmentsSettings)
    ]
    known = [*segments, *directories, *(path for directory in directories for path in _list_directories(directory))]
    return OwnFiles(
        directories=tuple(directories),
        segment_directories=tuple(segments),
        identities={identity: path for path in known for identity in _identity_at(path)},
        file_identities=frozenset(_regular_files(descriptors)),
    )


def is_segment_name(name: bytes) -> bool:
    """Whether a file of that name in a segments directory is a segment of ours."""
    return _SEGMENT.fullmatch(name) is not None


def identity_of(status: os.stat_result) -> Identity:
    """Return what tells one file from all others."""
    return status.st_dev, status.st_ino


def _resolve(path: os.PathLike[str]) -> bytes:
    return os.path.realpath(os.fsencode(path))


def _list_directories(directory: bytes) -> list[bytes]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _identity_at(path: bytes) -> Iterator[Identity]:
    with contextlib.suppress(OSError):
        yield identity_of(os.lstat(path))


def _regular_files(descriptors: Iterable[int]) -> Iterator[Identity]:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                yield identity_of(status)
