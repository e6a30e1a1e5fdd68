"""docs/file-integrity.md: each of the sixty pitfalls has a row, whose tests are there and bear its number."""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COUNT = 60
COME_LATER = {54, 55}


@pytest.fixture
def tests_of(read_document: Callable[[str], Any], codes_of: Callable[[str], list[str]]) -> dict[int, list[str]]:
    """The tests that each row names."""
    table = read_document("docs/file-integrity.md").table("Sixty pitfalls")
    return {int(row["number"]): codes_of(row["tests"]) for row in table}


def docstrings_in(path: Path) -> dict[str, str]:
    """Return the docstring of each function in a file, by name."""
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    return {function.name: ast.get_docstring(function) or "" for function in functions}


def test_every_number_has_a_row_with_a_test(tests_of: dict[int, list[str]]) -> None:
    assert list(tests_of) == list(range(1, COUNT + 1))
    assert {number for number, tests in tests_of.items() if not tests} == COME_LATER


def test_each_test_that_is_named_is_there_and_bears_the_number(tests_of: dict[int, list[str]], tree: Path) -> None:
    for number, tests in tests_of.items():
        for test in tests:
            path, _, name = test.partition("::")
            docstring = docstrings_in(tree / path).get(name, "")
            beginning = re.match(r"Pitfalls? ([\d, and]+)", docstring)
            assert beginning, f"{test} bears no number"
            assert number in map(int, re.findall(r"\d+", beginning[1])), f"{test} bears another number than {number}"
