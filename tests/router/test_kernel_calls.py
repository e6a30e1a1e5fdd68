"""What this kernel writes of real calls, decoded: flags and paths must be what the program passed and touched."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.kernel

Record = Callable[[str, str, Sequence[bytes]], list[dict[str, Any]]]
Decoded = list[dict[str, Any]]
Run = Callable[[str, str], Decoded]

BEGIN = """import ctypes, mmap, socket, tempfile
{AS_USER}
os.umask(0o22)
os.chdir(bytes.fromhex(sys.argv[1]))
os.mkdir("sub"); os.mkdir("other")
for name in ("a", "b", "sub/s", "sub/e"): open(name, "w").close()
sub, other = os.open("sub", os.O_RDONLY), os.open("other", os.O_RDONLY)
libc = ctypes.CDLL(None)
"""


@pytest.fixture
def run(record_events: Record, public_folder: Path) -> Run:
    """Run statements in an empty folder, and return what the calls under the rule were decoded to."""
    public_folder.chmod(0o777)

    def run_statements(rule: str, statements: str) -> Decoded:
        documents = record_events(rule, BEGIN + statements, [str(public_folder).encode()])
        return [document["auditline"].get("decoded", {}) for document in documents]

    return run_statements


def pairs(decoded: Decoded, folder: Path) -> list[tuple[str | None, str | None]]:
    found = [(one.get("old_path"), one.get("new_path")) for one in decoded]
    return [tuple(path and path.removeprefix(f"{folder}/") for path in pair) for pair in found]  # type: ignore[misc]


def test_renames_have_both_names(run: Run, public_folder: Path):
    decoded = run(
        "rename,renameat,renameat2",
        """
os.rename("a", "a2")
os.rename("a2", "b")
os.rename("sub/s", "other/s")
os.rename("./other//s", "s")
libc.renameat2(-100, b"b", -100, b"sub/e", 2)
os.rename("s", "s2", dst_dir_fd=other)
os.rename("e", "e2", src_dir_fd=sub)
os.rename("sub/", "sub2/")
""",
    )

    assert pairs(decoded, public_folder) == [
        ("a", "a2"),
        ("a2", "b"),
        ("sub/s", "other/s"),
        ("other/s", "s"),
        ("b", "sub/e"),
        ("s", None),
        (None, "e2"),
        ("sub", "sub2"),
    ]


def test_links_have_both_names(run: Run, public_folder: Path):
    decoded = run("link,linkat", "os.link('a', 'sub/a'); os.link('s', 'a3', src_dir_fd=sub)")

    assert pairs(decoded, public_folder) == [("a", "sub/a"), (None, "a3")]


def test_symbolic_links_have_their_path_and_target(run: Run, public_folder: Path):
    decoded = run(
        "symlink,symlinkat",
        """
os.symlink("/etc/hosts", "hosts")
os.symlink("abc/host", "sub/host")
os.symlink("itself", "itself")
os.symlink("x", "y", dir_fd=sub)
""",
    )

    assert [(one["target"], one.get("path")) for one in decoded] == [
        ("/etc/hosts", f"{public_folder}/hosts"),
        ("abc/host", f"{public_folder}/sub/host"),
        ("itself", f"{public_folder}/itself"),
        ("x", None),
    ]


def test_names_relative_to_an_open_directory_have_no_path(run: Run, public_folder: Path):
    decoded = run(
        "mkdirat,unlinkat,fchmodat",
        "os.mkdir('d', dir_fd=sub); os.rmdir('d', dir_fd=sub); os.chmod('s', 0o600, dir_fd=sub); os.chmod('a', 0o640)",
    )

    assert [one.get("path") for one in decoded[:3]] == [None, None, None]
    assert decoded[1]["arguments"]["flags"] == ["AT_REMOVEDIR"]
    assert decoded[2]["arguments"]["mode"] == "0600"


def test_files_are_opened_with_these_flags(run: Run, public_folder: Path):
    decoded = run(
        "openat,openat2",
        """
os.open("sub/../b", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o640)
os.chdir("sub"); os.open("../a", os.O_RDONLY | os.O_DSYNC)
how = (ctypes.c_ulonglong * 3)(os.O_CREAT | os.O_WRONLY, 0o600, 8)
libc.syscall(437, -100, b"new", how, 24)
""",
    )

    assert [one.get("path") for one in decoded[-3:]] == [
        f"{public_folder}/sub/../b",
        f"{public_folder}/a",
        f"{public_folder}/sub/new",
    ]
    assert [one["arguments"] for one in decoded[-3:]] == [
        {"dirfd": "AT_FDCWD", "flags": ["O_RDWR", "O_CREAT", "O_NOFOLLOW", "O_CLOEXEC"], "mode": "0640"},
        {"dirfd": "AT_FDCWD", "flags": ["O_RDONLY", "O_DSYNC", "O_CLOEXEC"]},
        {
            "dirfd": "AT_FDCWD",
            "size": "24",
            "flags": ["O_WRONLY", "O_CREAT"],
            "mode": "0600",
            "resolve": ["RESOLVE_BENEATH"],
        },
    ]


@pytest.mark.parametrize(
    ("rule", "statement", "wanted"),
    [
        ("unshare", "libc.unshare(0x10000000)", {"flags": ["CLONE_NEWUSER"]}),
        ("kill", "os.kill(os.getpid(), 0)", {"sig": "0"}),
        ("memfd_create", "os.memfd_create('x')", {"flags": ["MFD_CLOEXEC"]}),
        ("ptrace", "libc.ptrace(16, 1, 0, 0)", {"op": "PTRACE_ATTACH", "pid": "1"}),
        ("prctl", "libc.prctl(38, 1, 0, 0, 0)", {"op": "PR_SET_NO_NEW_PRIVS", "arg2": "1"}),
        ("bpf", "libc.syscall(321, 0, 0, 0)", {"cmd": "BPF_MAP_CREATE", "size": "0"}),
        ("mount", "libc.mount(b'none', b'sub', b'tmpfs', 6, 0)", {"mountflags": ["MS_NOSUID", "MS_NODEV"]}),
        ("socket", "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
         {"domain": "AF_INET6", "type": ["SOCK_DGRAM", "SOCK_CLOEXEC"], "protocol": "IPPROTO_IP"}),
        ("mmap", "os.truncate('a', 7); mmap.mmap(os.open('a', os.O_RDONLY), 7, prot=mmap.PROT_READ)",
         {"length": "7", "prot": ["PROT_READ"], "flags": ["MAP_SHARED"]}),
        ("umask", "os.umask(0o77)", {"mask": "0077"}),
        ("mknodat", "os.mkfifo('pipe')", {"dirfd": "AT_FDCWD", "mode": ["S_IFIFO", "0666"]}),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)  # fmt: skip
def test_calls_were_asked_to_do_this(run: Run, rule: str, statement: str, wanted: dict[str, Any]):
    decoded = run(rule, statement)

    # The interpreter makes some of these calls itself.
    assert any(one.get("arguments", {}).items() >= wanted.items() for one in decoded)
