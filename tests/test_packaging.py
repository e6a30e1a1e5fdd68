"""What is in the tree is in the wheel and in the source distribution, and nothing generic is installed."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest

from auditline.workers.common.fingerprint import compiled_sources

TREE = Path(__file__).parent.parent
FOLDERS = [
    init.parent.relative_to(TREE)
    for top in ("workers", "plugins", "conf")
    for init in TREE.glob(f"{top}/**/__init__.py")
]
DATA = [
    file.relative_to(TREE)
    for top in ("workers", "plugins", "conf")
    for suffix in ("tsv", "toml", "service", "timer", "rules", "typed", "c", "h")
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


@pytest.fixture
def source(tracked_files, tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="building a distribution needs setuptools 77")
    for name in tracked_files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TREE / name, tmp_path / name)
    return tmp_path


def build(what, source, **environment):
    command = f"from setuptools.build_meta import build_{what}; build_{what}('dist')"
    env = os.environ | environment
    subprocess.run([sys.executable, "-c", command], cwd=source, check=True, capture_output=True, env=env)
    (archive,) = (source / "dist").iterdir()
    return archive


def test_the_source_distribution_is_complete(tracked_files, source):
    with tarfile.open(build("sdist", source)) as members:
        names = {name.partition("/")[2] for name in members.getnames()}

    assert set(tracked_files) - {".gitignore"} <= names


def test_a_wheel_without_what_is_compiled_is_built_where_there_is_no_compiler(source):
    with zipfile.ZipFile(build("wheel", source, CC="/nonexistent/cc")) as wheel:
        names = [name for name in wheel.namelist() if "/common/" not in name]
    modules = {name for name in names if "/compiled" in name or name.endswith("/compiling.py")}

    folders = [TREE / "workers" / package for package in ("router", "hasher")]
    sources = [source for folder in folders for source in (folder / "compiling.py", *compiled_sources(folder))]
    assert modules == {f"auditline/{source.relative_to(TREE)}" for source in sources}


def test_continuous_integration_runs_the_command_that_the_readme_gives():
    *_, command = (TREE / ".ci" / "run").read_text(encoding="utf-8").splitlines()

    assert command in (TREE / "README.md").read_text(encoding="utf-8").splitlines()
