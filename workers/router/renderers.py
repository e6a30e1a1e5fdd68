"""What makes lines of events and of changes of files, and the names that they use."""

import time
from collections.abc import Sequence
from pathlib import Path

from auditline.workers.common.host import boot_id
from auditline.workers.common.settings import Settings
from auditline.workers.router.name_service import NameServiceClient
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.process_table import ProcessTable
from auditline.workers.router.render.file_event import FileRenderer
from auditline.workers.router.render.lines import DEFAULT_KEEP, Keep
from auditline.workers.router.render.schemas import open_renderer

NAMES_SECONDS = 1.0
"""So often it is looked whether names have changed."""
_PASSWD, _GROUP = Path("/etc/passwd"), Path("/etc/group")


class Renderers:
    """The renderers of one router."""

    def __init__(
        self,
        names: IdNames,
        owners: IdNames,
        schemas: Sequence[str] = ("audit",),
        keep: Keep = DEFAULT_KEEP,
    ) -> None:
        """Take the ids in events from *names*, owners and groups of files from *owners*."""
        processes = ProcessTable(boot_id())
        self.events = [open_renderer(schema, names, keep, processes) for schema in schemas]
        """One for each of the schemas, in their order."""
        self.files = FileRenderer(owners)
        self.names = names
        self._owners = owners
        self._due = 0.0

    @classmethod
    def open(
        cls, settings: Settings, names_socket_fd: int, *, has_watches: bool, schemas: Sequence[str] = ("audit",)
    ) -> "Renderers":
        """Return renderers for this host; owners have names also where ids in events stay numbers."""
        resolves = settings.audit.resolve_ids
        # Otherwise there is no process at the other end that could answer.
        ask = NameServiceClient(names_socket_fd).ask if resolves or has_watches else None
        owners = IdNames(_PASSWD, _GROUP, ask)
        keep = Keep(settings.audit.keep_raw, settings.audit.keep_warnings)
        return cls(owners if resolves else NoNames(), owners, schemas, keep)

    def refresh_names(self) -> None:
        """See, once in a while, whether names have changed."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + NAMES_SECONDS
        if self.names.refresh():
            for renderer in self.events:
                renderer.forget_names()
        if self._owners is not self.names:
            self._owners.refresh()
