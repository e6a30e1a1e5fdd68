"""Hints where file systems are mounted."""

import subprocess

from auditline.workers.fim.backend import Hint


def paths_of(hints: list[Hint]) -> list[bytes]:
    return [hint.path for hint in hints]


def test_what_lies_under_an_unmounted_file_system_can_be_watched(root, backend, mount, unmount, watch):
    (root / "mnt").mkdir()
    mount("-t", "tmpfs", "none", root / "mnt")
    watch(backend, root)
    unmount(root / "mnt")
    backend.read()

    backend.forget(b"mnt")
    watch(backend, root, "mnt")
    (root / "mnt" / "file").touch()

    assert paths_of(backend.read()) == [b"mnt/file"]


def test_a_directory_that_is_mounted_twice_tells_under_both_paths(root, backend, mount, watch):
    (root / "a").mkdir()
    (root / "b").mkdir()
    mount("--bind", root / "a", root / "b")
    watch(backend, root)

    (root / "a" / "file").touch()
    (root / "a" / "inner").mkdir()
    both = backend.read()
    backend.forget(b"a")
    (root / "a" / "other").touch()

    assert set(paths_of(both)) == {b"a/file", b"b/file", b"a/inner", b"b/inner"}
    assert paths_of(backend.read()) == [b"b/other"]
    assert backend.watched == 2


def test_a_file_system_that_is_mounted_again_is_watched_again(root, backend, mount, unmount, watch):
    """Pitfall 32: the kernel forgets what was marked, and says nothing."""
    (root / "mnt").mkdir()
    image = root.parent / "image"
    subprocess.run(["mkfs.ext4", "-q", image, "2M"], check=True)
    mount("-o", "loop", image, root / "mnt")
    watch(backend, root)
    unmount(root / "mnt")
    mount("-o", "loop", image, root / "mnt")

    watch(backend, root, "mnt")
    backend.read()
    (root / "mnt" / "file").touch()

    assert paths_of(backend.read()) == [b"mnt/file"]


def test_what_lies_on_an_overlay_is_told_before_and_after_it_is_copied_up(root, backend, mount, watch):
    """Pitfall 34."""
    for name in ("lower/inner", "upper", "work"):
        (root.parent / name).mkdir(parents=True)
    (root.parent / "lower" / "inner" / "file").write_text("x")
    layers = ",".join(f"{key}={root.parent / name}" for key, name in OVERLAY)
    mount("-t", "overlay", "overlay", "-o", layers, root)
    is_watched = watch(backend, root)

    (root / "inner" / "file").write_text("copied up")
    first = paths_of(backend.read())
    (root / "inner" / "file").write_text("once more")
    (root / "inner" / "new").touch()

    assert is_watched == [True, True]
    assert set(first) >= {b"inner/file"}
    assert set(paths_of(backend.read())) == {b"inner/file", b"inner/new"}


OVERLAY = (("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work"))
