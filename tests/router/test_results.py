"""Whether what an event tells of succeeded, and what its denials say."""

import pytest

from auditline.workers.router.decode import types
from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.event import Event, Facts

USER_AUTH, USER_AVC, CONFIG_CHANGE = 1100, 1107, 1305
CALL = 'arch=c000003e syscall={} success={} exit={} items=0 pid=2 comm="x" exe="/bin/x" key=(null)'


def facts_of(*records: tuple[int, str]) -> Facts:
    event = Event("audit(1700000000.000:1", None, "1700000000", "000", 1)
    event.has_eoe = True
    for kind, body in records:
        event.types.append(kind)
        event.bodies.append(body)
    return gather_facts(event)


SUCCEEDED = (types.SYSCALL, CALL.format(2, "yes", 3))
FAILED = (types.SYSCALL, CALL.format(2, "no", -13))
CONTEXTS = "scontext=a:b:c:s0 tcontext=d:e:f:s0 tclass=file"
DENIED = (types.AVC, f"avc:  denied  {{ read }} for  pid=2 {CONTEXTS} permissive=0")
DENIED_BEFORE_PERMISSIVE = (types.AVC, f"avc:  denied  {{ read }} for  pid=2 {CONTEXTS}")
PERMITTED = (types.AVC, f"avc:  denied  {{ read }} for  pid=2 {CONTEXTS} permissive=1")
GRANTED = (types.AVC, f"avc:  granted  {{ read }} for  pid=2 {CONTEXTS}")


@pytest.mark.parametrize(
    ("records", "result"),
    [
        ([(types.SYSCALL, CALL.format(59, "yes", 0))], "success"),
        ([(types.SYSCALL, CALL.format(59, "no", -13))], "fail"),
        ([(types.SYSCALL, CALL.format(42, "no", -115))], "success"),
        (
            [(types.SYSCALL, CALL.format(2, "yes", 3)), (types.AVC, "avc:  denied  { read } for  pid=1")],
            "fail",
        ),
        (
            [(types.SYSCALL, CALL.format(2, "yes", 3)), (types.AVC, "avc:  granted  { read } for  pid=1")],
            "success",
        ),
        ([(types.AVC, 'apparmor="DENIED" operation="open"')], "fail"),
        ([(types.AVC, 'apparmor="ALLOWED" operation="open"')], "unknown"),
        ([(CONFIG_CHANGE, "op=set res=1")], "success"),
        ([(CONFIG_CHANGE, "op=set res=0")], "fail"),
        ([(USER_AUTH, "pid=1 msg='op=x res=success'")], "success"),
        ([(USER_AUTH, "pid=1 msg='op=x res=failed'")], "fail"),
        ([(USER_AUTH, "pid=1 msg='op=x res=yes'")], "success"),
        ([(USER_AUTH, "pid=1 msg='op=x'")], "unknown"),
    ],
)
def test_the_result_is_the_record_s_that_names_the_event(records: list[tuple[int, str]], result: str):
    assert facts_of(*records).result == result


@pytest.mark.parametrize(
    ("records", "result"),
    [
        ([SUCCEEDED, DENIED], "fail"),
        ([DENIED, SUCCEEDED], "fail"),
        ([SUCCEEDED, DENIED_BEFORE_PERMISSIVE], "fail"),
        ([GRANTED, SUCCEEDED, DENIED], "fail"),
        ([SUCCEEDED, PERMITTED, DENIED], "fail"),
        ([SUCCEEDED, PERMITTED], "success"),
        ([PERMITTED, SUCCEEDED], "success"),
        ([FAILED, PERMITTED], "fail"),
        ([FAILED, GRANTED], "fail"),
        ([DENIED], "fail"),
        ([PERMITTED], "unknown"),
        ([(types.AVC, 'apparmor="DENIED" operation="open"'), SUCCEEDED], "fail"),
        ([SUCCEEDED, (types.AVC, 'apparmor="ALLOWED" operation="open"')], "success"),
        ([FAILED, (types.AVC, 'apparmor="AUDIT" operation="open"')], "fail"),
        ([SUCCEEDED, (types.AVC, 'apparmor="STATUS" operation="profile_load"')], "success"),
        ([(types.IPE_ACCESS, 'ipe_op=EXECUTE enforcing=1 pid=2 rule="DEFAULT action=DENY"')], "fail"),
        ([SUCCEEDED, (types.IPE_ACCESS, 'ipe_op=EXECUTE enforcing=0 pid=2 rule="DEFAULT action=DENY"')], "success"),
        ([SUCCEEDED, (types.IPE_ACCESS, 'ipe_op=EXECUTE enforcing=1 pid=2 rule="op=EXECUTE action=ALLOW"')], "success"),
        ([SUCCEEDED, (types.LANDLOCK_ACCESS, 'domain=1 blockers=fs.read_file path="/x"')], "fail"),
        ([(USER_AVC, f"pid=1 msg='avc:  denied  {{ send_msg }} for  {CONTEXTS} permissive=0 exe=\"/x\"'")], "fail"),
        ([(USER_AVC, f"pid=1 msg='avc:  denied  {{ send_msg }} for  {CONTEXTS} permissive=1 exe=\"/x\"'")], "unknown"),
        ([(USER_AVC, 'pid=1 msg=\'apparmor="DENIED" operation="dbus_method_call"\'')], "fail"),
        ([(types.ANOM_ABEND, 'auid=0 uid=0 gid=0 ses=1 pid=5 comm="x" exe="/x" sig=11 res=1')], "success"),
        (
            [(types.LOGIN, "pid=1 uid=0 old-auid=4294967295 auid=0 tty=(none) old-ses=4294967295 ses=1 res=1")],
            "success",
        ),
        ([(types.LOGIN, "pid=1 uid=0 old-auid=4294967295 auid=0 tty=(none) old-ses=4294967295 ses=1 res=0")], "fail"),
        ([(USER_AUTH, "pid=1 msg='op=x result=Success'")], "success"),
        ([(USER_AUTH, "pid=1 msg='op=x result=failed'")], "fail"),
        ([(USER_AUTH, "pid=1 msg='op=x res=no'")], "fail"),
    ],
)
def test_a_denial_is_a_failure_and_what_was_let_pass_is_none(records: list[tuple[int, str]], result: str):
    assert facts_of(*records).result == result


def test_both_of_two_denials_are_kept():
    head = 'for  pid=2 comm="x" dev="sda1"'
    one = f'avc:  denied  {{ search }} {head} name="a" ino=1 scontext=s:r:one tcontext=t:r:d1 tclass=dir'
    other = f"avc:  denied  {{ write }} {head} name=62FF ino=2 scontext=s:r:two tcontext=t:r:d2 tclass=file"

    facts = facts_of(SUCCEEDED, (types.AVC, one), (types.AVC, other))

    assert facts.data["seperms"] == ["search", "write"]
    assert facts.data["name"] == ["a", "b\\xff"]
    assert facts.data["scontext"] == ["s:r:one", "s:r:two"]
    assert facts.data["tcontext"] == ["t:r:d1", "t:r:d2"]
    assert facts.data["tclass"] == ["dir", "file"]
    assert facts.data["dev"] == "sda1"
    assert facts.undecodable == [("data.name.1", b"b\xff")]


def test_a_label_of_selinux_and_a_profile_of_apparmor_stand_side_by_side():
    facts = facts_of(
        SUCCEEDED,
        (types.AVC, f"avc:  granted  {{ read }} for  pid=2 {CONTEXTS}"),
        (
            types.AVC,
            'apparmor="DENIED" operation="open" profile="/bin/x" name=2F6120 requested_mask="r" denied_mask="r"',
        ),
    )

    assert (facts.data["seresult"], facts.data["apparmor"], facts.data["name"]) == ("granted", "DENIED", "/a ")
    assert facts.result == "fail"
