"""What is wrong with settings beyond the types and ranges of single keys; checked by `load_settings`."""

import os
import pwd
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from auditline.workers.common.hashes import ALGORITHMS, is_available
from auditline.workers.common.profiles import ATTRIBUTES, OverrideSettings
from auditline.workers.common.settings import (
    ElasticsearchSettings,
    FimSettings,
    OutputSettings,
    SegmentsSettings,
    Settings,
)
from auditline.workers.common.settings_file import show_key, show_value, suggest

_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[!-~]*)?")
_DATA_STREAM = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}")
"""Source: the naming rules of Elasticsearch's data streams."""
_FINGERPRINT = re.compile(r"([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}")

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_SOCKET_PATH_BYTES = 107
"""`sun_path` of `struct sockaddr_un` has 108 bytes, the last one NUL: unix(7)."""
LONGEST_SOCKET_NAME_BYTES = 24
"""What the bus may append to `run.directory` to name a socket, the slash included."""


def find_contradictions(settings: Settings) -> Iterator[str]:
    """Say what is wrong, a line each, though every value is of the right type and in range."""
    room = LONGEST_SOCKET_PATH_BYTES - LONGEST_SOCKET_NAME_BYTES
    length = len(os.fsencode(settings.run.directory))
    if length > room:
        yield (
            f"run.directory must be at most {room} bytes long, not {length}:"
            f" a socket's path in it may have {LONGEST_SOCKET_PATH_BYTES}"
        )
    if settings.run.directory == settings.state.directory:
        yield "run.directory must differ from state.directory: it is emptied at the end"
    if settings.run.user and not _is_user(settings.run.user):
        yield f"run.user must be a user of this host, not {show_value(settings.run.user)}"
    yield from _find_fim_contradictions(settings.fim)
    yield from _find_output_contradictions(settings.enabled_outputs)


def _find_fim_contradictions(fim: FimSettings) -> Iterator[str]:
    if fim.max_delay_seconds < fim.debounce_seconds:
        least, found = fim.debounce_seconds, fim.max_delay_seconds
        yield f"fim.max_delay_seconds must be at least debounce_seconds ({least}), not {found}"
    yield from _find_hash_problems(fim.hashes)
    owners: dict[Path, str] = {}
    for number, watch in enumerate(fim.watch, 1):
        section = f"fim.watch[{number}]"
        owner = owners.setdefault(watch.path, section)
        if owner != section:
            yield f"{section}.path must differ from {owner}.path, both are {watch.path}"
        yield from _find_pattern_problems(watch.include, f"{section}.include")
        yield from _find_pattern_problems(watch.exclude, f"{section}.exclude")
        for place, override in enumerate(watch.override, 1):
            yield from _find_override_problems(override, f"{section}.override[{place}]")


def _find_override_problems(override: OverrideSettings, section: str) -> Iterator[str]:
    if not override.match:
        yield f"{section}.match must say for which paths it is"
    yield from _find_pattern_problems(override.match, f"{section}.match")
    for name in override.attributes:
        if name not in ATTRIBUTES:
            yield f"{section}.attributes: {show_key(name)} is unknown; {suggest(name, ATTRIBUTES)}"


def _find_hash_problems(names: tuple[str, ...]) -> Iterator[str]:
    for name in dict.fromkeys(names):
        shown = show_key(name)
        if name not in ALGORITHMS:
            yield f"fim.hashes: {shown} is unknown; {suggest(name, tuple(ALGORITHMS))}"
        elif not is_available(name):
            yield f"fim.hashes: {shown} is not available: the OpenSSL of this host lacks it"
        if names.count(name) > 1:
            yield f"fim.hashes must name {shown} once, not {names.count(name)} times"


def _find_pattern_problems(patterns: tuple[str, ...], key: str) -> Iterator[str]:
    if not patterns:
        return
    from auditline.workers.common.patterns import check_pattern

    for pattern in patterns:
        problem = check_pattern(pattern)
        if problem:
            yield f"{key}: {show_value(pattern)}: {problem}"


def _find_output_contradictions(outputs: tuple[OutputSettings, ...]) -> Iterator[str]:
    owners: dict[Path, str] = {}
    for output in outputs:
        if isinstance(output, ElasticsearchSettings):
            yield from _find_elasticsearch_contradictions(output)
        if not isinstance(output, SegmentsSettings):
            continue
        section = f"outputs.{output.name}"
        if output.total_bytes < output.keep_bytes:
            yield f"{section}.total_bytes must be at least keep_bytes ({output.keep_bytes}), not {output.total_bytes}"
        owner = owners.setdefault(output.directory, section)
        if owner != section:
            yield f"{section}.directory must differ from {owner}.directory, both are {output.directory}"


def _find_elasticsearch_contradictions(output: ElasticsearchSettings) -> Iterator[str]:
    section = f"outputs.{output.name}"
    if not output.hosts:
        yield f'{section}.hosts must name a server, such as "https://es.example:9200"'
    for key, url in (*(("hosts", host) for host in output.hosts), *([("proxy", output.proxy)] if output.proxy else [])):
        if not _URL.fullmatch(url):
            yield f'{section}.{key}: {show_value(url)} must be a URL such as "https://es.example:9200"'
    if "{kind}" not in output.data_stream:
        yield f"{section}.data_stream must have {{kind}} in it, not be {show_value(output.data_stream)}"
    name = output.data_stream.replace("{kind}", "audit").replace("{namespace}", output.namespace)
    if not _DATA_STREAM.fullmatch(name):
        keys = f"{section}.data_stream, with {section}.namespace,"
        yield f"{keys} gives {show_value(name)}: the name of a data stream has lower case letters, digits, . _ and -"
    if output.ca_fingerprint and not _FINGERPRINT.fullmatch(output.ca_fingerprint):
        yield f"{section}.ca_fingerprint must be 64 hex digits, with or without colons"
    if output.retry_max_seconds < output.retry_min_seconds:
        least, found = output.retry_min_seconds, output.retry_max_seconds
        yield f"{section}.retry_max_seconds must be at least retry_min_seconds ({least}), not {found}"
    yield from _find_secret_problems(output, section)


def _find_secret_problems(output: ElasticsearchSettings, section: str) -> Iterator[str]:
    ways = {
        "api_key": output.api_key_file or output.api_key_env,
        "bearer": output.bearer_file or output.bearer_env,
        "username": output.username,
    }
    if sum(map(bool, ways.values())) > 1:
        yield f"{section} must have one of {', '.join(way for way, value in ways.items() if value)}, not several"
    if bool(output.username) != bool(output.password_file or output.password_env):
        yield f"{section} must have username and one of password_file and password_env, or none of them"
    if output.client_key and not output.client_certificate:
        yield f"{section}.client_key must stand beside client_certificate"
    for way in ("api_key", "bearer", "password"):
        if getattr(output, f"{way}_file") and getattr(output, f"{way}_env"):
            yield f"{section} must have one of {way}_file and {way}_env, not both"


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True
