"""Hints of the entries of one directory, from every backend that the kernel tells of changes by."""

import os
import select

import pytest

from auditline.workers.fim.backend import Hint, HintKind

CREATED, CHANGED, ATTRIBUTES, GONE = HintKind.CREATED, HintKind.CHANGED, HintKind.ATTRIBUTES, HintKind.GONE
MOVED = HintKind.MOVED


def paths_of(hints: list[Hint]) -> list[bytes]:
    return [hint.path for hint in hints]


def test_its_descriptor_is_readable_when_there_are_hints_and_not_before(root, backend_name, backend, watch):
    watch(backend, root)
    before = select.select([backend.fd], [], [], 0)[0]
    (root / "a").touch()
    after = select.select([backend.fd], [], [], 0)[0]
    backend.read()
    afterwards = select.select([backend.fd], [], [], 0)[0]

    assert before == afterwards == []
    assert after == [backend.fd]
    assert backend.name == backend_name


def test_a_directory_that_changes_before_it_is_listed_has_told_by_then(root, backend, watch):
    assert watch(backend, root) == [True]

    (root / "a").touch()

    assert paths_of(backend.read()) == [b"a"]


def test_a_file_that_is_made_and_written_is_one_hint(root, backend, watch):
    watch(backend, root)

    (root / "a").write_text("x")

    assert backend.read() == [Hint(CREATED, b"a", is_directory=False, is_content=True)]
    assert backend.read() == []


def test_writing_tells_that_the_content_changed(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    with (root / "a").open("w") as file:
        file.write("x")
        file.flush()
        while_open = backend.read()
    closed = backend.read()

    assert while_open == closed == [Hint(CHANGED, b"a", is_content=True)]


def test_a_mode_or_a_time_tells_of_attributes_alone(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    (root / "a").chmod(0o600)
    mode = backend.read()
    os.utime(root / "a", (1, 1))

    assert mode == backend.read() == [Hint(ATTRIBUTES, b"a", is_content=False)]


def test_content_and_attributes_together_are_content(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    (root / "a").write_text("x")
    (root / "a").chmod(0o600)

    assert backend.read() == [Hint(CHANGED, b"a", is_content=True)]


def test_truncation_by_path_is_told(root, backend, watch):
    (root / "a").write_text("x")
    watch(backend, root)

    os.truncate(root / "a", 0)

    assert backend.read() == [Hint(CHANGED, b"a", is_content=True)]


def test_a_removed_file_is_gone(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    (root / "a").unlink()

    assert [(hint.kind, hint.path) for hint in backend.read()] == [(GONE, b"a")]


def test_a_file_that_is_removed_and_made_again_is_there(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    (root / "a").unlink()
    (root / "a").touch()

    assert backend.read() == [Hint(CREATED, b"a", is_content=True)]


def test_a_rename_is_one_hint_with_both_names_and_another_for_the_old_one(root, backend, watch):
    (root / "a").touch()
    (root / "inner").mkdir()
    watch(backend, root)

    (root / "a").rename(root / "inner" / "b")

    assert backend.read() == [
        Hint(MOVED, b"inner/b", is_content=True, moved_from=b"a"),
        Hint(GONE, b"a", is_content=True),
    ]


def test_renames_are_told_in_their_order(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    (root / "a").rename(root / "b")
    (root / "b").rename(root / "c")
    (root / "b").touch()

    moves = [(hint.moved_from, hint.path) for hint in backend.read() if hint.kind is MOVED]
    assert moves == [(b"a", b"b"), (b"b", b"c")]


def test_two_files_that_change_places_are_two_renames(root, backend, watch, exchange):
    (root / "a").write_text("a")
    (root / "b").write_text("b")
    watch(backend, root)

    exchange(root / "a", root / "b")

    moves = {(hint.moved_from, hint.path) for hint in backend.read() if hint.kind is MOVED}
    assert moves == {(b"a", b"b"), (b"b", b"a")}


def test_a_rename_over_a_file_tells_that_another_has_its_name(root, backend, watch):
    (root / "a").write_text("old")
    (root.parent / "new").write_text("new")
    watch(backend, root)

    (root.parent / "new").rename(root / "a")

    assert backend.read() == [Hint(CREATED, b"a", is_content=True)]


def test_a_move_in_and_a_move_out_are_told(root, backend, watch, read_all):
    (root / "out").touch()
    (root.parent / "in").touch()
    watch(backend, root)

    (root / "out").rename(root.parent / "out")
    (root.parent / "in").rename(root / "in")

    assert {(hint.kind, hint.path) for hint in read_all(backend)} == {(GONE, b"out"), (CREATED, b"in")}


def test_the_directory_s_own_attributes_are_told(root, backend, watch):
    (root / "a").mkdir()
    watch(backend, root)

    root.chmod(0o700)
    of_root = backend.read()
    (root / "a").chmod(0o700)

    assert of_root == [Hint(ATTRIBUTES, b"", is_directory=True)]
    assert backend.read() == [Hint(ATTRIBUTES, b"a", is_directory=True)]


@pytest.mark.parametrize("name", [b"\n", b"\x1b[2J", b"\xff\xfe", b"a" * 255, b"\xc3\xa9" * 127, b" ", b"-rf", b"..."])
def test_any_name_is_told_as_it_is(root, backend, name, watch):
    watch(backend, root)

    os.close(os.open(os.fsencode(root) + b"/" + name, os.O_CREAT | os.O_WRONLY))

    assert paths_of(backend.read()) == [name]


def test_thousands_of_writes_to_one_file_are_one_hint(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    with (root / "a").open("w", buffering=1) as file:
        file.writelines("line\n" for _ in range(50_000))

    assert backend.read() == [Hint(CHANGED, b"a", is_content=True)]


def test_a_hard_link_is_a_new_name(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    (root / "b").hardlink_to(root / "a")

    assert (CREATED, b"b") in {(hint.kind, hint.path) for hint in backend.read()}


# Files with several names


def watch_file(backend, root, name):
    descriptor = os.open(root, os.O_RDONLY)
    backend.watch_file(os.fsencode(name), descriptor)
    os.close(descriptor)


@pytest.fixture
def outside(root, backend, watch):
    """A name outside of what is watched, of the file `a` that is watched by itself."""
    (root / "a").write_text("a")
    other = root.parent / "other"
    other.hardlink_to(root / "a")
    watch(backend, root)
    watch_file(backend, root, "a")
    return other


def test_what_is_written_by_a_name_elsewhere_is_told(backend, outside):
    with outside.open("a") as file:
        file.write("b")

    assert backend.read() == [Hint(CHANGED, b"a", is_content=True)]


def test_a_name_that_is_made_or_removed_elsewhere_is_told_as_an_attribute(backend, outside):
    outside.unlink()

    assert backend.read() == [Hint(ATTRIBUTES, b"a")]


def test_a_file_that_is_watched_by_itself_bears_its_new_name(root, backend, outside):
    (root / "a").rename(root / "b")
    backend.read()

    outside.write_text("changed")

    assert backend.read() == [Hint(CHANGED, b"b", is_content=True)]


def test_all_watched_names_of_a_file_are_told(root, backend, outside):
    (root / "c").hardlink_to(root / "a")
    watch_file(backend, root, "c")
    backend.read()

    outside.write_text("changed")

    assert set(paths_of(backend.read())) == {b"a", b"c"}


def test_a_file_that_is_forgotten_is_told_no_more(backend, outside):
    backend.forget(b"a")

    outside.write_text("changed")

    assert backend.read() == []


def test_a_link_in_place_of_a_file_is_not_followed(root, backend, watch):
    secret = root.parent / "secret"
    secret.write_text("secret")
    (root / "a").symlink_to(secret)
    watch(backend, root)
    watch_file(backend, root, "a")

    secret.write_text("changed")

    assert backend.read() == []


def test_a_file_that_is_gone_is_watched_without_error(root, backend, watch):
    watch(backend, root)

    watch_file(backend, root, "gone")

    assert backend.read() == []


def test_attributes_of_a_directory_that_is_not_watched_are_told(root, backend, watch):
    (root / "inner").mkdir()
    watch(backend, root, "")
    watch_file(backend, root, "inner")

    (root / "inner").chmod(0o700)
    (root / "inner" / "file").touch()

    assert backend.read() == [Hint(ATTRIBUTES, b"inner", is_directory=True)]
