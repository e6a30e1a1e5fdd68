"""Records become fields: decoded where the kernel encodes, kept where it does not, and nobody speaks for the kernel."""

import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from auditline.workers.common.tables.lookup import record_type_names, record_type_number
from auditline.workers.router.decode import types
from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.decode.records import decode_record, exit_name
from auditline.workers.router.event import Event, Facts

USER_CMD, USER_AUTH, USER_AVC, CONFIG_CHANGE, CRYPTO_KEY_USER = 1123, 1100, 1107, 1305, 2404
CALL = (
    "arch=c000003e syscall={} success={} exit={} a0=1 a1=2 a2=3 a3=4 items=0 ppid=1 pid=2 auid=1000 uid=0 gid=0 euid=0"
    ' suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=1 comm="x" exe="/bin/x" key={}'
)


def facts_of(*records: tuple[int, str]) -> Facts:
    event = Event("audit(1700000000.000:1", None, "1700000000", "000", 1)
    event.has_eoe = True
    for kind, body in records:
        event.types.append(kind)
        event.bodies.append(body)
    return gather_facts(event)


def test_the_types_that_have_a_name_here_have_the_same_in_the_table():
    names = {name: number for name, number in vars(types).items() if name.isupper() and isinstance(number, int)}
    ranges = {name for name in names if "_FIRST" in name or "_LAST" in name}

    assert {name: record_type_number(name) for name in names.keys() - ranges} == {
        name: number for name, number in names.items() if name not in ranges
    }


def test_the_names_of_auxiliary_types_say_that_they_are_of_the_kernel():
    assert all(1300 <= number < 1500 for number in types.OF_SYSTEM_CALLS)
    assert record_type_names().keys() >= types.OF_SYSTEM_CALLS


@pytest.mark.parametrize(
    ("kind", "body", "key", "text"),
    [
        (types.PATH, 'item=0 name="/a b" nametype=NORMAL', "name", "/a b"),
        (types.PATH, "item=0 name=2F6120622022 nametype=NORMAL", "name", '/a b "'),
        (types.PATH, "item=0 name=2F2F nametype=NORMAL", "name", "//"),
        (types.PATH, "item=0 name=C3A9 nametype=NORMAL", "name", "é"),
        (types.PATH, 'item=0 name="?" nametype=NORMAL', "name", "?"),
        (types.PATH, 'item=0 name="(null)" nametype=NORMAL', "name", "(null)"),
        (types.PATH, "item=0 inode=1000 dev=fe:00 nametype=NORMAL", "inode", "1000"),
        (types.CWD, "cwd=2F0A", "cwd", "/\n"),
        (types.PROCTITLE, "proctitle=6C73002D6C00", "proctitle", "ls -l"),
        (types.PROCTITLE, "proctitle=6C7300002D6C", "proctitle", "ls  -l"),
        (types.OBJ_PID, "opid=10 oauid=1000 ouid=10 oses=20 ocomm=6C73", "ocomm", "ls"),
        (types.OBJ_PID, "opid=10 oauid=1000 ouid=10 oses=20 ocomm=6C73", "opid", "10"),
        (types.FD_PAIR, "fd0=10 fd1=20", "fd0", "10"),
        (types.OPENAT2, "oflag=00 mode=00 resolve=10", "resolve", "10"),
        (
            types.MQ_OPEN,
            "oflag=0x42 mode=0600 mq_flags=0x0 mq_maxmsg=10 mq_msgsize=16 mq_curmsgs=20",
            "mq_maxmsg",
            "10",
        ),
        (types.SOCKETCALL, "nargs=3 a0=10 a1=AA a2=10", "a1", "AA"),
        (CONFIG_CHANGE, "op=set audit_backlog_limit=8192 old=64 res=1", "old", "64"),
        (types.SYSCALL, CALL.format(59, "yes", 10, "(null)"), "exit", "10"),
        (types.TTY, 'pid=1 comm="bash" data=6C730D', "data", "ls\r"),
        (types.USER_TTY, "pid=1 data=6C73", "data", "ls"),
        (CRYPTO_KEY_USER, "pid=1 msg='op=x lport=22 suid=74 fp=6d:a3 res=success'", "lport", "22"),
        (USER_CMD, "pid=1 msg='cwd=\"/\" cmd=6C73202D6C res=success'", "cmd", "ls -l"),
        (USER_CMD, "pid=1 msg='acct=28696E76616C6964207573657229 res=failed'", "acct", "(invalid user)"),
        (USER_CMD, "pid=1 msg='unit=cafe id=1000 res=success'", "unit", "cafe"),
        (USER_CMD, "pid=1 msg='data=6C73'", "data", "6C73"),
    ],
)
def test_only_fields_that_are_encoded_are_decoded(kind: int, body: str, key: str, text: str):
    assert decode_record(kind, body).text[key] == text


@pytest.mark.parametrize("value", ["?", "(null)", "?,", '"?"', '""', ""])
def test_what_says_nothing_is_left_out_of_user_records(value: str):
    decoded = decode_record(USER_AUTH, f"pid=1 msg='op=x acct={value} res=success'")

    assert decoded.text.keys() == {"pid", "op", "res"}


def test_bytes_that_are_not_utf_8_keep_a_readable_form_and_themselves():
    decoded = decode_record(types.PATH, "item=0 name=2F74FF6DC3 nametype=NORMAL")

    assert decoded.text["name"] == "/t\\xffm\\xc3"
    assert decoded.undecodable == {"name": b"/t\xffm\xc3"}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("0", "0"), ("3", "3"), ("-13", "EACCES"), ("-2", "ENOENT"), ("-115", "EINPROGRESS"), ("-512", "-512"),
        ("-99999", "-99999"), ("-", "-"), ("--1", "--1"), ("-x", "-x"), ("-1_3", "-1_3"), ("- 13", "- 13"),
        ("-٣", "-٣"), ("140737488347136", "140737488347136"), ("-0", "-0"), ("", ""),
        ("-" + "9" * 5000, "-" + "9" * 5000),
    ],
)  # fmt: skip
def test_exits_have_the_names_of_their_errors(value: str, name: str):
    assert exit_name(value) == name


@pytest.mark.parametrize(
    ("arch", "number", "names"),
    [
        ("c000003e", "59", ("x86_64", "execve")),
        ("40000003", "11", ("i386", "execve")),
        ("c00000b7", "221", ("aarch64", "execve")),
        ("c000003e", "1073742344", ("x86_64", "execve")),
        ("c000003e", "99999", ("x86_64", "99999")),
        ("c000003e", "-1", ("x86_64", "-1")),
        ("c000003e", "٥٩", ("x86_64", "٥٩")),
        ("deadbeef", "59", ("deadbeef", "59")),
    ],
)
def test_calls_have_the_names_of_their_architecture(arch: str, number: str, names: tuple[str, str]):
    facts = facts_of((types.SYSCALL, CALL.format(number, "yes", 0, "(null)").replace("c000003e", arch)))

    assert (facts.data["arch"], facts.data["syscall"]) == names


@pytest.mark.parametrize("arch", ["xyz", "0xc000003e", "c000003e0", "c000_003e", "-1", "\uff11"])
def test_an_architecture_that_is_none_is_a_warning(arch: str):
    facts = facts_of((types.SYSCALL, CALL.format(59, "yes", 0, "(null)").replace("c000003e", arch)))

    assert facts.data["arch"] == arch
    assert f"arch is {arch}, wanted a hexadecimal number" in facts.warnings


@pytest.mark.parametrize(
    ("kind", "body", "signal"),
    [
        (types.ANOM_ABEND, 'auid=0 uid=0 gid=0 ses=1 pid=5 comm="x" exe="/x" sig=11 res=1', "SIGSEGV"),
        (types.SECCOMP, 'auid=0 uid=0 gid=0 ses=1 pid=5 comm="x" exe="/x" sig=31 arch=c000003e syscall=41', "SIGSYS"),
        (types.SECCOMP, 'auid=0 uid=0 gid=0 ses=1 pid=5 comm="x" exe="/x" sig=0 arch=c000003e syscall=41', "0"),
        (types.ANOM_ABEND, "pid=5 sig=4000", "4000"),
        (types.ANOM_ABEND, "pid=5 sig=x", "x"),
    ],
)
def test_signals_have_names(kind: int, body: str, signal: str):
    assert facts_of((kind, body)).data["sig"] == signal


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("(null)", []),
        ('"open"', ["open"]),
        ('"key=open"', ["open"]),
        ("6F70656E0174776F", ["open", "two"]),
        ("01", []),
        ("2201C3A9", ['"', "é"]),
        ('"(null)"', ["(null)"]),
    ],
)
def test_keys_of_several_rules_are_told_apart(key: str, keys: list[str]):
    assert facts_of((types.SYSCALL, CALL.format(59, "yes", 0, key))).keys == keys


@pytest.mark.parametrize(
    ("body", "fields", "rest"),
    [
        (
            "pid=1 msg='avc:  received policyload notice (seqno=2) exe=\"/x\"'",
            {"seqno": "2"},
            "avc:  received policyload notice",
        ),
        (
            "pid=1 msg='PAM: accounting acct=root : exe=\"/usr/sbin/crond\" hostname=?, res=success'",
            {"acct": "root", "exe": "/usr/sbin/crond"},
            "PAM: accounting",
        ),
        ("pid=1 msg='op=adding : a group res=success'", {"op": "adding : a group"}, ""),
        (
            "pid=1 msg='op=x name.uid=0 op.y=1 socket=7'",
            {"op": "x", "socket": "7", "uid": None, "y": None},
            "name.uid=0 op.y=1",
        ),
        ("pid=1 msg='op=start it\\'s fine res=success'", {"op": "start it\\'s fine", "res": "success"}, ""),
        ("pid=1 msg='a 'quoted' word op=x res=success'", {"op": "x", "res": "success"}, "a 'quoted' word"),
        ("user pid=1 uid=0 auid=5 msg='PAM: x acct=root'", {"acct": "root"}, "PAM: x"),
        ('pid=1 msg=\'cmd="a b" cwd="/"\'', {"cmd": "a b", "cwd": "/"}, ""),
        ("pid=1 msg=''", {}, ""),
        ("pid=1 msg='", {}, ""),
    ],
)
def test_messages_of_all_forms_are_read(body: str, fields: dict[str, str], rest: str):
    decoded = decode_record(USER_AVC, body)

    assert {key: decoded.text.get(key) for key in fields} == fields
    assert decoded.rest == rest


@pytest.mark.parametrize(
    "kind", [types.SYSCALL, types.AVC, types.EXECVE, types.LOGIN, types.PATH, USER_AVC, CONFIG_CHANGE]
)
@pytest.mark.parametrize(
    "part",
    [
        "a",
        "a=",
        "a=b ",
        'a="',
        "a='",
        "avc: ",
        "{",
        "avc:  denied  { ",
        " ",
        "=",
        "msg='",
        "\x1d",
        "\x1dA=b ",
        "a b=",
        "\udcff",
        "new auid=",
    ],
)
def test_time_grows_no_faster_than_a_record(kind: int, part: str):
    body = part * (100_000 // len(part))
    begun = time.process_time()

    facts_of((kind, body), (kind, f"msg='{body}'"))

    assert time.process_time() - begun < 3


def test_a_user_message_ends_at_its_last_quote():
    facts = facts_of((USER_CMD, "pid=1 uid=0 msg='op=it's cmd=\"x'y\" res=success'"))

    assert facts.data["op"] == "it's"
    assert facts.data["cmd"] == "x'y"
    assert facts.result == "success"


def test_text_of_several_words_is_one_value():
    facts = facts_of((USER_AUTH, "pid=1 msg='op=adding group to /etc/group id=1001 grp=\"a b\" res=success'"))

    assert facts.data["op"] == "adding group to /etc/group"
    assert (facts.data["id"], facts.data["grp"]) == ("1001", "a b")


def test_free_text_of_a_message_is_kept():
    assert facts_of((USER_AUTH, "pid=1 uid=0 msg='hello world: all is well'")).data["msg"] == "hello world: all is well"
    assert (
        facts_of((USER_AUTH, "pid=1 msg='changing system time exe=\"/x\" res=success'")).data["msg"]
        == "changing system time"
    )


def test_old_messages_with_brackets_are_read():
    body = (
        'user pid=1 uid=0 auid=5 msg=\'PAM: setcred acct="root" : exe="/x"'
        " (hostname=?, addr=192.0.2.1, terminal=ssh res=success)'"
    )

    facts = facts_of((USER_AUTH, body))

    assert (facts.data["addr"], facts.data["terminal"], facts.result) == ("192.0.2.1", "ssh", "success")
    assert facts.data["msg"] == "PAM: setcred"


def test_a_comma_that_is_part_of_a_value_stays():
    assert facts_of((USER_AUTH, "pid=1 msg='cmd=a, grantors=x,y, res=success'")).data["cmd"] == "a,"


@pytest.mark.parametrize(
    "claim", ["auid=0", "uid=0", "ses=7", "subj=root:sysadm_r:sysadm_t", 'key="identity"', "pid=99"]
)
def test_a_sender_does_not_say_who_it_is(claim: str):
    honest = facts_of((USER_CMD, "pid=5 uid=1000 auid=1000 ses=3 msg='op=x res=success'"))

    facts = facts_of((USER_CMD, f"pid=5 uid=1000 auid=1000 ses=3 msg='op=x {claim} res=success'"))

    assert (facts.ids, facts.session, facts.selinux, facts.keys) == (
        honest.ids,
        honest.session,
        honest.selinux,
        honest.keys,
    )
    assert (facts.value("auid"), facts.value("uid")) == ("1000", "1000")
    claimed = facts.data[claim.partition("=")[0]]
    assert claim.partition("=")[2].strip('"') in (claimed if isinstance(claimed, list) else [claimed])


def test_selinux_denials_say_what_was_denied():
    body = (
        'avc:  denied  { read write } for  pid=5 comm="x" scontext=a:b:c:s0 tcontext=d:e:f:s0 tclass=file permissive=0'
    )

    facts = facts_of((types.AVC, body))

    assert (facts.data["seresult"], facts.data["seperms"]) == ("denied", "read,write")
    assert "msg" not in facts.data


def test_user_space_denials_say_it_too():
    facts = facts_of(
        (USER_AVC, "pid=1 uid=81 msg='avc:  denied  { send_msg } for  scontext=a:b:c tclass=dbus exe=\"/x\"'")
    )

    assert (facts.data["seresult"], facts.data["seperms"], facts.result) == ("denied", "send_msg", "fail")


def test_old_logins_are_read_as_new_ones():
    old = facts_of((types.LOGIN, "login pid=1 uid=0 old auid=4294967295 new auid=1000 old ses=4294967295 new ses=1"))
    new = facts_of((types.LOGIN, "pid=1 uid=0 old-auid=4294967295 auid=1000 old-ses=4294967295 ses=1"))

    assert (old.ids, old.session, old.data) == (new.ids, new.session, new.data)
    assert old.ids["old-auid"] == "unset"


def test_fields_of_several_records_are_all_kept():
    facts = facts_of(
        (types.SYSCALL, CALL.format(62, "yes", 0, '"kill"')),
        (types.OBJ_PID, 'opid=10 oauid=-1 ouid=0 oses=-1 ocomm="one"'),
        (types.OBJ_PID, 'opid=11 oauid=-1 ouid=0 oses=-1 ocomm="two"'),
        (types.OBJ_PID, 'opid=10 oauid=-1 ouid=0 oses=-1 ocomm="one"'),
    )

    assert facts.data["opid"] == ["10", "11"]
    assert facts.data["ocomm"] == ["one", "two"]
    assert facts.data["oauid"] == "unset"
    assert facts.ids["auid"] == "1000"


def test_a_signal_to_everybody_takes_no_time_that_grows_with_its_square():
    records = [(types.OBJ_PID, f'opid={number} oauid=-1 ouid=0 oses=-1 ocomm="x{number}"') for number in range(20_000)]

    facts = facts_of((types.SYSCALL, CALL.format(62, "yes", 0, "(null)")), *records)

    assert len(facts.data["opid"]) == 20_000


def test_a_field_that_comes_twice_in_a_record_of_a_sender_is_kept_twice():
    facts = facts_of((USER_AUTH, 'pid=1 msg=\'acct="a" acct="b" acct="a" res=success\''))

    assert facts.data["acct"] == ["a", "b"]


def test_owners_of_objects_are_no_actors():
    facts = facts_of((types.AVC, 'apparmor="DENIED" operation="open" name="/x" pid=5 comm="x" fsuid=1 ouid=1000'))

    assert facts.ids == {"fsuid": "1"}
    assert facts.data["ouid"] == "1000"


@pytest.mark.parametrize("key", ["uuid", "xuid", "obj_gid", "vm-uid"])
def test_names_that_end_like_ids_are_no_actors(key: str):
    facts = facts_of((2500, f"pid=1 uid=0 auid=5 ses=1 msg='virt=kvm {key}=fb4149f5 res=success'"))

    assert facts.ids == {"uid": "0", "auid": "5"}
    assert facts.data[key] == "fb4149f5"


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("u:r:t", {"user": "u", "role": "r", "domain": "t"}),
        ("u:r:t:s0-s0:c0.c1023", {"user": "u", "role": "r", "domain": "t", "level": "s0-s0", "category": "c0.c1023"}),
        ("unconfined", {}),
        ("/usr/bin/man//&unconfined", {}),
        ("=unconfined", {}),
        ("a:b", {}),
        (":root://ns:profile", {}),
        ("=/usr/sbin/ntpd (enforce)", {}),
        ("/usr/sbin/cupsd (complain)", {}),
        ("a//&b (mixed)", {}),
        ("MongoDB Compass (unconfined)", {}),
    ],
)
def test_labels_are_taken_apart_if_they_are_selinux_s(label: str, parts: dict[str, str]):
    facts = facts_of((types.SYSCALL, CALL.format(59, "yes", 0, f"(null) subj={label}")))

    assert facts.selinux == parts
    assert facts.data.get("subj") == (None if parts else label)
    assert facts.reasons == []


def test_the_mode_of_a_profile_is_part_of_the_label_in_every_record():
    label = "=/usr/sbin/x y (enforce)"

    facts = facts_of(
        (types.SYSCALL, CALL.format(2, "yes", 3, f"(null) subj={label}").replace("items=0", "items=1")),
        (types.PATH, f'item=0 name="/x" obj={label} nametype=NORMAL'),
        (types.OBJ_PID, f'opid=7 oauid=0 ouid=0 oses=1 obj={label} ocomm="y"'),
        (types.MAC_TASK_CONTEXTS, f"subj_apparmor={label} subj_selinux=u:r:t"),
    )

    assert (facts.data["subj"], facts.data["obj"], facts.paths[0]["obj"]) == (label, label, label)
    assert (facts.data["subj_apparmor"], facts.data["subj_selinux"], facts.data["ocomm"]) == (label, "u:r:t", "y")
    assert facts.reasons == []
    assert "msg" not in facts.data


def test_a_sender_has_the_label_with_its_mode():
    facts = facts_of((USER_AUTH, "pid=1 uid=0 auid=5 ses=1 subj=/usr/sbin/sshd (enforce) msg='op=x res=success'"))

    assert (facts.data["subj"], facts.data["op"]) == ("/usr/sbin/sshd (enforce)", "x")
    assert "msg" not in facts.data


@pytest.mark.parametrize("word", ["(null)", "(deleted)", "(enforce) x"])
def test_other_words_behind_a_label_are_damage(word: str):
    assert facts_of((types.SYSCALL, CALL.format(59, "yes", 0, f"(null) subj=a {word}"))).reasons == ["truncated_record"]


@pytest.mark.parametrize("rest", ["de=338944 dev=fe:00", 'x="y" dev=fe:00', '"b"', "x"])
def test_text_that_follows_a_quote_at_once_is_damage(rest: str):
    fields = decode_record(types.PATH, f'item=0 name="/lib64/ld.so"{rest} nametype=NORMAL')

    assert fields.is_truncated
    assert fields.warnings == ["text that is no field"]


values = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)


@example(key="name", value=b"?")
@example(key="comm", value=b"(null)")
@given(key=st.sampled_from(["name", "cwd", "comm", "cmd", "x", "uid", "a0", "subj"]), value=st.binary(max_size=30))
def test_whatever_the_kernel_encodes_comes_back(key: str, value: bytes):
    kind = {"cwd": types.CWD, "cmd": USER_CMD, "a0": types.EXECVE}.get(key, types.AVC)
    is_plain = all(0x20 < byte < 0x7F and byte != 0x22 for byte in value)
    encoded = f'"{value.decode()}"' if is_plain else value.hex().upper()

    decoded = decode_record(kind, f"{key}={encoded}")

    if is_plain or key in ("name", "cwd", "comm", "cmd", "a0"):
        if value == b"" and kind == USER_CMD:
            assert key not in decoded.text
        else:
            exact = decoded.undecodable.get(key)
            assert (decoded.text[key].encode() if exact is None else exact) == value


@given(kind=st.sampled_from([*sorted(record_type_names()), -5, 40_000]), body=st.text(max_size=200))
def test_whatever_text_a_record_is_it_is_decoded(kind: int, body: str):
    facts: Any = facts_of((kind, body))

    assert facts.record_type == kind
