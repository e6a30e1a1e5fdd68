"""Ids become names: from the files, read again when they change, then from whom can be asked."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.router.names import ANSWERS_KEPT, ANSWERS_SECONDS, IdNames, NoNames, id_kind

Files = tuple[Path, Path]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n")
    (tmp_path / "group").write_text("root:x:0:\nusers:x:100:alice,bob\n")
    return tmp_path / "passwd", tmp_path / "group"


class Asked:
    """Answers, and remembers what it was asked."""

    def __init__(self, answers: dict[tuple[str, str], str]) -> None:
        self.answers = answers
        self.questions: list[tuple[str, str]] = []

    def __call__(self, kind: str, number: str) -> str | None:
        self.questions.append((kind, number))
        return self.answers.get((kind, number))


def test_ids_have_the_names_of_the_files(files: Files):
    names = IdNames(*files)

    assert (names.name("uid", "1000"), names.name("gid", "100"), names.name("uid", "0")) == ("alice", "users", "root")


def test_an_id_without_a_name_stays_the_number(files: Files):
    assert IdNames(*files).name("uid", "4711") == "4711"


def test_without_names_every_id_stays_the_number():
    assert NoNames().name("uid", "0") == "0"


def test_of_several_names_the_first_counts(tmp_path):
    (tmp_path / "passwd").write_text("one:x:5:5::/:\ntwo:x:5:5::/:\n")

    assert IdNames(tmp_path / "passwd", None).name("uid", "5") == "one"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        ":x:5:",
        "a",
        "a:b",
        "a:x:x:5",
        "a:x:-5:",
        "a:x:\u0665:",
        "a:x:5_0:",
        "a:x:99999999999:",
        "+::::::",
        "\0\0",
        "#a:x:5:",
    ],
)
def test_lines_that_are_no_entries_name_nobody(tmp_path, text):
    (tmp_path / "passwd").write_text(f"{text}\nreal:x:6:6::/:\n")
    names = IdNames(tmp_path / "passwd", None)

    assert names.name("uid", "6") == "real"
    assert {names.name("uid", number) for number in ("5", "50", "-5", "")} - {"#a"} == {"5", "50", "-5", ""} - (
        {"5"} if text.startswith("#") else set()
    )


def test_line_separators_of_other_scripts_end_no_line(tmp_path):
    (tmp_path / "passwd").write_text("a:x:5:5:x\u2028b:x:6:6\x85c:x:7:7:/:\n")

    names = IdNames(tmp_path / "passwd", None)

    assert [names.name("uid", number) for number in ("5", "6", "7")] == ["a", "6", "7"]


def test_files_that_are_not_there_name_nobody(tmp_path):
    assert IdNames(tmp_path / "none", tmp_path / "none either").name("gid", "0") == "0"


def test_names_that_are_not_utf_8_are_text_none_the_less(tmp_path):
    (tmp_path / "passwd").write_bytes(b"a\xff:x:5:5::/:\n")

    assert IdNames(tmp_path / "passwd", None).name("uid", "5") == "a\ufffd"


def replace_file(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


@pytest.mark.parametrize("write", [replace_file, Path.write_text])
def test_a_file_that_has_changed_is_read_again(files: Files, write: Callable[[Path, str], object]):
    names = IdNames(*files)
    nothing_new = names.refresh()

    write(files[0], "carol:x:1000:1000::/:\n")

    assert (nothing_new, names.refresh(), names.refresh()) == (False, True, False)
    assert names.name("uid", "1000") == "carol"


def test_a_file_that_vanished_and_came_back_is_read_again(files: Files):
    names = IdNames(*files)

    files[0].unlink()
    vanished = names.refresh()
    without = names.name("uid", "1000")
    files[0].write_text("dave:x:1000:1000::/:\n")

    assert (vanished, without, names.refresh(), names.name("uid", "1000")) == (True, "1000", True, "dave")


def test_only_what_the_files_do_not_have_is_asked_for_and_once(files: Files):
    asked = Asked({("uid", "5000"): "ldap"})
    names = IdNames(*files, asked)

    found = [names.name("uid", "5000"), names.name("uid", "5000"), names.name("uid", "1000"), names.name("gid", "77")]

    assert found == ["ldap", "ldap", "alice", "77"]
    assert asked.questions == [("uid", "5000"), ("gid", "77")]


def test_that_nobody_knew_a_name_is_not_believed_for_ever(files: Files):
    now = [0.0]
    asked = Asked({})
    names = IdNames(*files, asked, clock=lambda: now[0])
    before = names.name("uid", "5000")

    asked.answers["uid", "5000"] = "new"
    now[0] += ANSWERS_SECONDS - 1
    still, unchanged = names.name("uid", "5000"), names.refresh()
    now[0] += 1

    assert (before, still, unchanged) == ("5000", "5000", False)
    assert names.refresh()
    assert names.name("uid", "5000") == "new"
    assert not names.refresh()


def test_answers_that_are_kept_are_bounded(files: Files):
    asked = Asked({})
    names = IdNames(*files, asked)

    for number in range(2000, 2000 + 3 * ANSWERS_KEPT):
        names.name("uid", str(number))

    assert len(names._answers) <= ANSWERS_KEPT


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "²", "\u0665", "1_0", "0x5", " 5", "4294967295", "99999999999", "9" * 5000, "unset", "5\n"]
)
def test_what_is_no_id_is_asked_of_nobody(files: Files, text: str):
    asked = Asked({})

    assert IdNames(*files, asked).name("uid", text) == text
    assert asked.questions == []


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        *((field, "uid") for field in ("uid", "auid", "old-auid", "ouid", "id")),
        *((field, "gid") for field in ("gid", "egid", "ogid")),
        *((field, None) for field in ("pid", "inode", "sid", "")),
    ],
)
def test_fields_that_hold_ids_are_known(field: str, kind: str | None):
    assert id_kind(field) == kind


@given(text=st.binary(max_size=200))
def test_whatever_a_file_is_it_is_read(tmp_path_factory, text: bytes):
    path = tmp_path_factory.getbasetemp() / "any-passwd"
    path.write_bytes(text)

    name = IdNames(path, path).name("uid", "0")

    name.encode("utf-8")
