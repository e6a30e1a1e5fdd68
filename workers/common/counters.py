"""Counters in one mapped page per process, so that they outlive a kill -9; and a few facts about it."""

import mmap
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from auditline.workers.common.errors import StorageError

PAGE_SUFFIX = ".page"
MAX_PAGE_BYTES = 1 << 20
"""A larger file is not one of ours."""

_MAGIC = b"ALCOUNT1"
_LONGEST_FACT = 1000
_HEAD = struct.Struct("=8sII")  # magic, number of slots, bytes of the lines
"""Lines are the names of the counters, then `name=text` for each fact; filled up with newlines to a multiple of 8."""


class CounterPage:
    """Named 64-bit counts of one process, each in a slot of its own that is written in one store.

    A page has one writer. Slots are in the machine's byte order (little-endian on all that we run on): a reader
    in another process sees the old or the new value, never a mixture.
    """

    def __init__(self, path: Path | None, counts: Mapping[str, int]) -> None:
        self._path = path
        self._lay_out(counts, {})

    @classmethod
    def open(cls, path: Path, names: Iterable[str]) -> "CounterPage":
        """Map the page at *path* with at least *names*; what a dead predecessor counted there goes on.

        Raises:
            StorageError: it cannot be written.
        """
        return cls(path, _with_names(_read_page(path) or {}, names))

    @classmethod
    def unshared(cls, names: Iterable[str]) -> "CounterPage":
        """Return a page that nobody else sees: for tests and for commands without a run directory."""
        return cls(None, _with_names({}, names))

    def extend(self, names: Iterable[str]) -> None:
        """Add counters that begin at 0; those that are there keep their value.

        Raises:
            StorageError: the page cannot be written.
        """
        counts = _with_names(self.as_dict(), names)
        if len(counts) > len(self._index):
            self._renew(counts, self._facts)

    def tell(self, **facts: str) -> None:
        """Let health events say this of the process as well; a text is one line, and cut to 1,000 characters.

        Raises:
            StorageError: the page cannot be written.
        """
        told = {**self._facts, **{name: " ".join(text.split())[:_LONGEST_FACT] for name, text in facts.items()}}
        if told != self._facts:
            self._renew(self.as_dict(), told)

    def add(self, name: str, amount: int = 1) -> None:
        """Count *amount* more; an unknown name is a KeyError, because it is a mistake of ours."""
        self._slots[self._index[name]] += amount

    def set(self, name: str, value: int) -> None:
        """Make the count *value*, 0 to 2^64 - 1."""
        self._slots[self._index[name]] = value

    def get(self, name: str) -> int:
        """Return the present count."""
        return self._slots[self._index[name]]

    def as_dict(self) -> dict[str, int]:
        """Return all counts by name."""
        return dict(zip(self._index, self._slots, strict=True))

    def close(self) -> None:
        """Unmap the page; the file stays."""
        self._slots.release()
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()

    def _renew(self, counts: Mapping[str, int], facts: Mapping[str, str]) -> None:
        """Put another page in place of this one; if that cannot be, this one stays."""
        slots, memory = self._slots, self._memory
        self._lay_out(counts, facts)
        slots.release()
        if isinstance(memory, mmap.mmap):
            memory.close()

    def _lay_out(self, counts: Mapping[str, int], facts: Mapping[str, str]) -> None:
        page, slots_offset = _encode_page(counts, facts)
        self._memory = bytearray(page) if self._path is None else _map_new_file(self._path, page)
        self._slots = memoryview(self._memory)[slots_offset:].cast("Q")
        self._index = {name: index for index, name in enumerate(counts)}
        self._facts = facts


def read_page(directory: Path, name: str) -> dict[str, int]:
    """Return the counts of one process; none if its page is not there, or damaged."""
    return _read_page(directory / f"{name}{PAGE_SUFFIX}") or {}


def read_facts(directory: Path, name: str) -> dict[str, str]:
    """Return what one process tells of itself beside its counts."""
    page = _read_file(directory / f"{name}{PAGE_SUFFIX}")
    lines = _read_lines(page) if _decode_page(page) is not None else []
    return {fact: text for fact, equals, text in (line.partition("=") for line in lines) if equals}


def read_pages(directory: Path, names: str = "*") -> dict[str, dict[str, int]]:
    """Return the counts of every process that has a page in *directory*, by the page's name; *names* is a pattern.

    A page that is damaged, or that goes away meanwhile, is left out.
    """
    pages: dict[str, dict[str, int]] = {}
    for path in sorted(directory.glob(f"{names}{PAGE_SUFFIX}")):
        counts = _read_page(path)
        if counts is not None:
            pages[path.stem] = counts
    return pages


def _with_names(counts: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    return {**counts, **{name: counts.get(name, 0) for name in names}}


def _encode_page(counts: Mapping[str, int], facts: Mapping[str, str]) -> tuple[bytes, int]:
    """Return the page's bytes and where its slots begin."""
    lines = "\n".join([*counts, *(f"{name}={text}" for name, text in facts.items())]).encode(errors="replace")
    lines += b"\n" * (-len(lines) % 8)
    head = _HEAD.pack(_MAGIC, len(counts), len(lines))
    return head + lines + struct.pack(f"={len(counts)}Q", *counts.values()), len(head) + len(lines)


def _decode_page(page: bytes) -> dict[str, int] | None:
    """Return the counts in *page*; None: it is not a whole page."""
    if len(page) < _HEAD.size:
        return None
    magic, slot_count, lines_bytes = _HEAD.unpack_from(page)
    if magic != _MAGIC or len(page) != _HEAD.size + lines_bytes + 8 * slot_count:
        return None
    if slot_count == 0:
        return {}
    names = [line for line in _read_lines(page) if "=" not in line]
    if len(set(names)) != slot_count:
        return None
    return dict(zip(names, struct.unpack_from(f"={slot_count}Q", page, _HEAD.size + lines_bytes), strict=True))


def _read_lines(page: bytes) -> list[str]:
    """Return the lines of a whole page."""
    _, _, lines_bytes = _HEAD.unpack_from(page)
    return page[_HEAD.size : _HEAD.size + lines_bytes].decode(errors="replace").rstrip("\n").split("\n")


def _read_page(path: Path) -> dict[str, int] | None:
    return _decode_page(_read_file(path))


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_PAGE_BYTES + 1)
    except OSError:
        return b""


def _map_new_file(path: Path, page: bytes) -> mmap.mmap:
    """Put *page* in place of the file at *path* in one step and map it.

    All of it is written, not only reserved: a store into a hole of a full file system would be a SIGBUS.
    """
    new_path = path.with_suffix(".new")
    try:
        descriptor = os.open(new_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            if os.write(descriptor, page) != len(page):
                raise StorageError(f"counters page {path}: the file system is full")
            memory = mmap.mmap(descriptor, len(page))
        finally:
            os.close(descriptor)
        os.replace(new_path, path)
    except OSError as error:
        raise StorageError(f"counters page {path}: cannot be written: {error.strerror}") from error
    return memory
