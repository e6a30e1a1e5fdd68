"""A progress bar on the terminal for work that takes longer than a second."""

import os
import sys
import time
from collections.abc import Callable
from typing import Self, TextIO

FIRST_SECONDS = 1.0
"""Work that ends sooner shows nothing."""
_PERIOD_SECONDS = 0.2
_BAR_CHARACTERS = 24
_LEAST_COLUMNS, _USUAL_COLUMNS = 20, 80
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Progress:
    """Shows on *terminal* how much is done; use it as a context, so that its line goes in any case.

    Where that is no terminal, nothing is ever written. Where stdout is one, neither: the two would mix.
    """

    def __init__(
        self,
        total: int | None,
        terminal: TextIO | None = None,
        *,
        show_amount: Callable[[float], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*total* None: unknown. *show_amount* says how an amount reads, by default as bytes."""
        self._total = total
        self._terminal = sys.stderr if terminal is None else terminal
        self._show_amount = show_amount or show_bytes
        self._clock = clock
        self._is_shown = self._terminal.isatty() and not sys.stdout.isatty()
        self._start = clock()
        self._due = self._start + FIRST_SECONDS
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def advance(self, done: float) -> None:
        """Say how much is done by now in all."""
        if not self._is_shown or (now := self._clock()) < self._due:
            return
        self._due = now + _PERIOD_SECONDS
        self._write(self._line(done, now - self._start))

    def clear(self) -> None:
        """Take the line away: something else is to be written to the terminal."""
        if self._width:
            self._write("")
            self._terminal.write("\r")
            self._terminal.flush()

    def _line(self, done: float, seconds: float) -> str:
        rate = done / seconds
        figures = f"{self._show_amount(rate)}/s"
        if not self._total:
            return f"{self._show_amount(done)}  {figures}"
        share = min(1.0, done / self._total)
        filled = int(share * _BAR_CHARACTERS)
        bar = "#" * filled + " " * (_BAR_CHARACTERS - filled)
        left = f"  {show_duration((self._total - done) / rate)} left" if 0 < done <= self._total else ""
        amounts = f"{self._show_amount(done)} of {self._show_amount(self._total)}"
        return f"{int(share * 100):3d} % [{bar}] {amounts}  {figures}{left}"

    def _write(self, line: str) -> None:
        # Blanks instead of an escape sequence: any terminal takes them. The last column stays free, or it would wrap.
        line = line[: max(_LEAST_COLUMNS, _columns(self._terminal)) - 1]
        padded = line.ljust(self._width)
        # Before it is written: an interrupt may come in between.
        self._width = len(padded)
        self._terminal.write(f"\r{padded}")
        self._terminal.flush()
        self._width = len(line)


def show_bytes(amount: float) -> str:
    """Return an amount of bytes as people read it: `1.5 GB`."""
    for unit in _UNITS:
        if amount < 1000 or unit == _UNITS[-1]:
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def show_duration(seconds: float) -> str:
    """Return `M:SS` or `H:MM:SS`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _columns(terminal: TextIO) -> int:
    try:
        return os.get_terminal_size(terminal.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS
