"""What is said once at start, from this host's own tables."""

from pathlib import Path

import pytest

from auditline.workers.common.privileges import Capability
from auditline.workers.common.settings import FimSettings, WatchSettings
from auditline.workers.supervisor import notices

HEAD = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
KERNEL_ROW = "00000000de72f9fa 9   0          00000000 0        0        0     2        0        6       \n"
LISTENER_ROW = "00000000de72f9fb 9   1          00000001 0        0        0     2        0        7       \n"
ROUTE_ROW = "00000000de72f9fc 0   1          00000001 0        0        0     2        0        8       \n"


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Files that say what a test wants the host to say."""
    command_line, netlink = tmp_path / "cmdline", tmp_path / "netlink"
    monkeypatch.setattr(notices, "COMMAND_LINE_FILE", command_line)
    monkeypatch.setattr(notices, "NETLINK_FILE", netlink)

    def say(words, rows=KERNEL_ROW + ROUTE_ROW):
        command_line.write_text(f"{words}\n")
        netlink.write_text(HEAD + rows)

    return say


@pytest.mark.parametrize("word", ["audit=1", "audit=on"])
def test_a_host_booted_with_audit_and_without_listeners_needs_no_notice(host, word):
    host(f"quiet {word} panic=1")

    assert notices.find_notices() == []


@pytest.mark.parametrize("words", ["quiet", "quiet audit=0", "noaudit=1", ""])
def test_audit_off_at_boot_is_said_with_the_remedy(host, words):
    host(words)

    (notice,) = notices.find_notices()

    assert "processes that are older" in notice
    assert "add audit=1 to the kernel's command line" in notice


def test_a_listener_that_copies_every_record_is_said_with_the_remedy(host):
    host("audit=1", KERNEL_ROW + ROUTE_ROW + LISTENER_ROW)

    (notice,) = notices.find_notices()

    assert "copies every record" in notice
    assert "systemctl mask --now systemd-journald-audit.socket" in notice


@pytest.mark.parametrize("rows", ["", "short 9\n", "x 9 0 zz 0\n", "\x00\n"])
def test_an_odd_netlink_table_says_nothing(host, rows):
    host("audit=1", rows)

    assert notices.find_notices() == []


ALL = {Capability.DAC_READ_SEARCH, Capability.SYS_ADMIN, Capability.SYS_PTRACE}
HOST, CONTAINER = "         0          0 4294967295\n", "         0     100000      65536\n"


@pytest.fixture
def watch_notices(monkeypatch, tmp_path):
    """What is said about watching files with these capabilities."""

    def find(held: set[Capability], fim: FimSettings = FimSettings(), user_map: str = HOST) -> list[str]:  # noqa: B008
        (tmp_path / "uid_map").write_text(user_map)
        monkeypatch.setattr(notices, "USER_MAP_FILE", tmp_path / "uid_map")
        monkeypatch.setattr(notices, "held_capabilities", lambda: held)
        return list(notices.find_watch_notices(fim))

    return find


def test_who_may_do_all_that_watching_takes_is_told_nothing(watch_notices):
    assert watch_notices(ALL) == []


def test_who_may_not_read_all_files_is_told_so(watch_notices):
    (notice,) = watch_notices(ALL - {Capability.DAC_READ_SEARCH})

    assert "CAP_DAC_READ_SEARCH is missing" in notice


def test_who_may_not_use_fanotify_is_told_what_that_costs(watch_notices):
    (notice,) = watch_notices(ALL - {Capability.SYS_ADMIN})

    assert notice.startswith("fanotify cannot be used, because CAP_SYS_ADMIN is missing: run as root or grant")
    assert "inotify tells of changes in files, which does not say who made them" in notice


def test_in_a_user_namespace_it_is_said_that_the_capability_does_not_count(watch_notices):
    (notice,) = watch_notices(ALL, user_map=CONTAINER)

    assert "CAP_SYS_ADMIN does not count in a user namespace: run outside of it" in notice


def test_who_may_not_see_what_others_run_is_told_so(watch_notices):
    (notice,) = watch_notices(ALL - {Capability.SYS_PTRACE})

    assert "CAP_SYS_PTRACE is missing" in notice


def test_what_is_not_asked_for_is_not_missing(watch_notices):
    inotify = FimSettings(watch=(WatchSettings(path=Path("/etc"), backend="inotify"),))

    assert watch_notices({Capability.DAC_READ_SEARCH}, inotify) == []
    assert watch_notices(ALL - {Capability.SYS_PTRACE}, FimSettings(actor="off")) == []


def test_actors_by_rules_where_none_can_be_loaded_are_said_with_the_remedy():
    (notice,) = notices.find_actor_notices("audit", has_rules=False)

    assert "audit.enabled = true" in notice
    assert "no other audit daemon" in notice


@pytest.mark.parametrize(("actor", "has_rules"), [("audit", True), ("auto", False), ("off", False)])
def test_actors_that_can_be_had_need_no_notice(actor, has_rules):
    assert list(notices.find_actor_notices(actor, has_rules=has_rules)) == []
