"""What real programs execute, connect to, and do to other processes and to the system, live, in both schemas."""

import random

import pytest

from auditline.workers.common.tables.lookup import syscall_numbers

pytestmark = pytest.mark.kernel

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_NOSUID, MS_NOEXEC = 2, 8
PTRACE_ATTACH = 16
BPF_PROG_LOAD = 5
BPF = syscall_numbers("x86_64")["bpf"]
ODD_NAME = b'\xffna\nme"'
SHOWN_ODD_NAME = '\\xffna\nme"'


def outcome_of(told):
    """Return what an event has to say of a call that ended so."""
    return ("fail", told) if isinstance(told, str) else ("success", str(told))


def test_a_program_with_two_thousand_arguments(stage):
    words = [f"word {number}" for number in range(2000)]

    deed = stage.act("run('/bin/true', *arguments)", *words).the("executed")

    assert deed.result == ("success", "0")
    assert deed.decoded["args"] == deed.ecs["process"]["args"] == ["/bin/true", *words]
    assert deed.kernel["data"]["argc"] == "2001"
    assert deed.kernel["thing"]["primary"] == deed.ecs["file"]["path"] == "/bin/true"
    assert deed.ecs["process"]["working_directory"] == str(stage.folder)
    assert deed.classes == (["process"], ["start"])


def test_an_argument_of_a_hundred_thousand_characters(stage):
    argument = "0123456789" * 10_000

    deed = stage.act("run('/bin/true', 'before', *arguments, 'behind')", argument).the("executed")

    assert deed.decoded["args"] == deed.ecs["process"]["args"] == ["/bin/true", "before", argument, "behind"]


def test_an_argument_of_a_hundred_thousand_bytes(stage):
    argument = bytes(random.Random(1).choices(range(1, 256), k=100_000))

    deed = stage.act("run('/bin/true', 'before', *arguments, 'behind')", argument).the("executed")

    assert deed.decoded["args"] == ["/bin/true", "before", argument.decode("utf-8", "backslashreplace"), "behind"]
    assert deed.exact("args.2") == argument
    assert deed.suspicions("args.2")


def test_a_process_whose_name_is_not_utf_8(stage):
    deeds = stage.act("""
with open("/bin/sleep", "rb") as program, open(arguments[0], "wb") as copy:
    copy.write(program.read())
os.chmod(arguments[0], 0o755)
run(b"./" + arguments[0], b"0")
""", ODD_NAME)  # fmt: skip

    deed = deeds.the("executed")
    assert deeds.told == [0]
    assert deed.kernel["data"]["comm"] == deed.ecs["process"]["name"] == SHOWN_ODD_NAME
    assert deed.kernel["how"] == deed.ecs["process"]["executable"] == f"{stage.folder}/{SHOWN_ODD_NAME}"
    assert deed.kernel["thing"]["primary"] == f"./{SHOWN_ODD_NAME}"
    assert deed.exact("data.comm") == ODD_NAME
    assert deed.exact("data.exe") == f"{stage.folder}/".encode() + ODD_NAME
    assert deed.exact("paths.0.name") == b"./" + ODD_NAME
    assert deed.exact("args.0") == b"./" + ODD_NAME
    assert deed.suspicions("data.comm") == ["control_character"]


def test_a_program_that_is_in_no_file(stage):
    deeds = stage.act("""
descriptor = call("memfd_create", b"no\\x1bfile", 3)
with open("/bin/true", "rb") as program:
    os.write(descriptor, program.read())
child = os.fork()
if child == 0:
    os.execve(descriptor, ["it", "runs"], {})
os.waitpid(child, 0)
""")

    made, executed = deeds.the("created-anonymous-file"), deeds.the("executed")
    assert made.result == outcome_of(deeds.told[0])
    assert made.decoded["arguments"]["flags"] == ["MFD_CLOEXEC", "MFD_ALLOW_SEALING"]
    assert made.classes == (["file"], ["creation"])
    assert executed.result == ("success", "0")
    assert executed.kernel["data"]["syscall"] == "execveat"
    assert executed.decoded["args"] == ["it", "runs"]
    assert executed.kernel["how"] == executed.ecs["process"]["executable"] == "/memfd:no\x1bfile (deleted)"
    assert executed.suspicions("data.exe") == ["control_character"]
    # The PATH that the kernel writes has an empty name: that is nobody's name.
    assert "primary" not in executed.kernel["thing"]
    assert "path" not in executed.ecs["file"]


CONNECT = """
import socket
made = socket.socket(int(arguments[0]), socket.SOCK_STREAM)
try:
    made.connect(eval(arguments[1]))
    told.append(0)
except OSError as error:
    told.append(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize(
    ("family", "name", "address", "shown", "destination"),
    [
        (2, "ipv4", ("127.0.0.1", 9), {"addr": "127.0.0.1", "port": "9"}, {"ip": "127.0.0.1", "port": "9"}),
        (10, "ipv6", ("::1", 9), {"addr": "::1", "port": "9"}, {"ip": "::1", "port": "9"}),
        (1, "unix", "a path", {"path": "a path"}, {"path": "a path"}),
        (1, "unix", b"\0abstract", {"path": "@abstract"}, {"path": "@abstract"}),
    ],
    ids=["IPv4", "IPv6", "unix", "abstract"],
)
def test_a_connection(stage, family, name, address, shown, destination):
    deeds = stage.act(CONNECT, str(family), repr(address))

    deed = deeds.the("connected-to")
    assert deed.result == outcome_of(deeds.told[0])
    assert deed.kernel["socket"] == {"family": name, **shown}
    assert deed.kernel["thing"]["what"] == "socket"
    assert deed.kernel["thing"]["primary"] == shown.get("addr", shown.get("path"))
    assert deed.kernel["thing"].get("secondary") == shown.get("port")
    assert deed.ecs["destination"] == destination
    assert deed.ecs["network"] == {"direction": "egress"}
    assert deed.classes == (["network"], ["connection", "start"])


def test_the_bytes_of_an_abstract_name(stage):
    deed = stage.act(CONNECT, "1", repr(b"\0ab\xff\0c\x1b")).the("connected-to")

    assert deed.kernel["socket"] == {"family": "unix", "path": "@ab\\xff\0c\x1b"}
    assert deed.exact("socket.path") == b"\0ab\xff\0c\x1b"
    assert deed.suspicions("socket.path") == ["control_character"]


@pytest.mark.parametrize(
    ("family", "address", "shown"),
    [
        (2, ("127.0.0.1", 0), {"family": "ipv4", "addr": "127.0.0.1", "port": "0"}),
        (1, "bound here", {"family": "unix", "path": "bound here"}),
    ],
    ids=["IPv4", "unix"],
)
def test_an_address_that_is_bound(stage, family, address, shown):
    code = "import socket; socket.socket(int(arguments[0]), socket.SOCK_STREAM).bind(eval(arguments[1]))"

    deed = stage.act(code, str(family), repr(address)).the("bound-socket")

    assert deed.result == ("success", "0")
    assert deed.kernel["socket"] == shown
    assert "destination" not in deed.ecs
    assert deed.classes == (["network"], ["start"])


def test_a_mount_in_a_user_namespace(stage):
    deeds = stage.act(
        "os.mkdir('point');"
        f"call('unshare', {CLONE_NEWUSER | CLONE_NEWNS});"
        f"call('mount', b'nothing', b'point', b'tmpfs', {MS_NOSUID | MS_NOEXEC}, b'size=1m')"
    )

    unshared, mounted = deeds.the("changed-namespace-of"), deeds.the("mounted")
    assert unshared.result == outcome_of(deeds.told[0])
    assert unshared.decoded["arguments"]["flags"] == ["CLONE_NEWNS", "CLONE_NEWUSER"]
    assert unshared.classes == (["process"], ["change"])
    assert mounted.result == outcome_of(deeds.told[1])
    assert mounted.kernel["thing"]["primary"] == "point"
    assert mounted.decoded["arguments"]["mountflags"] == ["MS_NOSUID", "MS_NOEXEC"]
    assert mounted.ecs["file"]["path"] == f"{stage.folder}/point"
    assert mounted.classes == (["file"], ["creation"])


def test_a_process_that_is_traced_and_killed(stage):
    deeds = stage.act(f"""
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.dup2(reader, 0)
    os.execv("/bin/cat", ["cat"])
# What is traced has to be the program already, not the copy of this one.
while b"cat" not in open(f"/proc/{{child}}/comm", "rb").read():
    os.sched_yield()
if call("ptrace", {PTRACE_ATTACH}, child, None, None) == 0:
    os.waitpid(child, 0)
call("kill", child, 9)
os.waitpid(child, 0)
told.append(child)
""")

    traced, killed, executed = deeds.the("traced-process"), deeds.the("killed-pid"), deeds.the("executed")
    child = str(deeds.told[2])
    assert executed.kernel["data"]["pid"] == child
    assert traced.result == outcome_of(deeds.told[0])
    assert traced.kernel["thing"] == {"what": "process", "primary": child, "secondary": "cat"}
    assert traced.decoded["arguments"]["op"] == "PTRACE_ATTACH"
    assert traced.classes == (["process"], ["access"])
    assert killed.result == ("success", "0")
    assert killed.kernel["thing"] == {"what": "process", "primary": child, "secondary": "cat"}
    assert killed.decoded["arguments"]["sig"] == "SIGKILL"
    assert killed.classes == (["process"], ["end"])


def test_a_signal_that_nobody_may_not_send(stage):
    deed = stage.act("run('/bin/kill', '-USR1', '1')").the("killed-pid")

    assert deed.result == ("fail", "EPERM")
    assert deed.kernel["how"] == "/usr/bin/kill"
    assert deed.kernel["thing"]["primary"] == "1"
    assert deed.decoded["arguments"]["sig"] == "SIGUSR1"


def test_a_program_for_the_kernel(stage):
    deeds = stage.act(f"call('syscall', {BPF}, {BPF_PROG_LOAD}, bytes(128), 128)")

    deed = deeds.the("changed-bpf")
    assert deed.result == outcome_of(deeds.told[0])
    assert deed.kernel["thing"]["what"] == "bpf"
    assert deed.decoded["arguments"]["cmd"] == "BPF_PROG_LOAD"
    assert deed.classes == (["driver"], ["info"])
