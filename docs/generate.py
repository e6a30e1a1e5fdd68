"""Fills the generated parts of events.md from the tables that the code uses, and from those in catalogue/.

usage: python docs/generate.py [--check]

With --check nothing is written: the exit code is 1 if the page is not what the tables give.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from auditline.workers.router.naming.engine import Row, category_of, record_rows, system_call_rows
from auditline.workers.router.record_names import type_name

DOCS = Path(__file__).parent
PAGE = DOCS / "events.md"
KINDS = {
    "set": "list",
    "longset": "list",
    "cloneset": "list",
    "filemode": "list",
    "enum": "word",
    "shortenum": "word",
    "signal": "word",
    "mode": "octal",
    "hex": "hexadecimal",
    "device": "`MAJOR:MINOR`",
    "dirfd": "number or `AT_FDCWD`",
    "id": "number, `-1` leaves it as it is",
    "id16": "number, `-1` leaves it as it is",
}
"""How a parameter's decoder (workers/router/decode/values.py) writes it; any other writes a number."""

_PART = re.compile(r"(?P<head><!-- generated: (?P<name>.+?) -->\n).*?(?P<tail><!-- end -->\n)", re.DOTALL)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or compare it; return the exit code."""
    written = PAGE.read_text(encoding="utf-8")
    wanted = fill(written)
    if "--check" in arguments:
        if written != wanted:
            sys.stderr.write(f"{PAGE} is not what the tables give: run python docs/generate.py\n")
        return int(written != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


def fill(page: str) -> str:
    """Return the page with each part between `<!-- generated: NAME -->` and `<!-- end -->` made anew.

    Raises:
        ValueError: the names of the page's parts are not those that there are, each once.
    """
    names = sorted(match["name"] for match in _PART.finditer(page))
    if names != sorted(PARTS):
        raise ValueError(f"the page has the parts {names}, and there are {sorted(PARTS)}")
    return _PART.sub(lambda match: f"{match['head']}\n{PARTS[match['name']]()}\n{match['tail']}", page)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    head = f"{_line(heads)}{'|---' * len(heads)}|\n"
    return head + "".join(_line([cell.replace("|", "\\|") for cell in row]) for row in rows)


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n"


def code(words: Iterable[str]) -> str:
    """Return words as code, with commas."""
    return ", ".join(f"`{word}`" for word in words)


def system_call_actions() -> str:
    """Return what each system call means."""
    calls: dict[Row, list[str]] = {}
    for name, row in system_call_rows().items():
        calls.setdefault(row, []).append(name)
    return table(
        ("system calls", "action", "thing", "`event.category`", "`event.type`"),
        ((code(names), *_meaning(row), code(row.categories), code(row.types)) for row, names in calls.items()),
    )


def record_actions() -> str:
    """Return what each record type means that is not a plain SYSCALL."""
    records: dict[tuple[str, ...], list[str]] = {}
    for number, rows in sorted(record_rows().items()):
        for row in rows:
            name = f"`{type_name(number).upper()}`" + (f" with `{row.if_field}`" if row.if_field else "")
            categories = code(row.categories) or "that of `audit.kernel`"
            cells = (*_meaning(row), f"`{category_of(number)}`", categories, code(row.types))
            records.setdefault(cells, []).append(name)
    return table(
        ("record types", "action", "thing", "`audit.kernel.category`", "`event.category`", "`event.type`"),
        ((", ".join(names), *cells) for cells, names in records.items()),
    )


def _meaning(row: Row) -> tuple[str, str]:
    return f"`{row.action}`" if row.action else "the record type, in small letters", f"`{row.what}`" if row.what else ""


def decoded_parameters() -> str:
    """Return what is decoded of each system call's parameters."""
    lines = files("auditline.workers.router.decode").joinpath("calls.tsv").read_text("ascii").splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    # A row for some architectures decodes the same parameters from other registers.
    return table(
        ("system calls", "parameters"),
        ((code(calls.split(",")), _parameters(words.split())) for calls, words in rows if "@" not in calls),
    )


def _parameters(words: Iterable[str]) -> str:
    found: dict[str, list[str]] = {}
    for word in words:
        name, equals, place = word.partition("?")[0].partition("=")
        if equals:
            kind = KINDS.get(place.partition(":")[2].partition(".")[0], "number")
            if kind not in found.setdefault(name, []):
                found[name].append(kind)
    return ", ".join(f"`{name}`: {' or '.join(kinds)}" for name, kinds in found.items())


def keys_of(place: str, *, has_examples: bool = True) -> Callable[[], str]:
    """Return what makes the table of the keys of one place."""

    def make() -> str:
        heads = ("key", "type", "meaning", "example")
        rows = (
            (f"`{key}`", kind, meaning, f"`{example}`" if example else "")
            for its_place, key, kind, meaning, example in catalogue("keys", 5)
            if its_place == place
        )
        width = len(heads) if has_examples else len(heads) - 1
        return table(heads[:width], (row[:width] for row in rows))

    return make


def reasons_of(its_list: str, head: str = "reason") -> Callable[[], str]:
    """Return what makes the table of the reasons of one list."""

    def make() -> str:
        rows = [(f"`{reason}`", meaning) for name, reason, meaning in catalogue("reasons", 3) if name == its_list]
        return table((head, "meaning"), rows)

    return make


def catalogue(name: str, columns: int) -> list[list[str]]:
    """Return the rows of a file in catalogue/; cells that are missing at the end are empty."""
    lines = (DOCS / "catalogue" / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [[*row, *[""] * (columns - len(row))] for row in rows]


PARTS: dict[str, Callable[[], str]] = {
    "keys of every line": keys_of("line", has_examples=False),
    "keys of kernel events": keys_of("kernel"),
    "keys of the object auditline": keys_of("auditline", has_examples=False),
    "keys of schema ecs": keys_of("ecs"),
    "keys of file events": keys_of("file"),
    "what is ours in file events": keys_of("file_ours", has_examples=False),
    "attributes of files": keys_of("file_attributes", has_examples=False),
    "actions of system calls": system_call_actions,
    "actions of record types": record_actions,
    "decoded parameters": decoded_parameters,
    "reasons of incomplete events": reasons_of("incomplete"),
    "reasons of suspicious texts": reasons_of("suspicious"),
    "reasons of coverage events": reasons_of("coverage"),
    "states of hashes": reasons_of("hash_state", "`hash_state`"),
    "reasons of hashes": reasons_of("hash_reason", "`hash_reason`"),
}
"""What makes each part, by its name in the page."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
