"""The one part of the package that is compiled; all else stands in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

SOURCE = Path("workers/router/compiled_source")

setup(
    ext_modules=[
        Extension(
            "auditline.workers.router.compiled",
            sources=sorted(map(str, SOURCE.glob("*.c"))),
            depends=[str(SOURCE / "compiled.h")],
            extra_compile_args=["-std=c11", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra"],
            # Without a compiler or Python.h the twins in Python do the same.
            optional=True,
        )
    ]
)
