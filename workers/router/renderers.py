"""What makes lines of events and of changes of files, and the names that they use."""

import time
from collections.abc import Sequence
from pathlib import Path

from auditline.workers.common.host import boot_id
from auditline.workers.common.settings import Settings
from auditline.workers.common.tables.lookup import architecture_word
from auditline.workers.router.decode import types
from auditline.workers.router.event import Event
from auditline.workers.router.name_service import NameServiceClient
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.process_table import ProcessTable
from auditline.workers.router.render.file_fragments import FileFragmentRenderer
from auditline.workers.router.render.lines import DEFAULT_KEEP, Keep
from auditline.workers.router.render.schemas import open_renderer

NAMES_SECONDS = 1.0
"""So often it is looked whether names have changed."""
_PASSWD, _GROUP = Path("/etc/passwd"), Path("/etc/group")
_SAMPLE = (
    "arch={:x} syscall=0 success=yes exit=0 a0=0 a1=0 a2=0 a3=0 items=0 ppid=1 pid=2"
    " auid=0 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=1"
    ' comm="sample" exe="/sample" key=(null)'
)


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
        self.files = FileFragmentRenderer(owners)
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
        renderers = cls(owners if resolves else NoNames(), owners, schemas, keep)
        renderers.warm_up()
        return renderers

    def warm_up(self) -> None:
        """Render an event that nobody sees: tables are read when they are first needed, for as long as 20 ms."""
        event = Event("audit(0.000:0", None, "0", "000", 0)
        event.types.append(types.SYSCALL)
        event.bodies.append(_SAMPLE.format(architecture_word("b64") or 0))
        for renderer in self.events:
            renderer.render(event, "", None)

    def refresh_names(self) -> None:
        """See, once in a while, whether names have changed."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + NAMES_SECONDS
        has_changed = self.names.refresh()
        if has_changed:
            for renderer in self.events:
                renderer.forget_names()
        if self._owners is not self.names:
            has_changed = self._owners.refresh() or has_changed
        if has_changed:
            self.files.forget_names()
