"""Loading rules as a difference: against a model of the kernel's lists, and against the kernel."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from auditline.workers.control.compile import comparable, compile_rule, read_kernel_rule
from auditline.workers.control.kernel import NETLINK_AUDIT, AuditControl, claim_pid, release_pid
from auditline.workers.control.language import parse_rules
from auditline.workers.control.load import Plan, carry_out, plan_changes
from auditline.workers.control.messages import AUDIT_ADD_RULE, Request
from auditline.workers.control.order import is_prepended, order_matters, stand_in
from auditline.workers.control.rule import Action, Rule, RuleList

SYSCALLS = range(3)
LOAD = """
import os, sys, time
os.setresuid(65534, 65534, 65534)
print("ready", flush=True)
sys.stdin.readline()
for number in range(4000):
    os.access(f"/seen-{number}", 0)
    if number % 20 == 0:
        time.sleep(0.002)
"""


def compiled(text: str) -> bytes:
    (rule,) = parse_rules(text, "test").rules
    return compile_rule(rule)


def small_rule(syscalls: frozenset[int], action: Action, key: str, *, is_first: bool) -> bytes:
    rule = Rule(
        rule_list=RuleList.EXIT,
        action=action,
        is_prepended=is_first,
        syscalls=syscalls,
        keys=(key,) if key else (),
        file="",
        line=0,
        text="",
    )
    return compile_rule(rule)


def rules(*, may_be_first: bool = True) -> st.SearchStrategy[list[bytes]]:
    one = st.builds(
        small_rule,
        st.sampled_from([frozenset({0}), frozenset({0, 1}), frozenset(SYSCALLS)]),
        st.sampled_from(Action),
        st.sampled_from(["", "a", "b"]),
        is_first=st.booleans() if may_be_first else st.just(False),
    )
    return st.lists(one, max_size=6)


class Lists:
    """A model of the kernel's exit list."""

    def __init__(self, loaded: Sequence[bytes] = ()) -> None:
        self.rules: list[bytes] = []
        for rule in loaded:
            self.take(Request(AUDIT_ADD_RULE, rule, ""))

    def take(self, request: Request) -> int:
        rule = comparable(request.payload)
        if request.kind != AUDIT_ADD_RULE:
            if rule not in self.rules:
                return -errno.ENOENT
            self.rules.remove(rule)
        elif is_prepended(request.payload):
            # As measured: the kernel does not notice a second copy of it.
            self.rules.insert(0, rule)
        elif rule in self.rules:
            return -errno.EEXIST
        else:
            self.rules.append(rule)
        return 0

    def is_recorded(self, syscall: int) -> bool:
        for rule in self.rules:
            known = read_kernel_rule(rule)
            if known.mask[0] >> syscall & 1:
                return known.action == Action.ALWAYS
        return False


def after(plan: Plan, lists: Lists) -> list[bytes]:
    assert all(lists.take(request) == 0 for request in plan.changes), "a change that the kernel would refuse"
    return lists.rules


def positions(listed: Sequence[bytes]) -> dict[bytes, int]:
    return {rule: index for index, rule in reversed(list(enumerate(listed)))}


@given(foreign=rules(), before=rules(), later=rules(), wanted=rules())
def test_difference_leads_to_the_wanted_rules_and_keeps_those_of_others(
    foreign: list[bytes], before: list[bytes], later: list[bytes], wanted: list[bytes]
) -> None:
    lists = Lists(foreign)
    others = list(lists.rules)
    after(plan_changes(lists.rules, (), before), lists)
    ours = [rule for rule in lists.rules if rule not in others]
    lists.rules += [rule for rule in dict.fromkeys(map(comparable, later)) if rule not in ours]
    others = [rule for rule in lists.rules if rule not in ours]

    plan = plan_changes(lists.rules, ours, wanted)
    loaded = after(plan, lists)

    assert set(loaded) == {*others, *map(comparable, wanted)}
    assert [rule for rule in loaded if rule in others] == others
    assert plan_changes(loaded, plan.ours_after, wanted).changes == ()


@given(before=rules(), wanted=rules())
def test_our_rules_end_in_the_order_of_their_files_where_it_shows(before: list[bytes], wanted: list[bytes]) -> None:
    lists = Lists()
    ours = plan_changes((), (), before).ours_after
    after(plan_changes((), (), before), lists)

    loaded = after(plan_changes(lists.rules, ours, wanted), lists)

    fresh = Lists()
    at_once = positions(after(plan_changes((), (), wanted), fresh))
    at = positions(loaded)
    for one in at:
        for other in at:
            if order_matters(one, other):
                assert (at[one] < at[other]) == (at_once[one] < at_once[other])


@given(foreign=rules(may_be_first=False), before=rules(may_be_first=False), wanted=rules(may_be_first=False))
def test_what_is_recorded_before_and_after_is_recorded_at_every_step(
    foreign: list[bytes], before: list[bytes], wanted: list[bytes]
) -> None:
    lists = Lists(foreign)
    others = list(lists.rules)
    after(plan_changes(lists.rules, (), before), lists)
    plan = plan_changes(lists.rules, [rule for rule in lists.rules if rule not in others], wanted)
    end = Lists()
    end.rules = list(lists.rules)
    after(plan, end)
    recorded = [call for call in SYSCALLS if lists.is_recorded(call) and end.is_recorded(call)]
    assume(recorded)

    for request in plan.changes:
        lists.take(request)

        assert all(lists.is_recorded(call) for call in recorded)


@given(foreign=rules(), before=rules(), wanted=rules())
def test_delete_all_leaves_only_what_is_wanted(foreign: list[bytes], before: list[bytes], wanted: list[bytes]) -> None:
    lists = Lists([rule for rule in foreign if not is_prepended(rule)])
    others = list(lists.rules)
    after(plan_changes(lists.rules, (), before), lists)
    ours = [rule for rule in lists.rules if rule not in others]

    plan = plan_changes(lists.rules, ours, wanted, removes=lambda _rule: True)
    loaded = after(plan, lists)

    assert set(loaded) == set(map(comparable, wanted))
    assert set(plan.foreign_removed) == set(others) - set(loaded)


@given(foreign=rules(), before=rules(), wanted=rules())
def test_note_knows_everything_that_is_ours_at_every_step(
    foreign: list[bytes], before: list[bytes], wanted: list[bytes]
) -> None:
    lists = Lists(foreign)
    others = set(lists.rules)
    after(plan_changes(lists.rules, (), before), lists)
    plan = plan_changes(lists.rules, [rule for rule in lists.rules if rule not in others], wanted)

    for request in plan.changes:
        lists.take(request)

        assert set(lists.rules) <= others | set(plan.ours_meanwhile)


def test_rules_that_never_match_the_same_event_may_stand_in_any_order() -> None:
    record = compiled("-a always,exit -F arch=b64 -S openat -k a")

    assert order_matters(record, compiled("-a never,exit -F arch=b64 -S openat -F uid=0"))
    assert order_matters(record, compiled("-a always,exit -F arch=b64 -S openat -k b"))
    assert not order_matters(record, compiled("-a always,exit -F arch=b64 -S openat -F uid=0 -k a"))
    assert not order_matters(record, compiled("-a never,exit -F arch=b64 -S close"))
    assert not order_matters(record, compiled("-a never,exit -F arch=b32 -S open"))
    assert not order_matters(record, compiled("-a never,user -F uid=0"))


def test_stand_in_has_one_condition_more_and_the_same_strings() -> None:
    rule = compiled("-w /etc/passwd -p wa -k identity")

    copy = stand_in(rule)

    assert copy is not None
    assert len(copy) == len(rule)
    assert read_kernel_rule(copy).fields[:-1] == read_kernel_rule(rule).fields
    assert stand_in(compiled("-a always,exclude -F msgtype=EOE")) is None


@pytest.fixture
def records(kernel_audit: AuditControl) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as data_socket:
        data_socket.bind((0, 0))
        data_socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
        claim_pid(data_socket)
        kernel_audit.set_status(enabled=1, backlog_limit=8192)
        yield data_socket
        release_pid()


def seen_names(data_socket: socket.socket) -> set[bytes]:
    """Return the names /seen-N in all records up to a pause of half a second."""
    names = set()
    data_socket.settimeout(0.5)
    try:
        while True:
            record = data_socket.recv(9000)
            if b'name="/seen-' in record:
                names.add(record.partition(b'name="')[2].partition(b'"')[0])
    except TimeoutError:
        return names


@pytest.mark.kernel
def test_reordering_rules_leaves_no_moment_unaudited(kernel_audit: AuditControl, records: socket.socket) -> None:
    watched = "-a always,exit -F arch=b64 -S access -S faccessat -S faccessat2 -F uid=65534"
    general = compiled(f"{watched} -k general")
    special = [compiled(f"{watched} -F a2={number} -k special-{number}") for number in range(900, 905)]
    present = kernel_audit.list_rules()
    first = carry_out(kernel_audit, plan_changes(present, (), [general]))
    with subprocess.Popen([sys.executable, "-c", LOAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        load.stdout.readline()
        load.stdin.write(b"go\n")
        load.stdin.flush()
        ours = first.ours
        for wanted in ([*special, general], [general], [*reversed(special), general], [general, special[0]]):
            loaded = carry_out(kernel_audit, plan_changes(kernel_audit.list_rules(), ours, wanted))
            ours = loaded.ours
            assert loaded.refused == {}
        was_running = load.poll() is None
        load.stdin.close()

    names = seen_names(records)

    assert was_running, "the load ended before the rules were moved"
    assert len(names) == 4000
    foreign = {comparable(rule) for rule in present}
    loaded_now = [comparable(rule) for rule in kernel_audit.list_rules() if comparable(rule) not in foreign]
    assert loaded_now == [comparable(general), comparable(special[0])]


@pytest.mark.kernel
def test_refused_rule_is_reported_and_the_others_are_loaded(kernel_audit: AuditControl) -> None:
    good = compiled("-a always,exit -F arch=b64 -S swapoff -F uid=65534 -k test-good")
    bad = compiled(f"-a always,exit -F dir=/nonexistent-{os.getpid()} -F uid=65534 -k test-bad")

    loaded = carry_out(kernel_audit, plan_changes(kernel_audit.list_rules(), (), [bad, good]))

    assert loaded.refused == {comparable(bad): errno.ENOENT}
    assert loaded.ours == (comparable(good),)
