"""The renderers of kernel events, by schema."""

from typing import TYPE_CHECKING, Protocol

from auditline.workers.router.event import Event
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.fragments import FragmentRenderer
from auditline.workers.router.render.lines import Keep

if TYPE_CHECKING:
    from auditline.workers.router.process_table import ProcessTable


class EventRenderer(Protocol):
    """Makes documents of kernel events in one schema. Never fails: what cannot be decoded is kept raw."""

    def render(self, event: Event, host: str, host_name: str | None) -> tuple[str, str, bool]:
        """Return the event's id, its line without the newline, and whether it is complete.

        *host* is the 16 hex digits of the host or node that the event is from, *host_name* its name if known.
        """

    def forget_names(self) -> None:
        """Names of ids have changed: what was rendered with the old ones must go."""


def open_renderer(schema: str, names: IdNames, keep: Keep, processes: "ProcessTable | None" = None) -> EventRenderer:
    """Return the renderer of *schema*, `audit` or `ecs`; with *processes*, of events of this host as they come."""
    if schema == "ecs":
        # Most runs want one schema only: the other one's tables need not be read.
        from auditline.workers.router.kin import Kinship
        from auditline.workers.router.render.ecs_fragments import EcsFragmentRenderer

        return EcsFragmentRenderer(names, keep, kinship=None if processes is None else Kinship(processes))
    return FragmentRenderer(names, keep)
