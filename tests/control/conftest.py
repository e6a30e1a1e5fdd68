"""What tests of rules share."""

import os
import shutil
import subprocess

import pytest


@pytest.fixture
def auditctl() -> str:
    """The path of an auditctl that starts."""
    path = os.environ.get("AUDITLINE_AUDITCTL") or shutil.which("auditctl")
    if path is None:
        pytest.skip("no auditctl: AUDITLINE_AUDITCTL does not name one, and PATH has none")
    version = subprocess.run([path, "-v"], capture_output=True, text=True, check=False)
    if "version 3.0.9" not in version.stdout:
        pytest.skip(f"{path} is not auditctl 3.0.9: {version.stdout}{version.stderr}")
    return path
