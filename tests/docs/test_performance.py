"""The commands that docs/performance.md shows are there."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_commands_of_the_measurements_explain_themselves(read_document: Callable[[str], Any], tree: Path) -> None:
    text = read_document("docs/performance.md").text
    commands = {*re.findall(r"`python (-m benchmarks\.\w+)", text), *re.findall(r"`python (benchmarks/\w+\.py)", text)}

    helps = [
        subprocess.run([sys.executable, *command.split(), "--help"], cwd=tree, capture_output=True, check=True).stdout
        for command in sorted(commands)
    ]

    assert helps
    assert all(b"usage:" in each for each in helps)
