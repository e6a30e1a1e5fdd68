"""Opening what a sender reads; what cannot be used is waited for, as the router waits for it."""

import logging
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from auditline.plugins.outputs.cursor import Cursor
from auditline.plugins.outputs.elasticsearch import KINDS, RESEND, cursor_path, data_stream, spool_directory
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.errors import StorageError
from auditline.workers.common.host import host_id
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.documents import documents_in_letters, documents_of
from auditline.workers.elasticsearch.source import Source

RETRY_SECONDS = 1.0
logger = logging.getLogger(__name__)


def open_sources(life: Life, state_directory: Path, output: ElasticsearchSettings, opened: ExitStack) -> list[Source]:
    """Return the series that are to be sent, which *opened* closes; none: it was told to stop before it could.

    Raises:
        BusyError: another process sends them.
    """
    warning = RepeatedWarning(logger, every=60, level=logging.ERROR)
    while not life.stopping:
        try:
            return _open_all(state_directory, output, opened)
        except (OSError, StorageError) as error:
            why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
            text = "outputs.%s: its events cannot be sent before they can be read: %s; it is tried again each second"
            warning.tell(text, output.name, why)
        life.wait(RETRY_SECONDS)
    return []


def _open_all(state_directory: Path, output: ElasticsearchSettings, opened: ExitStack) -> list[Source]:
    host = host_id(state_directory)
    with ExitStack() as tried:
        sources = []
        for kind in (*KINDS, RESEND):
            directory = spool_directory(state_directory, output.name, kind)
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            cursor = Cursor.open(cursor_path(state_directory, output.name, kind), host)
            is_resend = kind == RESEND
            read = documents_in_letters if is_resend else partial(documents_of, data_stream(output, kind))
            source = Source(directory, cursor, read, is_resend=is_resend)
            tried.callback(source.close)
            sources.append(source)
        opened.enter_context(tried.pop_all())
    return sources
