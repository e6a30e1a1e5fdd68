"""The words of one line of a rules file, apart and together."""

import re

_PIECE = re.compile(
    r"""(?P<blanks>[ \t]+)
    |'(?P<single>[^']*)'
    |"(?P<double>(?:[^"\\]|\\.)*)"
    |\\(?P<escaped>[ \t\\'"])
    |(?P<plain>[^ \t'"\\]+|\\)
    |(?P<unclosed>['"])""",
    re.VERBOSE,
)
_SPECIAL = re.compile(r"""[ \t\\'"]""")
_SHOWN_CHARACTERS = 80


def split_words(line: str) -> list[str]:
    r"""Return the words of *line* without their quotes and escapes.

    Blanks and tabs divide. A backslash is as in auditctl's file reader: it stands for itself unless a blank or another
    backslash (here also a tab or a quote) follows. Quotes are as in a shell, which auditctl's files lack.

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
            word = (word or "") + (re.sub(r'\\(["\\])', r"\1", text) if kind == "double" else text)
    return words if word is None else [*words, word]


def join_word(word: str) -> str:
    """Return *word* so that split_words() gives it back; blanks are escaped as auditctl's file reader wants them."""
    return _SPECIAL.sub(r"\\\g<0>", word) or "''"


def shown(text: str) -> str:
    """Return *text* in quotes, shortened, with nothing in it that could steer a terminal."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return repr(cut)
