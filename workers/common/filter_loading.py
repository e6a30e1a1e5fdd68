"""Reading `include`, `exclude` and `add` of an output, with all that is wrong told by the table's number."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeGuard

from auditline.workers.common.filter_settings import KEPT_FIELDS, AddSettings, ConditionSettings, Scalar, Value
from auditline.workers.common.settings_file import Problems, Unwanted, fill_section, section_keys, show_value
from auditline.workers.common.timestamps import parse_timestamp

_GROUPS = ("all", "any", "none")
_ALONE = ("equals", "one_of", "exists")
"""Operators beside which no other one says anything more."""
_LARGEST_INTEGER = 2**64
_DOTTED = re.compile(r"[^.]+(\.[^.]+){0,19}")
"""Elasticsearch takes objects within objects up to 20 levels deep, unless it is told otherwise."""


def read_conditions(tables: object, section: str, problems: Problems) -> tuple[ConditionSettings, ...]:
    """Return the conditions of *tables*, each of which stands for itself; what is wrong goes to *problems*."""
    if not isinstance(tables, list):
        problems.add(f"{section} must be tables such as [[{section}]], not {show_value(tables)}")
        return ()
    numbered = enumerate(tables, 1)
    return tuple(_read_condition(table, f"{section}[{number}]", problems) for number, table in numbered)


def read_additions(table: object, section: str, problems: Problems) -> AddSettings:
    """Return what is added and dropped; what is wrong goes to *problems*."""
    if not isinstance(table, dict):
        return fill_section(AddSettings(), table, section, problems)
    plain = {key: value for key, value in table.items() if key != "fields"}
    additions = fill_section(AddSettings(), plain, section, problems)
    added = _read_fields(table.get("fields", {}), f"{section}.fields", problems)
    for name in added:
        if name.partition(".")[0] == "tags":
            problems.add(f'{section}.fields must not have "{name}": write them in {section}.tags')
        if outer := next((other for other in added if name.startswith(f"{other}.")), None):
            problems.add(f"{section}.fields must not have both {show_value(outer)} and {show_value(name)}")
    for name in additions.drop_fields:
        if not _DOTTED.fullmatch(name):
            problems.add(f"{section}.drop_fields must be names such as process.args, not {show_value(name)}")
    for key, names in (("fields", tuple(added)), ("drop_fields", additions.drop_fields)):
        for name in names:
            _refuse_kept(name, f"{section}.{key}", problems)
    return replace(additions, fields=added)


def _read_condition(table: object, section: str, problems: Problems) -> ConditionSettings:
    nothing = ConditionSettings()
    if not isinstance(table, dict):
        problems.add(f"{section} must be a table with a field and a condition, not {show_value(table)}")
        return nothing
    problems.add_unknown(table, section_keys(nothing), f"{section}.")
    if not table:
        problems.add(f"{section} must not be empty: it needs a field and one of {', '.join(_OPERATORS)}")
    values: dict[str, Any] = {}
    for key, read in {"field": _read_field, **_OPERATORS}.items():
        if key in table:
            try:
                values[key] = read(table[key])
            except Unwanted as wanted:
                problems.add(f"{section}.{key} must be {wanted}, not {show_value(table[key])}")
    for key in _GROUPS:
        if key in table:
            values[key] = read_conditions(table[key], f"{section}.{key}", problems)
            if table[key] == []:
                problems.add(f"{section}.{key} must not be empty")
    for problem in _find_contradictions(table, values):
        problems.add(f"{section} {problem}")
    return replace(nothing, **values)


def _find_contradictions(table: Mapping[str, object], values: Mapping[str, Any]) -> Iterator[str]:
    operators = [key for key in _OPERATORS if key in table]
    if operators and "field" not in table:
        yield f"must say its field: {operators[0]} stands alone"
    if "field" in table and not operators:
        yield f"must have one of {', '.join(_OPERATORS)} for its field"
    alone = next((key for key in operators if key in _ALONE), None)
    if alone and len(operators) > 1:
        other = next(key for key in operators if key != alone)
        yield f"must have one of {alone} and {other}, not both"
    above, below = values.get("above"), values.get("below")
    if above is None or below is None:
        return
    if isinstance(above, str) != isinstance(below, str):
        yield "must have two numbers or two timestamps as above and below"
    elif _order(above) >= _order(below):
        yield f"must have an above that is less than below, not {show_value(above)} and {show_value(below)}"


def _order(limit: float | str) -> float:
    moment = parse_timestamp(limit) if isinstance(limit, str) else None
    return moment.timestamp() if moment else float(limit)


def _read_field(value: object) -> str:
    if not isinstance(value, str) or not _DOTTED.fullmatch(value):
        raise Unwanted("a field's name such as process.executable")
    return value


def _read_scalar(value: object) -> Scalar:
    if isinstance(value, str | bool | int) or (isinstance(value, float) and not math.isnan(value)):
        return value
    raise Unwanted("a string, a number, true or false")


def _read_scalars(value: object) -> tuple[Scalar, ...]:
    try:
        if isinstance(value, list) and value:
            return tuple(map(_read_scalar, value))
    except Unwanted:
        pass
    raise Unwanted("a list of strings, numbers, true or false, and not empty")


def _read_text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Unwanted("a string that is not empty")
    return value


def _read_regex(value: object) -> str:
    from auditline.workers.common.patterns import check_pattern

    pattern = _read_text(value)
    if problem := check_pattern(pattern):
        raise Unwanted(f"a pattern ({problem})")
    return pattern


def _read_limit(value: object) -> float | str:
    if _is_number(value):
        return value
    text = value.isoformat() if isinstance(value, datetime) else value
    if isinstance(text, str) and parse_timestamp(text):
        return text
    raise Unwanted('a number, or a timestamp with a zone such as "2026-01-31T12:00:00Z"')


def _is_number(value: object) -> TypeGuard[float]:
    """Say whether it can be compared with the numbers in events, which are floats where they are large."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return not math.isnan(value) if isinstance(value, float) else abs(value) < _LARGEST_INTEGER


def _read_networks(value: object) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    if not texts:
        raise Unwanted('a network such as "10.0.0.0/8" or "fd00::/8"')
    return tuple(map(_read_network, texts))


def _read_network(text: object) -> str:
    from ipaddress import ip_network

    try:
        if isinstance(text, str):
            ip_network(text)
            return text
    except ValueError:
        pass
    try:
        meant = f"; {ip_network(text, strict=False)} may be meant" if isinstance(text, str) else ""
    except ValueError:
        meant = ""
    raise Unwanted(f'a network such as "10.0.0.0/8" or "fd00::/8"{meant}')


def _read_exists(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unwanted("true or false")
    return value


_OPERATORS: Mapping[str, Callable[[object], object]] = {
    "equals": _read_scalar,
    "one_of": _read_scalars,
    "prefix": _read_text,
    "regex": _read_regex,
    "above": _read_limit,
    "below": _read_limit,
    "network": _read_networks,
    "exists": _read_exists,
}


def _read_fields(table: object, section: str, problems: Problems) -> dict[str, Value]:
    """Return fields by their dotted names; TOML makes tables of names with dots that are not quoted."""
    found: dict[str, Value] = {}
    if not isinstance(table, dict):
        problems.add(f'{section} must be fields such as {{ "labels.site" = "berlin" }}, not {show_value(table)}')
        return found
    for name, value in _flatten(table):
        if not _DOTTED.fullmatch(name):
            problems.add(f"{section} must have names such as labels.site, not {show_value(name)}")
        try:
            found[name] = _read_value(value)
        except Unwanted as wanted:
            problems.add(f"{section}.{name} must be {wanted}, not {show_value(value)}")
    return found


def _flatten(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from ((f"{name}.{inner}", each) for inner, each in _flatten(value))
        else:
            yield name, value


def _read_value(value: object) -> Value:
    if isinstance(value, list):
        return tuple(map(_read_one_value, value))
    return _read_one_value(value)


def _read_one_value(value: object) -> Scalar:
    is_number = isinstance(value, int | float) and abs(value) < _LARGEST_INTEGER
    if isinstance(value, str | bool) or is_number:
        return value  # type: ignore[return-value]  # mypy does not follow is_number
    raise Unwanted("a string, a number, true or false, or a list of them")


def _refuse_kept(name: str, section: str, problems: Problems) -> None:
    for kept in KEPT_FIELDS:
        if f"{kept}.".startswith(f"{name}.") or name.startswith(f"{kept}."):
            reason = f"it is {kept}" if name == kept else f"with it goes {kept}"
            problems.add(f"{section} must not have {show_value(name)}: {reason}, which identifies the event")
