"""What the workers need, imported by the supervisor before it forks them: they start at once, and share its memory."""

import gc
from collections.abc import Iterable
from importlib import import_module

CONTROL_MODULES = ("auditline.workers.control.worker",)
READER_MODULES = ("auditline.workers.audit.worker",)
LINE_READER_MODULES = ("auditline.workers.audit.line_reader",)
ROUTER_MODULES = (
    # The large parts by themselves: between two of these modules it is looked what the workers want.
    "auditline.workers.router.decode.facts",
    "auditline.workers.router.naming.engine",
    "auditline.workers.router.render.fragments",
    "auditline.workers.router.health",
    "auditline.workers.router.worker",
    "auditline.workers.router.name_service",
)
SENDER_MODULES = ("auditline.workers.elasticsearch.worker",)
WATCH_MODULES = ("auditline.workers.fim.worker", "auditline.workers.hasher.worker")


def preload(modules: Iterable[str]) -> None:
    """Import *modules*, ZeroMQ with them; its contexts are made by each process that needs one.

    What is there now is out of the garbage collector's way: looking at it, a worker would make it its own.
    """
    for module in modules:
        import_module(module)
    gc.freeze()
