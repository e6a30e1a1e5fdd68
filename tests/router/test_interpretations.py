"""Numbers in fields have the kernel's words beside them, where the document keeps the number."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.tables.lookup import record_type_number
from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.decode.interpretations import interpret_fields
from auditline.workers.router.event import Event


def interpret(*records: tuple[str, str]) -> dict[str, Any]:
    event = Event("audit(1700000000.000:1", None, "1700000000", "000", 1)
    event.has_eoe = True
    for name, body in records:
        number = record_type_number(name)
        assert number is not None
        event.types.append(number)
        event.bodies.append(body)
    return interpret_fields(gather_facts(event))


CALL = ("SYSCALL", 'arch=c000003e syscall=59 success=yes exit=0 items=0 pid=2 comm="x" exe="/bin/x" key=(null)')
FCAPS = (
    "BPRM_FCAPS",
    "fver=2 fp=0000000000002000 fi=0 fe=1 old_pp=0 old_pi=0 old_pe=0 old_pa=0 pp=2000 pi=0 pe=8000000000000001 pa=0",
)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([("SECCOMP", "pid=1 sig=31 arch=c000003e syscall=41 code=0x80000000")], {"code": "SECCOMP_RET_KILL_PROCESS"}),
        ([("SECCOMP", "pid=1 sig=31 arch=c000003e syscall=41 code=0x0")], {"code": "SECCOMP_RET_KILL_THREAD"}),
        ([("SECCOMP", "pid=1 sig=0 arch=c000003e syscall=41 code=0x7ffc0000")], {"code": "SECCOMP_RET_LOG"}),
        ([("SECCOMP", "pid=1 sig=0 arch=c000003e syscall=41 code=0x50001")], {"code": "SECCOMP_RET_ERRNO"}),
        ([("SECCOMP", "pid=1 sig=0 arch=c000003e syscall=41 code=0x12340000")], {}),
        ([("NETFILTER_CFG", "table=filter family=10 entries=4")], {"family": "NFPROTO_IPV6"}),
        ([("NETFILTER_CFG", "table=filter family=0 entries=4")], {"family": "NFPROTO_UNSPEC"}),
        ([("NETFILTER_CFG", "table=filter family=x entries=4")], {}),
        ([("NETFILTER_CFG", "table=filter family=99999999999999999 entries=4")], {}),
        ([("FANOTIFY", "resp=2 fan_type=0")], {"resp": "FAN_DENY"}),
        ([("AVC", "avc:  denied  { x } for  pid=1 capability=21  scontext=a:b:c")], {"capability": "CAP_SYS_ADMIN"}),
        ([("AVC", "avc:  denied  { x } for  pid=1 capability=99  scontext=a:b:c")], {}),
        (
            [CALL, FCAPS],
            {"fp": ["CAP_NET_RAW"], "pe": ["CAP_CHOWN", "0x8000000000000000"], "pp": ["CAP_NET_RAW"]},
        ),
        ([("CRYPTO_KEY_USER", "pid=1 msg='op=x fp=2000 res=success'")], {}),
        ([(CALL[0], CALL[1].replace("success", "per=400000 success"))], {"per": ["PER_LINUX", "READ_IMPLIES_EXEC"]}),
        ([CALL], {}),
    ],
)
def test_fields_have_words_by_their_type(records: list[tuple[str, str]], words: dict[str, Any]):
    assert interpret(*records) == words


@given(
    kind=st.sampled_from(["SECCOMP", "NETFILTER_CFG", "FANOTIFY", "AVC", "SYSCALL", "BPRM_FCAPS"]),
    key=st.sampled_from(["code", "family", "resp", "capability", "fp", "per"]),
    value=st.one_of(st.text(max_size=20), st.integers().map(str), st.integers(min_value=0).map(hex)),
)
def test_whatever_stands_in_a_field_is_no_mistake(kind: str, key: str, value: str):
    assert isinstance(interpret((kind, f"{key}={value}")), dict)
