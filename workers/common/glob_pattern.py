"""Globs of absolute paths as regular expressions: `*` and `?` stay within a name, `**` crosses directories.

No name, however hostile, makes a match slow: what lies between two wildcards stays where it fits first (`(?>…)` gives
nothing back). That loses no match, because the next wildcard can take whatever lies further on.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_NAME, _ANYTHING, _DIRECTORIES = "*", "**", "**/"
_LAZY = {_NAME: "[^/]*?", _ANYTHING: ".*?", _DIRECTORIES: "(?:[^/]*/)*?"}

_TOKEN = re.compile(
    r"(?P<directories>(?:(?<=/)|^)\*\*+/)|(?P<anything>\*\*+)|(?P<name>\*)|(?P<one>\?)|\\(?P<escaped>.)"
    r"|\[(?P<negation>[!^]?+)(?P<set>(?:\\.|[^\\])(?:\\.|[^\\\]])*)\]|(?P<plain>[^*?\\\[{}])",
    re.DOTALL,
)
_MEMBER = re.compile(r"\\?(.)(?:-\\?(.))?", re.DOTALL)


class _Part(NamedTuple):
    """A wildcard, and what follows it up to the next one."""

    wildcard: str
    fixed: str
    """A regular expression that matches a fixed number of characters."""


def translate_glob(glob: str) -> str:
    """Return a regular expression for whole paths, to be compiled with `re.DOTALL`.

    `[…]` is a set as in a shell, `[!…]` all but that; a backslash makes the next character an ordinary one.

    Raises:
        ValueError: it is malformed, or matches no path.
    """
    _check_slashes(glob)
    groups: list[list[_Part]] = [[]]
    for part in _read_parts(glob):
        if part.wildcard in (_ANYTHING, _DIRECTORIES):
            groups.append([])
        groups[-1].append(part)
    *others, last = groups
    return r"\A" + "".join(f"(?>{_match_first(group)})" for group in others) + _match_to_the_end(last) + r"\Z"


def _match_first(group: Sequence[_Part]) -> str:
    """Match where *group* fits first and ends first."""
    return "".join(
        f"(?>{_LAZY[part.wildcard]}{part.fixed})"
        if part.wildcard == _NAME
        else _LAZY.get(part.wildcard, "") + part.fixed
        for part in group
    )


def _match_to_the_end(group: Sequence[_Part]) -> str:
    *others, last = group
    # Here alone something is tried again: the last wildcard must leave to `fixed` exactly what it needs.
    return _match_first(others) + _LAZY.get(last.wildcard, "") + last.fixed


def _read_parts(glob: str) -> Iterator[_Part]:
    wildcard, fixed = "", ""
    for kind, text in _read_tokens(glob):
        if kind:
            yield _Part(wildcard, fixed)
            wildcard, fixed = kind, ""
        else:
            fixed += text
    yield _Part(wildcard, fixed)


def _read_tokens(glob: str) -> Iterator[tuple[str, str]]:
    """Yield wildcards with "", and "" with the regular expression of one character."""
    position = 0
    while position < len(glob):
        token = _TOKEN.match(glob, position)
        if token is None:
            raise ValueError(_describe_damage(glob[position]))
        position = token.end()
        if token["directories"]:
            yield _DIRECTORIES, ""
        elif token["anything"]:
            yield _ANYTHING, ""
        elif token["name"]:
            yield _NAME, ""
        elif token["one"]:
            yield "", "[^/]"
        elif token["set"]:
            yield "", _translate_set(token["set"], is_negated=bool(token["negation"]))
        else:
            yield "", re.escape(token["escaped"] or token["plain"])


def _translate_set(members: str, *, is_negated: bool) -> str:
    translated = ""
    for member in _MEMBER.finditer(members):
        first, last = member[1], member[2] or member[1]
        if first > last:
            raise ValueError(f"has a set with a range that is empty: {first}-{last}")
        translated += f"{re.escape(first)}-{re.escape(last)}"
    return f"[^/{translated}]" if is_negated else f"(?!/)[{translated}]"


def _check_slashes(glob: str) -> None:
    if not glob.startswith(("/", "**")):
        raise ValueError(f"matches no absolute path; for all directories write glob:**/{glob}")
    if glob != "/" and glob.endswith("/"):
        raise ValueError(
            f"matches no path, because none ends with a slash; for all that is beneath write glob:{glob}**"
        )
    if any(name in ("", ".", "..") for name in glob.split("/")[1:]) and glob != "/":
        raise ValueError("matches no path, because none has //, /./ or /../ in it")


def _describe_damage(character: str) -> str:
    if character == "[":
        return r"has a [ without ]; for the character itself write \["
    if character == "\\":
        return r"ends with a backslash; for the character itself write \\"
    return rf"has a {character}, but knows no alternatives: write a glob for each; for the character write \{character}"
