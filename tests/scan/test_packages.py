"""What packages have brought is told from what somebody has changed, by dpkg's own files."""

import hashlib

import pytest

from auditline.workers.scan import packages
from auditline.workers.scan.packages import Packaged, find_packaged, is_as_packaged

STATUS = """\
Package: tool
Status: install ok installed
Architecture: amd64
Version: 2.0-1
Conffiles:
 /etc/tool.conf 0123456789abcdef0123456789abcdef
Description: a tool

Package: library
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 3.1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def database(tmp_path):
    folder = tmp_path / "dpkg"
    (folder / "info").mkdir(parents=True)
    (folder / "status").write_text(STATUS)
    (folder / "info" / "tool.md5sums").write_text(f"{md5(b'tool')}  bin/tool\n")
    (folder / "info" / "tool.list").write_text("/.\n/bin\n/bin/tool\n/usr/share/tool-link\n")
    (folder / "info" / "library:amd64.md5sums").write_text(f"{md5(b'library')}  usr/lib/liba.so.1\n")
    (folder / "info" / "gone.md5sums").write_text(f"{md5(b'gone')}  usr/bin/gone\n")
    return folder


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/usr/bin/tool", Packaged("tool", "2.0-1", md5(b"tool"))),
        (b"/bin/tool", Packaged("tool", "2.0-1", md5(b"tool"))),
        (b"/etc/tool.conf", Packaged("tool", "2.0-1", "0123456789abcdef0123456789abcdef")),
        (b"/usr/lib/liba.so.1", Packaged("library", "3.1", md5(b"library"))),
        (b"/usr/share/tool-link", Packaged("tool", "2.0-1", "")),
        (b"/usr/bin/gone", None),
        (b"/usr/bin/other", None),
    ],
)
def test_a_path_has_the_package_that_is_installed_and_brings_it(database, path, found):
    assert find_packaged([path], database).get(path) == found


def test_without_a_database_nothing_is_packaged(tmp_path):
    assert find_packaged([b"/bin/tool"], tmp_path / "none") == {}


def test_what_is_damaged_in_the_database_says_nothing(database):
    (database / "info" / "tool.md5sums").write_bytes(b"\xff\x00\n" * 100)
    (database / "info" / "tool.list").unlink()

    assert find_packaged([b"/bin/tool"], database) == {}


def test_other_content_is_not_as_packaged(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")

    assert is_as_packaged(bytes(path), Packaged("p", "1", md5(b"content")), {})
    assert not is_as_packaged(bytes(path), Packaged("p", "1", md5(b"other")), {})


def test_a_link_is_as_packaged_if_it_leads_to_its_own_package(tmp_path):
    (tmp_path / "file").touch()
    link = tmp_path / "link"
    link.symlink_to("file")
    target = bytes(tmp_path / "file")

    assert is_as_packaged(bytes(link), Packaged("p", "1", ""), {target: Packaged("p", "1", "")})
    assert not is_as_packaged(bytes(link), Packaged("p", "1", ""), {target: Packaged("q", "1", "")})
    assert not is_as_packaged(bytes(link), Packaged("p", "1", ""), {})


class TestScan:
    """A tree of which the database says that two packages have brought it."""

    @pytest.fixture
    def upgraded(self, scanned, database, monkeypatch):
        """Return a tree in which a package was upgraded, and one of its files changed by hand."""
        for name in ("one", "two", "by-hand"):
            (scanned.tree / name).write_text(f"old {name}")
        scanned.run("--init")
        for name in ("one", "two", "new", "by-hand"):
            (scanned.tree / name).write_text(f"new {name}")
        lines = [f"{md5(f'new {name}'.encode())}  {str(scanned.tree)[1:]}/{name}\n" for name in ("one", "two", "new")]
        lines.append(f"{md5(b'as packaged')}  {str(scanned.tree)[1:]}/by-hand\n")
        (database / "info" / "tool.md5sums").write_text("".join(lines))
        monkeypatch.setattr(packages, "DPKG", database)
        return scanned

    def test_an_upgraded_package_is_one_line_and_the_file_changed_by_hand_is_singled_out(self, upgraded):
        upgraded.run()

        assert "  tool 2.0-1   1 added, 2 changed" in upgraded.out.splitlines()
        assert upgraded.found == ["by-hand"]
        assert upgraded.last_line == "auditline: 1 added, 0 removed, 3 changed, 0 unreadable of 9"

    def test_what_packages_have_brought_can_be_approved_by_itself(self, upgraded):
        upgraded.run("--update", "--packaged")

        upgraded.run()

        assert upgraded.last_line == "auditline: 0 added, 0 removed, 1 changed, 0 unreadable of 9"

    def test_packaged_content_with_other_rights_is_singled_out(self, upgraded):
        (upgraded.tree / "one").chmod(0o4755)

        upgraded.run()

        assert upgraded.found == ["one", "by-hand"]
