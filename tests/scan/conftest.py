"""`auditline scan` on a tree of its own, its process being ours."""

from collections.abc import Callable
from pathlib import Path

import pytest

from auditline.workers.supervisor.cli import main


class Scanned:
    """A tree, its approved state, and what the last command printed."""

    def __init__(self, folder: Path, read_output: Callable[[], tuple[str, str]]) -> None:
        self.tree = folder / "tree"
        self.state = folder / "state"
        self.tree.mkdir()
        self.configuration = folder / "auditline.toml"
        self.configuration.write_text(
            f'[state]\ndirectory = "{self.state}"\n[run]\ndirectory = "{folder / "run"}"\n'
            f'[audit]\nenabled = false\n[[fim.watch]]\npath = "{self.tree}"\n'
        )
        self.configuration.chmod(0o600)
        self.out = self.err = ""
        self._read_output = read_output

    def configure(self, text: str) -> None:
        """Add to the table of the watch."""
        with self.configuration.open("a") as file:
            file.write(text)

    def run(self, *arguments: str) -> int:
        """Run the command and return its exit code."""
        code = main(["scan", "--config", str(self.configuration), "--workers", "1", *arguments])
        self.out, self.err = self._read_output()
        return code

    @property
    def last_line(self) -> str:
        """Of the report, without the time that it took."""
        return self.out.splitlines()[-1].rpartition(" (")[0]

    @property
    def found(self) -> list[str]:
        """The lines of the report about single paths, relative to the tree."""
        prefix = f"  {self.tree}/"
        return [line.removeprefix(prefix).split("   ")[0] for line in self.out.splitlines() if line.startswith(prefix)]

    @property
    def attributes(self) -> dict[str, str]:
        """What the report says of attributes, by their keys."""
        lines = [line.split(maxsplit=1) for line in self.out.splitlines() if line.startswith("      ")]
        return {key: change.strip() for key, change in lines}


@pytest.fixture
def scanned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Scanned:
    """Return a tree with some files, of which nothing is approved."""

    def read_output() -> tuple[str, str]:
        output = capsys.readouterr()
        return output.out, output.err

    scanned = Scanned(tmp_path, read_output)
    (scanned.tree / "directory").mkdir()
    (scanned.tree / "directory" / "file").write_text("content")
    (scanned.tree / "script").write_text("#!/bin/sh\n")
    (scanned.tree / "link").symlink_to("script")
    return scanned
