"""The report for people: a summary that fits on a screen, then every difference, the weightiest first."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from auditline.workers.common.file_state import FileState
from auditline.workers.common.progress import show_bytes
from auditline.workers.common.text import make_safe
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.file_attributes import Shown, schema_members
from auditline.workers.scan.differences import AttributeChange, Difference, Kind

_HEADINGS: dict[Kind, str] = {
    "added": "Added", "removed": "Removed", "changed": "Changed", "unreadable": "Could not be looked at",
}  # fmt: skip
_COLOURS: dict[Kind, str] = {"added": "32", "removed": "31", "changed": "33", "unreadable": "35"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What was compared."""

    directories: Sequence[str]
    approved: str
    """When, and by whom."""
    paths: int
    read_bytes: int
    seconds: float


class TextReport:
    """Writes lines; names cannot forge one, nor reach the terminal with a control character."""

    def __init__(self, names: IdNames, *, is_coloured: bool) -> None:
        self._names = names
        self._is_coloured = is_coloured

    def lines(self, summary: Summary, differences: Sequence[tuple[bytes, Difference]]) -> Iterator[str]:
        """Yield the report of *differences*, each with its absolute path."""
        by_kind: dict[Kind, list[tuple[bytes, Difference]]] = {kind: [] for kind in _HEADINGS}
        for path, difference in differences:
            by_kind[difference.kind].append((path, difference))
        yield from _summary_lines(summary, {kind: len(found) for kind, found in by_kind.items()})
        yield from _package_lines(differences)
        for kind, found in by_kind.items():
            own = [item for item in found if not item[1].package]
            if own:
                yield ""
                yield self._colour(kind, f"{_HEADINGS[kind]} ({len(own)})")
                for path, difference in sorted(own, key=_order):
                    yield from self._lines_of(path, difference)
        yield ""
        numbers = ", ".join(f"{len(found)} {kind}" for kind, found in by_kind.items())
        yield f"auditline: {numbers} of {summary.paths} ({summary.seconds:.1f} s)"

    def _lines_of(self, path: bytes, difference: Difference) -> Iterator[str]:
        finding = difference.finding
        state = finding.after if finding.after is not None else finding.before
        about = finding.problem if difference.kind == "unreadable" else self._about(state)
        yield f"  {show_path(path)}" + (f"   {make_safe(about)}" if about else "")
        width = max((len(each.key) for each in difference.attributes), default=0)
        for each in difference.attributes:
            yield f"      {attribute_line(each, width)}"

    def _about(self, state: FileState | None) -> str:
        """Return type, rights, owner and size in short."""
        if state is None:
            return ""
        members = schema_members(Shown(state, self._names, lambda _, raw: os.fsdecode(raw)))
        size = f" {members['size']} bytes" if "size" in members else ""
        return f"{members['type']} {members['mode']} {members['owner']}:{members['group']}{size}"

    def _colour(self, kind: Kind, text: str) -> str:
        return f"\033[{_COLOURS[kind]}m{text}\033[0m" if self._is_coloured else text


def attribute_line(change: AttributeChange, width: int) -> str:
    """Return an attribute before and after, its name filled up to *width*."""
    return f"{change.key:<{width}}  {_value(change, is_before=True)} -> {_value(change, is_before=False)}"


def show_path(path: bytes) -> str:
    """Return a path as it can be printed: what is not UTF-8 and what a terminal acts on is escaped."""
    return make_safe(os.fsdecode(path))


def _package_lines(differences: Sequence[tuple[bytes, Difference]]) -> Iterator[str]:
    """Yield a line for each package whose upgrade made differences."""
    kinds = Counter((difference.package, difference.kind) for _, difference in differences if difference.package)
    packages = sorted({package for package, _ in kinds})
    if packages:
        yield ""
        yield f"As packages have them ({len(packages)})"
    for package in packages:
        numbers = [f"{kinds[package, kind]} {kind}" for kind in _HEADINGS if kinds[package, kind]]
        yield f"  {make_safe(package)}   {', '.join(numbers)}"


def _summary_lines(summary: Summary, numbers: dict[Kind, int]) -> Iterator[str]:
    yield f"Compared: {', '.join(map(make_safe, summary.directories))}"
    yield f"Approved: {make_safe(summary.approved)}"
    rate = f"{summary.seconds:.1f} s, {show_bytes(summary.read_bytes)} read"
    yield f"Looked at {summary.paths} paths in {rate}."
    for kind, number in numbers.items():
        yield f"  {_HEADINGS[kind] + ':':<24}{number:>8}"


def _order(item: tuple[bytes, Difference]) -> tuple[int, bytes]:
    return -item[1].weight, item[0]


def _value(change: AttributeChange, *, is_before: bool) -> str:
    value = change.before if is_before else change.after
    return "-" if value is None else make_safe(_text_of(value))


def _text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict)):
        return ", ".join(map(_text_of, value))
    if isinstance(value, dict):
        return " ".join(f"{key}={_text_of(each)}" for key, each in value.items())
    return str(value)
