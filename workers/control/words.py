"""The words of one line of a rules file, apart and together."""

import re

_PIECE = re.compile(
    r"""(?P<blanks>[ \t]+)
    |\$'(?P<bytes>(?:[^'\\]|\\.)*)'
    |'(?P<single>[^']*)'
    |"(?P<double>(?:[^"\\]|\\.)*)"
    |\\(?P<escaped>[ \t\\'"])
    |(?P<plain>(?:[^ \t'"\\$]|\$(?!'))+|\\)
    |(?P<unclosed>['"])""",
    re.VERBOSE,
)
_SPECIAL = re.compile(r"""[ \t\\'"]""")
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_SHOWN_CHARACTERS = 80


def split_words(line: str) -> list[str]:
    r"""Return the words of *line* without their quotes and escapes.

    Blanks and tabs divide. A backslash is as in auditctl's file reader: it stands for itself unless a blank or another
    backslash (here also a tab or a quote) follows. Quotes are as in a shell, which auditctl's files lack: $'\xe9' is
    the byte 0xE9.

    Raises:
        ValueError: a quote is not closed.
    """
    words: list[str] = []
    word: str | None = None
    for piece in _PIECE.finditer(line):
        kind, text = piece.lastgroup, piece.group(piece.lastgroup or 0)
        if kind == "unclosed":
            message = f"the quote {text} is not closed"
            raise ValueError(message)
        if kind == "blanks":
            words += [] if word is None else [word]
            word = None
        else:
            text = _bytes_of(text) if kind == "bytes" else text
            word = (word or "") + (re.sub(r'\\(["\\])', r"\1", text) if kind == "double" else text)
    return words if word is None else [*words, word]


def join_word(word: str) -> str:
    """Return *word* so that split_words() gives it back; blanks are escaped as auditctl's file reader wants them.

    What is not UTF-8 or would steer a terminal is in a form of ours, $'...', which shells have, too.
    """
    if _UNSHOWN.search(word):
        plain = re.sub(r"[\\']", r"\\\g<0>", word)
        return "$'" + _UNSHOWN.sub(_escaped_bytes, plain) + "'"
    return _SPECIAL.sub(r"\\\g<0>", word) or "''"


def shown(text: str) -> str:
    """Return *text* in quotes, shortened, with nothing in it that could steer a terminal."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return repr(cut)


def _bytes_of(text: str) -> str:
    plain = text.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(_escape_meaning, plain).decode("utf-8", "surrogateescape")


def _escape_meaning(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode()) if found[1] else found[2]


def _escaped_bytes(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in found.group().encode("utf-8", "surrogateescape"))
