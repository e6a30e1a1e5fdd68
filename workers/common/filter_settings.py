"""What an output may be told of its events: which it gets, and what is added to them or left out of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Scalar = str | int | float | bool
Value = Scalar | tuple[Scalar, ...]
"""What may be added to a document."""
KEPT_FIELDS = ("@timestamp", "event.id", "auditline.amends")
"""They identify the event, and say which event an amendment belongs to: never dropped, and never set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionSettings:
    """One table: all that it says must hold, of a list at least one item. None, and an empty tuple, say nothing."""

    field: str | None = None
    """Dotted; without it only what stands in `all`, `any` and `none` counts."""
    equals: Scalar | None = None
    one_of: tuple[Scalar, ...] = ()
    prefix: str | None = None
    regex: str | None = None
    """A pattern as `common/patterns.py` reads them."""
    above: int | float | str | None = None
    """A number or a timestamp; the same number is not above."""
    below: int | float | str | None = None
    network: tuple[str, ...] = ()
    """In CIDR notation; one of them is enough."""
    exists: bool | None = None
    all: tuple["ConditionSettings", ...] = ()
    any: tuple["ConditionSettings", ...] = ()
    none: tuple["ConditionSettings", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddSettings:
    """`[outputs.<name>.add]`: what an output's documents have more, or less, than others."""

    tags: tuple[str, ...] = ()
    fields: Mapping[str, Value] = field(default_factory=dict)
    """By dotted name."""
    drop_fields: tuple[str, ...] = ()
    """Dotted; they go before anything is added."""

    def __bool__(self) -> bool:
        """Whether documents change at all."""
        return bool(self.tags or self.fields or self.drop_fields)
