"""What is remembered of texts that stand often in records, and left alone where they do not."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

MEMO_ENTRIES = 2048
"""Small memos hit as often on real logs as large ones, and stay in the processor's cache."""
TRIAL_USES = 512
"""After so many uses it is looked at whether remembering pays."""
_TRIALS_LEFT_OUT = 15
"""For so many trials what did not pay is not tried again."""
_MOST_MISSES = 0.75
"""Of all uses: to remember something for nothing costs a fourth of what it spares when it is used."""

Part = TypeVar("Part", bound=Hashable)
Fragment = TypeVar("Fragment")


class Memo(dict[Part, Fragment], Generic[Part, Fragment]):
    """Remembers what *make* made of a part of a record."""

    __slots__ = ("_left_out", "find", "make", "misses")

    def __init__(self, make: Callable[[Part], Fragment]) -> None:
        super().__init__()
        self.make = make
        self.misses = 0
        self._left_out = 0
        self.find: Callable[[Part], Fragment] = self.__getitem__
        """What to call for a part: this memo, or *make* itself while nothing repeats."""

    def __missing__(self, part: Part) -> Fragment:
        self.misses += 1
        if len(self) >= MEMO_ENTRIES:
            self.clear()
        made = self[part] = self.make(part)
        return made

    def reconsider(self, uses: int) -> None:
        """Choose, after so many *uses*, how to find things from now on."""
        if self._left_out:
            self._left_out -= 1
        elif self.misses > uses * _MOST_MISSES:
            self._left_out = _TRIALS_LEFT_OUT
            self.clear()
        self.find = self.make if self._left_out else self.__getitem__
        self.misses = 0
