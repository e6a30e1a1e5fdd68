"""What the documents say, taken apart for the tests: fenced examples and tables."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

TREE = Path(__file__).parents[2]
DOCUMENTS = [TREE / "README.md", *sorted((TREE / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_CELL_BORDER = re.compile(r"(?<!\\)\|")

PAIRS = {"record_pair": ("log", "json"), "change_pair": ("sh", "json")}
"""Two blocks in a row in one section: what happens, and the event that comes of it."""

WATCH = """\
[audit]
enabled = false
[fim]
debounce_seconds = 0.5 # a busy machine must not tear apart what the documents do at once
[[fim.watch]]
path = "{}"
"""

Row = dict[str, str]

_NUMBERS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "i64": "<q"}


@dataclass(frozen=True, slots=True)
class Example:
    """A fenced block: its place, what follows the first fence, and its text."""

    document: str
    line: int
    language: str
    text: str
    section: int = 0
    """How many headings are before it."""

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


class Document:
    """One Markdown file."""

    def __init__(self, path: Path) -> None:
        self.name = str(path.relative_to(TREE))
        self.path = path
        self.text = path.read_text(encoding="utf-8")

    @property
    def examples(self) -> list[Example]:
        """All fenced blocks in order."""
        return [
            Example(
                self.name,
                self.text.count("\n", 0, found.start()) + 1,
                found[1],
                found[2],
                len(_HEADING.findall(_FENCE.sub("", self.text[: found.start()]))),
            )
            for found in _FENCE.finditer(self.text)
        ]

    @property
    def prose(self) -> str:
        """The text without fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def headings(self) -> list[str]:
        """All headings, without their marks."""
        return _HEADING.findall(self.prose)

    def section(self, heading: str) -> str:
        """Return what stands between *heading* and the next heading of any level."""
        _, found, rest = self.text.partition(f"# {heading}\n")
        assert found, f"{self.name} has no section {heading!r}"
        return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]

    def tables(self, heading: str) -> list[list[Row]]:
        """Return the tables of a section; a row is a dictionary by column heading."""
        return [_rows(block) for block in self.section(heading).split("\n\n") if block.lstrip().startswith("|")]

    def table(self, heading: str) -> list[Row]:
        """Return the rows of a section's only table."""
        (table,) = self.tables(heading)
        return table


@dataclass(frozen=True, slots=True)
class Run:
    """What a service writes while it runs."""

    events: Path
    diagnostics: Path

    def lines(self) -> list[Any]:
        """Return what whole lines of its stdout, or of the pipe behind it, say."""
        return [json.loads(line) for line in self.events.read_bytes().split(b"\n")[:-1]]

    def changes(self) -> list[Any]:
        """Return the events about files."""
        return [event for event in self.lines() if "file" in event["audit"]]

    def is_walked(self) -> bool:
        """Whether it has said that the first walk is done."""
        return any(event["audit"].get("coverage", {}).get("reason") == "first_walk" for event in self.lines())


class Layout:
    """One message as its table says."""

    def __init__(self, rows: list[dict[str, str]]) -> None:
        self._fields = [(int(row["frame"]), row["field"], row["type"].strip("`")) for row in rows]

    def encode(self, values: dict[str, Any]) -> list[bytes]:
        """Return the frames of a message with these values."""
        frames = [b""] * (self._fields[-1][0] + 1)
        for frame, field, kind in self._fields:
            frames[frame] += _encode_field(kind, values.get(field))
        return frames

    def decode(self, frames: list[bytes]) -> dict[str, Any]:
        """Return the values in *frames*, all of whose bytes have to be of the layout."""
        assert len(frames) == self._fields[-1][0] + 1
        rest = list(frames)
        values = {}
        for frame, field, kind in self._fields:
            values[field], rest[frame] = _decode_field(kind, rest[frame])
        assert rest == [b""] * len(frames)
        return values


def _encode_field(kind: str, value: Any) -> bytes:
    if kind.startswith('"'):
        return kind.strip('"').encode()
    if kind == "json":
        return json.dumps(value).encode()
    if kind == "bytes":
        return bytes(value)
    if kind.startswith("text"):
        return str(value).encode()
    return struct.pack(_NUMBERS[kind], value)


def _decode_field(kind: str, data: bytes) -> tuple[Any, bytes]:
    if kind.startswith('"'):
        assert data[:1].decode() == kind.strip('"')
        return data[:1].decode(), data[1:]
    if kind == "json":
        return json.loads(data), b""
    if kind == "bytes":
        return data, b""
    if kind.startswith("text"):
        length = int(found[1]) if (found := re.search(r"\[(\d+)\]", kind)) else len(data)
        return data[:length].decode(), data[length:]
    size = struct.calcsize(_NUMBERS[kind])
    return struct.unpack(_NUMBERS[kind], data[:size])[0], data[size:]


def code(cell: str) -> str:
    """Return what stands between a cell's backticks."""
    found = re.fullmatch(r"`([^`]+)`", cell)
    assert found, f"{cell!r} is not one piece of code"
    return found[1]


def codes(cell: str) -> list[str]:
    """Return every piece of code in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def _rows(block: str) -> list[Row]:
    head, _, *body = (_cells(line) for line in block.strip().splitlines())
    return [dict(zip(head, row, strict=True)) for row in body]


def _cells(line: str) -> list[str]:
    inside = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in _CELL_BORDER.split(inside)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of `each_document` on all documents, of a `LANGUAGE_example` on its blocks, of PAIRS on theirs."""
    documents = [Document(path) for path in DOCUMENTS]
    if "each_document" in metafunc.fixturenames:
        metafunc.parametrize("each_document", documents, ids=[document.name for document in documents])
    for name in metafunc.fixturenames:
        if name.endswith("_example"):
            language = name.removesuffix("_example")
            found = [each for document in documents for each in document.examples if each.language == language]
            metafunc.parametrize(name, found, ids=str)
        elif name in PAIRS:
            pairs = [
                pair for document in documents for pair in pairwise(document.examples) if is_pair(pair, PAIRS[name])
            ]
            metafunc.parametrize(name, pairs, ids=[str(first) for first, _ in pairs])


@pytest.fixture
def make_layout() -> type[Layout]:
    """Make the layout of a message from the rows of its table."""
    return Layout


def is_pair(pair: tuple[Example, Example], languages: tuple[str, str]) -> bool:
    """Whether the two blocks are of these languages, and belong together."""
    first, second = pair
    return first.section == second.section and (first.language, second.language) == languages


@pytest.fixture
def read_document() -> Callable[[str], Document]:
    """Read a document by its path in the tree."""
    return lambda name: Document(TREE / name)


@pytest.fixture
def code_of() -> Callable[[str], str]:
    """Return what stands between a cell's backticks."""
    return code


@pytest.fixture
def codes_of() -> Callable[[str], list[str]]:
    """Return every piece of code in a cell."""
    return codes


@pytest.fixture
def tree() -> Path:
    """The checkout."""
    return TREE


@pytest.fixture
def shell_environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a reader who has installed auditline, and whose home is empty."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {"PATH": programs, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}


@pytest.fixture
def run_service(
    tmp_path: Path, shell_environment: dict[str, str], wait_until: Callable[..., None]
) -> Callable[..., AbstractContextManager[Run]]:
    """Run a pipe as a document shows it, or `auditline run` alone, with a configuration of the test's own.

    With *watched* it watches this directory and leaves the kernel's events alone.
    """

    @contextmanager
    def run(settings: str = "", *, watched: Path | None = None, pipe: str = "auditline run") -> Iterator[Run]:
        if watched is not None:
            settings += WATCH.format(watched)
        made = Run(tmp_path / "events", tmp_path / "diagnostics")
        pid_file = tmp_path / "pid"
        for file in (made.events, made.diagnostics, pid_file):
            file.touch()
        # The service is ended by its own pid, which the shell tells; `jq -c` alone would keep its output until the end.
        program = f"{Path(sys.executable).with_name('auditline')} run --config {_configuration(tmp_path, settings)}"
        started = f"(echo $BASHPID > {pid_file}; exec {program} 2> {made.diagnostics})"
        script = re.sub(r"^\S*auditline run( --config \S+)?", started, pipe).replace("jq -c", "jq --unbuffered -c")
        with (
            made.events.open("wb") as events,
            subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=shell_environment, stdout=events) as shell,
        ):
            wait_until(pid_file.read_text)
            try:
                yield made
            finally:
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
                shell.wait(10)

    return run


def _configuration(directory: Path, settings: str) -> Path:
    file = directory / "auditline.toml"
    places = "".join(f'[{name}]\ndirectory = "{directory / name}"\n' for name in ("state", "run"))
    file.write_text(places + settings)
    file.chmod(0o600)
    return file


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """A directory to be watched, empty; the services of `run_service` keep their own files elsewhere."""
    directory = tmp_path / "watched"
    directory.mkdir()
    return directory


@pytest.fixture
def reader_directory(tmp_path: Path) -> Path:
    """A directory that looks like a clone and may be written to."""
    directory = tmp_path / "auditline"
    directory.mkdir()
    for entry in TREE.iterdir():
        if not entry.name.startswith("."):
            (directory / entry.name).symlink_to(entry)
    return directory
