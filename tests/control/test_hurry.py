"""Deletions of many rules: the host's grace periods are quick meanwhile, and only then."""

from pathlib import Path

import pytest

from auditline.workers.common.errors import StorageError
from auditline.workers.control import hurry
from auditline.workers.control.hurry import put_back, quick_deletions


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the host's setting."""
    path = tmp_path / "rcu_expedited"
    path.write_text("0\n")
    monkeypatch.setattr(hurry, "RCU_EXPEDITED", path)
    return path


def test_the_setting_is_on_meanwhile_and_remembered_before(switch: Path) -> None:
    remembered: list[tuple[str, str]] = []

    with quick_deletions(lambda found: remembered.append((found, switch.read_text()))):
        meanwhile = switch.read_text()

    assert remembered == [("0", "0\n")]
    assert (meanwhile, switch.read_text()) == ("1", "0")


def test_the_setting_is_put_back_when_the_deletions_fail(switch: Path) -> None:
    with pytest.raises(ZeroDivisionError), quick_deletions(lambda _found: None):
        raise ZeroDivisionError

    assert switch.read_text() == "0"


def test_a_host_that_is_quick_already_is_left_alone(switch: Path) -> None:
    switch.write_text("1\n")
    remembered: list[str] = []

    with quick_deletions(remembered.append):
        pass

    assert (remembered, switch.read_text()) == ([], "1\n")


def test_what_cannot_be_remembered_is_not_changed(switch: Path) -> None:
    def refuse(_found: str) -> None:
        raise StorageError("full")

    with quick_deletions(refuse):
        meanwhile = switch.read_text()

    assert meanwhile == "0\n"


@pytest.mark.parametrize("path", ["/nowhere/rcu_expedited", "/proc/version"])
def test_without_the_setting_deletions_take_their_time(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(hurry, "RCU_EXPEDITED", Path(path))
    reached = False

    with quick_deletions(lambda _found: None):
        reached = True

    assert reached


def test_a_setting_that_was_never_changed_needs_no_putting_back(
    switch: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_text", None)

    put_back("0")

    assert caplog.messages == []


def test_a_setting_that_cannot_be_put_back_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hurry, "RCU_EXPEDITED", Path("/nowhere/rcu_expedited"))

    put_back("0")

    assert "cannot be set to 0 again: No such file" in caplog.text
