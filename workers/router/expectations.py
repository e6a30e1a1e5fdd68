"""What an event of this stream should have, so that it can be said what one lacks.

Whether a record is missing cannot be told from an event alone: kernels differ, and rules of the list `exclude` keep
types out. So each stream is the measure of its own events.
"""

import re

from auditline.workers.router.decode import types
from auditline.workers.router.event import Event

WINDOW_EVENTS = 256
"""What is usual is found anew after so many events."""
EOE_WINDOW_EVENTS = 1000
"""A stream had an EOE among this many events: then the lack of one says that records were refused."""
_WHOLE_SHARE = 3 / 4
"""Of a window's system calls, which must be half of its events. Under overload a fifteenth lacks some record."""

_RULE_CHANGE = re.compile(r' op="?(add|remove)[ _]rule"? .*list=5 res=1').search
"""Five is the list `exclude`. Source: kernel/auditfilter.c, audit_log_rule_change()."""
_UNNAMED = "name=(null)"


class Expectations:
    """Follows what the system calls of one stream have, and judges those that lack it.

    The kernel ends each with PROCTITLE and EOE, and has one CWD where there is a PATH with a name.
    Source: kernel/auditsc.c, audit_log_exit(), audit_alloc_name().
    """

    def __init__(self) -> None:
        self.events_since_eoe = EOE_WINDOW_EVENTS
        self.exclude_rules = 0
        """How many were loaded before our eyes."""
        self.are_whole_usual = False
        """Whether most of the latest system calls had all that is asked for here, EOE apart."""
        self._lacking = 0
        self._others = 0
        """In this window: system calls that lacked something, and what cannot be judged."""

    def note_rule_change(self, body: str) -> None:
        """Note from a CONFIG_CHANGE that a rule of the list `exclude` has come or gone."""
        change = _RULE_CHANGE(body)
        if change is not None:
            self.exclude_rules = max(0, self.exclude_rules + (1 if change[1] == "add" else -1))

    def judge(self, event: Event) -> None:
        """Say what an event lacks that is not plainly whole, or that rules may keep records of."""
        kinds = event.types
        if types.SYSCALL not in kinds or event.node is not None or event.amends:
            # Of several hosts one may have what another has not.
            self._others += 1
            return
        lacking = _lacking_of(event)
        self._lacking += bool(lacking)
        if self.exclude_rules:
            event.may_lack = True
        elif lacking and self.are_whole_usual:
            event.reasons += lacking

    def lacks_eoe(self, event: Event) -> bool:
        """Tell whether the event, which was given up, should have had an EOE; call it once for each."""
        self.events_since_eoe += 1
        is_usual = self.events_since_eoe < EOE_WINDOW_EVENTS and not self.exclude_rules
        return is_usual and types.SYSCALL in event.types and not event.amends

    def end_window(self) -> None:
        """Find what is usual from WINDOW_EVENTS events."""
        system_calls = WINDOW_EVENTS - self._others
        whole = system_calls - self._lacking
        self.are_whole_usual = 2 * system_calls >= WINDOW_EVENTS and whole >= _WHOLE_SHARE * system_calls
        self._lacking = self._others = 0

    def forget_rules(self) -> None:
        """The host was booted: its kernel has no rules."""
        self.exclude_rules = 0

    def snapshot(self) -> list[int]:
        """Return what `resume` wants."""
        return [self.events_since_eoe, self.exclude_rules, int(self.are_whole_usual), self._lacking, self._others]

    def resume(self, known: list[int]) -> None:
        """Go on from what `snapshot` returned.

        Raises:
            ValueError, TypeError: it did not return that.
        """
        self.events_since_eoe, self.exclude_rules, is_usual, self._lacking, self._others = map(int, known)
        self.are_whole_usual = bool(is_usual)


def _lacking_of(event: Event) -> tuple[str, ...]:
    reasons = []
    if types.PROCTITLE not in event.types:
        reasons.append("no_proctitle")
    if types.CWD not in event.types and any(
        kind == types.PATH and _UNNAMED not in body for kind, body in zip(event.types, event.bodies, strict=True)
    ):
        reasons.append("no_cwd")
    return tuple(reasons)
