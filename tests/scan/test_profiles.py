"""What counts as a difference, by profile: of a watch, and of some paths in it."""

import os

import pytest

from auditline.workers.common.errors import Exit

OVERRIDE = '[[fim.watch.override]]\nmatch = ["glob:**/script"]\n'


def append(path):
    with path.open("a") as file:
        file.write("more")


def cut(path):
    os.truncate(path, 3)


def change_head(path):
    path.write_text("CONTENT and more")


def touch(path):
    os.utime(path, ns=(1, 1))


def open_to_all(path):
    path.chmod(0o666)


def replace_by_the_same(path):
    status = path.stat()
    new = path.with_name("new")
    new.write_text(path.read_text())
    new.chmod(0o644)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.rename(path)


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("static", {append, cut, change_head, touch, open_to_all}),
        ("config", {append, cut, change_head, open_to_all}),
        ("log", {cut, change_head, open_to_all, replace_by_the_same}),
        ("rotating-log", {open_to_all}),
        ("secrets", {append, cut, change_head, touch, open_to_all, replace_by_the_same}),
        ("executables", {append, cut, change_head, touch, open_to_all, replace_by_the_same}),
        ("volatile", set()),
    ],
)
@pytest.mark.parametrize("change", [append, cut, change_head, touch, open_to_all, replace_by_the_same])
def test_a_profile_tells_of_what_it_is_for_and_of_nothing_else(scanned, profile, told, change):
    scanned.configure(f'profile = "{profile}"\n')
    scanned.run("--init")
    change(scanned.tree / "directory" / "file")

    code = scanned.run()

    assert code == (Exit.DIFFERENCES if change in told else Exit.OK)


def test_some_paths_have_another_profile(scanned):
    scanned.configure(f'profile = "volatile"\n{OVERRIDE}profile = "static"\n')
    scanned.run("--init")
    (scanned.tree / "script").write_text("other")
    (scanned.tree / "directory" / "file").write_text("other")

    scanned.run()

    assert scanned.found == ["script"]


def test_of_some_paths_only_named_attributes_count(scanned):
    scanned.configure(f'{OVERRIDE}attributes = ["mode"]\n')
    scanned.run("--init")
    (scanned.tree / "script").write_text("other")
    (scanned.tree / "script").chmod(0o600)

    scanned.run()

    assert list(scanned.attributes) == ["mode"]


def test_a_weight_of_their_own_puts_some_paths_first(scanned):
    scanned.configure(f"{OVERRIDE}weight = 99\n")
    scanned.run("--init")
    (scanned.tree / "directory" / "file").write_text("other")
    (scanned.tree / "directory" / "file").chmod(0o755)
    (scanned.tree / "script").write_text("other")

    scanned.run()

    assert scanned.found == ["script", "directory/file"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('match = ["("]\n', "fim.watch[1].override[1].match"),
        ('profile = "log"\n', "fim.watch[1].override[1].match must say for which paths it is"),
        ('match = ["a"]\nattributes = ["modus"]\n', "'modus' is unknown"),
        ('match = ["a"]\nweight = 101\n', "fim.watch[1].override[1].weight must be at most 100"),
        ('match = ["a"]\nprofile = "logs"\n', "fim.watch[1].override[1].profile must be"),
    ],
)
def test_a_mistake_in_an_override_is_told_with_its_place(scanned, table, problem):
    scanned.configure(f"[[fim.watch.override]]\n{table}")

    code = scanned.run()

    assert code == Exit.USAGE
    assert problem.replace("'", "") in scanned.err.replace("'", "").replace('"modus"', "modus")
