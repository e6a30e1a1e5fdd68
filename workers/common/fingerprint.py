"""What a compiled module and those who call it must have in common; setup.py runs this file by itself."""

from hashlib import sha256
from pathlib import Path


def compiled_sources(folder: Path) -> list[Path]:
    """Return the sources in C of the package in *folder*, always in one order."""
    return sorted((folder / "compiled_source").glob("*.[ch]"))


def make_fingerprint(folder: Path) -> str:
    """Return a hash of these sources and of what is expected of them in Python (compiling.py), in hexadecimal.

    Raises:
        OSError: one of them cannot be read.
    """
    digest = sha256()
    for path in (folder / "compiling.py", *compiled_sources(folder)):
        text = path.read_bytes()
        digest.update(b"%b %d\n%b" % (path.name.encode(), len(text), text))
    return digest.hexdigest()
