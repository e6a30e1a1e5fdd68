"""What the keeper does about a lock and about changes of others, with a kernel in memory: a real lock stays."""

import errno
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.drift_entry import Drift
from auditline.workers.common.errors import KernelError
from auditline.workers.common.settings import AuditSettings, Settings, StateSettings
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.drift import MOST_REPAIRS
from auditline.workers.control.keeper import KernelKeeper, own_processes_rule
from auditline.workers.control.kernel import LOCKED, AuditControl
from auditline.workers.control.language import parse_rules
from auditline.workers.control.messages import (
    AUDIT_ADD_RULE,
    AUDIT_DEL_RULE,
    AUDIT_SET,
    AUDIT_TRIM,
    KernelStatus,
    Request,
    with_prepend_flag,
)
from auditline.workers.control.note import NOTE_FILE
from auditline.workers.control.order import is_prepended
from auditline.workers.control.poll import RuleListing

SUPERVISOR = 4711
FOUND = KernelStatus(
    enabled=0,
    failure=1,
    pid=SUPERVISOR,
    rate_limit=0,
    backlog_limit=64,
    lost=0,
    backlog=0,
    features=127,
    backlog_wait_time=15000,
    backlog_wait_time_actual=0,
)
_WORDS = {1: "enabled", 2: "failure", 4: "pid", 8: "rate_limit", 16: "backlog_limit", 32: "backlog_wait_time"}


class KernelStandIn(AuditControl):
    """Takes requests as the kernel does, and refuses all but status and listing once it is locked."""

    def __init__(self, found: KernelStatus = FOUND) -> None:
        self.found = found
        self.rules: list[bytes] = []
        self.requests: list[Request] = []

    def status(self) -> KernelStatus:
        return self.found

    def list_rules(self) -> list[bytes]:
        return list(self.rules)

    def close(self) -> None:
        pass

    def change(self, requests: Sequence[Request]) -> list[int]:
        return [self._take(request) for request in requests]

    def _take(self, request: Request) -> int:
        self.requests.append(request)
        if self.found.enabled == LOCKED:
            return -errno.EPERM
        if request.kind == AUDIT_SET:
            self._set(struct.unpack("=11I", request.payload))
            return 0
        if request.kind not in (AUDIT_ADD_RULE, AUDIT_DEL_RULE):
            return 0
        rule = with_prepend_flag(request.payload, is_prepended=False)
        known = [comparable(other) for other in self.rules]
        if request.kind == AUDIT_DEL_RULE:
            if comparable(rule) not in known:
                return -errno.ENOENT
            del self.rules[known.index(comparable(rule))]
        elif comparable(rule) in known:
            return -errno.EEXIST
        else:
            self.rules.insert(0 if is_prepended(request.payload) else len(self.rules), rule)
        return 0

    def _set(self, words: Sequence[int]) -> None:
        places = {"enabled": 1, "failure": 2, "pid": 3, "rate_limit": 4, "backlog_limit": 5, "backlog_wait_time": 9}
        names = [name for bit, name in _WORDS.items() if words[0] & bit]
        self.found = replace(self.found, **{name: words[places[name]] for name in names})


RULE = "-a always,exit -F arch=b64 -S swapoff -F uid=65534 -F key=ours"
FOREIGN = "-a always,exit -F arch=b64 -S swapon -F uid=65534 -F key=theirs"
SILENCER = "-a never,exit -S all -F uid=65534"


def compiled(text: str) -> bytes:
    (rule,) = parse_rules(text, "test").rules
    return comparable(compile_rule(rule))


@pytest.fixture
def kernel() -> KernelStandIn:
    return KernelStandIn()


@pytest.fixture
def drifts() -> list[Drift]:
    return []


@pytest.fixture
def keeper_of(tmp_path: Path, kernel: KernelStandIn) -> Callable[..., KernelKeeper]:
    """Make a keeper that has loaded *lines*, with the rest as [audit] settings."""

    def make(*lines: str, **audit: Any) -> KernelKeeper:
        settings = Settings(
            state=StateSettings(directory=tmp_path), audit=AuditSettings(rules_files=(), rules=lines, **audit)
        )
        keeper = KernelKeeper(kernel, settings, SUPERVISOR)
        keeper.exclude_own_processes()
        keeper.set_fields()
        keeper.load_rules()
        return keeper

    return make


def listing_of(kernel: KernelStandIn) -> RuleListing:
    return RuleListing(time.monotonic(), tuple(map(comparable, kernel.rules)), kernel.found)


def test_the_lock_is_set_last_and_nothing_is_left_to_put_back(
    tmp_path: Path, kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper]
) -> None:
    keeper = keeper_of(RULE, immutable=True)

    keeper.undo(living_supervisor_pid=SUPERVISOR, see=lambda _status: None)

    assert kernel.found.enabled == LOCKED
    assert kernel.requests[-1].kind == AUDIT_SET
    assert compiled(RULE) in map(comparable, kernel.rules)
    assert not (tmp_path / NOTE_FILE).exists()


def test_e_2_in_a_rules_file_locks_too(kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper]) -> None:
    keeper_of(RULE, "-e 2")

    assert kernel.found.enabled == LOCKED
    assert compiled(RULE) in map(comparable, kernel.rules)


def test_nothing_is_locked_while_the_rules_have_a_mistake(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper]
) -> None:
    keeper_of(RULE, "-a nonsense", immutable=True)

    assert kernel.found.enabled == 1


def test_a_locked_kernel_is_refused_without_immutable(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper]
) -> None:
    kernel.found = replace(FOUND, enabled=LOCKED)

    with pytest.raises(KernelError, match="locked until the next boot") as refusal:
        keeper_of(RULE)

    assert refusal.value.errno == errno.EPERM
    assert kernel.requests == []


def test_a_locked_kernel_is_gone_on_with_as_it_is_with_immutable(
    tmp_path: Path, kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper], caplog: pytest.LogCaptureFixture
) -> None:
    kernel.found = replace(FOUND, enabled=LOCKED)
    kernel.rules = [compiled(RULE)]

    keeper = keeper_of(RULE, FOREIGN, immutable=True)
    keeper.undo(living_supervisor_pid=SUPERVISOR, see=lambda _status: None)

    assert kernel.requests == []
    assert list(tmp_path.iterdir()) == []
    assert "1 of 2 configured rules are not loaded, since audit is locked" in caplog.text


def test_a_reload_of_a_locked_kernel_changes_nothing(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper]
) -> None:
    keeper = keeper_of(RULE, immutable=True)
    before = len(kernel.requests)

    keeper.load_rules()

    assert len(kernel.requests) == before


def test_what_files_say_of_the_status_is_set_and_put_back(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper]
) -> None:
    keeper = keeper_of("-b 12000", "-f 2", "-r 5", "--backlog_wait_time 9", "-t")
    during = kernel.found
    keeper.undo(living_supervisor_pid=SUPERVISOR, see=lambda _status: None)

    values = (during.enabled, during.backlog_limit, during.failure, during.rate_limit, during.backlog_wait_time)
    assert values == (1, 12000, 2, 5, 9)
    assert kernel.found == FOUND
    assert [request.kind for request in kernel.requests].count(AUDIT_TRIM) == 1


def test_e_0_in_a_rules_file_is_told_and_not_followed(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper], caplog: pytest.LogCaptureFixture
) -> None:
    keeper_of("-e 0")

    assert kernel.found.enabled == 1
    assert "-e 0 in a rules file is not followed" in caplog.text


def test_a_deleted_foreign_rule_goes_and_comes_back_in_the_end(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper]
) -> None:
    kernel.rules = [compiled(FOREIGN), compiled(SILENCER)]

    keeper = keeper_of(RULE, f"-d {FOREIGN.removeprefix('-a ')}")
    during = set(map(comparable, kernel.rules))
    keeper.undo(living_supervisor_pid=SUPERVISOR, see=lambda _status: None)

    assert during == {compiled(SILENCER), compiled(RULE), comparable(own_processes_rule(SUPERVISOR))}
    assert set(map(comparable, kernel.rules)) == {compiled(FOREIGN), compiled(SILENCER)}


def test_foreign_rules_are_deleted_by_their_key(kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper]) -> None:
    kernel.rules = [compiled(FOREIGN), compiled(SILENCER)]

    keeper_of("-D -k heir")

    assert set(map(comparable, kernel.rules)) == {compiled(SILENCER), comparable(own_processes_rule(SUPERVISOR))}


def test_what_others_change_is_reported_once(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper], drifts: list[Drift]
) -> None:
    keeper = keeper_of(RULE)
    keeper.compare(listing_of(kernel), drifts.append)

    kernel.rules = [comparable(own_processes_rule(SUPERVISOR)), compiled(SILENCER)]
    kernel.found = replace(kernel.found, enabled=0)
    keeper.compare(listing_of(kernel), drifts.append)
    keeper.compare(listing_of(kernel), drifts.append)

    assert [(drift.what, drift.wanted, drift.found, drift.repaired) for drift in drifts] == [
        ("rules", (RULE,), (SILENCER,), False),
        ("enabled", 1, 0, False),
    ]


def test_what_others_change_is_repaired_on_demand(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper], drifts: list[Drift]
) -> None:
    keeper = keeper_of(RULE, repair_rules=True)
    wanted = kernel.found

    kernel.rules = [compiled(SILENCER), compiled(FOREIGN)]
    kernel.found = replace(kernel.found, enabled=0, backlog_limit=1)
    keeper.compare(listing_of(kernel), drifts.append)
    keeper.compare(listing_of(kernel), drifts.append)

    assert [(drift.what, drift.repaired) for drift in drifts] == [
        ("rules", True), ("enabled", True), ("backlog_limit", True),
    ]  # fmt: skip
    assert kernel.found == wanted
    assert set(map(comparable, kernel.rules)) == {
        comparable(own_processes_rule(SUPERVISOR)), compiled(RULE), compiled(FOREIGN),
    }  # fmt: skip


def test_a_foreign_daemon_is_reported_and_left_alone(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper], drifts: list[Drift]
) -> None:
    keeper = keeper_of(RULE, repair_rules=True)

    kernel.found = replace(kernel.found, pid=1, backlog_limit=9)
    keeper.compare(listing_of(kernel), drifts.append)

    assert {(drift.what, drift.wanted, drift.found, drift.repaired) for drift in drifts} == {
        ("pid", SUPERVISOR, 1, False),
        ("backlog_limit", 8192, 9, False),
    }
    assert (kernel.found.pid, kernel.found.backlog_limit) == (1, 9)


def test_a_lock_that_somebody_else_sets_is_reported_and_cannot_be_repaired(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper], drifts: list[Drift]
) -> None:
    keeper = keeper_of(RULE, repair_rules=True)

    kernel.found = replace(kernel.found, enabled=LOCKED)
    keeper.compare(listing_of(kernel), drifts.append)

    assert [(drift.what, drift.wanted, drift.found, drift.repaired) for drift in drifts] == [("enabled", 1, 2, False)]


def test_a_fight_is_given_up(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper], drifts: list[Drift]
) -> None:
    keeper = keeper_of(RULE, repair_rules=True)

    for round_number in range(MOST_REPAIRS + 3):
        kernel.found = replace(kernel.found, rate_limit=round_number + 1)
        keeper.compare(listing_of(kernel), drifts.append)

    assert [drift.repaired for drift in drifts] == [True] * MOST_REPAIRS + [False] * 3


def test_a_listing_from_before_our_own_change_says_nothing(
    kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper], drifts: list[Drift]
) -> None:
    early = replace(listing_of(kernel), rules=())

    keeper = keeper_of(RULE)
    keeper.compare(early, drifts.append)

    assert drifts == []


def test_a_rule_whose_directory_goes_is_loaded_again_when_that_comes_back(
    tmp_path: Path, kernel: KernelStandIn, keeper_of: Callable[..., KernelKeeper], drifts: list[Drift]
) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    text = f"-a always,exit -F arch=b64 -S open -F dir={folder} -F uid=65534"
    keeper = keeper_of(text)

    folder.rmdir()
    kernel.rules.remove(compiled(text))
    keeper.compare(listing_of(kernel), drifts.append)
    skipped = keeper.skipped_count
    folder.mkdir()
    keeper.load_what_appeared()
    keeper.compare(listing_of(kernel), drifts.append)

    assert skipped == 1
    assert compiled(text) in map(comparable, kernel.rules)
    assert [(drift.what, drift.wanted) for drift in drifts] == [("rules", (text,))]
