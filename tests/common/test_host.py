"""The host's ids: stable, sixteen hex digits, also without a machine id."""

import hashlib
from pathlib import Path

import pytest

from auditline.workers.common import host
from auditline.workers.common.errors import StorageError


@pytest.fixture
def machine_id_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine id file of the test's own; it does not exist yet."""
    path = tmp_path / "machine-id"
    monkeypatch.setattr(host, "MACHINE_ID_FILES", (path,))
    return path


def test_host_id_is_the_hash_of_the_stripped_machine_id(machine_id_file: Path) -> None:
    machine_id_file.write_text("0123456789abcdef0123456789abcdef\n")

    made = host.host_id(None)

    assert made == hashlib.sha256(b"0123456789abcdef0123456789abcdef").hexdigest()[:16]


@pytest.mark.parametrize("text", ["", "\n", "uninitialized\n"])
def test_without_a_machine_id_an_id_is_made_once(machine_id_file: Path, tmp_path: Path, text: str) -> None:
    machine_id_file.write_text(text)

    first = host.host_id(tmp_path)
    second = host.host_id(tmp_path)

    assert first == second
    assert len(first) == 16
    assert sorted(path.name for path in tmp_path.iterdir()) == ["host-id", "machine-id"]


@pytest.mark.usefixtures("machine_id_file")
def test_without_a_machine_id_and_a_state_directory_the_name_decides() -> None:
    assert host.host_id(None) == host.host_id_of(host.host_name())


@pytest.mark.usefixtures("machine_id_file")
def test_a_damaged_own_id_is_told_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "host-id").write_text("\x1b[31m")

    with pytest.raises(StorageError, match="must hold 16 hex digits"):
        host.host_id(tmp_path)


def test_a_node_name_of_any_bytes_has_an_id() -> None:
    name = b"caf\xe9".decode(errors="surrogateescape")

    assert host.host_id_of(name) == hashlib.sha256(b"caf\xe9").hexdigest()[:16]


def test_boot_id_is_the_kernels() -> None:
    assert host.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
