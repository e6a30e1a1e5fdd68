"""What is remembered of texts that stand often in records, and left alone where they do not."""

from collections.abc import Callable
from typing import Generic, TypeVar

MEMO_ENTRIES = 2048
"""Small memos hit as often on real logs as large ones, and stay in the processor's cache."""
TRIAL_USES = 512
"""After so many uses it is looked at whether remembering pays."""
_TRIALS_LEFT_OUT = 63
"""For so many trials what did not pay is not tried again."""
_MOST_MISSES = 0.75
"""Of all uses: to remember something for nothing costs a fourth of what it spares when it is used."""

Fragment = TypeVar("Fragment")


class Memo(dict[str, Fragment | None], Generic[Fragment]):
    """Remembers what *make* made of a text; None: not of the common shape."""

    __slots__ = ("_left_out", "find", "make", "misses")

    def __init__(self, make: Callable[[str], Fragment | None]) -> None:
        super().__init__()
        self.make = make
        self.misses = 0
        self._left_out = 0
        self.find: Callable[[str], Fragment | None] = self.__getitem__
        """What to call for a text: this memo, or *make* itself while nothing repeats."""

    def __missing__(self, text: str) -> Fragment | None:
        self.misses += 1
        if len(self) >= MEMO_ENTRIES:
            self.clear()
        made = self[text] = self.make(text)
        return made

    def reconsider(self) -> None:
        """Choose, after about TRIAL_USES uses, how to find things from now on."""
        if self._left_out:
            self._left_out -= 1
        elif self.misses > TRIAL_USES * _MOST_MISSES:
            self._left_out = _TRIALS_LEFT_OUT
            self.clear()
        self.find = self.make if self._left_out else self.__getitem__
        self.misses = 0
