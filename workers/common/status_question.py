"""The question that `auditline status` puts to a running service, over a socket in its run directory."""

from pathlib import Path

QUESTION = b"status 1\n"
"""The number is that of the form of the answer: one JSON object, then the end of the stream."""
MOST_QUESTION_BYTES = 64

_SOCKET = "status.sock"


class QuestionError(ValueError):
    """What somebody sends is no question."""


def status_socket(run_directory: Path) -> Path:
    """Return where the service of a run directory is asked."""
    return run_directory / _SOCKET


def is_whole(received: bytes) -> bool:
    """Whether *received* is the question; False: it may become one.

    Raises:
        QuestionError: it is none, and will never be one.
    """
    line, newline, rest = received.partition(b"\n")
    if len(line) >= MOST_QUESTION_BYTES:
        raise QuestionError(f"a question must have less than {MOST_QUESTION_BYTES} bytes")
    if not newline:
        if not QUESTION.startswith(line):
            raise QuestionError(f"{line!r} begins no question")
        return False
    if line + newline != QUESTION:
        raise QuestionError(f"the question must be {QUESTION!r}, not {line!r}")
    if rest:
        raise QuestionError("behind a question there must be nothing")
    return True
