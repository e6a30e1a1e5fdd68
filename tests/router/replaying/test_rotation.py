"""Which files a log consists of, and in which order."""

from pathlib import Path

import pytest

from auditline.workers.common.errors import StorageError
from auditline.workers.router.replaying.rotation import oldest_first


@pytest.mark.parametrize(
    "in_order",
    [
        ["audit.log.10", "audit.log.2", "audit.log.1", "audit.log"],
        ["audit.log.3.gz", "audit.log.2.xz", "audit.log.1", "audit.log"],
        ["audit.log-20240101", "audit.log-20240131.gz", "audit.log-20240201-1706745600", "audit.log"],
        ["audit.log.20240101-120000.zst", "audit.log.1", "audit.log"],
    ],
)
def test_parts_of_a_log_are_read_oldest_first_in_whatever_order_they_are_given(in_order):
    alphabetical = [f"/var/log/audit/{name}" for name in sorted(in_order)]

    found = oldest_first(alphabetical)

    assert [Path(path).name for path in found] == in_order


def test_different_logs_stay_in_the_order_that_they_are_given_in():
    given = ["/web2/audit.log", "/web1/audit.log", "/web2/audit.log.1", "b.log", "a.log", "-"]

    assert oldest_first(given) == ["/web2/audit.log.1", "/web2/audit.log", "/web1/audit.log", "b.log", "a.log", "-"]


def test_of_a_directory_all_parts_of_its_audit_log_are_read(tmp_path):
    for name in ("audit.log", "audit.log.1", "audit.log.2.gz", "other.log", "audit.log.swp", "audit.logs"):
        (tmp_path / name).touch()
    (tmp_path / "audit.log.3").mkdir()

    found = oldest_first([str(tmp_path)])

    assert [Path(path).name for path in found] == ["audit.log.2.gz", "audit.log.1", "audit.log"]


def test_a_part_that_is_just_being_compressed_is_read_once(tmp_path):
    for name in ("audit.log.1", "audit.log.1.gz"):
        (tmp_path / name).touch()

    assert oldest_first([str(tmp_path)]) == [f"{tmp_path}/audit.log.1"]


def test_a_directory_without_a_log_is_told_by_name(tmp_path):
    with pytest.raises(StorageError, match=r"there is no audit\.log in this directory"):
        oldest_first([str(tmp_path)])
