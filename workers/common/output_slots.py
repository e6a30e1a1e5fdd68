"""Slots of the router's counters page in which the outputs count.

An output that writes several series has those of each of them, which are named after it: `elasticsearch.audit`.
"""

from collections.abc import Mapping

_REFUSALS = ("_events_missed_total", "_events_rejected_total")


def output_count(name: str, what: str) -> str:
    """Return the name of the slot in which an output, or one of its series, counts *what*."""
    return f"output_{name}_{what}_total"


def sum_output_counts(page: Mapping[str, int], name: str, what: str) -> int:
    """Return how much of *what* an output has counted, all of its series together."""
    own, first, last = output_count(name, what), f"output_{name}.", f"_{what}_total"
    return sum(count for slot, count in page.items() if slot == own or (slot.startswith(first) and slot.endswith(last)))


def count_refusals(page: Mapping[str, int]) -> int:
    """Return how many events any output missed or refused."""
    return sum(count for slot, count in page.items() if slot.startswith("output_") and slot.endswith(_REFUSALS))
