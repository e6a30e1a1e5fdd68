"""What the compiled module and those who call it must have in common; setup.py runs this file by itself."""

from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent
INTERFACE = FOLDER / "compiling.py"


def compiled_sources() -> list[Path]:
    """Return the sources in C, always in one order."""
    return sorted((FOLDER / "compiled_source").glob("*.[ch]"))


def make_fingerprint() -> str:
    """Return a hash of the sources in C and of what is expected of them in Python, in hexadecimal.

    Raises:
        OSError: one of them cannot be read.
    """
    digest = sha256()
    for path in (INTERFACE, *compiled_sources()):
        text = path.read_bytes()
        digest.update(b"%b %d\n%b" % (path.name.encode(), len(text), text))
    return digest.hexdigest()
