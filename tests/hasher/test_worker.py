"""Hashers as processes: whoever dies or stops, every file is hashed, and nobody has to wait for a large one."""

import ctypes
import hashlib
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.counters import read_pages
from auditline.workers.common.file_state import NOT_HASHED, STABLE
from auditline.workers.common.hashes import unpack_digests
from auditline.workers.fim.pool import Hashed
from auditline.workers.hasher.lowly import _SYS_IOPRIO_SET

WaitUntil = Callable[..., None]
SPARSE_BYTES = 3 << 30


def make_files(root: Path, count: int, most_bytes: int = 65_536) -> list[str]:
    sizes = random.Random(count)
    for number in range(count):
        path = root / f"d{number % 7}" / f"f{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(sizes.randrange(most_bytes)))
    return [f"d{number % 7}/f{number}" for number in range(count)]


def make_sparse(path: Path, size: int = SPARSE_BYTES) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def digest(result: Hashed) -> str | None:
    """Return the sha256, None without one that is certain."""
    is_stable = result.state is not None and result.state.hash_state == STABLE
    return unpack_digests(result.state.hashes)["sha256"] if is_stable and result.state is not None else None


def digests(results: dict[str, Hashed]) -> dict[str, str | None]:
    return {name: digest(result) for name, result in results.items()}


def true_digests(root: Path, names: list[str]) -> dict[str, str | None]:
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names}


def test_several_hashers_share_the_files_and_no_memory(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    names = make_files(watch.root, 600)
    for _ in range(3):
        start_hasher(watch)
    wait_until(lambda: watch.turn() or len(watch.pool.fds) == 3)

    watch.submit(*names)
    wait_until(lambda: watch.has(*names), 30)

    assert digests(watch.results) == true_digests(watch.root, names)
    assert watch.counters.get("hash_jobs_done_total") == 600


def test_a_hasher_counts_what_it_does(make_watch, start_hasher, tmp_path: Path, wait_until: WaitUntil):
    watch = make_watch(max_file_bytes=5000)
    hasher = start_hasher(watch)
    (watch.root / "small").write_bytes(b"x" * 4000)
    (watch.root / "large").write_bytes(b"x" * 6000)

    watch.submit("small", "large")
    wait_until(lambda: watch.has("small", "large"))
    hasher.send(signal.SIGTERM)
    code = hasher.wait()

    counts = read_pages(tmp_path)["hasher-0"]
    assert code == 0
    assert {name: count for name, count in counts.items() if count} == {
        "files_hashed_total": 1,
        "bytes_hashed_total": 4000,
        "files_too_large_total": 1,
    }


def test_hashers_that_are_killed_with_files_in_hand_cost_no_file(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    names = make_files(watch.root, 3000, 20_000)
    hashers = [start_hasher(watch), start_hasher(watch)]
    wait_until(lambda: watch.turn() or len(watch.pool.fds) == 2)
    watch.submit(*names)

    def has_two_hashers_and(results: int, lost: int) -> bool:
        watch.turn()
        is_noticed = watch.counters.get("hashers_lost_total") == lost and len(watch.pool.fds) == 2
        return is_noticed and len(watch.results) > results

    for round_number in range(4):
        wait_until(partial(has_two_hashers_and, 100 + 500 * round_number, round_number))
        hashers[round_number % 2].kill()
        hashers[round_number % 2] = start_hasher(watch)
    wait_until(lambda: watch.has(*names), 30)
    wait_until(partial(has_two_hashers_and, 0, 4))

    assert digests(watch.results) == true_digests(watch.root, names)
    assert watch.counters.get("files_quarantined_total") == 0


def test_a_hasher_greets_the_next_watcher_when_one_is_killed(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    names = make_files(watch.root, 500)
    start_hasher(watch)
    watch.submit(*names)
    wait_until(lambda: watch.turn() or watch.results)

    watch.pool.close()  # in the midst of it
    watch.open()
    watch.submit(*names)
    wait_until(lambda: watch.has(*names), 30)

    assert digests(watch.results) == true_digests(watch.root, names)


def test_a_hasher_that_is_to_hash_nothing_still_says_what_it_sees(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch(hashes=())
    (watch.root / "a").write_bytes(b"content")
    start_hasher(watch)

    watch.submit("a")
    wait_until(lambda: watch.has("a"))

    state = watch.results["a"].state
    assert state is not None
    assert (state.size, state.hash_state, state.hashes) == (7, NOT_HASHED, b"")


def work_in_child(watch: Any, names: list[str]) -> int:
    """Fork a watcher that gives files out for ever; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            watch.open()
            watch.submit(*names)
            while True:
                watch.turn()
        finally:
            os._exit(1)
    return pid


def test_a_watcher_that_is_killed_leaves_nothing_behind_for_its_successor(
    make_watch, start_hasher, tmp_path: Path, wait_until: WaitUntil
):
    watch = make_watch()
    names = make_files(watch.root, 3000, 2000)
    watch.pool.close()
    victim = work_in_child(watch, names)
    start_hasher(watch)
    wait_until(lambda: read_pages(tmp_path).get("hasher-0", {}).get("files_hashed_total", 0) > 100)

    os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0)
    watch.open()
    watch.submit(*names)
    wait_until(lambda: watch.has(*names), 30)

    assert digests(watch.results) == true_digests(watch.root, names)
    assert watch.counters.get("hash_jobs_done_total") == 3000


def test_a_large_file_holds_up_no_small_ones_of_one_hasher(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    make_sparse(watch.root / "large")
    names = make_files(watch.root, 300)
    hasher = start_hasher(watch)
    watch.submit("large")
    wait_until(lambda: watch.turn() or hasher.holds(watch.root / "large"))

    watch.submit(*names)
    wait_until(lambda: watch.has(*names))
    is_large_done = "large" in watch.results

    assert not is_large_done
    assert digests(watch.results) == true_digests(watch.root, names)
    assert hasher.holds(watch.root / "large")


def test_a_very_large_file_holds_up_no_other_large_ones_of_one_hasher(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    make_sparse(watch.root / "huge", 1 << 40)
    (watch.root / "large").write_bytes(os.urandom(2 << 20))
    hasher = start_hasher(watch)
    watch.submit("huge")
    wait_until(lambda: watch.turn() or hasher.holds(watch.root / "huge"))

    watch.submit("large")
    wait_until(lambda: watch.has("large"), 30)

    assert digests(watch.results) == true_digests(watch.root, ["large"])
    assert hasher.holds(watch.root / "huge")


def test_a_sparse_file_is_hashed_whole(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    make_sparse(watch.root / "sparse", 50 << 20)
    start_hasher(watch)

    watch.submit("sparse")
    wait_until(lambda: watch.has("sparse"))

    assert digest(watch.results["sparse"]) == hashlib.sha256(bytes(50 << 20)).hexdigest()


def test_a_hasher_that_is_told_to_stop_gives_its_large_file_back(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    make_sparse(watch.root / "large", 1 << 40)
    leaving = start_hasher(watch)
    watch.submit("large")
    wait_until(lambda: watch.turn() or leaving.holds(watch.root / "large"))

    start = time.monotonic()
    leaving.send(signal.SIGTERM)
    code = leaving.wait()
    seconds = time.monotonic() - start
    wait_until(lambda: watch.turn() or not watch.pool.fds)

    heir = start_hasher(watch)
    wait_until(lambda: watch.turn() or heir.holds(watch.root / "large"))

    assert code == 0
    assert watch.counters.get("hashers_lost_total") == 0
    assert watch.counters.get("hash_jobs_repeated_total") == 0
    assert seconds < 2


def test_a_hasher_of_watchers_that_are_not_there_stops_at_once(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    watch.pool.close()
    hasher = start_hasher(watch)
    wait_until(hasher.page.exists)

    hasher.send(signal.SIGTERM)
    code = hasher.wait()
    watch.open()

    assert code in (0, -signal.SIGTERM)  # before or after it took its signals


def test_a_watcher_that_does_not_answer_holds_up_no_other(make_watch, start_hasher, wait_until: WaitUntil):
    silent, other = make_watch("silent"), make_watch("other")
    (silent.root / "a").write_bytes(b"silent")
    names = make_files(other.root, 200)
    start_hasher(silent, other)
    wait_until(lambda: silent.turn() or len(silent.pool.fds) == 1)
    silent.submit("a")  # announced, and from now on it takes no more turns

    other.submit(*names)
    wait_until(lambda: other.has(*names))
    before = dict(silent.results)
    wait_until(lambda: silent.has("a"))

    assert before == {}
    assert digests(other.results) == true_digests(other.root, names)


def test_watchers_take_turns(make_watch, start_hasher, wait_until: WaitUntil):
    many, few = make_watch("many"), make_watch("few")
    many_names, few_names = make_files(many.root, 3000, 1000), make_files(few.root, 10, 1000)
    start_hasher(many, few)
    wait_until(lambda: many.turn() or few.turn() or len(many.pool.fds) == len(few.pool.fds) == 1)

    many.submit(*many_names)
    few.submit(*few_names)
    wait_until(lambda: many.turn() or few.has(*few_names))
    done_meanwhile = len(many.results)

    assert done_meanwhile < len(many_names)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_was_swapped_in_is_neither_opened_nor_followed(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    secret = watch.root.parent / "secret"
    secret.mkdir()
    (secret / "file").write_bytes(b"secret")
    names = ["fifo", "link", "directory", "parent/file", "gone"]
    (watch.root / "parent").mkdir()
    for name in names:
        (watch.root / name).write_bytes(b"")
    watch.submit(*names)
    for name in names:
        (watch.root / name).unlink()
    (watch.root / "parent").rmdir()
    os.mkfifo(watch.root / "fifo")
    (watch.root / "link").symlink_to(secret / "file")
    (watch.root / "directory").mkdir()
    (watch.root / "parent").symlink_to(secret)

    start_hasher(watch)
    wait_until(lambda: watch.has(*names))

    assert {name: result.problem for name, result in watch.results.items()} == {
        "fifo": "not_regular",
        "link": "not_regular",
        "directory": "not_regular",
        "parent/file": "gone",
        "gone": "gone",
    }
    assert all(result.state is None for result in watch.results.values())


@pytest.mark.parametrize("size", [10, 2 << 20])
def test_beneath_another_root_nothing_is_read(make_watch, start_hasher, wait_until: WaitUntil, size: int):
    watch = make_watch()
    (watch.root / "a").write_bytes(b"x" * size)
    watch.submit("a")
    watch.root.rename(watch.root.parent / "moved")
    watch.root.mkdir()
    (watch.root / "a").write_bytes(b"y" * size)

    start_hasher(watch)
    wait_until(lambda: watch.has("a"))

    assert watch.results["a"] == Hashed(b"a", None, "gone", "")


def test_a_file_that_became_large_meanwhile_is_hashed_as_a_large_one(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    (watch.root / "a").write_bytes(b"x")
    watch.submit("a")
    (watch.root / "a").write_bytes(b"x" * (3 << 20))

    start_hasher(watch)
    wait_until(lambda: watch.has("a"))

    assert digests(watch.results) == true_digests(watch.root, ["a"])


def test_a_hasher_steps_back_behind_all_others(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    hasher = start_hasher(watch)
    wait_until(lambda: watch.turn() or len(watch.pool.fds) == 1)

    ioprio_get = _SYS_IOPRIO_SET[os.uname().machine] + 1
    priority = ctypes.CDLL(None).syscall(ioprio_get, 1, hasher.pid)

    assert os.getpriority(os.PRIO_PROCESS, hasher.pid) == 10
    assert priority >> 13 == 3


def test_an_idle_hasher_costs_nothing(make_watch, start_hasher, wait_until: WaitUntil):
    watch = make_watch()
    hasher = start_hasher(watch)
    wait_until(lambda: watch.turn() or len(watch.pool.fds) == 1)
    stat = Path(f"/proc/{hasher.pid}/status")

    def wakeups() -> int:
        (line,) = [line for line in stat.read_text().splitlines() if line.startswith("voluntary")]
        return int(line.split()[1])

    wait_until(lambda: Path(f"/proc/{hasher.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S")
    before = wakeups()
    for _ in range(20):
        watch.turn()

    assert wakeups() - before <= 2
