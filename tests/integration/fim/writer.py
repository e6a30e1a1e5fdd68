"""Changes the files DIRECTORY/0, DIRECTORY/1 … in all the ways in which files are saved, at an even rate.

usage: writer.py DIRECTORY FILES PER_SECOND COUNT SEED
"""

import os
import random
import sys
import time
from pathlib import Path

PAUSE_EVERY = 5


def overwrite(path: Path, content: bytes) -> None:
    """Write it anew in its place."""
    path.write_bytes(content)


def append(path: Path, content: bytes) -> None:
    """Write at its end."""
    with path.open("ab") as file:
        file.write(content)


def replace(path: Path, content: bytes) -> None:
    """Write another file and rename it."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.rename(path)


def remake(path: Path, content: bytes) -> None:
    """Remove it and make it again."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def remove(path: Path, content: bytes) -> None:
    """Remove it; the next write makes it again."""
    path.unlink(missing_ok=True)


def change_mode(path: Path, content: bytes) -> None:
    """Write it, with another mode afterwards."""
    path.write_bytes(content)
    path.chmod(0o600 | len(content) % 64)


WAYS = (overwrite, overwrite, append, append, replace, replace, replace, remake, remove, change_mode)


def main() -> None:
    """Write."""
    directory, files, per_second, count = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    chance = random.Random(int(sys.argv[5]))
    start = time.monotonic()
    for number in range(1, count + 1):
        content = os.urandom(chance.randrange(1, 8192))
        chance.choice(WAYS)(directory / str(chance.randrange(files)), content)
        if number % PAUSE_EVERY == 0:
            time.sleep(max(0.0, start + number / per_second - time.monotonic()))


if __name__ == "__main__":
    main()
