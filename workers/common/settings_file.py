"""Configuration files: TOML checked against the annotations of a dataclass, and written back."""

import os
import stat
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from auditline.workers.common.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Section = TypeVar("Section", bound=DataclassInstance)

MAX_FILE_BYTES = 1024**2
_SHOWN_CHARACTERS = 60
_LONGEST_DECIMAL_BITS = 1024
"""Python refuses to print integers of more than 4,300 digits; TOML's hexadecimal may hold one."""


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a key allows, both ends included."""

    low: float
    high: float


class Unwanted(Exception):
    """A value does not fit; the text says what was wanted."""


class Problems:
    """Collects what is wrong with one file, to tell it all at once."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: list[str] = []

    def add(self, text: str) -> None:
        """Note one problem."""
        self._lines.append(f"{self._file}: {text}")

    def add_unknown(self, keys: Iterable[str], known: Sequence[str], prefix: str) -> None:
        """Note each of *keys* that is not in *known*, with the one that may have been meant."""
        for key in keys:
            if key not in known:
                self.add(f"{prefix}{show_key(key)} is unknown; {suggest(key, known)}")

    def __bool__(self) -> bool:
        """Whether there was a problem."""
        return bool(self._lines)

    def raise_any(self) -> None:
        """Raise SettingsError if there was a problem."""
        if self._lines:
            raise SettingsError(self._lines)


def read_toml(file: Path, *, is_needed: bool) -> dict[str, Any] | None:
    """Return the tables of *file*, None if it is neither there nor needed.

    Raises:
        SettingsError: it cannot be read, others may write it, or it is no TOML.
    """
    try:
        data = _read_guarded(file)
    except FileNotFoundError:
        if not is_needed:
            return None
        raise SettingsError([f"{file}: there is no such file"]) from None
    except OSError as error:
        raise SettingsError([f"{file}: cannot be read: {error.strerror}"]) from error
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError([f"{file}: line {line}: byte 0x{data[error.start]:02x} is not UTF-8"]) from error
    # An integer of more than 4,300 digits is a plain ValueError.
    except ValueError as error:
        raise SettingsError([f"{file}: not valid TOML: {error}"]) from error
    except RecursionError as error:
        raise SettingsError([f"{file}: not valid TOML: nested too deeply"]) from error


def _read_guarded(file: Path) -> bytes:
    with file.open("rb") as stream:
        status = os.fstat(stream.fileno())
        # Pipes and /dev/null have no owner to mistrust.
        if stat.S_ISREG(status.st_mode):
            _refuse_foreign_writers(file, status)
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise SettingsError([f"{file}: must be at most {MAX_FILE_BYTES} bytes long"])
    return data


def _refuse_foreign_writers(file: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError([f"{file}: must not be writable by others, but has mode {mode:04o} (chmod go-w)"])
    if status.st_uid not in (0, os.geteuid()):
        raise SettingsError([f"{file}: must belong to root or to the user who runs this, not to uid {status.st_uid}"])


def fill_section(defaults: "Section", table: object, section: str, problems: Problems) -> "Section":
    """Return *defaults* with the keys of *table* in place; what does not fit goes to *problems*."""
    if not isinstance(table, dict):
        problems.add(f"{section} must be a table ([{section}]), not {show_value(table)}")
        return defaults
    hints = get_type_hints(type(defaults), include_extras=True)
    known = section_keys(defaults)
    problems.add_unknown(table, known, f"{section}.")
    values: dict[str, Any] = {}
    for key in known:
        if key in table:
            try:
                values[key] = convert(table[key], hints[key])
            except Unwanted as wanted:
                problems.add(f"{section}.{key} must be {wanted}, not {show_value(table[key])}")
    return replace(defaults, **values)


def section_keys(section: "DataclassInstance") -> list[str]:
    """Return the keys of a section's table; an output's `name` stands in the table's header instead."""
    return [key.name for key in fields(section) if key.name != "name"]


def convert(value: object, hint: Any) -> object:
    """Return *value* as the annotation *hint* wants it.

    Raises:
        Unwanted: it does not fit.
    """
    origin = get_origin(hint)
    if origin is Annotated:
        return _convert_number(value, *get_args(hint))
    if origin is UnionType or type(None) in get_args(hint):
        return convert(value, get_args(hint)[0])
    if origin is Literal:
        return _convert_choice(value, get_args(hint))
    if origin is tuple:
        return _convert_list(value, get_args(hint)[0])
    return _convert_plain(value, hint)


def _convert_number(value: object, hint: Any, allowed: Range) -> object:
    number: Any = convert(value, hint)
    # Asked this way round, because nan is not less than anything.
    if not number >= allowed.low:
        raise Unwanted(f"at least {allowed.low}")
    if number > allowed.high:
        raise Unwanted(f"at most {allowed.high}")
    return number


def _convert_choice(value: object, choices: tuple[str, ...]) -> object:
    if value not in choices:
        raise Unwanted(" or ".join(f'"{choice}"' for choice in choices))
    return value


def _convert_list(value: object, hint: Any) -> object:
    if not isinstance(value, list):
        raise Unwanted("a list")
    try:
        return tuple(convert(item, hint) for item in value)
    except Unwanted as wanted:
        raise Unwanted(f"a list, each item {wanted}") from None


def _convert_plain(value: object, hint: type) -> object:
    # TOML's true is Python's True, which is an int too.
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if hint is Path:
        if isinstance(value, str) and value.startswith("/") and "\0" not in value:
            return Path(value)
    elif isinstance(value, str) and "\0" in value:
        raise Unwanted("a string without a NUL character")
    elif type(value) is hint:
        return value
    raise Unwanted(_NAMES[hint])


_NAMES: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    Path: "an absolute path",
}


def suggest(key: str, known: Sequence[str]) -> str:
    """Return which of the *known* words may have been meant by *key*, or all of them."""
    from difflib import get_close_matches

    matches = get_close_matches(key[:_SHOWN_CHARACTERS], known, n=1)
    return f"did you mean {matches[0]}?" if matches else f"known are {', '.join(known)}"


def show_value(value: object) -> str:
    """Return *value* as TOML for a message, shortened."""
    text = to_toml(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def show_key(key: str) -> str:
    """Return *key* as TOML wants it: bare where it may be, quoted where not."""
    is_bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if is_bare else show_value(key)


def to_toml(value: object) -> str:
    """Return one value as TOML on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        return f'"{"".join(map(_escape, str(value)))}"'
    if is_dataclass(value) and not isinstance(value, type):
        # What says nothing is left out: TOML has no word for it.
        value = {key: each for key in section_keys(value) if (each := getattr(value, key)) not in (None, (), {})}
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{to_toml(key)} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, int) and value.bit_length() > _LONGEST_DECIMAL_BITS:
        return hex(value)
    return str(value)


def section_to_toml(section: "DataclassInstance", header: str, *, left_out: Collection[str] = ()) -> str:
    """Return a whole table; a key without a value stands in a comment. A header in brackets is one of several."""
    lines = [f"[{header}]"]
    for key in section_keys(section):
        if key in left_out:
            continue
        value = getattr(section, key)
        lines.append(f"# {key}: as found" if value is None else f"{key} = {to_toml(value)}")
    return "\n".join(lines) + "\n"


def _escape(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"
