"""Watchers and hashers as the supervisor keeps them: real processes, stand-ins for what they do."""

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from auditline.workers.common.privileges import Capability
from auditline.workers.common.watch_plan import watch_name

PLAIN = ("router", "names")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to drop")


@pytest.fixture
def places(tmp_path):
    """Three directories to watch."""
    folder = tmp_path / "watched"
    paths = [folder / name for name in ("a", "b", "c")]
    for path in paths:
        path.mkdir(parents=True)
    return paths


@pytest.fixture
def configure(tmp_path):
    """Write the configuration that a SIGHUP reads."""
    file = tmp_path / "auditline.toml"

    def write(*watches, fim="", hashers=2):
        tables = [f"[[fim.watch]]\npath = {json.dumps(str(path))}\n{keys}\n" for path, keys in watches]
        none = "" if watches else "watch = []\n"
        file.write_text(f"[fim]\n{none}{fim}\n[hasher]\nprocesses = {hashers}\n" + "".join(tables))
        file.chmod(0o644)
        return str(file)

    return write


def effective_capabilities(process):
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    bits = int(status.partition("CapEff:\t")[2].partition("\n")[0], 16)
    return {capability for capability in Capability if bits >> capability & 1}


def pid_of(service, title):
    process = service.workers().get(title)
    return process.pid if process else 0


def ended_at(service_state, name):
    return float((service_state / f"{name}.ended").read_text())


def start_watching(start_service, paths, **choices):
    service = start_service(source=False, watch=[str(path) for path in paths], **choices)
    service.wait_for_workers(*PLAIN, *(f"fim {path}" for path in paths), "hasher 1", "hasher 2")
    return service


def test_each_watch_has_a_process_and_hashers_know_all_watches(start_service, places):
    service = start_watching(start_service, places)

    workers = service.workers()

    assert set(workers) == {*PLAIN, *(f"fim {path}" for path in places), "hasher 1", "hasher 2"}
    all_of_them = ", ".join(f"{path}[]" for path in places)
    service.wait_for_message(f"hasher-1 serves {all_of_them}")
    service.wait_for_message(f"hasher-2 serves {all_of_them}")


def test_a_title_is_printable_whatever_the_path(start_service, tmp_path):
    path = tmp_path / "a\n\x1b[1mb"
    path.mkdir()

    service = start_service(source=False, watch=[str(path)])

    service.wait_for_workers(f"fim {tmp_path}/a\\n\\x1b[1mb")


def test_what_is_not_watched_needs_no_hasher(start_service):
    service = start_service(source=False)

    service.wait_for_message("audit.enabled is false and nothing is watched: only health events are written")

    assert set(service.wait_for_workers(*PLAIN)) == set(PLAIN)


def test_names_are_asked_for_files_though_not_for_records(start_service, places):
    service = start_service(source=False, resolve_ids=False, watch=[str(places[0])])

    service.wait_for_workers("names")


@needs_root
def test_watchers_and_hashers_keep_only_what_reading_files_needs(start_service, places):
    service = start_watching(start_service, places[:1])
    workers = service.workers()
    watcher, hasher = workers[f"fim {places[0]}"], workers["hasher 1"]
    service.wait_until(lambda: len(effective_capabilities(watcher)) < 4, "the watcher is lowered")
    service.wait_until(lambda: len(effective_capabilities(hasher)) < 3, "the hasher is lowered")

    for_fanotify = {Capability.SYS_ADMIN, Capability.SYS_PTRACE}
    assert effective_capabilities(watcher) == {Capability.DAC_READ_SEARCH, *for_fanotify}
    assert effective_capabilities(hasher) == {Capability.DAC_READ_SEARCH, Capability.FOWNER}


def test_what_is_remarkable_about_the_plan_is_said_once(start_service, places, tmp_path, configure):
    alias = tmp_path / "alias"
    alias.symlink_to(places[0])
    file = configure((places[0], ""), (alias, ""))
    service = start_service(source=False, watch=[str(places[0]), str(alias)], file=file)
    service.wait_for_message(str(alias))

    configure((places[0], ""), (alias, ""), (places[1], ""))
    service.send(signal.SIGHUP)
    service.wait_for_workers(f"fim {places[1]}")

    assert service.stderr.count(str(alias)) == 1


def test_hashers_end_after_the_watchers(start_service, places, tmp_path):
    service = start_watching(start_service, places, fim="noting_its_late_end", hasher="noting_its_end")

    service.send(signal.SIGTERM)
    code = service.wait()

    assert code == 0
    watchers_ended = [ended_at(tmp_path / "state", path.stem) for path in (tmp_path / "state").glob("fim-*.ended")]
    assert len(watchers_ended) == 3
    assert ended_at(tmp_path / "state", "hasher-1") > max(watchers_ended)


@pytest.mark.parametrize("hanging", [["fim"], ["hasher"], ["control", "router", "audit", "fim", "hasher", "names"]])
def test_what_hangs_cannot_hold_up_the_end(start_service, places, hanging):
    service = start_service(watch=[str(path) for path in places], **dict.fromkeys(hanging, "hanging"))
    workers = service.wait_for_workers("control", "audit reader", f"fim {places[2]}", "hasher 2")

    start = time.monotonic()
    service.send(signal.SIGTERM)
    code = service.wait()

    assert code == 0
    assert time.monotonic() - start < 5
    assert not any(worker.is_running() for worker in workers.values())


def test_a_second_signal_leaves_at_once(start_service, places, are_gone):
    service = start_watching(start_service, places, fim="hanging", hasher="hanging")
    workers = service.workers()
    service.send(signal.SIGTERM)
    time.sleep(0.25)  # closer together they would be taken for one request, as timeout(1) makes them

    start = time.monotonic()
    service.send(signal.SIGTERM)
    code = service.wait()

    assert code == 128 + signal.SIGTERM
    assert time.monotonic() - start < 1
    service.wait_until(lambda: are_gone(workers.values()), "no process is left", 2)


def test_when_the_supervisor_is_killed_no_watcher_and_no_hasher_stays(start_service, places, are_gone):
    service = start_watching(start_service, places, fim="hanging", hasher="hanging")
    workers = service.workers()
    service.wait_until(lambda: service.stderr.count("serves") == 2, "the hashers are up")

    os.kill(service.pid, signal.SIGKILL)

    service.wait_until(lambda: are_gone(workers.values()), "no process is left", 2)


def test_killed_watchers_and_hashers_start_again(start_service, places):
    service = start_watching(start_service, places)
    victims = [service.workers()[title] for title in (f"fim {places[0]}", "hasher 2")]

    for victim in victims:
        victim.kill()

    service.wait_until(lambda: pid_of(service, f"fim {places[0]}") not in (0, victims[0].pid), "a new watcher")
    service.wait_until(lambda: pid_of(service, "hasher 2") not in (0, victims[1].pid), "a new hasher")


@pytest.mark.parametrize("title", ["router", "names", "hasher 1"])
def test_a_worker_that_is_told_to_end_as_soon_as_it_is_forked_ends_in_order(start_service, places, title):
    service = start_watching(start_service, places[:1])
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children")
    known = set(children.read_text().split())

    service.workers()[title].kill()
    service.wait_until(lambda: set(children.read_text().split()) - known, "a new process")
    (new,) = set(children.read_text().split()) - known
    os.kill(int(new), signal.SIGTERM)

    service.wait_for_message(f"(pid {new}) ended by itself with exit code 0")


def test_a_watcher_that_is_given_up_leaves_the_others_running(start_service, places):
    first, second = places[:2]
    choices = {watch_name(bytes(first)): "crashing"}
    service = start_service(source=False, fast=True, watch=[str(first), str(second)], **choices)

    service.wait_for_message(f"{watch_name(bytes(first))} is given up")

    assert f"fim {second}" in service.workers()
    service.send(signal.SIGTERM)
    assert service.wait() == 0


def test_without_any_watcher_and_any_reader_nothing_useful_is_left(start_service, places):
    service = start_service(source=False, fast=True, watch=[str(path) for path in places], fim="crashing")

    code = service.wait()

    assert code == 1
    assert service.stderr.count("is given up") == 3
    assert "nothing useful is left: ending" in service.stderr


def test_without_any_watcher_the_reader_goes_on(start_service, places):
    service = start_service(fast=True, watch=[str(path) for path in places], fim="crashing")

    service.wait_until(lambda: service.stderr.count("is given up") == 3, "all watchers are given up")

    assert "audit reader" in service.workers()
    service.send(signal.SIGTERM)
    assert service.wait() == 0


def test_without_a_reader_the_watchers_go_on(start_service, places):
    service = start_service(fast=True, watch=[str(path) for path in places], audit="crashing")

    service.wait_for_message("audit is given up")

    service.wait_for_workers(*(f"fim {path}" for path in places))
    service.send(signal.SIGTERM)
    assert service.wait() == 0


def test_watchers_do_not_wait_for_ever_for_rules_to_be_loaded(start_service, places):
    service = start_service(watch=[str(places[0])], control="waiting_for_go", audit="hanging_before_ready")

    service.wait_for_workers(f"fim {places[0]}")

    assert "control goes on" not in service.stderr


def test_without_any_hasher_the_watchers_go_on_and_that_is_told(start_service, places):
    service = start_service(source=False, fast=True, watch=[str(places[0])], hasher="crashing")

    service.wait_for_message("ERROR supervisor: no hasher is left")

    assert f"fim {places[0]}" in service.workers()


def test_a_hangup_starts_new_watches_and_ends_those_that_are_gone(start_service, places, configure):
    file = configure()
    service = start_watching(start_service, places[:2], file=file, router="forward")
    kept = pid_of(service, f"fim {places[1]}")
    configure((places[1], ""), (places[2], ""))

    service.send(signal.SIGHUP)

    service.wait_for_workers(f"fim {places[2]}")
    service.wait_until(lambda: not pid_of(service, f"fim {places[0]}"), "the first one is gone")
    assert pid_of(service, f"fim {places[1]}") == kept
    service.wait_for_message(f"hasher-1 serves {places[1]}[], {places[2]}[]")
    service.wait_for_message(f"hasher-2 serves {places[1]}[], {places[2]}[]")
    service.wait_until(lambda: b'"state": "stopped"' in service.stdout, "the router is told")
    assert "WARNING supervisor: fim" not in service.stderr


def test_a_hangup_that_leaves_nothing_to_do_says_so(start_service, places, configure):
    file = configure()
    service = start_watching(start_service, places[:1], file=file)

    service.send(signal.SIGHUP)

    service.wait_for_message("nothing is watched any more: only health events are written")
    service.wait_until(lambda: set(service.workers()) == set(PLAIN), "watcher and hashers are gone")


def test_the_first_watch_that_comes_with_a_hangup_brings_names_with_it(start_service, places, configure):
    file = configure((places[0], ""))
    service = start_service(source=False, resolve_ids=False, file=file)
    service.wait_for_workers("router")

    service.send(signal.SIGHUP)

    service.wait_for_workers("names", f"fim {places[0]}", "hasher 1")


def test_a_hangup_restarts_a_watch_whose_patterns_have_changed(start_service, places, configure):
    file = configure()
    service = start_watching(start_service, places[:2], file=file)
    before = {title: each.pid for title, each in service.workers().items()}
    configure((places[0], 'exclude = ["tmp$"]'), (places[1], ""))

    service.send(signal.SIGHUP)

    service.wait_for_message(f" watches {places[0]}['tmp$']")
    service.wait_for_workers("hasher 1", "hasher 2")
    unchanged = {"router", "names", f"fim {places[1]}"}
    after = {title: each.pid for title, each in service.workers().items()}
    assert {title for title in after if after[title] == before.get(title)} == unchanged


def test_a_hangup_without_a_change_restarts_nobody(start_service, places, configure):
    file = configure(*((path, "") for path in places))
    service = start_watching(start_service, places, file=file, router="reloading")
    before = {title: each.pid for title, each in service.workers().items()}

    service.send(signal.SIGHUP)

    service.wait_for_message("router reloads")
    assert {title: each.pid for title, each in service.workers().items()} == before


def test_a_hangup_takes_over_how_files_are_read_and_by_how_many(start_service, places, configure):
    file = configure()
    service = start_watching(start_service, places[:1], file=file)
    before = pid_of(service, f"fim {places[0]}")
    configure((places[0], ""), fim='hashes = ["md5"]', hashers=1)

    service.send(signal.SIGHUP)

    service.wait_until(lambda: pid_of(service, f"fim {places[0]}") not in (0, before), "a new watcher")
    service.wait_until(lambda: not pid_of(service, "hasher 2"), "one hasher is gone")
    service.wait_for_workers("hasher 1")


def test_a_bad_configuration_at_a_hangup_leaves_all_watches_alone(start_service, places, configure):
    file = configure()
    service = start_watching(start_service, places[:2], file=file)
    before = {title: each.pid for title, each in service.workers().items()}
    configure((places[2], "recursive = 3"))

    service.send(signal.SIGHUP)

    service.wait_for_message("the configuration is left as it was")
    assert "fim.watch[1].recursive must be true or false, not 3" in service.stderr
    assert {title: each.pid for title, each in service.workers().items()} == before


def test_a_watcher_that_is_to_go_and_hangs_is_killed(start_service, places, configure):
    file = configure()
    service = start_watching(start_service, places[:2], file=file, fast=True, fim="hanging")
    configure((places[1], ""))

    service.send(signal.SIGHUP)

    service.wait_for_message("does not end and is killed")
    service.wait_until(lambda: not pid_of(service, f"fim {places[0]}"), "it is gone")
    assert pid_of(service, f"fim {places[1]}")


def test_a_hangup_tries_a_watcher_again_that_was_given_up(start_service, places, configure):
    file = configure((places[0], ""))
    service = start_service(fast=True, watch=[str(places[0])], file=file, fim="crashing")
    service.wait_for_message("is given up")

    service.send(signal.SIGHUP)

    service.wait_until(lambda: service.stderr.count("is given up") == 2, "it is tried again")
    assert "audit reader" in service.workers()


def test_a_watcher_that_waits_for_its_restart_can_be_taken_away(start_service, places, configure):
    file = configure()
    service = start_service(watch=[str(places[0])], file=file, fim="crashing", router="forward")
    service.wait_until(lambda: b'"restarts": 5' in service.stdout, "it waits for seconds now")

    service.send(signal.SIGHUP)

    service.wait_until(lambda: service.stdout.rstrip().endswith(b'"state": "stopped", "restarts": 0}'), "all are gone")
    assert psutil.Process(service.pid).is_running()


def test_watches_can_come_and_go_over_and_over(start_service, places, configure):
    file = configure()
    service = start_watching(start_service, places[:1], file=file)

    for _ in range(10):
        configure((places[0], ""), (places[1], ""))
        service.send(signal.SIGHUP)
        service.wait_for_workers(f"fim {places[1]}")
        configure((places[0], ""))
        service.send(signal.SIGHUP)
        service.wait_until(lambda: not pid_of(service, f"fim {places[1]}"), "it is gone again")

    service.wait_for_workers(f"fim {places[0]}", "hasher 1", "hasher 2")
    service.send(signal.SIGTERM)
    assert service.wait() == 0
