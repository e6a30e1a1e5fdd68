"""docs/differences-from-auditbeat.md and the tests beside this file tell of each other."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "differences-from-auditbeat.md"
TESTS = [path.read_text() for path in Path(__file__).parent.glob("test_differences*.py")]


def named_in(row: list[str]) -> set[str]:
    return set(row[-1].replace("`", "").split(", "))


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    """The cells of each row of the page's tables, but for the heads."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [cells for cells in (line.strip("| ").split(" | ") for line in lines) if cells[0] != "where"]


def test_every_row_names_a_test_that_shows_it(rows: list[list[str]]):
    defined = set(re.findall(r"def (test_\w+)", "".join(TESTS)))

    assert [row[0] for row in rows if not row[-1] or not defined.issuperset(named_in(row))] == []


def test_every_test_of_a_difference_has_a_row(rows: list[list[str]]):
    defined = set(re.findall(r"def (test_\w+)", "".join(TESTS)))

    assert defined.difference(*map(named_in, rows)) == set()
