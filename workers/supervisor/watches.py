"""The watchers and hashers of a run: which there are to be, and how those that run become these."""

import logging
from collections.abc import Iterator
from dataclasses import replace

from auditline.workers.common.watch_plan import plan_watches
from auditline.workers.supervisor.kinds import HASHERS, Wiring
from auditline.workers.supervisor.launch import WorkerKind
from auditline.workers.supervisor.processes import Workers

logger = logging.getLogger(__name__)


class Watches:
    """What the settings want to be watched."""

    def __init__(self, wiring: Wiring, workers: Workers) -> None:
        self._wiring = wiring
        self._workers = workers
        self._running: dict[str, object] = {}
        """By the names of the processes: all that must be the same for them to go on."""
        self._told: set[str] = set()

    def plan(self) -> None:
        """Make the plan of the present settings and say what is remarkable about it."""
        planned = plan_watches(self._wiring.settings.fim.watch)
        self._wiring.plans = planned.plans
        for note in planned.notes:
            if note not in self._told:
                logger.info("%s", note)
        self._told.update(planned.notes)

    def apply(self) -> None:
        """Start and stop what it takes; what is already as planned goes on, unless it was given up."""
        wanted = {kind.name: (kind, reason) for kind, reason in self._list_wanted()}
        for name in self._running.keys() - wanted.keys():
            self._workers.remove(name)
        for name, (kind, reason) in wanted.items():
            if self._running.get(name) != reason or self._workers.are_given_up([name]):
                self._workers.replace(kind)
        self._running = {name: reason for name, (_, reason) in wanted.items()}

    def warn_if_nobody_hashes(self) -> None:
        """Say so when the last hasher is given up: the watchers then wait for them."""
        names = self._workers.names_of(HASHERS)
        if names and self._workers.are_given_up(names):
            logger.error("no hasher is left: changes of files' contents are reported after the next start or SIGHUP")

    def _list_wanted(self) -> Iterator[tuple[WorkerKind, object]]:
        wiring = self._wiring
        fim = replace(wiring.settings.fim, watch=())
        for plan in wiring.plans:
            yield wiring.watcher(plan), (plan, fim)
        if wiring.plans:
            for number in range(1, wiring.settings.hasher.processes + 1):
                yield wiring.hasher(number), (wiring.plans, fim)
