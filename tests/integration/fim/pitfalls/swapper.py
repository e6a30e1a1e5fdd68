"""Exchanges files and directories for symbolic links to a secret, as fast as it can.

usage: swapper.py WATCHED SECRET ROUNDS

SECRET is a directory with a file `file`.
"""

import os
import sys


def main() -> None:
    """Do it."""
    watched, secret, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.chdir(watched)
    os.mkdir("directory")
    os.symlink(f"{secret}/file", "link")
    os.symlink(secret, "directory-link")
    for number in range(rounds):
        with open("file", "w", encoding="ascii") as file:
            file.write(f"{number}")
        with open("directory/file", "w", encoding="ascii") as file:
            file.write(f"{number}")
        os.rename("file", "aside")
        os.rename("link", "file")
        os.rename("directory", "directory-aside")
        os.rename("directory-link", "directory")
        os.rename("file", "link")
        os.rename("aside", "file")
        os.rename("directory", "directory-link")
        os.rename("directory-aside", "directory")


if __name__ == "__main__":
    main()
