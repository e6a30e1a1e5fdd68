"""Text of others in messages to people."""

import re
import sys

# C0, DEL, C1, and what turns or breaks lines: a message may quote a file name or an argument of a hostile process.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def make_safe(text: str) -> str:
    """Return *text* on one line and without a character that a terminal acts on; those become escapes as in Python."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def tell(*messages: str) -> None:
    """Say on stderr, a line each, what whoever called the command is to know."""
    # Python writes each line of stderr at once, whatever stderr is.
    sys.stderr.writelines(f"auditline: {make_safe(message)}\n" for message in messages)
