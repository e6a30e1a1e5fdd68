"""How the fields of records are written, by the table `fields.tsv`: which are encoded, which are numbers with names."""

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache

from auditline.workers.common.tables.lookup import field_rows, record_type_names
from auditline.workers.router.decode import types

ENCODED = "encoded"
"""Between double quotes if plain, in upper-case hex otherwise."""
TITLE = "title"
"""The same, with NUL between its parts."""

_DIGITS = re.compile("[0-9]+")


class FieldTypes(dict[str, str]):
    """From the name of a field to its type; a field that is kept as it stands has none."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__((name, kind) for name, kind in fields.items() if "#" not in name)
        self._numbered = {name: kind for name, kind in fields.items() if "#" in name}
        self.look_up: Callable[[str], str | None] = self._type_of if self._numbered else self.get
        """Return a field's type; `a12[3]` stands in the table as `a#[#]`. No method, because every field asks."""

    def _type_of(self, name: str) -> str | None:
        found = self.get(name)
        return self._numbered.get(_DIGITS.sub("#", name)) if found is None else found


@lru_cache(maxsize=1024)
def field_types(record_type: int) -> FieldTypes:
    """Return the types of a record's fields; types of records that no table knows have what all have."""
    name = record_type_names().get(record_type, "").upper()
    fields: dict[str, str] = {}
    for patterns, names, kind in _rows():
        if any(_matches(pattern, record_type, name) for pattern in patterns):
            fields.update(dict.fromkeys(names, kind))
    return FieldTypes(fields)


def _matches(pattern: str, record_type: int, name: str) -> bool:
    if pattern == "user":
        return types.is_from_user_space(record_type)
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern


@cache
def _rows() -> list[tuple[list[str], list[str], str]]:
    return [(patterns.split(","), fields.split(","), kind) for patterns, fields, kind, _ in field_rows()]
