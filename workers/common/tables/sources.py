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


def header_names(headers: Sequence[str], pattern: str, enumeration: str, flags: Sequence[str]) -> list[str]:
    """Return the macros without parameters and the enumerators that match *pattern*; of one enumeration if it is named.

    A header that an architecture does not have makes no names.
    """
    include = "".join(f"#if __has_include(<{header}>)\n#include <{header}>\n#endif\n" for header in headers)
    text = _preprocess(include, "-P", *flags)
    bodies = re.findall(rf"\benum\s+{enumeration or '(?:[a-z_0-9]+ ?)?'}\s*{{([^}}]*)}}", text)
    members = [name for body in bodies for name in re.findall(r"(?:^|,)\s*([A-Z]\w+)", body)]
    macros = [] if enumeration else re.findall(r"^#define (\w+) ", _preprocess(include, "-dM", *flags), re.MULTILINE)
    return [name for name in dict.fromkeys([*members, *macros]) if re.fullmatch(pattern, name)]


def constant_values(headers: Sequence[str], expressions: Sequence[str], flags: Sequence[str]) -> list[int | None]:
    """Return what the compiler makes of constant expressions; None where it is no constant number.

    Nothing is run, so the headers may be another architecture's.
    """
    lines = [f"#include <{header}>" for header in headers if _has_header(header, flags)]
    lines += [f"const long long value_{place} = (long long)({text});" for place, text in enumerate(expressions)]
    answer = _run_compiler(lines, flags)
    wrong = {int(line) for line in re.findall(r"^<stdin>:(\d+):\d+: error:", answer, re.MULTILINE)}
    if wrong:
        answer = _run_compiler(["" if line in wrong else text for line, text in enumerate(lines, 1)], flags)
    values = {}
    for place, data in re.findall(r"^value_(\d+):\n((?:\t\.\w+\t-?\d+\n)+)", answer, re.MULTILINE):
        words = [int(number) for number in re.findall(r"\.(?:quad|long)\t(-?\d+)", data)]
        # A 32-bit machine has the lower half first; where there is nothing but .zero, the value is 0.
        values[int(place)] = sum(word << 32 * half for half, word in enumerate(words[:2]))
    return [values.get(place) for place in range(len(expressions))]


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


def _has_header(header: str, flags: Sequence[str]) -> bool:
    return "yes" in _preprocess(f"#if __has_include(<{header}>)\nyes\n#endif\n", "-P", *flags)


def _run_compiler(lines: Sequence[str], flags: Sequence[str]) -> str:
    """Return the assembly, or the errors."""
    # The headers' inline functions need the machine's own flags; what is asked for here has no use for them.
    command = ["gcc", "-S", "-x", "c", "-w", *flags, "-o", "-", "-"]
    answer = subprocess.run(  # noqa: S603 - every command is written here
        command, input="\n".join([*lines, ""]), capture_output=True, text=True, check=False
    )
    return answer.stderr if answer.returncode else answer.stdout


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
