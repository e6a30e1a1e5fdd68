"""All outputs of the router as one: what is done is what is done for each of them."""

import logging
from collections.abc import Mapping, Sequence

from auditline.plugins.outputs.api import Line, Output, OutputContext
from auditline.plugins.outputs.registry import open_output
from auditline.workers.common.settings import Settings

logger = logging.getLogger(__name__)


class Destinations:
    """The outputs of one router."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.outputs = outputs

    @classmethod
    def open(cls, settings: Settings, context: OutputContext) -> "Destinations":
        """Open every enabled output.

        Raises:
            AuditlineError: one of them cannot be opened.
        """
        return cls([open_output(output, context) for output in settings.enabled_outputs])

    @property
    def done_sequence(self) -> int:
        """Every line up to this one is safe, or counted as missed, at every output."""
        return min(output.done_sequence for output in self.outputs)

    @property
    def is_blocked(self) -> bool:
        """No more lines, until this is False."""
        return any(output.is_blocked for output in self.outputs)

    @property
    def is_gone(self) -> bool:
        """Nobody is left who will ever take a line."""
        return all(output.is_gone for output in self.outputs)

    @property
    def write_fds(self) -> list[int]:
        """Descriptors to poll for room."""
        return [output.write_fd for output in self.outputs if output.write_fd is not None]

    @property
    def schemas(self) -> list[str]:
        """Those in which the outputs want their events, each once."""
        return list(dict.fromkeys(output.schema for output in self.outputs))

    def write(self, lines: Mapping[str, Sequence[Line]]) -> None:
        """Give every output its lines, which are there for each of `schemas`, and let it write."""
        for output in self.outputs:
            if lines[output.schema]:
                output.write(lines[output.schema])
        self.pump()

    def pump(self) -> None:
        """Let every output do what is due."""
        for output in self.outputs:
            others = [other for other in self.outputs if other is not output and other.is_attached]
            # Nobody will read any more what one that is gone would have had beside them.
            output.others_attached = any(other.takes_all for other in others) or (output.is_gone and bool(others))
            output.pump()

    def confirm(self, sequence: int) -> None:
        """No line up to *sequence* will come again."""
        for output in self.outputs:
            output.confirm(sequence)

    def end_resends(self) -> None:
        """All that a predecessor may have written has come again."""
        for output in self.outputs:
            output.end_resends()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the balance of each output by its name."""
        return {output.name: output.counts() for output in self.outputs}

    def close(self, seconds: float) -> None:
        """Write what can be written in *seconds*, shared by all, and let go."""
        for output in self.outputs:
            output.close(seconds / len(self.outputs))
