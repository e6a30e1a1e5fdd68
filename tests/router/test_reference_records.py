"""Single records that go-libaudit decoded, and our fields of the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.router.grouping import Grouper
from auditline.workers.router.log_lines import frame
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.audit import AuditRenderer

GOLDEN = Path(__file__).parents[1] / "data" / "go-libaudit" / "auparse" / "audit-rhel7.log.golden"
CASES: list[dict[str, Any]] = [case for case in json.loads(GOLDEN.read_text()) if case is not None]

ELSEWHERE = frozenset({"items", *(f"a{number}" for number in range(10))})
"""How many paths there are is checked, and arguments are a list."""
DIFFERENT_ON_PURPOSE = {
    # The reference leaves the address of a netlink socket as it is.
    (517643, "saddr"): None,
    # A family that has a name.
    (517645, "family"): "unspec",
    # A connect that has begun is no failure.
    (512226, "result"): "success",
}


def our_fields(case: dict[str, Any]) -> dict[str, Any]:
    documents: list[Any] = []
    renderer = AuditRenderer(NoNames())
    grouper = Grouper(lambda event: documents.append(renderer.render(event, "0" * 16, None)[1]), lambda *_: None)
    grouper.feed(*frame([f"type={case['record_type'].upper()} msg={case['raw_msg']}"]), 0)
    grouper.idle(0)
    kernel = json.loads(documents[0])["audit"]["kernel"]
    actor = kernel.get("actor", {})
    fields = {**kernel.get("data", {}), **actor.get("attrs", {}), **kernel.get("socket", {})}
    fields |= {f"subj_{part}": text for part, text in actor.get("selinux", {}).items()}
    fields |= {"result": kernel["result"], "ses": kernel.get("session")}
    for path in kernel.get("paths", []):
        fields |= path
    return fields


@pytest.mark.parametrize("case", CASES, ids=[f"{case['record_type']}-{case['sequence']}" for case in CASES])
def test_record_says_what_the_reference_says_or_differs_on_purpose(case: dict[str, Any]):
    ours = our_fields(case)

    expected = {key: value for key, value in case.get("data", {}).items() if key not in ELSEWHERE}
    expected |= {key: value for (serial, key), value in DIFFERENT_ON_PURPOSE.items() if serial == case["sequence"]}
    assert {key: ours.get(key) for key in expected} == expected
