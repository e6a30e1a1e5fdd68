"""What real programs do to files and names, live, in both schemas."""

import os

import pytest

pytestmark = pytest.mark.kernel

NOBODY = 65534


@pytest.fixture
def file(stage):
    """A file of nobody's."""
    path = stage.folder / "file"
    path.write_text("x")
    path.chmod(0o640)
    os.chown(path, NOBODY, NOBODY)
    yield path
    path.unlink(missing_ok=True)


def test_an_open_that_is_denied(stage):
    secret = stage.folder / "secret"
    secret.touch(0o600)

    deed = stage.act("call('open', b'secret', os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)").the("opened-file")

    assert deed.result == ("fail", "EACCES")
    assert deed.kernel["thing"] == {"what": "file", "primary": "secret", "secondary": str(secret.stat().st_ino)}
    assert deed.decoded["arguments"]["flags"] == ["O_WRONLY", "O_CREAT", "O_CLOEXEC"]
    assert deed.decoded["arguments"]["mode"] == "0644"
    assert deed.decoded["path"] == deed.ecs["file"]["path"] == str(secret)
    assert deed.ecs["file"]["owner"] == "root"
    assert deed.classes == (["file"], ["info"])


def test_an_open_in_a_directory_that_nobody_may_enter(stage):
    path = f"{stage.closed}/a name"

    deed = stage.act("call('open', arguments[0], os.O_RDONLY)", path).the("opened-file")

    assert deed.result == ("fail", "EACCES")
    assert deed.kernel["thing"] == {"what": "file", "primary": path}
    assert deed.decoded["arguments"]["flags"] == ["O_RDONLY"]
    assert "path" not in deed.decoded
    assert deed.ecs["file"]["path"] == path


def test_a_rename_by_mv(stage, file):
    inode = str(file.stat().st_ino)

    deed = stage.act("os.mkdir('sub'); run('/bin/mv', 'file', 'sub/new name')").the("renamed")

    assert deed.result == ("success", "0")
    assert deed.kernel["how"] == "/usr/bin/mv"
    assert deed.kernel["thing"] == {"what": "file", "primary": "file", "secondary": inode}
    assert [path["nametype"] for path in deed.kernel["paths"]] == ["PARENT", "PARENT", "DELETE", "CREATE"]
    assert deed.decoded["old_path"] == str(file)
    assert deed.decoded["new_path"] == deed.ecs["file"]["path"] == f"{stage.folder}/sub/new name"
    assert deed.ecs["file"]["inode"] == inode
    assert deed.classes == (["file"], ["change"])


def test_a_rename_between_two_open_directories(stage, file):
    deed = stage.act("""
for name in ("here", "there"):
    os.mkdir(name)
os.rename("file", "here/old")
call("renameat", os.open("here", os.O_PATH), b"old", os.open("there", os.O_PATH), b"new")
""").of("renamed")[1]

    assert deed.result == ("success", "0")
    assert [path["name"] for path in deed.kernel["paths"]][2:] == ["old", "new"]
    # No record says what directory a descriptor is of: PARENT has the working directory.
    assert not {"old_path", "new_path"} & deed.decoded.keys()


def test_a_hard_link_by_ln(stage, file):
    deed = stage.act("run('/bin/ln', 'file', 'second name')").the("linked")

    assert deed.result == ("success", "0")
    assert deed.kernel["how"] == "/usr/bin/ln"
    assert deed.kernel["thing"] == {"what": "file", "primary": "file", "secondary": str(file.stat().st_ino)}
    assert deed.decoded["old_path"] == str(file)
    assert deed.decoded["new_path"] == f"{stage.folder}/second name"
    assert deed.classes == (["file"], ["creation"])


def test_a_symbolic_link_by_ln(stage):
    deed = stage.act("run('/bin/ln', '-s', '../else where', 'pointer')").the("symlinked")

    assert deed.result == ("success", "0")
    assert deed.kernel["thing"]["what"] == "symlink"
    assert deed.kernel["thing"]["primary"] == "pointer"
    assert deed.decoded["target"] == "../else where"
    assert deed.decoded["path"] == deed.ecs["file"]["path"] == f"{stage.folder}/pointer"
    assert deed.classes == (["file"], ["creation"])


def test_permissions_changed_by_chmod(stage, file):
    deed = stage.act("run('/bin/chmod', '4711', 'file')").the("changed-file-permissions-of")

    assert deed.result == ("success", "0")
    assert deed.kernel["how"] == "/usr/bin/chmod"
    assert deed.kernel["thing"]["primary"] == "file"
    assert deed.decoded["arguments"]["mode"] == "04711"
    assert deed.ecs["file"]["path"] == str(file)
    assert deed.ecs["file"]["mode"] == "0640"
    assert deed.classes == (["file"], ["change"])


def test_an_owner_whom_nobody_may_not_set(stage, file):
    deed = stage.act("run('/bin/chown', '0:0', 'file')").the("changed-file-ownership-of")

    assert deed.result == ("fail", "EPERM")
    assert deed.kernel["thing"]["primary"] == "file"
    assert deed.decoded["arguments"].items() >= {"owner": "0", "group": "0"}.items()
    assert deed.ecs["file"]["path"] == str(file)
    assert deed.classes == (["file"], ["change"])


def test_a_group_that_is_left_as_it_is(stage, file):
    deed = stage.act("call('chown', arguments[0], 65534, -1)", file).the("changed-file-ownership-of")

    assert deed.result == ("success", "0")
    assert deed.kernel["thing"]["primary"] == str(file)
    assert deed.decoded["arguments"]["owner"] == "65534"
    assert deed.decoded["arguments"].get("group") in (None, "-1", "unset")


def test_an_extended_attribute(stage, file):
    deeds = stage.act("call('setxattr', b'file', b'user.note', b'value', 5, 0)")

    deed = deeds.the("changed-file-attributes-of")
    assert deed.kernel["data"]["exit"] == str(deeds.told[0])
    assert deed.kernel["thing"]["primary"] == "file"
    assert deed.ecs["file"]["path"] == str(file)
    assert deed.classes == (["file"], ["change"])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b'new\nline, "quote" and \x1b[31m', 'new\nline, "quote" and \x1b[31m'),
        (b"name='x' uid=0 \x1d\\", "name='x' uid=0 \x1d\\"),
        ("\u202egpj.exe".encode(), "\u202egpj.exe"),
        (b'\xff\n"\x1b', '\\xff\n"\x1b'),
    ],
    ids=["controls", "look-alike", "bidi", "bytes"],
)
def test_a_file_with_an_odd_name(stage, name, shown):
    deeds = stage.act("""
os.close(os.open(arguments[0], os.O_CREAT))
call('chmod', arguments[0], 0o600)
run('/bin/rm', arguments[0])
""", name)  # fmt: skip

    changed, removed = deeds.the("changed-file-permissions-of"), deeds.the("deleted")
    assert changed.kernel["thing"]["primary"] == removed.kernel["thing"]["primary"] == shown
    assert changed.ecs["file"]["path"] == f"{stage.folder}/{shown}"
    assert changed.suspicions("paths.0.name")
    assert deeds.the("executed").decoded["args"] == ["/bin/rm", shown]


def test_the_bytes_of_a_name_that_is_not_utf_8(stage):
    name = b'\xff\n"\x1b'

    deeds = stage.act("os.close(os.open(arguments[0], os.O_CREAT)); call('chmod', arguments[0], 0o600)", name)

    assert deeds.the("changed-file-permissions-of").exact("paths.0.name") == name
