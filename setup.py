"""The parts of the package that are compiled; all else stands in pyproject.toml."""

from pathlib import Path
from runpy import run_path

from setuptools import Extension, setup

FINGERPRINT = Path("workers/common/fingerprint.py")
# Not imported: the package is not there yet.
make_fingerprint = run_path(str(FINGERPRINT))["make_fingerprint"]


def compiled(package: str) -> Extension:
    """Return the module `compiled` of a package, whose sources lie in its folder `compiled_source`."""
    folder = Path("workers") / package
    sources = folder / "compiled_source"
    return Extension(
        f"auditline.workers.{package}.compiled",
        sources=sorted(map(str, sources.glob("*.c"))),
        depends=[*map(str, sources.glob("*.h")), str(folder / "compiling.py"), str(FINGERPRINT)],
        # Compared when the module is loaded: what was built of other sources never answers.
        define_macros=[("AUDITLINE_FINGERPRINT", f'"{make_fingerprint(folder)}"')],
        extra_compile_args=["-std=c11", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra"],
        # Without a compiler or Python.h the twins in Python do the same.
        optional=True,
    )


setup(ext_modules=[compiled("router"), compiled("hasher")])
