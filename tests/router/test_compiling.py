"""Only what was built of the sources that are there answers; the twins in Python do, else."""

import logging
import sys
from types import ModuleType

import pytest

from auditline.workers.router import compiling, fingerprint
from auditline.workers.router.compiling import MODULE, find_compiled
from auditline.workers.router.fingerprint import make_fingerprint


def use_build(monkeypatch, **contents):
    """Put a build of these contents where the compiled module is looked for."""
    build = ModuleType(MODULE)
    vars(build).update(contents)
    monkeypatch.setitem(sys.modules, MODULE, build)
    return build


def test_a_build_of_the_sources_that_are_there_is_used(monkeypatch, caplog):
    build = use_build(monkeypatch, fingerprint=make_fingerprint())

    found = find_compiled()

    assert found is build
    assert caplog.messages == []


@pytest.mark.parametrize("contents", [{}, {"fingerprint": "0" * 64}], ids=["before fingerprints", "of other sources"])
def test_another_build_is_not_used_and_told_once(contents, monkeypatch, caplog):
    use_build(monkeypatch, **contents)

    found = find_compiled()

    assert found is None
    assert caplog.messages == [
        f"{MODULE} is not used: it was built of other sources; install auditline again to build it"
    ]


def test_a_build_is_not_used_if_what_it_was_built_of_cannot_be_read(monkeypatch, caplog, tmp_path):
    use_build(monkeypatch, fingerprint=make_fingerprint())
    monkeypatch.setattr(fingerprint, "INTERFACE", tmp_path / "compiling.py")

    found = find_compiled()

    assert found is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_no_build_is_nothing_to_warn_of(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, MODULE, None)

    found = find_compiled()

    assert found is None
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["cut.c", "compiled.h"])
def test_a_changed_source_has_another_fingerprint(name, monkeypatch, tmp_path):
    source = tmp_path / "compiled_source" / name
    source.parent.mkdir()
    monkeypatch.setattr(fingerprint, "FOLDER", tmp_path)
    source.write_text("int one;\n", encoding="utf-8")
    before = make_fingerprint()

    source.write_text("int two;\n", encoding="utf-8")

    assert make_fingerprint() != before


@pytest.mark.parametrize(("compiled", "shown"), [(None, "in Python"), (ModuleType(MODULE), "compiled")])
def test_the_log_says_which_of_both_runs(compiled, shown, monkeypatch, caplog):
    monkeypatch.setattr(compiling, "COMPILED", compiled)
    caplog.set_level(logging.INFO)

    compiling.tell_what_runs()

    assert caplog.messages == [f"grouping and cutting run {shown}"]
