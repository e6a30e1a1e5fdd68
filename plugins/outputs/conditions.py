"""Conditions on the fields of a document, as the configuration has them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from operator import gt, lt
from typing import Any

from auditline.plugins.outputs.bounded_search import BoundedSearch
from auditline.workers.common.filter_settings import ConditionSettings, Scalar
from auditline.workers.common.timestamps import parse_timestamp

Condition = Callable[[Mapping[str, Any]], bool]
"""Asked about a parsed document; a SearchGivenUp is its caller's."""
_Test = Callable[[Any], bool]
"""Asked about one value in it, never about a list."""


def any_of(settings: Sequence[ConditionSettings]) -> Condition:
    """Return what holds if one of the tables does."""
    conditions = [compile_condition(each) for each in settings]
    return lambda document: any(condition(document) for condition in conditions)


def compile_condition(settings: ConditionSettings) -> Condition:
    """Return what holds if all that a table says does."""
    parts = [] if settings.field is None else [_compile_field(settings.field, settings)]
    parts += map(compile_condition, settings.all)
    if settings.any:
        parts.append(any_of(settings.any))
    if settings.none:
        unwanted = any_of(settings.none)
        parts.append(lambda document: not unwanted(document))
    return parts[0] if len(parts) == 1 else lambda document: all(part(document) for part in parts)


def values_of(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """Yield what a document has at *path*, the items of lists one by one; what is null is not there."""
    if isinstance(value, list):
        for item in value:
            yield from values_of(item, path)
    elif not path:
        if value is not None:
            yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from values_of(value[path[0]], path[1:])


def _compile_field(field: str, settings: ConditionSettings) -> Condition:
    path = field.split(".")
    if settings.exists is not None:
        wanted = settings.exists
        return lambda document: any(True for _ in values_of(document, path)) is wanted
    tests = list(_tests(settings))
    if len(tests) == 1:
        test = tests[0]
        return lambda document: any(test(value) for value in values_of(document, path))
    return lambda document: any(all(test(value) for test in tests) for value in values_of(document, path))


def _tests(settings: ConditionSettings) -> Iterator[_Test]:
    if settings.equals is not None:
        yield _one_of([settings.equals])
    if settings.one_of:
        yield _one_of(settings.one_of)
    if (prefix := settings.prefix) is not None:
        yield lambda value: isinstance(value, str) and value.startswith(prefix)
    # What takes longest comes last.
    if settings.above is not None:
        yield _compare(gt, settings.above)
    if settings.below is not None:
        yield _compare(lt, settings.below)
    if settings.network:
        yield _within([ip_network(text) for text in settings.network])
    if settings.regex is not None:
        search = BoundedSearch(settings.regex)
        yield lambda value: isinstance(value, str) and search(value)


def _one_of(wanted: Sequence[Scalar]) -> _Test:
    # To Python 1 is True.
    values = frozenset((isinstance(value, bool), value) for value in wanted)
    return lambda value: not isinstance(value, dict) and (isinstance(value, bool), value) in values


def _compare(holds: Callable[[Any, Any], bool], limit: float | str) -> _Test:
    if isinstance(limit, str):
        moment = parse_timestamp(limit)
        return lambda value: isinstance(value, str) and _is_moment(value, lambda found: holds(found, moment))
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and holds(value, limit)


def _is_moment(text: str, holds: Callable[[datetime], bool]) -> bool:
    found = parse_timestamp(text)
    return found is not None and holds(found)


def _within(networks: Sequence[IPv4Network | IPv6Network]) -> _Test:
    def is_within(value: Any) -> bool:
        try:
            address = ip_address(value) if isinstance(value, str) else None
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            # As a socket that takes both kinds has it.
            mapped = address.ipv4_mapped
            return any(mapped in network or address in network for network in networks)
        return address is not None and any(address in network for network in networks)

    return is_within
