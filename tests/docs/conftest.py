"""What the documents say, taken apart for the tests: fenced examples and tables."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
DOCUMENTS = [TREE / "README.md", *sorted((TREE / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_CELL_BORDER = re.compile(r"(?<!\\)\|")

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Example:
    """A fenced block: its place, what follows the first fence, and its text."""

    document: str
    line: int
    language: str
    text: str

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
            Example(self.name, self.text.count("\n", 0, found.start()) + 1, found[1], found[2])
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
    """Run a test of `each_document` on all documents, one of a `LANGUAGE_example` on all blocks of that language."""
    documents = [Document(path) for path in DOCUMENTS]
    if "each_document" in metafunc.fixturenames:
        metafunc.parametrize("each_document", documents, ids=[document.name for document in documents])
    for name in metafunc.fixturenames:
        if name.endswith("_example"):
            language = name.removesuffix("_example")
            found = [each for document in documents for each in document.examples if each.language == language]
            metafunc.parametrize(name, found, ids=str)
        elif name == "record_pair":
            pairs = [pair for document in documents for pair in _record_pairs(document.examples)]
            metafunc.parametrize(name, pairs, ids=[str(log) for log, _ in pairs])


def _record_pairs(examples: list[Example]) -> list[tuple[Example, Example]]:
    """Return each block of records with the block of JSON behind it."""
    return [(log, after) for log, after in pairwise(examples) if log.language == "log"]


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
def reader_directory(tmp_path: Path) -> Path:
    """A directory that looks like a clone and may be written to."""
    directory = tmp_path / "auditline"
    directory.mkdir()
    for entry in TREE.iterdir():
        if not entry.name.startswith("."):
            (directory / entry.name).symlink_to(entry)
    return directory
