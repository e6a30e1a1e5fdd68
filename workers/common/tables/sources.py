"""Where generate.py gets its facts: libaudit, the headers' macros, Debian's cross headers, Go's constants."""

import ctypes
import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

GO_MODULE = "golang.org/x/sys@v0.50.0"
"""Constants that the Go project generates from the kernel's headers; this version from Linux 7.2."""

Pairs = list[tuple[int, str]]


@cache
def _libaudit() -> ctypes.CDLL:
    return ctypes.CDLL("libaudit.so.1")


def libaudit_name(function: str, *numbers: int) -> str | None:
    """Return what one of libaudit's audit_*_to_name functions says."""
    call = getattr(_libaudit(), function)
    call.restype = ctypes.c_char_p
    name = call(*(ctypes.c_int(ctypes.c_int32(number).value) for number in numbers))
    return None if name is None else bytes(name).decode("ascii")


def libaudit_pairs(function: str, numbers: Sequence[int], *arguments: int) -> Pairs:
    """Return (number, name) for those of *numbers* that a function of libaudit knows."""
    found = ((number, libaudit_name(function, number, *arguments)) for number in numbers)
    return [(number, name) for number, name in found if name is not None]


def libaudit_number(function: str, name: str) -> int:
    """Return what one of libaudit's audit_name_to_* functions says; -1: unknown."""
    return int(getattr(_libaudit(), function)(name.encode("ascii")))


def header_macros(header: str, prefix: str, flags: Sequence[str] = ()) -> Mapping[str, int]:
    """Return the macros of a header that are whole numbers, by their names without *prefix*, in the header's order."""
    include = f"#include <{header}>\n"
    defined = _preprocess(include, "-dM", *flags)
    names = re.findall(rf"^#define {prefix}(\w+) ", defined, re.MULTILINE)
    # A string is not expanded, so it carries the name past the preprocessor, beside the expanded value.
    probes = "".join(f'"{name}" {prefix}{name}\n' for name in names)
    lines = re.findall(r'^"(\w+)" (.+)$', _preprocess(include + probes, "-P", *flags), re.MULTILINE)
    values = ((name, _value(text)) for name, text in lines)
    return {name: value for name, value in values if value is not None}


def header_enumeration(header: str, prefix: str) -> Pairs:
    """Return the members of the enumeration whose names begin with *prefix*, which counts from 0."""
    names = re.findall(rf"^\s*{prefix}(\w+),?$", _preprocess(f"#include <{header}>\n", "-P"), re.MULTILINE)
    return list(enumerate(names))


def _preprocess(text: str, *flags: str) -> str:
    command = ["gcc", "-E", "-x", "c", *flags, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def _value(text: str) -> int | None:
    """Return the value of a macro that is a number, or a sum or union of numbers."""
    if not re.fullmatch(r"(?:0[xX][0-9a-fA-F]+|\d+|[()+| ])+", text):
        return None
    numbers = [int(number, 0) for number in re.findall(r"0[xX][0-9a-fA-F]+|\d+", text)]
    value = 0
    for number in numbers:
        value = value + number if "+" in text else value | number
    return value


class CrossHeaders:
    """Another architecture's kernel headers, downloaded once into *scratch* and unpacked there."""

    def __init__(self, scratch: Path, package: str, triplet: str) -> None:
        if not list(scratch.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "-q", "download", package], cwd=scratch, check=True)
        (archive,) = scratch.glob(f"{package}_*.deb")
        subprocess.run(["dpkg", "-x", archive, scratch], check=True)
        self.flags = ["-nostdinc", "-undef", "-I", str(scratch / "usr" / triplet / "include")]
        self.version = " ".join(archive.name.split("_")[:2])


class GoConstants:
    """The constants of GO_MODULE, downloaded once into *scratch*."""

    def __init__(self, scratch: Path) -> None:
        environment = os.environ | {"GOMODCACHE": str(scratch.resolve() / "go"), "GOFLAGS": "-modcacherw"}
        command = ["go", "mod", "download", "-json", GO_MODULE]
        answer = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=True)
        self._directory = Path(json.loads(answer.stdout)["Dir"]) / "unix"

    def read(self, file: str, prefix: str) -> Mapping[str, int]:
        """Return the constants of one file, by their names without *prefix*."""
        text = (self._directory / file).read_text(encoding="utf-8")
        found = re.findall(rf"^\t{prefix}(\w+)\s+= (0x[0-9a-f]+|\d+)$", text, re.MULTILINE)
        return {name: int(value, 0) for name, value in found}


def version(package: str) -> str:
    """Return a Debian package's name and version; what is no package as it is."""
    command = ["dpkg-query", "-W", "-f", "${Package} ${Version}", package]
    answer = subprocess.run(command, capture_output=True, text=True)
    return answer.stdout if answer.returncode == 0 else package
