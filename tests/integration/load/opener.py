"""Tries, as uid 65534, to open DIRECTORY/TAG-0, DIRECTORY/TAG-1 … at an even rate.

usage: opener.py DIRECTORY TAG PER_SECOND COUNT
"""

import contextlib
import os
import sys
import time

NOBODY = 65534
PAUSE_EVERY = 10


def main() -> None:
    """Become nobody and open the names."""
    directory, tag, per_second, count = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    start = time.monotonic()
    for number in range(1, count + 1):
        with contextlib.suppress(PermissionError):
            os.close(os.open(f"{directory}/{tag}-{number - 1}", os.O_RDONLY))
        if number % PAUSE_EVERY == 0:
            time.sleep(max(0.0, start + number / per_second - time.monotonic()))


if __name__ == "__main__":
    main()
