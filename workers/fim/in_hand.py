"""The files that wait for a hasher or are at one."""

from collections.abc import Iterator
from dataclasses import replace

from auditline.workers.fim.dirty import DirtyPath
from auditline.workers.fim.links import Links
from auditline.workers.fim.look import Look
from auditline.workers.fim.path_index import PathIndex
from auditline.workers.fim.pool import Job
from auditline.workers.fim.rate import Bucket
from auditline.workers.fim.watch import Watch


class InHand:
    """Each with how it came that it is looked at; what scans ask for waits until it may be read."""

    def __init__(self, watch: Watch, links: Links) -> None:
        self._watch = watch
        self._links = links
        self._looks: dict[bytes, Look] = {}
        self._index = PathIndex(self._looks)
        self._bucket = Bucket(watch.settings.scan_bytes_per_second)
        self._held: dict[bytes, int] = {}
        """Sizes of those that no hasher is asked to read yet, the next one first."""
        self.scan_jobs = 0
        """How many of them scans wait for."""

    def __len__(self) -> int:
        return len(self._looks)

    def __contains__(self, path: bytes) -> bool:
        return path in self._looks

    def __getitem__(self, path: bytes) -> Look:
        return self._looks[path]

    def get(self, path: bytes) -> Look | None:
        """Return how it came that a file is in hand; None: it is not."""
        return self._looks.get(path)

    def items(self) -> Iterator[tuple[bytes, Look]]:
        """Yield each path with its look."""
        yield from self._looks.items()

    def submit(self, path: bytes, look: Look, size: int) -> None:
        """Have a file hashed that is not in hand."""
        self.wait(path, look)
        if look.in_scan and look.detected_by == "scan" and not self._bucket.is_unlimited:
            self._held[path] = size
            self.release()
        else:
            self._watch.pool.submit(Job(path, size))

    def wait(self, path: bytes, look: Look) -> None:
        """Note a file whose answer comes by another name."""
        self._looks[path] = look
        self._index.add(path)
        self.scan_jobs += look.in_scan

    def take(self, path: bytes) -> Look | None:
        """Return how it came that a file was hashed; None: nobody wants to know any more."""
        look = self._looks.pop(path, None)
        if look is not None:
            self._index.discard(path)
            self._held.pop(path, None)
            self.scan_jobs -= look.in_scan
        return look

    def come_again(self, dirty: DirtyPath) -> None:
        """Note a hint about a file that is in hand; what an event asks for does not wait until scans may read on."""
        self._looks[dirty.path].come_again(dirty)
        if dirty.detected_by == "event":
            self._send(dirty.path)

    def gone_beneath(self, directory: bytes) -> None:
        """Note that the directory of these is gone: a hasher may still say that they were there."""
        for path in self._index.beneath(directory):
            self._looks[path].come_again(DirtyPath(path, is_new=False, detected_by="event"))

    def make_void(self, path: bytes) -> None:
        """Believe nothing that a hasher says of *path*: when it has answered, look again."""
        look = self._looks.get(path)
        if look is not None:
            look.is_void = True
            self._send(path)

    def make_void_beneath(self, directory: bytes) -> None:
        """Do so for all that lies beneath."""
        for path in self._index.beneath(directory):
            self.make_void(path)

    def move(self, old: bytes, new: bytes) -> None:
        """Let what was asked for beneath the directory *old* be asked for beneath *new*."""
        for path in [*self._index.beneath(old)]:
            look, place = self._looks[path], new + path[len(old) :]
            again = None if look.again is None else look.again._replace(path=place, moved_from=None)
            self.make_void(path)
            if place in self._looks:
                self.make_void(place)
            else:
                # How large it is the hasher sees.
                self.submit(place, replace(look, is_void=False, again=again), 0)

    def exchange(self, one: bytes, other: bytes) -> None:
        """Let all beneath two directories, which have changed places, be looked at again, there and here."""
        for old, new in ((one, other), (other, one)):
            for path in [*self._index.beneath(old)]:
                again = self._looks[path].as_dirty(path)._replace(path=new + path[len(old) :], moved_from=None)
                self.make_void(path)
                self._watch.dirty.put_back(again._replace(is_content=True))

    def release(self) -> None:
        """Ask for what may be read by now."""
        while self._held and self._bucket.seconds_until_free <= 0:
            path, size = next(iter(self._held.items()))
            self._bucket.take(size)
            self._send(path)

    @property
    def seconds_until_release(self) -> float | None:
        """When `release` will have something to do; None: nothing waits for it."""
        return self._bucket.seconds_until_free if self._held else None

    def drop(self, directory: bytes) -> None:
        """Want no answers any more for what is at and beneath *directory*."""
        dropped = {*self._index.beneath(directory), directory}
        for path in dropped:
            self.take(path)
        for name in self._links.drop(dropped):
            look = self.take(name)
            if look is not None:
                self._watch.dirty.put_back(look.as_dirty(name)._replace(is_content=True))

    def _send(self, path: bytes) -> None:
        size = self._held.pop(path, None)
        if size is not None:
            self._watch.pool.submit(Job(path, size))
