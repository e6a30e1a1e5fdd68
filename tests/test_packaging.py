"""What is in the tree is in the wheel and in the source distribution, and nothing generic is installed."""

import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import distribution
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest

TREE = Path(__file__).parent.parent
FOLDERS = [
    init.parent.relative_to(TREE)
    for top in ("workers", "plugins", "conf")
    for init in TREE.glob(f"{top}/**/__init__.py")
]
DATA = [
    file.relative_to(TREE)
    for top in ("workers", "plugins", "conf")
    for suffix in ("tsv", "toml", "service", "rules", "typed")
    for file in TREE.glob(f"{top}/**/*.{suffix}")
]


def dotted(folder):
    return f"auditline.{'.'.join(folder.parts)}"


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_every_folder_is_in_the_package(folder):
    assert find_spec(dotted(folder)) is not None


@pytest.mark.parametrize("file", DATA, ids=str)
def test_every_data_file_is_in_the_package(file):
    assert files(f"auditline.{file.parts[0]}").joinpath(*file.parts[1:]).is_file()


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_every_init_file_is_empty(folder):
    assert (TREE / folder / "__init__.py").read_bytes() == b""


@pytest.mark.skipif(
    Path(str(files("auditline.conf"))).is_relative_to(TREE / "conf"),
    reason="an editable installation has no wheel to look at; tox has",
)
def test_the_wheel_puts_nothing_generic_at_its_top():
    tops = {file.parts[0] for file in distribution("auditline").files or [] if ".." not in file.parts}

    assert tops == {"auditline", f"auditline-{distribution('auditline').version}.dist-info"}


@pytest.fixture(scope="session")
def tracked_files():
    if not shutil.which("git") or not (TREE / ".git").exists():
        pytest.skip("needs a git checkout to know what belongs to the source")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=TREE, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name and (TREE / name).is_file()]


@pytest.fixture(scope="session")
def source_distribution(tracked_files, tmp_path_factory):
    pytest.importorskip("setuptools", minversion="77", reason="building a source distribution needs setuptools 77")
    copy = tmp_path_factory.mktemp("source")
    for name in tracked_files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TREE / name, copy / name)
    build = "from setuptools.build_meta import build_sdist; build_sdist('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (archive,) = (copy / "dist").iterdir()
    with tarfile.open(archive) as members:
        return {name.partition("/")[2] for name in members.getnames()}


def test_the_source_distribution_is_complete(tracked_files, source_distribution):
    assert set(tracked_files) - {".gitignore"} <= source_distribution


def test_continuous_integration_runs_the_command_that_the_readme_gives():
    *_, command = (TREE / ".ci" / "run").read_text(encoding="utf-8").splitlines()

    assert command in (TREE / "README.md").read_text(encoding="utf-8").splitlines()
