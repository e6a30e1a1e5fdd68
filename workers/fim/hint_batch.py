"""The hints of one reading, made from what inotify and fanotify tell of the entries of watched directories.

Both use the same bits. Source: linux/inotify.h, linux/fanotify.h.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Generic

from auditline.workers.common.process_info import Process
from auditline.workers.fim.backend import Hint, HintKind
from auditline.workers.fim.watched_paths import Key, WatchedPaths

MODIFY = 0x2
ATTRIB = 0x4
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
IS_DIRECTORY = 0x40000000

_ASIDE = b"\0%d"
"""Where a directory is, which no path can be, while nobody knows yet what became of it when another took its place."""

WRITTEN = MODIFY | CLOSE_WRITE
COMES = CREATE | MOVED_TO
GOES = DELETE | MOVED_FROM


class HintBatch(Generic[Key]):
    """Gathers what is told; the paths that directories have at the end are those that hints bear.

    *directories* follows what is told: what is removed is forgotten, what is renamed has its new path at once. So
    what is told later, of what lies beneath, comes under its new path.
    """

    def __init__(self, directories: WatchedPaths[Key], let_go: Callable[[Key], None]) -> None:
        """*let_go* is called for each directory that has been forgotten."""
        self._directories = directories
        self._let_go = let_go
        self._in_order: list[Hint] = []
        self._looks: dict[tuple[Key, bytes], int] = {}
        self._processes: dict[tuple[Key, bytes], Process] = {}
        self._forgotten: dict[Key, bytes] = {}
        self._masks: dict[bytes, int] = {}
        self._last: dict[bytes, Process] = {}
        self._left: list[Hint] = []
        self._replaced: list[Hint] = []
        """The renames by which directories took the place of others, which are put aside under the rename's number."""

    def tell(self, kind: HintKind, path: bytes = b"") -> None:
        """Add what is told of a directory itself, in order."""
        self._in_order.append(Hint(kind, self._real(path), is_directory=True))

    def look(self, directory: Key, name: bytes, mask: int, process: Process | None = None) -> None:
        """Add that something happened to an entry; without a name to the directory itself."""
        place = directory, name
        self._looks[place] = self._looks.get(place, 0) | mask
        if process is not None:
            self._processes[place] = process

    def look_at(self, path: bytes, mask: int, process: Process | None = None) -> None:
        """Add that something happened to what is known by its own path."""
        self._masks[path] = self._masks.get(path, 0) | mask
        if process is not None:
            self._last[path] = process

    def entry(self, directory: Key, name: bytes, mask: int, process: Process | None = None) -> None:
        """Add that an entry came or went, or both in an order that nobody knows."""
        if not mask & IS_DIRECTORY:
            self.look(directory, name, mask, process)
            return
        for path in self._paths(directory, name):
            if mask & GOES:
                self._take(path)
                self._in_order.append(Hint(HintKind.GONE, path, is_directory=True, is_content=True, process=process))
            if mask & COMES:
                self._in_order.append(Hint(HintKind.CREATED, path, is_directory=True, is_content=True, process=process))

    def moved(
        self,
        source: tuple[Key, bytes],
        target: tuple[Key, bytes],
        *,
        is_directory: bool,
        process: Process | None = None,
    ) -> None:
        """Add that an entry, (directory, name), was renamed; both directories are watched."""
        bit = IS_DIRECTORY if is_directory else 0
        olds, news = self._paths(*source), self._paths(*target)
        if len(olds) > 1 or len(news) > 1:
            # Mounted twice: to look at both anew is right.
            self.entry(*target, DELETE | CREATE | bit, process)
            self.entry(*source, DELETE | CREATE | bit, process)
            return
        if is_directory and self._exchange(olds[0], news[0]):
            return
        hint = Hint(HintKind.MOVED, news[0], is_directory, is_content=True, moved_from=olds[0], process=process)
        if is_directory:
            self._follow(hint, olds[0])
        self._in_order.append(hint)
        # Its old name may have been given to another one before: the kernel merges that with what came earlier.
        if is_directory:
            self._left.append(Hint(HintKind.GONE, olds[0], is_directory=True, is_content=True, process=process))
        else:
            self.look(*source, DELETE, process)

    def _follow(self, rename: Hint, old: bytes) -> None:
        """Let the directory *old* be where the rename says; what was known there is put aside."""
        directories, new = self._directories, rename.path
        known = directories.key_of(new)
        if known is not None and known == directories.key_of(old):
            # A walk that was faster than the kernel's word has found it under its new name.
            self._take(old)
            return
        if known is not None:
            directories.move(new, _ASIDE % len(self._replaced))
            self._replaced.append(rename)
        directories.move(old, new)

    def _exchange(self, old: bytes, new: bytes) -> bool:
        """If *new* is where the directory came from that took the place of *old*, these two have changed places.

        The kernel tells that as two renames, one after the other.
        """
        for number, rename in enumerate(self._replaced):
            if (rename.path, rename.moved_from) == (old, new) and self._directories.key_of(_ASIDE % number) is not None:
                self._directories.move(_ASIDE % number, new)
                self._in_order[self._in_order.index(rename)] = rename._replace(kind=HintKind.EXCHANGED)
                return True
        return False

    @property
    def moves(self) -> list[tuple[bytes, bytes]]:
        """The old and the new path of what was renamed, in order; what changes places does so by way of a third."""
        moves: list[tuple[bytes, bytes]] = []
        for hint in self._in_order:
            if hint.moved_from is not None and hint.kind is HintKind.EXCHANGED:
                passage = _ASIDE % 0
                moves += ((hint.path, passage), (hint.moved_from, hint.path), (passage, hint.moved_from))
            elif hint.moved_from is not None:
                moves.append((hint.moved_from, hint.path))
        return moves

    def finish(self) -> list[Hint]:
        """Return all hints."""
        for number in range(len(self._replaced)):
            self._take(_ASIDE % number)
        for place, mask in self._looks.items():
            process = self._processes.get(place)
            for path in self._paths(*place):
                self.look_at(path, mask, process)
        for path, mask in self._masks.items():
            kind, is_directory, is_content = _read_mask(mask)
            self._left.append(Hint(kind, path, is_directory, is_content, process=self._last.get(path)))
        return self._in_order + self._left

    def forgotten(self, directory: Key, path: bytes) -> None:
        """Note that a directory is watched no more; what was told of it before bears this path."""
        self._forgotten[directory] = self._real(path)

    def _paths(self, directory: Key, name: bytes) -> list[bytes]:
        paths = self._directories.paths_of(directory)
        if not paths and directory in self._forgotten:
            paths = [self._forgotten[directory]]
        paths = [self._real(path) for path in paths] if self._replaced else paths
        return [path + b"/" + name if path else name for path in paths] if name else paths

    def _real(self, path: bytes) -> bytes:
        """Return where something is, or was, that may have been put aside."""
        if not path.startswith(b"\0"):
            return path
        number, slash, rest = path[1:].partition(b"/")
        return self._replaced[int(number)].path + slash + rest

    def _take(self, path: bytes) -> None:
        for key, last_path in self._directories.take(path).items():
            self.forgotten(key, last_path)
            self._let_go(key)


@lru_cache
def _read_mask(mask: int) -> tuple[HintKind, bool, bool]:
    """Return what a mask, of several events perhaps, says: kind, whether of a directory, whether of content."""
    return _kind(mask), bool(mask & IS_DIRECTORY), bool(mask & ~(ATTRIB | IS_DIRECTORY))


def _kind(mask: int) -> HintKind:
    if mask & COMES:
        return HintKind.CREATED
    if mask & GOES:
        return HintKind.GONE
    return HintKind.CHANGED if mask & WRITTEN else HintKind.ATTRIBUTES
