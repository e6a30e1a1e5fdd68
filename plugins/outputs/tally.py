"""An output's balance, in the router's counters page."""

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.output_slots import output_count

_OUTCOMES = ("written", "filtered", "missed", "rejected")


class Tally:
    """Counts events in and out of one output; what the counts mean is said in `api.py`."""

    def __init__(self, counters: CounterPage, output: str) -> None:
        """Go on counting where a dead predecessor stopped, without what was pending there."""
        self._counters = counters
        self._output = output
        names = ("events", "resent", *(f"events_{outcome}" for outcome in _OUTCOMES))
        counters.extend(self.slot(name) for name in names)
        self.forget_pending()

    def slot(self, name: str) -> str:
        """Return the name of this output's counter *name* in the page."""
        return output_count(self._output, name)

    def take(self, count: int) -> None:
        """Count events that were handed over."""
        self._counters.add(self.slot("events"), count)

    def add(self, outcome: str, count: int) -> None:
        """Count events whose *outcome* is known: written, filtered, missed or rejected."""
        self._counters.add(self.slot(f"events_{outcome}"), count)

    def resend(self, count: int) -> None:
        """Count events that were handed over again in vain."""
        self._counters.add(self.slot("resent"), count)

    def forget_pending(self) -> None:
        """Take out of `events` those that have no outcome: they will be handed over, and counted, again."""
        self._counters.set(self.slot("events"), sum(self.outcome(outcome) for outcome in _OUTCOMES))

    def outcome(self, outcome: str) -> int:
        """Return how many events had this *outcome* since the page was made."""
        return self._counters.get(self.slot(f"events_{outcome}"))

    def counts(self, pending: int) -> dict[str, int]:
        """Return the balance, with *pending* events that have no outcome yet."""
        events = self._counters.get(self.slot("events"))
        return {"events": events, **{outcome: self.outcome(outcome) for outcome in _OUTCOMES}, "pending": pending}
