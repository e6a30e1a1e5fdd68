"""Where events of user space differ from Auditbeat: each has a row in docs/differences-from-auditbeat.md."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.router.names import IdNames

DATA = Path(__file__).parents[2] / "data" / "auditbeat"
Document = dict[str, Any]
RenderOne = Callable[..., Document]


@pytest.fixture(scope="module")
def names() -> IdNames:
    return IdNames(DATA / "passwd", DATA / "group")


def message(kind: str, text: str, head: str = "pid=9 uid=0 auid=1000 ses=3") -> str:
    return f"type={kind} msg=audit(1700000000.100:7): {head} msg='{text}'\n"


def test_text_with_blanks_is_whole(render_one: RenderOne):
    document = render_one(message("ADD_GROUP", "op=adding group to /etc/group id=1004 res=success"))

    assert document["auditd"]["data"]["op"] == "adding group to /etc/group"


def test_name_with_dots_is_text(render_one: RenderOne):
    document = render_one(message("USER_ACCT", "op=x name.uid=5 op.y=1 a.b=c res=success"))

    assert document["auditd"]["data"]["msg"] == "name.uid=5 op.y=1 a.b=c"
    assert document["auditd"]["data"]["op"] == "x"
    assert "name" not in document["user"]


@pytest.mark.parametrize(("text", "value"), [("socket=7", "7"), ("socket=7 socket=8", ["7", "8"])])
def test_text_called_socket_is_no_address(render_one: RenderOne, text: str, value: Any):
    document = render_one(message("USER_ACCT", f"op=x {text} res=success"))

    assert document["auditd"]["data"]["socket"] == {"text": value}


def test_uuid_is_nobody(render_one: RenderOne):
    document = render_one(message("VIRT_CONTROL", 'virt=kvm op=start vm="x" uuid=fb4149f5-7b60 res=success'))

    assert document["auditd"]["data"]["uuid"] == "fb4149f5-7b60"
    assert "uuid" not in document["user"]


@pytest.mark.parametrize(("kind", "key"), [("USER_AVC", "sauid"), ("CHGRP_ID", "new_gid")])
def test_ids_of_others_are_no_ids_of_the_user(render_one: RenderOne, kind: str, key: str):
    document = render_one(message(kind, f"op=x {key}=81 res=success"))

    assert document["auditd"]["data"][key] == "81"
    assert key not in document["user"]


def test_text_beside_the_fields_is_kept(render_one: RenderOne):
    document = render_one(message("USER_ACCT", "pam_tally2 reset=0 res=success"))

    assert document["auditd"]["data"]["msg"] == "pam_tally2"


def test_group_that_is_modified_is_the_group(render_one: RenderOne, names: IdNames):
    document = render_one(message("GRP_MGMT", 'op=modify-group acct="testgroup" res=success'), names)

    assert document["group"] == {"id": "1004", "name": "testgroup"}
    assert document["user"]["effective"] == {"id": "0", "name": "root"}


def test_sender_does_not_say_who_it_is(render_one: RenderOne, names: IdNames):
    document = render_one(message("USER_ACCT", "uid=1004 auid=1003 pid=1 reset=0 res=success"), names)

    assert (document["process"]["pid"], document["user"]["audit"]["id"]) == (9, "1000")
    assert document["auditd"]["data"]["uid"] == "1004"
    assert document["user"]["effective"] == {"id": "1004", "name": "testuser"}


def test_account_in_hexadecimal_is_decoded(render_one: RenderOne):
    document = render_one(message("USER_AUTH", "op=PAM:authentication acct=6120C3A9 res=failed"))

    assert document["user"]["effective"]["name"] == "a é"


@pytest.mark.parametrize(
    ("address", "source"),
    [("1.2.3.4", {"ip": "1.2.3.4"}), ("::1", {"ip": "::1"}), ("db.example.org", {"domain": "db.example.org"})],
)
def test_only_an_address_is_one(render_one: RenderOne, address: str, source: dict[str, str]):
    document = render_one(message("USER_LOGIN", f'op=login acct="x" addr={address} terminal=ssh res=failed'))

    assert document["source"] == source
    assert document["network"] == {"direction": "ingress"}


def test_login_of_an_old_kernel_is_read_as_one_of_a_new_kernel(render_one: RenderOne):
    document = render_one(
        "type=LOGIN msg=audit(1234877011.799:7734): login pid=26125 uid=0 old auid=4294967295 new auid=0"
        " old ses=4294967295 new ses=1172\n"
    )

    assert document["auditd"]["session"] == "1172"
    assert document["auditd"]["summary"]["actor"] == {"primary": "unset", "secondary": "0"}
    assert document["user"] == {"audit": {"id": "0"}, "effective": {"id": "0"}}


def test_signal_has_its_name_in_every_record(render_one: RenderOne):
    document = render_one(
        "type=ANOM_ABEND msg=audit(1700000000.100:7): auid=1000 uid=0 gid=0 ses=3 pid=9"
        ' comm="x" exe="/bin/x" sig=11 res=1\n'
    )

    assert document["auditd"]["data"]["sig"] == "SIGSEGV"
    assert document["auditd"]["summary"]["how"] == "SIGSEGV"


@pytest.mark.parametrize(
    ("kind", "action", "thing"),
    [
        ("ANOM_MK_EXEC", "made-an-executable", {"type": "file", "primary": "/x"}),
        ("ANOM_LOGIN_ACCT", "attempted-log-in-to-watched-account", {"type": "user-session", "primary": "bob"}),
        ("TRUSTED_APP", "sent-message", None),
        ("ACCT_LOCK", "locked-account", {"type": "account", "primary": "bob"}),
        ("VIRT_CREATE", "created-vm-image", {"type": "virtual-machine", "primary": "web"}),
        ("USER_MAC_STATUS", "changed-mac-status", {"type": "mac-config"}),
    ],
)
def test_record_that_auditbeat_does_not_name_well_has_a_name(
    render_one: RenderOne, kind: str, action: str, thing: dict[str, str] | None
):
    document = render_one(message(kind, 'acct="bob" path="/x" vm="web" res=success'))

    assert document["event"]["action"] == action
    assert document["auditd"]["summary"].get("object") == thing


@pytest.mark.parametrize(
    ("kind", "categories", "kinds"),
    [("MAC_POLICY_LOAD", ["configuration"], ["access"]), ("CRYPTO_SESSION", ["process"], ["info"])],
)
def test_record_without_a_category_has_one_where_one_fits(
    render_one: RenderOne, kind: str, categories: list[str], kinds: list[str]
):
    document = render_one(message(kind, "op=x res=success"))

    assert (document["event"]["category"], document["event"]["type"]) == (categories, kinds)


def test_type_that_no_table_knows_is_its_own_action(render_one: RenderOne):
    document = render_one("type=UNKNOWN[2777] msg=audit(1700000000.100:7): pid=9 uid=0 auid=1000 ses=3 thing=it\n")

    assert document["event"]["action"] == "unknown[2777]"
    assert document["process"]["pid"] == 9
    assert document["user"]["audit"]["id"] == "1000"
    assert document["auditd"]["data"]["thing"] == "it"


def test_names_that_auditd_wrote_are_used(render_one: RenderOne):
    text = message("USER_AUTH", 'op=PAM:authentication acct="x" res=success').rstrip("\n")

    document = render_one(f'{text}\x1dUID="root" AUID="elsewhere"\n')

    assert document["user"]["audit"] == {"id": "1000", "name": "elsewhere"}
    assert document["auditd"]["summary"]["actor"]["primary"] == "elsewhere"


def test_name_in_the_place_of_an_id_is_a_name(render_one: RenderOne, names: IdNames):
    document = render_one(message("USER_AUTH", "op=PAM:authentication res=success", "pid=9 uid=root auid=alice"), names)

    assert document["user"]["audit"] == {"id": "1001", "name": "alice"}
