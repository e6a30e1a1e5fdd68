"""What a person has approved: a second state of each path, which moves with nothing that happens.

It lies in the tables of what was seen, in directories that no real path has: renames and mounts do not reach them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from auditline.workers.common.file_state import FileState

if TYPE_CHECKING:
    from auditline.workers.fim.directories import Directories
    from auditline.workers.fim.seen import Seen
    from auditline.workers.fim.shelves import Shelves

_HIDDEN = b"\0approved"
_ROOT = _HIDDEN + b"/tree"
"""Of the watched directory itself; what lies in it has this before its path."""


class Approved:
    """Paths are relative to the root, which itself is b""; to write, call it within a transaction."""

    def __init__(self, seen: "Seen", directories: "Directories", shelves: "Shelves") -> None:
        self._seen = seen
        self._directories = directories
        self._shelves = shelves

    def get(self, path: bytes) -> FileState | None:
        """Return the state that was approved of *path*; None: that nothing is there."""
        return self._seen.get(_hide(path))

    def page_of(self, directory: bytes, after: bytes, most: int) -> list[tuple[bytes, FileState]]:
        """Return what lies directly in *directory*: *most* names greater than *after*, in order, fewer at the end."""
        return self._seen.page_of(_hide(directory), after, most)

    def directories(self, top: bytes) -> Iterator[bytes]:
        """Yield the directory *top* and those beneath it in which something was approved, each before those in it."""
        for _, hidden in self._directories.beneath(_hide(top)):
            yield _show(hidden)

    def put(self, path: bytes, state: FileState | None) -> None:
        """Approve that *path* has *state*; None: that nothing is there."""
        self._seen.put(_hide(path), state)

    def drop(self) -> None:
        """Let nothing be approved any more."""
        self._seen.write()
        self._shelves.drop(_HIDDEN)


def _hide(path: bytes) -> bytes:
    return b"%b/%b" % (_ROOT, path) if path else _ROOT


def _show(hidden: bytes) -> bytes:
    return hidden[len(_ROOT) + 1 :]
