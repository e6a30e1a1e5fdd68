"""Directories that come, go and are moved, the root among them."""

import os
import shutil

from auditline.workers.common.beneath import Root
from auditline.workers.fim.backend import Hint, HintKind

CREATED, GONE, MOVED = HintKind.CREATED, HintKind.GONE, HintKind.MOVED


def paths_of(hints: list[Hint]) -> list[bytes]:
    return [hint.path for hint in hints]


def test_a_new_directory_is_told_before_what_else_happened(root, backend, watch):
    watch(backend, root)

    (root / "file").touch()
    (root / "directory").mkdir()

    assert backend.read() == [
        Hint(CREATED, b"directory", is_directory=True, is_content=True),
        Hint(CREATED, b"file", is_directory=False, is_content=True),
    ]


def test_what_comes_and_goes_as_a_directory_is_told_in_order(root, backend, watch):
    watch(backend, root)

    (root / "a").mkdir()
    told = [backend.read()]
    (root / "a").rmdir()
    told.append(backend.read())
    (root / "a").mkdir()
    (root / "a").rename(root / "b")
    told.append(backend.read())

    assert [[(hint.kind, hint.path) for hint in hints] for hints in told] == [
        [(CREATED, b"a")],
        [(GONE, b"a")],
        [(CREATED, b"a"), (MOVED, b"b"), (GONE, b"a")],
    ]


def test_a_directory_that_came_and_went_unread_is_looked_at_last(root, backend, watch):
    """Fanotify tells both in one record, without their order."""
    watch(backend, root)

    (root / "a").mkdir()
    (root / "a").rmdir()
    (root / "a").mkdir()

    last = [hint for hint in backend.read() if hint.path == b"a"][-1]
    assert last == Hint(CREATED, b"a", is_directory=True, is_content=True)


def test_a_directory_that_is_renamed_is_watched_under_its_new_path(root, backend, watch):
    """Pitfall 7."""
    (root / "a" / "inner").mkdir(parents=True)
    (root / "b").mkdir()
    watch(backend, root)

    (root / "a").rename(root / "b" / "c")
    hints = backend.read()
    (root / "b" / "c" / "inner" / "file").touch()

    assert [(hint.kind, hint.path, hint.moved_from) for hint in hints] == [
        (MOVED, b"b/c", b"a"),
        (GONE, b"a", None),
    ]
    assert all(hint.is_directory for hint in hints)
    assert paths_of(backend.read()) == [b"b/c/inner/file"]
    assert backend.watched == 4


def test_what_happened_before_a_directory_was_renamed_comes_under_its_new_path(root, backend, watch):
    (root / "a").mkdir()
    watch(backend, root)

    (root / "a" / "file").touch()
    (root / "a").rename(root / "b")

    assert paths_of(backend.read()) == [b"b", b"a", b"b/file"]


def test_to_be_told_of_a_rename_that_was_told_by_a_hint_changes_nothing(root, backend, watch):
    (root / "a").mkdir()
    watch(backend, root)
    (root / "a").rename(root / "b")
    (root / "a").mkdir()
    backend.read()
    watch(backend, root, "a")

    backend.move(b"a", b"b")
    (root / "a" / "new").touch()
    (root / "b" / "old").touch()

    assert set(paths_of(backend.read())) == {b"a/new", b"b/old"}


def test_two_directories_that_change_places_are_told_as_one_exchange(root, backend, watch, exchange):
    """Pitfall 9."""
    (root / "a" / "inner").mkdir(parents=True)
    (root / "b").mkdir()
    watch(backend, root)

    exchange(root / "a", root / "b")
    hints = backend.read()
    (root / "a" / "new").touch()
    (root / "b" / "inner" / "new").touch()

    [told] = [hint for hint in hints if hint.kind is HintKind.EXCHANGED]
    assert {told.path, told.moved_from} == {b"a", b"b"}
    assert set(paths_of(backend.read())) == {b"a/new", b"b/inner/new"}
    assert backend.watched == 4


def test_two_that_change_places_and_are_renamed_are_watched_where_they_are_then(root, backend, watch, exchange):
    for name in ("a", "b"):
        (root / name / f"in-{name}").mkdir(parents=True)
    watch(backend, root)

    exchange(root / "a", root / "b")
    (root / "a").rename(root / "c")
    (root / "b").rename(root / "d")
    backend.read()
    (root / "c" / "in-b" / "new").touch()
    (root / "d" / "in-a" / "new").touch()

    assert set(paths_of(backend.read())) == {b"c/in-b/new", b"d/in-a/new"}


def test_a_directory_renamed_over_an_empty_one_is_one_rename(root, backend, watch):
    (root / "a" / "inner").mkdir(parents=True)
    (root / "b").mkdir()
    watch(backend, root)

    (root / "a").rename(root / "b")
    hints = backend.read()
    (root / "b" / "inner" / "new").touch()

    assert [(hint.kind, hint.path, hint.moved_from) for hint in hints if hint.kind is MOVED] == [(MOVED, b"b", b"a")]
    assert {hint.path for hint in hints} <= {b"a", b"b"}
    assert paths_of(backend.read()) == [b"b/inner/new"]
    assert backend.watched == 3


def test_a_tree_that_is_removed_is_gone_with_whole_paths(root, backend, watch):
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "a" / "b" / "c" / "file").touch()
    watch(backend, root)

    shutil.rmtree(root / "a")

    hints = backend.read()
    assert {hint.path for hint in hints if hint.kind is GONE} == {b"a", b"a/b", b"a/b/c", b"a/b/c/file"}
    assert len(hints) == 4
    assert backend.watched == 1


def test_of_a_directory_that_is_gone_no_hint_comes_any_more(root, backend, watch, read_all):
    (root / "a" / "b").mkdir(parents=True)
    watch(backend, root)
    (root / "a").rename(root.parent / "a")
    read_all(backend)

    (root.parent / "a" / "file").touch()
    (root.parent / "a" / "b" / "file").touch()

    assert backend.read() == []
    assert backend.watched == 1


def test_hints_that_were_on_their_way_when_a_directory_was_forgotten_do_not_come(root, backend, watch):
    (root / "a").mkdir()
    watch(backend, root)
    (root / "a" / "file").touch()

    backend.forget(b"a")

    assert backend.read() == []


def test_a_directory_that_was_away_and_came_back_is_watched_again(root, backend, watch, read_all):
    (root / "a").mkdir()
    watch(backend, root)
    (root / "a").rename(root.parent / "a")
    (root.parent / "a").rename(root / "a")
    kinds = [hint.kind for hint in read_all(backend)]

    watch(backend, root, "a")
    (root / "a" / "file").touch()

    assert kinds == [GONE, CREATED]
    assert paths_of(backend.read()) == [b"a/file"]


def test_a_directory_that_was_found_under_its_new_name_first_stays_watched(root, backend, watch):
    (root / "a" / "inner").mkdir(parents=True)
    watch(backend, root)
    (root / "a").rename(root / "b")

    # A walk comes before the hints are read.
    watch(backend, root, "b", "b/inner")
    backend.read()
    backend.forget(b"a")
    (root / "b" / "file").touch()
    (root / "b" / "inner" / "file").touch()

    assert set(paths_of(backend.read())) == {b"b/file", b"b/inner/file"}
    assert backend.watched == 3


def test_another_directory_at_the_same_path_takes_its_place(root, backend, watch, read_all):
    (root / "a").mkdir()
    watch(backend, root)
    (root / "a").rename(root.parent / "a")
    (root / "a").mkdir()

    # A walk comes before the hints are read, and once more after that.
    watch(backend, root, "a")
    kinds = [hint.kind for hint in read_all(backend)]
    watch(backend, root, "a")
    (root.parent / "a" / "file").touch()

    assert kinds == [GONE, CREATED]
    assert backend.read() == []
    assert backend.watched == 2


def test_a_directory_whose_parent_nobody_watches_tells_that_it_was_moved(root, backend, watch):
    (root / "a" / "b").mkdir(parents=True)
    watch(backend, root, "a/b")

    (root / "a" / "b").rename(root / "b")

    assert backend.read() == [Hint(GONE, b"a/b", is_directory=True)]


def test_a_directory_whose_parent_nobody_watches_tells_that_it_was_removed(root, backend, watch):
    (root / "a" / "b").mkdir(parents=True)
    watch(backend, root, "a/b")

    (root / "a" / "b").rmdir()

    assert backend.read() == [Hint(GONE, b"a/b", is_directory=True)]
    assert backend.watched == 0


def test_to_watch_again_what_is_watched_changes_nothing(root, backend, watch):
    watch(backend, root)

    assert watch(backend, root) == [True]

    assert backend.watched == 1


def test_what_was_never_watched_is_forgotten_without_error(root, backend, watch):
    watch(backend, root)

    backend.forget(b"a/b")

    assert backend.watched == 1


def test_neighbours_whose_names_begin_alike_are_not_forgotten(root, backend, watch):
    (root / "a").mkdir()
    (root / "ab").mkdir()
    watch(backend, root)

    backend.forget(b"a")
    (root / "ab" / "file").touch()

    assert paths_of(backend.read()) == [b"ab/file"]


def test_a_path_longer_than_the_kernel_takes_is_watched(root, backend):
    top, name = Root.open(os.fsencode(root)), b"d" * 255
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    path = b"/".join([name] * 20)
    top.close()

    is_watched = backend.watch(path, descriptor)
    os.close(os.open(b"file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)

    assert is_watched
    assert paths_of(backend.read()) == [path + b"/file"]


def test_what_is_no_directory_is_not_watched(root, backend):
    descriptor = os.open(root / "file", os.O_CREAT | os.O_RDONLY)

    is_watched = backend.watch(b"file", descriptor)

    os.close(descriptor)
    assert not is_watched
    assert "inotify refused a watch: Not a directory" in backend.trouble
    assert not backend.limit_reached


# The root


def test_a_root_that_is_moved_is_gone(root, backend, watch):
    watch(backend, root)

    root.rename(root.parent / "elsewhere")

    assert [hint.kind for hint in backend.read()] == [HintKind.ROOT_GONE]


def test_a_root_that_is_removed_is_gone(root, backend, watch):
    watch(backend, root)

    root.rmdir()

    assert {hint.kind for hint in backend.read()} == {HintKind.ROOT_GONE}
    assert backend.watched == 0


def test_after_the_root_is_forgotten_another_one_can_be_watched(root, backend, watch):
    (root / "a").mkdir()
    watch(backend, root)
    root.rename(root.parent / "elsewhere")
    root.mkdir()
    backend.read()

    backend.forget(b"")
    watch(backend, root)
    (root / "file").touch()

    assert paths_of(backend.read()) == [b"file"]
    assert backend.watched == 1
