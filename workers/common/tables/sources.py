"""Where generate.py gets its facts: libaudit, the headers' macros, Debian's cross headers, Go's constants."""

import ctypes
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

GO_MODULE = "golang.org/x/sys@v0.50.0"
"""Constants that the Go project generates from the kernel's headers; this version from Linux 7.2."""

Pairs = list[tuple[int, str]]


def libaudit_pairs(function: str, numbers: Iterable[int], *arguments: int) -> Pairs:
    """Return (number, name) for those of *numbers* that one of libaudit's audit_*_to_name functions knows."""
    call = getattr(_libaudit(), function)
    call.restype = ctypes.c_char_p
    found = ((number, call(ctypes.c_int(number), *arguments)) for number in numbers)
    return [(number, name.decode("ascii")) for number, name in found if name is not None]


def libaudit_number(function: str, name: str) -> int:
    """Return what one of libaudit's audit_name_to_* functions says; -1: unknown."""
    return int(getattr(_libaudit(), function)(name.encode("ascii")))


def header_macros(header: str, prefix: str, flags: Sequence[str] = ()) -> Mapping[str, int]:
    """Return the macros of a header that are whole numbers, by their names without *prefix*, the smallest first."""
    include = f"#include <{header}>\n"
    defined = _preprocess(include, "-dM", *flags)
    names = re.findall(rf"^#define {prefix}(\w+) ", defined, re.MULTILINE)
    # A string is not expanded, so it carries the name past the preprocessor, beside the expanded value.
    probes = "".join(f'"{name}" {prefix}{name}\n' for name in names)
    lines = re.findall(r'^"(\w+)" (.+)$', _preprocess(include + probes, "-P", *flags), re.MULTILINE)
    values = ((_value(text), name) for name, text in lines)
    return {name: value for value, name in sorted((value, name) for value, name in values if value is not None)}


def header_enumeration(header: str, prefix: str) -> Pairs:
    """Return the members of the enumeration whose names begin with *prefix*, which counts from 0."""
    names = re.findall(rf"^\s*{prefix}(\w+),?$", _preprocess(f"#include <{header}>\n", "-P"), re.MULTILINE)
    return list(enumerate(names))


class CrossHeaders:
    """Another architecture's kernel headers, downloaded once into *scratch* and unpacked there."""

    def __init__(self, scratch: Path, package: str, triplet: str) -> None:
        if not list(scratch.glob(f"{package}_*.deb")):
            _run(["apt-get", "-q", "download", package], folder=scratch)
        (archive,) = scratch.glob(f"{package}_*.deb")
        _run(["dpkg", "-x", str(archive), str(scratch)])
        self.flags = ["-nostdinc", "-undef", "-I", str(scratch / "usr" / triplet / "include")]
        self.version = " ".join(archive.name.split("_")[:2])


class GoConstants:
    """The constants of GO_MODULE, downloaded once into *scratch*."""

    def __init__(self, scratch: Path) -> None:
        # Go makes its module cache read-only unless asked not to; then the scratch directory could not be removed.
        changes = {"GOMODCACHE": str(scratch.resolve() / "go"), "GOFLAGS": "-modcacherw"}
        answer = _run(["go", "mod", "download", "-json", GO_MODULE], folder=scratch, environment=os.environ | changes)
        self._directory = Path(json.loads(answer)["Dir"]) / "unix"

    def read(self, file: str, prefix: str) -> Mapping[str, int]:
        """Return the constants of one file, by their names without *prefix*."""
        text = (self._directory / file).read_text(encoding="utf-8")
        found = re.findall(rf"^\t{prefix}(\w+)\s+= (0x[0-9a-f]+|\d+)$", text, re.MULTILINE)
        return {name: int(value, 0) for name, value in found}


def package_version(package: str) -> str:
    """Return an installed Debian package's name and version."""
    return _run(["dpkg-query", "-W", "-f", "${Package} ${Version}", package])


@cache
def _libaudit() -> ctypes.CDLL:
    return ctypes.CDLL("libaudit.so.1")


def _preprocess(text: str, *flags: str) -> str:
    return _run(["gcc", "-E", "-x", "c", *flags, "-"], text=text)


def _value(text: str) -> int | None:
    """Return the value of a macro that is a number, or a sum or union of numbers."""
    if not re.fullmatch(r"(?:0[xX][0-9a-fA-F]+|\d+|[()+| ])+", text):
        return None
    numbers = [int(number, 0) for number in re.findall(r"0[xX][0-9a-fA-F]+|\d+", text)]
    if "+" in text:
        return sum(numbers)
    value = 0
    for number in numbers:
        value |= number
    return value


def _run(
    command: Sequence[str],
    *,
    text: str = "",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    answer = subprocess.run(  # noqa: S603 - every command is written above
        command, input=text, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return answer.stdout
