"""Directories whose files the kernel makes when they are read: what is in them is kept nowhere, and not watched."""

import logging
import os

from auditline.workers.fim.file_systems import pseudo_kind
from auditline.workers.fim.scope import Scope

logger = logging.getLogger(__name__)

_MOST_TOLD = 2000


class PseudoFileSystems:
    """Knows them, and says once of each that it is left out."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._told: set[bytes] = set()
        self._kinds: dict[int, str | None] = {}
        """What was asked lately, by `st_dev`."""

    def begin_slice(self) -> None:
        """Ask anew: numbers of devices are given again when file systems are unmounted."""
        self._kinds.clear()

    def is_one(self, directory: bytes, descriptor: int, device: int) -> bool:
        """Say whether a directory, open as *descriptor*, is on one; the watched one itself is wanted all the same."""
        if not directory:
            return False
        if device not in self._kinds:
            self._kinds[device] = pseudo_kind(descriptor)
        kind = self._kinds[device]
        if kind is not None and directory not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(directory)
            shown = os.fsdecode(self._scope.absolute(directory))
            logger.info("%s is not watched: what is in a %s file system is made when it is read", shown, kind)
        return kind is not None
