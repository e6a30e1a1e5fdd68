"""Patterns of paths in the settings: regular expressions, or `glob:` and a glob.

A path is matched as text, so that `.`, `?` and `[…]` stand for characters, not for bytes; bytes that are not UTF-8
count as one character each.
"""

import re
import warnings
from collections.abc import Sequence

from auditline.workers.common.glob_pattern import translate_glob

GLOB_PREFIX = "glob:"


class PathFilter:
    """Takes the paths that match a pattern of *include*, or all if there is none, but those that match *exclude*."""

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        """Patterns must have passed `check_pattern`."""
        self._include = [compile_pattern(text).search for text in include]
        self._exclude = [compile_pattern(text).search for text in exclude]

    def takes(self, path: bytes) -> bool:
        """Whether the absolute *path* is wanted."""
        if not self._include:
            return not self.excludes(path)
        text = _decode(path)
        return any(search(text) for search in self._include) and not self.excludes(path)

    def excludes(self, path: bytes) -> bool:
        """Whether *path*, and if it is a directory all beneath it, is left out."""
        if not self._exclude:
            return False
        text = _decode(path)
        return any(search(text) for search in self._exclude)


def check_pattern(text: str) -> str | None:
    """Return what is wrong with a pattern; None: nothing."""
    try:
        compile_pattern(text)
    except ValueError as error:
        return str(error)
    return None


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return what finds *text* in a path: a regular expression anywhere, a glob as the whole.

    A new line in a name is a character like any other, also for `.`.

    Raises:
        ValueError: it is no such pattern, or one that matches nothing or everything.
    """
    if text.startswith(GLOB_PREFIX):
        return re.compile(translate_glob(text.removeprefix(GLOB_PREFIX)), re.DOTALL)
    if not text:
        raise ValueError("matches every path; it must not be empty")
    try:
        with warnings.catch_warnings():
            # Sets such as `[[a]` may mean something else to a later Python; today they are what they were.
            warnings.simplefilter("ignore", FutureWarning)
            return re.compile(text, re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from error


def _decode(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
