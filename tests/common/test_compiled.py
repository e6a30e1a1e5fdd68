"""Only what was built of the sources that are there answers; the twins in Python do, else."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from auditline.workers.common.compiled import find_compiled
from auditline.workers.common.fingerprint import make_fingerprint

MODULE = "auditline.workers.router.compiled"


@pytest.fixture
def folder(tmp_path):
    """A package with a source in C."""
    (tmp_path / "compiling.py").write_text("MODULE = 1\n", encoding="utf-8")
    (tmp_path / "compiled_source").mkdir()
    (tmp_path / "compiled_source" / "cut.c").write_text("int one;\n", encoding="utf-8")
    return tmp_path


def use_build(monkeypatch, **contents):
    """Put a build of these contents where the compiled module is looked for."""
    build = ModuleType(MODULE)
    vars(build).update(contents)
    monkeypatch.setitem(sys.modules, MODULE, build)
    return build


def test_a_build_of_the_sources_that_are_there_is_used(folder, monkeypatch, caplog):
    build = use_build(monkeypatch, fingerprint=make_fingerprint(folder))

    found = find_compiled(MODULE, folder)

    assert found is build
    assert caplog.messages == []


@pytest.mark.parametrize("contents", [{}, {"fingerprint": "0" * 64}], ids=["before fingerprints", "of other sources"])
def test_another_build_is_not_used_and_told_once(contents, folder, monkeypatch, caplog):
    use_build(monkeypatch, **contents)

    found = find_compiled(MODULE, folder)

    assert found is None
    assert caplog.messages == [
        f"{MODULE} is not used: it was built of other sources; install auditline again to build it"
    ]


def test_a_build_is_not_used_if_what_it_was_built_of_cannot_be_read(folder, monkeypatch, caplog):
    use_build(monkeypatch, fingerprint=make_fingerprint(folder))

    found = find_compiled(MODULE, Path("/nonexistent"))

    assert found is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_no_build_is_nothing_to_warn_of(folder, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, MODULE, None)

    found = find_compiled(MODULE, folder)

    assert found is None
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["compiled_source/cut.c", "compiled_source/compiled.h", "compiling.py"])
def test_a_changed_source_has_another_fingerprint(name, folder):
    (folder / name).write_text("int first;\n", encoding="utf-8")
    before = make_fingerprint(folder)

    (folder / name).write_text("int other;\n", encoding="utf-8")

    assert make_fingerprint(folder) != before
