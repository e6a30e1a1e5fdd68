"""The options of one line of a rules file, taken apart as getopt_long does it for auditctl."""

from collections.abc import Iterator, Sequence

from auditline.workers.common.errors import RuleError
from auditline.workers.control.words import shown

FLAGS = frozenset("hicslDvt")
"""Options of one letter that take no value. Source: src/auditctl.c of audit 3.0.9, setopt()."""
VALUED = frozenset("CefrbaAdSFmRwWkpq")
LONG = {
    "--loginuid-immutable": False,
    "--backlog_wait_time": True,
    "--reset-lost": False,
    "--reset_backlog_wait_time_actual": False,
    "--signal": True,
}
"""Long options, and whether they take a value."""
OPTIONS = frozenset({f"-{letter}" for letter in FLAGS | VALUED} | set(LONG))


class OptionReader:
    """Yields option and value, from left to right; knows whether something is left."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)

    @property
    def is_at_end(self) -> bool:
        """Whether no word is left."""
        return not self._words

    def take_all(self) -> list[str]:
        """Return the words that are left, and leave none."""
        rest, self._words = self._words, []
        return rest

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield each option as it is spelled in full, with its value, "" for one that takes none.

        Raises:
            RuleError: a word is no option, or a value is missing.
        """
        while self._words:
            word = self._words.pop(0)
            if word == "--" and not self._words:
                return
            if word.startswith("--"):
                yield self._take_long(word)
            elif word.startswith("-") and word != "-":
                yield self._take_short(word)
            else:
                raise RuleError([_stray(word)])

    def _take_short(self, word: str) -> tuple[str, str]:
        letter = word[1]
        if letter in VALUED:
            return f"-{letter}", word[2:] or self._next_word(f"-{letter}")
        if letter not in FLAGS:
            raise RuleError([f"{shown(word[:2])} is an unknown option"])
        if len(word) > 2:
            self._words.insert(0, f"-{word[2:]}")
        return f"-{letter}", ""

    def _take_long(self, word: str) -> tuple[str, str]:
        written, equals, value = word.partition("=")
        names = [written] if written in LONG else [name for name in LONG if name.startswith(written)]
        if len(names) != 1 or written == "--":
            problem = "is an unknown option" if not names or written == "--" else f"may be {' or '.join(names)}"
            raise RuleError([f"{shown(written)} {problem}"])
        [name] = names
        if not LONG[name]:
            if equals:
                raise RuleError([f"{name} takes no value: {shown(word)}"])
            return name, ""
        return name, value if equals else self._next_word(name)

    def _next_word(self, option: str) -> str:
        if not self._words:
            raise RuleError([f"{option} needs a value behind it"])
        return self._words.pop(0)


def _stray(word: str) -> str:
    if word.startswith("#"):
        return "a comment has a line of its own"
    return f"{shown(word)} stands where an option is expected"
