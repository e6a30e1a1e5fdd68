"""Where events of system calls differ from Auditbeat: each has a row in docs/differences-from-auditbeat.md."""

from collections.abc import Callable
from typing import Any

import pytest

from auditline.workers.router.render.lines import Keep

Document = dict[str, Any]
RenderOne = Callable[..., Document]
SystemCall = Callable[..., str]

OPENAT, CONNECT, EXECVE, RENAME, RENAMEAT2, MKNOD, SETRESUID, KILL, SENDTO, PTRACE, OPENAT2, MOUNT = (
    257, 42, 59, 82, 316, 133, 117, 62, 44, 101, 437, 165
)  # fmt: skip


def path(item: int, name: str, nametype: str = "NORMAL", *, inode: int = 5, mode: str = "0100640") -> tuple[str, str]:
    return (
        "PATH",
        f'item={item} name="{name}" inode={inode} dev=fd:02 mode={mode} ouid=0 ogid=42 rdev=00:00 nametype={nametype}',
    )


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("0100644", "file"), ("040755", "directory"), ("020666", "character-device"), ("0140777", "socket")],
)
def test_type_of_a_thing_is_that_of_its_mode(render_one: RenderOne, system_call: SystemCall, mode: str, kind: str):
    document = render_one(system_call(OPENAT, path(0, "/x", mode=mode)))

    assert document["auditd"]["summary"]["object"]["type"] == kind


def test_device_of_a_file_is_the_one_it_lies_on(render_one: RenderOne, system_call: SystemCall):
    document = render_one(system_call(OPENAT, path(0, "/etc/x")))

    assert document["file"]["device"] == "fd:02"
    assert document["auditd"]["paths"][0]["rdev"] == "00:00"


def test_arguments_are_all_there(render_one: RenderOne, system_call: SystemCall):
    records = system_call(
        EXECVE,
        ("EXECVE", 'argc=6 a0="sh" a1="" a2="?" a3_len=6 a3[0]="abc" a3[1]="def"'),
        ("EXECVE", 'a4="(null)" a5=C3A9'),
    )

    document = render_one(records)

    assert document["process"]["args"] == ["sh", "", "?", "abcdef", "(null)", "é"]


def test_parent_is_not_the_thing_where_the_kernel_calls_it_objtype(render_one: RenderOne, system_call: SystemCall):
    records = system_call(MKNOD, path(0, "/run", "PARENT", mode="040755"), path(1, "/run/fifo", "CREATE"))

    document = render_one(records.replace("nametype=", "objtype="))

    assert document["file"]["path"] == "/run/fifo"
    assert document["auditd"]["summary"]["object"]["primary"] == "/run/fifo"


def test_renamed_file_has_its_new_name(render_one: RenderOne, system_call: SystemCall):
    records = system_call(
        RENAME,
        path(0, "/a/", "PARENT", mode="040755"),
        path(1, "/b/", "PARENT", mode="040755"),
        path(2, "/a/old", "DELETE", inode=6),
        path(3, "/b/new", "DELETE", inode=7),
        path(4, "/b/new", "CREATE", inode=6),
    )

    document = render_one(records)

    assert (document["file"]["path"], document["file"]["inode"]) == ("/b/new", "6")
    assert document["auditd"]["summary"]["object"]["primary"] == "/a/old"


def test_renamed_file_has_its_new_name_also_where_both_are_relative(render_one: RenderOne, system_call: SystemCall):
    records = system_call(
        RENAMEAT2,
        ("CWD", 'cwd="/root"'),
        path(0, "/root", "PARENT", mode="040755"),
        path(1, "/root", "PARENT", mode="040755"),
        path(2, "old", "DELETE"),
        path(3, "new", "CREATE"),
        a2="ffffffffffffff9c",
    )

    document = render_one(records)

    assert document["file"]["path"] == "/root/new"


def test_name_within_a_directory_that_is_its_root_is_no_path(render_one: RenderOne, system_call: SystemCall):
    how = ("OPENAT2", "oflag=0 mode=0 resolve=0x10")

    document = render_one(system_call(OPENAT2, ("CWD", 'cwd="/"'), path(0, "/etc/passwd"), how, a0="3"))

    assert "path" not in document["file"]
    assert document["auditd"]["paths"][0]["name"] == "/etc/passwd"


def test_file_of_a_mount_is_what_is_mounted(render_one: RenderOne, system_call: SystemCall):
    document = render_one(system_call(MOUNT, ("CWD", 'cwd="/a"'), path(0, "mnt"), path(1, "src", inode=9)))

    assert (document["file"]["path"], document["file"]["inode"]) == ("/a/src", "9")
    assert document["auditline"]["decoded"]["path"] == "/a/src"


def test_nobody_is_unset_as_the_owner_of_a_signalled_process(render_one: RenderOne, system_call: SystemCall):
    target = ("OBJ_PID", 'opid=12 oauid=4294967295 ouid=0 oses=4294967295 ocomm="x"')

    document = render_one(system_call(KILL, target))

    assert (document["auditd"]["data"]["oauid"], document["auditd"]["data"]["oses"]) == ("unset", "unset")


def test_connect_that_has_begun_is_no_failure(render_one: RenderOne, system_call: SystemCall):
    records = system_call(CONNECT, ("SOCKADDR", "saddr=02000050A9FEA9FE0000000000000000"), success="no", exit="-115")

    document = render_one(records)

    assert document["event"]["outcome"] == "success"
    assert document["auditd"]["result"] == "success"
    assert document["auditd"]["data"]["exit"] == "EINPROGRESS"


@pytest.mark.parametrize(
    "denial",
    [
        'avc:  denied  { read } for  pid=11 comm="x" scontext=a:b:c tcontext=d:e:f tclass=file',
        'apparmor="DENIED" operation="ptrace" profile="p" pid=11 comm="x" requested_mask="trace" denied_mask="trace"',
    ],
)
def test_denied_access_is_a_failure(render_one: RenderOne, system_call: SystemCall, denial: str):
    records = system_call(PTRACE)

    document = render_one(f"type=AVC msg=audit(1700000000.100:7): {denial}\n{records}")

    assert document["event"]["outcome"] == "failure"
    assert document["auditd"]["message_type"] == "avc"


def test_denial_names_the_event_also_behind_the_system_call(render_one: RenderOne, system_call: SystemCall):
    denial = "avc:  denied  { read } for  pid=11 scontext=a:b:c tcontext=d:e:f tclass=file"

    document = render_one(system_call(OPENAT, ("AVC", denial)))

    assert document["auditd"]["message_type"] == "avc"
    assert document["event"]["action"] == "violated-selinux-policy"
    assert document["event"]["category"] == ["file"]


def test_what_is_encoded_is_decoded(render_one: RenderOne, system_call: SystemCall):
    records = system_call(KILL, ("OBJ_PID", "opid=5 oauid=0 ouid=0 oses=1 ocomm=C3A9"), comm="612062")

    document = render_one(records)

    assert document["process"]["name"] == "a b"
    assert document["auditd"]["summary"]["object"] == {"type": "process", "primary": "5", "secondary": "é"}


def test_field_with_several_values_keeps_them(render_one: RenderOne, system_call: SystemCall):
    records = system_call(KILL, ("OBJ_PID", 'opid=5 ocomm="a"'), ("OBJ_PID", 'opid=6 ocomm="b"'))

    document = render_one(records)

    assert document["auditd"]["data"]["opid"] == ["5", "6"]
    assert document["auditd"]["data"]["ocomm"] == ["a", "b"]


def test_place_of_a_field_with_several_values_has_the_first(render_one: RenderOne, system_call: SystemCall):
    denial = 'apparmor="ALLOWED" operation="open" pid=11 comm="other"'

    document = render_one(system_call(OPENAT, ("AVC", denial)))

    assert document["process"]["name"] == "x"
    assert document["auditd"]["data"]["comm"] == ["x", "other"]


def test_event_without_its_system_call_is_still_one(render_one: RenderOne):
    document = render_one(
        'type=CWD msg=audit(1700000000.100:7): cwd="/root"\n'
        'type=PATH msg=audit(1700000000.100:7): item=0 name="/etc/x" nametype=NORMAL\n'
        "type=EOE msg=audit(1700000000.100:7): \n"
    )

    assert document["auditd"]["sequence"] == 7
    assert document["process"] == {"working_directory": "/root"}
    assert document["auditd"]["paths"] == [{"item": "0", "name": "/etc/x", "nametype": "NORMAL"}]
    assert document["auditline"]["incomplete_reasons"] == ["syscall_missing"]


def test_group_of_the_effective_user_stays_where_it_is_another(render_one: RenderOne, system_call: SystemCall):
    document = render_one(system_call(SETRESUID, uid="1000", gid="1000", euid="1000", egid="0"))

    assert document["user"]["effective"] == {"group": {"id": "0"}}


def test_label_of_another_module_is_no_selinux_user(render_one: RenderOne, system_call: SystemCall):
    document = render_one(system_call(OPENAT, subj="docker-default"))

    assert "selinux" not in document["user"]
    assert document["auditd"]["data"]["subj"] == "docker-default"


@pytest.mark.parametrize(
    ("number", "action", "kind", "category"),
    [
        (PTRACE, "traced-process", "process", ["process"]),
        (437, "opened-file", "file", ["file"]),
        (321, "changed-bpf", "bpf", ["driver"]),
        (161, "changed-root-directory-to", "file", ["process"]),
        (425, "used-io-uring", "process", ["process"]),
    ],
)
def test_system_call_that_auditbeat_leaves_unnamed_has_a_name(
    render_one: RenderOne, system_call: SystemCall, number: int, action: str, kind: str, category: list[str]
):
    document = render_one(system_call(number))

    assert document["event"]["action"] == action
    assert document["event"]["category"] == category
    assert document["auditd"]["summary"]["object"]["type"] == kind


def test_system_call_that_no_table_names_is_its_own_action(render_one: RenderOne, system_call: SystemCall):
    document = render_one(system_call(96))

    assert document["event"]["action"] == "gettimeofday"
    assert (document["event"]["category"], document["event"]["type"]) == (["process"], ["info"])


@pytest.mark.parametrize(
    ("architecture", "number", "name"),
    [("c000003e", 17, "pread64"), ("c000003e", 18, "pwrite64"), ("40000003", 219, "madvise")],
)
def test_system_call_has_the_name_that_the_kernel_gives_it(
    render_one: RenderOne, system_call: SystemCall, architecture: str, number: int, name: str
):
    document = render_one(system_call(number).replace("c000003e", architecture))

    assert document["auditd"]["data"]["syscall"] == name


def test_operation_of_io_uring_is_named_as_the_system_call(render_one: RenderOne):
    document = render_one(
        "type=URINGOP msg=audit(1700000000.100:7): uring_op=18 success=yes exit=5 items=1 ppid=10 pid=11 uid=0 gid=0"
        " euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 key=(null)\n"
        'type=CWD msg=audit(1700000000.100:7): cwd="/root"\n'
        'type=PATH msg=audit(1700000000.100:7): item=0 name="/etc/x" nametype=NORMAL\n'
    )

    assert document["event"]["action"] == "opened-file"
    assert document["event"]["category"] == ["file"]
    assert document["file"]["path"] == "/etc/x"
    assert document["event"]["outcome"] == "success"


def test_address_of_a_socketcall_is_a_destination(render_one: RenderOne, system_call: SystemCall):
    records = system_call(102, ("SOCKADDR", "saddr=02000050A9FEA9FE0000000000000000"), a0="3")

    document = render_one(records.replace("arch=c000003e", "arch=40000003"))

    assert document["event"]["action"] == "connected-to"
    assert document["destination"] == {"ip": "169.254.169.254", "port": "80"}


def test_netlink_address_is_decoded_and_is_no_destination(render_one: RenderOne, system_call: SystemCall):
    document = render_one(system_call(SENDTO, ("SOCKADDR", "saddr=100000002A00000001000000")))

    assert document["auditd"]["data"]["socket"] == {"family": "netlink", "port": "42", "groups": "1"}
    assert document["network"] == {"direction": "egress"}
    assert "destination" not in document


def test_subject_is_not_said_twice(render_one: RenderOne, system_call: SystemCall):
    change = "auid=1000 ses=3 op=set audit_pid=5 old=0 res=1"

    document = render_one(f"type=CONFIG_CHANGE msg=audit(1700000000.100:7): {change}\n{system_call(SENDTO)}")

    assert (document["user"]["audit"]["id"], document["auditd"]["session"]) == ("1000", "3")
    assert document["auditd"]["data"].keys().isdisjoint({"auid", "ses", "result", "res"})


@pytest.mark.parametrize(
    ("exe", "comm", "how"),
    [
        ("/opt/bin/python3.11", "backup.py", "backup.py"),
        ("/opt/bin/python3.11", "python3", "/opt/bin/python3.11"),
        ("/bin/bash", "nightly", "nightly"),
        ("/usr/bin/bash", "bash", "bash"),
        ("/usr/bin/shred", "shred", "/usr/bin/shred"),
        ("/usr/bin/python2.7;58d1ccfb (deleted)", "google_accounts", "google_accounts"),
    ],
)
def test_means_is_the_script_wherever_the_interpreter_lies(
    render_one: RenderOne, system_call: SystemCall, exe: str, comm: str, how: str
):
    document = render_one(system_call(OPENAT, exe=f'"{exe}"', comm=f'"{comm}"'))

    assert document["auditd"]["summary"]["how"] == how


def test_message_of_an_error_says_what_is_damaged(render_one: RenderOne, system_call: SystemCall):
    whole = render_one(system_call(OPENAT, path(0, "/x")), keep=Keep(warnings=True))
    damaged = render_one(system_call(OPENAT, ("PATH", 'item=0 name="/x')))

    assert "error" not in whole
    assert damaged["error"]["message"]
    assert len(damaged["event"]["original"]) == 2
    assert "truncated_record" in damaged["auditline"]["incomplete_reasons"]


@pytest.mark.parametrize(
    ("number", "directory", "name", "absolute"),
    [
        (OPENAT, "ffffff9c", "b/../c", "/root/a/b/../c"),
        (OPENAT, "ffffffffffffff9c", "./b", "/root/a/b"),
        (OPENAT, "ffffff9c", "/b", "/b"),
        (OPENAT, "3", "b", "b"),
        (MKNOD, "3", "b", "/root/a/b"),
    ],
)
def test_path_of_a_file_is_absolute(
    render_one: RenderOne, system_call: SystemCall, number: int, directory: str, name: str, absolute: str
):
    document = render_one(system_call(number, ("CWD", 'cwd="/root/a"'), path(0, name), a0=directory))

    assert document["file"]["path"] == absolute
    assert document["auditd"]["summary"]["object"]["primary"] == name
