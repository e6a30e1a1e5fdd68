"""What Debian's package database says of files: differences that an upgrade made, told from those that somebody made.

Source: dpkg's deb-md5sums(5), dpkg(1) on the directory `info` and the file `status`.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from auditline.workers.common.beneath import NotRegularError, open_regular

DPKG = Path("/var/lib/dpkg")
_MERGED = re.compile(rb"usr/(s?bin/|lib(?:32|64|x32|o32)?/)")
"""What lay in / before Debian merged it with /usr; the database still says so of many packages."""
_FIELD = re.compile(rb"^(Package|Status|Version|Architecture|Multi-Arch):(.*)$", re.MULTILINE)
_CONFIGURATION = re.compile(rb"^Conffiles:((?:\n .*)*)", re.MULTILINE)
_INSTALLED = " installed"


class Packaged(NamedTuple):
    """What a package says of a path."""

    package: str
    version: str
    md5: str
    """Of the content; "": the database has none."""

    @property
    def label(self) -> str:
        """Package and version, as people read them."""
        return f"{self.package} {self.version}"


@dataclass(slots=True)
class _Package:
    name: str
    version: str
    configuration: dict[bytes, str]
    """MD5 sums of configuration files, by path without the leading slash."""


def find_packaged(paths: Collection[bytes], database: Path | None = None) -> dict[bytes, Packaged]:
    """Return what the installed packages say of absolute *paths*; nothing where there is no such database.

    What of it cannot be read says nothing.
    """
    database = DPKG if database is None else database
    wanted = {spelling: path for path in paths for spelling in _spellings(path)}
    packages = _read_status(database / "status") if wanted else {}
    found: dict[bytes, Packaged] = {}
    for name, package in packages.items():
        sums = _read_sums(database / "info" / f"{name}.md5sums") | package.configuration
        for spelling in sums.keys() & wanted.keys():
            found[wanted[spelling]] = Packaged(package.name, package.version, sums[spelling])
        for spelling in _read_list(database / "info" / f"{name}.list") & wanted.keys():
            found.setdefault(wanted[spelling], Packaged(package.name, package.version, ""))
    return found


def is_as_packaged(path: bytes, packaged: Packaged, owned: Mapping[bytes, Packaged]) -> bool:
    """Say whether what is at *path* has the content that its package says; a link: whether it leads to its package.

    *owned*: what is known of further paths, where links lead.
    """
    if packaged.md5:
        return _md5_of(path) == packaged.md5
    try:
        target = os.path.realpath(path)
    except OSError:
        return False
    other = owned.get(target)
    return os.path.islink(path) and other is not None and other.package == packaged.package


def link_targets(paths: Sequence[bytes]) -> list[bytes]:
    """Return where those of *paths* that are symbolic links lead."""
    return [os.path.realpath(path) for path in paths if os.path.islink(path)]


def _spellings(path: bytes) -> Iterator[bytes]:
    yield path[1:]
    if _MERGED.match(path, 1):
        yield path[len(b"/usr/") :]


def _read_status(path: Path) -> dict[str, _Package]:
    """Return installed packages by the name that their files in `info` have."""
    try:
        stanzas = path.read_bytes().split(b"\n\n")
    except OSError:
        return {}
    packages: dict[str, _Package] = {}
    for stanza in stanzas:
        fields = {key: value.strip().decode(errors="replace") for key, value in _FIELD.findall(stanza)}
        name = fields.get(b"Package", "")
        if not name or not fields.get(b"Status", "").endswith(_INSTALLED):
            continue
        key = f"{name}:{fields.get(b'Architecture')}" if fields.get(b"Multi-Arch") == "same" else name
        packages[key] = _Package(name, fields.get(b"Version", ""), _configuration_files(stanza))
    return packages


def _configuration_files(stanza: bytes) -> dict[bytes, str]:
    part = _CONFIGURATION.search(stanza)
    lines = [] if part is None else [line.split() for line in part[1].split(b"\n")]
    return {line[0].lstrip(b"/"): line[1].decode(errors="replace") for line in lines if len(line) > 1}


def _read_sums(path: Path) -> dict[bytes, str]:
    lines = _read_lines(path)
    return {line[34:]: line[:32].decode("ascii", "replace") for line in lines if line[32:34] == b"  "}


def _read_list(path: Path) -> set[bytes]:
    return {line[1:] for line in _read_lines(path)}


def _read_lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except OSError:
        return []


def _md5_of(path: bytes) -> str:
    directory, _, name = path.rpartition(b"/")
    try:
        directory_fd = os.open(directory or b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fd, _ = open_regular(name, directory_fd)
    except (OSError, NotRegularError):
        return ""
    finally:
        os.close(directory_fd)
    with os.fdopen(fd, "rb", buffering=0) as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
