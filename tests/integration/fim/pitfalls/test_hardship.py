"""Pitfalls of what is scarce or stands still: descriptors, and the router."""

import resource

import pytest

DESCRIPTORS = 64


@pytest.mark.parametrize("files", [300, pytest.param(10_000, marks=pytest.mark.soak)])
def test_few_descriptors_cost_no_file(corner, files):
    """Pitfall 46."""
    watcher = corner.watched.worker(f"fim {corner.root.parent}")
    before = resource.prlimit(watcher.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(watcher.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, before[1]))

    try:
        with corner.suspended():
            for number in range(files):
                (corner.root / f"{number}").touch()
        corner.wait_for_paths("created", [corner.root / f"{number}" for number in range(files)], 60)
        corner.settle()
    finally:
        resource.prlimit(watcher.pid, resource.RLIMIT_NOFILE, before)

    assert len(corner.changes) == files
    assert watcher.is_running()


def test_while_the_router_stands_still_a_watcher_goes_on_and_keeps_what_it_finds(corner, wait_until):
    """Pitfall 57."""
    names = [f"{number}" for number in range(300)]
    watcher = corner.watched.worker(f"fim {corner.root.parent}")
    before = corner.counters()["changes_recorded_total"]

    with corner.watched.suspended("router"):
        memory = watcher.memory_info().rss
        for name in names:
            (corner.root / name).touch()
        wait_until(lambda: corner.counters()["changes_recorded_total"] - before >= len(names), 20)
        grown = watcher.memory_info().rss - memory
    corner.wait_for_actions({name: ["created"] for name in names}, 20)

    assert grown < 20 << 20
