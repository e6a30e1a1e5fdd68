"""The one part of the package that is compiled; all else stands in pyproject.toml."""

from pathlib import Path
from runpy import run_path

from setuptools import Extension, setup

ROUTER = Path("workers/router")
SOURCE = ROUTER / "compiled_source"
# Not imported: the package is not there yet.
FINGERPRINT = run_path(str(ROUTER / "fingerprint.py"))["make_fingerprint"]()

setup(
    ext_modules=[
        Extension(
            "auditline.workers.router.compiled",
            sources=sorted(map(str, SOURCE.glob("*.c"))),
            depends=[str(SOURCE / "compiled.h"), str(ROUTER / "compiling.py"), str(ROUTER / "fingerprint.py")],
            # Compared when the module is loaded: what was built of other sources never answers.
            define_macros=[("AUDITLINE_FINGERPRINT", f'"{FINGERPRINT}"')],
            extra_compile_args=["-std=c11", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra"],
            # Without a compiler or Python.h the twins in Python do the same.
            optional=True,
        )
    ]
)
