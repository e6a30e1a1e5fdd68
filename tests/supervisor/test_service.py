"""The service as the outside sees it: real processes, real signals, stand-ins for what the workers do."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from auditline.workers.common.counters import read_pages

ALL = ("control", "names", "router", "audit reader")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to drop and users to switch to")


def status_of(process: psutil.Process) -> dict[str, str]:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def descriptors_of(process: psutil.Process) -> dict[int, str]:
    folder = Path(f"/proc/{process.pid}/fd")
    return {int(entry.name): os.readlink(entry) for entry in folder.iterdir()}


def is_reaped(process) -> bool:
    return not process.is_running()


def is_said_more_often(service, text, times):
    return service.stderr.count(text) > times


def test_a_term_signal_ends_everything_with_0_and_leaves_no_socket_and_no_page(start_service, tmp_path, are_gone):
    service = start_service()
    workers = service.wait_for_workers(*ALL)

    start = time.monotonic()
    service.send(signal.SIGTERM)
    code = service.wait()

    assert code == 0
    assert time.monotonic() - start < 2
    assert are_gone(workers.values())
    assert {path.name for path in (tmp_path / "run").rglob("*")} == {"lock", "counters"}


def test_processes_have_titles(start_service):
    service = start_service()

    workers = service.wait_for_workers(*ALL)

    assert set(workers) == set(ALL)
    assert psutil.Process(service.pid).cmdline()[0] == "auditline: supervisor"


def test_workers_start_in_order_and_the_reader_gives_the_go(start_service):
    service = start_service(control="waiting_for_go", router="forward")

    service.wait_for_message("control goes on b'g'")
    service.wait_until(lambda: b'"audit"' in service.stdout, "the router is told about the reader")

    pids = {title: process.pid for title, process in service.workers().items()}
    assert pids["control"] < pids["audit reader"] < pids["router"]


def test_a_control_process_that_starts_again_gets_the_go_at_once(start_service):
    service = start_service(control="waiting_for_go")
    service.wait_for_message("control goes on b'g'")

    service.workers()["control"].kill()

    service.wait_until(lambda: service.stderr.count("control goes on b'g'") == 2, "a second go")


def test_each_worker_has_only_its_own_descriptors(start_service):
    service = start_service()
    workers = service.wait_for_workers(*ALL)
    service.wait_until(lambda: all(len(descriptors_of(worker)) < 14 for worker in workers.values()), "all is closed")
    theirs = {title: descriptors_of(worker) for title, worker in workers.items()}
    supervisors = descriptors_of(psutil.Process(service.pid))

    stdout = supervisors[1]
    assert [title for title, own in theirs.items() if stdout in own.values()] == ["router"]
    assert {own[0] for own in theirs.values()} == {"/dev/null"}
    locks = {title for title, own in theirs.items() if any(path.endswith("/lock") for path in own.values())}
    assert locks == {"control"}
    shared = {path for path in supervisors.values() if path.startswith("socket:")}
    sockets = {title: sum(path in shared for path in own.values()) for title, own in theirs.items()}
    # The kernel's socket and the two ends of the names pair; the fourth is the test's other end.
    assert sockets == {"control": 0, "names": 1, "router": 1, "audit reader": 1}


@needs_root
def test_each_worker_keeps_only_the_capabilities_that_it_needs(start_service):
    service = start_service()
    workers = service.wait_for_workers(*ALL)
    service.wait_until(
        lambda: all(status_of(each)["NoNewPrivs"] == "1" for each in workers.values()), "all are lowered"
    )

    effective = {title: int(status_of(worker)["CapEff"], 16) for title, worker in workers.items()}

    wanted = 1 << 30 | 1 << 12 | 1 << 2
    assert effective == {"control": wanted, "names": 0, "router": 0, "audit reader": 0}


@needs_root
def test_workers_become_the_configured_user_and_their_pages_are_written(start_service, public_folder):
    service = start_service(state=public_folder / "state", run=public_folder / "run", user="nobody")
    workers = service.wait_for_workers(*ALL)
    service.wait_until(
        lambda: all(status_of(each)["NoNewPrivs"] == "1" for each in workers.values()), "all are lowered"
    )

    assert {status_of(worker)["Uid"].split()[0] for worker in workers.values()} == {"65534"}
    assert int(status_of(workers["control"])["CapEff"], 16) == 1 << 30 | 1 << 12 | 1 << 2
    pages = public_folder / "run" / "counters"
    service.wait_until(lambda: len(read_pages(pages)) == len(ALL), "all have their pages")
    assert {path.stat().st_uid for path in pages.iterdir()} == {65534}
    service.send(signal.SIGTERM)
    assert service.wait() == 0


def test_a_killed_worker_starts_again_and_the_router_is_told(start_service):
    service = start_service(router="forward")
    first = service.wait_for_workers(*ALL)["audit reader"]

    first.kill()

    service.wait_until(lambda: b'"state": "died", "restarts": 1' in service.stdout, "a report of the death")
    service.wait_until(lambda: b'"state": "started", "restarts": 1' in service.stdout, "a report of the restart")
    service.wait_for_message(f"audit (pid {first.pid}) was killed by SIGKILL")


@pytest.mark.parametrize("title", ALL)
def test_a_worker_killed_over_and_over_always_starts_again(start_service, title):
    service = start_service()
    service.wait_for_workers(*ALL)

    for _ in range(12):
        victim = service.wait_for_workers(title)[title]
        victim.kill()
        service.wait_until(partial(is_reaped, victim), "the victim is reaped")

    service.wait_for_workers(*ALL)
    assert "given up" not in service.stderr


def test_a_worker_that_dies_at_every_start_is_given_up_and_the_others_go_on(start_service):
    service = start_service(names="crashing", fast=True)

    service.wait_for_message("ERROR supervisor: names is given up: it died 10 times in a row; the others go on")

    assert service.stderr.count("ERROR names: nothing works here: %s\n") == 10
    assert {"control", "router", "audit reader"} <= set(service.workers())
    service.send(signal.SIGTERM)
    assert service.wait() == 0


@pytest.mark.parametrize("name", ["router", "audit"])
def test_without_a_router_or_a_reader_nothing_useful_is_left(start_service, name):
    service = start_service(fast=True, **{name: "crashing"})

    code = service.wait()

    assert code == 1
    assert f"without {name} nothing useful is left" in service.stderr


def test_a_mistake_in_a_worker_is_told_with_its_traceback_on_safe_lines(start_service):
    service = start_service(names="mistaken")

    service.wait_for_message("ERROR names: ended by a mistake of its own\n    Traceback")
    service.wait_for_message("names (pid ")

    assert "\n    ZeroDivisionError: a\n    mistake\n" in service.stderr


@pytest.mark.parametrize("hanging", [["control"], ["router"], ["audit"], ["names"], ["control", "router", "audit"]])
def test_a_worker_that_hangs_cannot_hold_up_the_end(start_service, hanging, are_gone):
    service = start_service(**dict.fromkeys(hanging, "hanging"))
    workers = service.wait_for_workers(*ALL)

    start = time.monotonic()
    service.send(signal.SIGTERM)
    code = service.wait()

    assert code == 0
    assert time.monotonic() - start < 5
    assert are_gone(workers.values())


def test_a_second_signal_leaves_at_once(start_service, are_gone):
    service = start_service(router="hanging", audit="hanging")
    workers = service.wait_for_workers(*ALL)
    service.send(signal.SIGTERM)
    service.wait_until(lambda: are_gone([workers["control"]]), "the first signal is at work")
    time.sleep(0.25)  # closer together they would be taken for one request, as timeout(1) makes them

    start = time.monotonic()
    service.send(signal.SIGTERM)
    code = service.wait()

    assert code == 128 + signal.SIGTERM
    assert time.monotonic() - start < 1
    service.wait_until(lambda: are_gone(workers.values()), "no process is left", 2)


def test_a_second_signal_gives_control_the_time_to_put_the_kernel_back(start_service, are_gone):
    service = start_service(control="slow_to_stop", router="hanging")
    workers = service.wait_for_workers(*ALL)
    service.send(signal.SIGINT)
    time.sleep(0.3)
    service.send(signal.SIGINT)

    code = service.wait()

    assert code == 128 + signal.SIGINT
    service.wait_until(lambda: are_gone(workers.values()), "no process is left", 2)


def test_two_signals_at_once_are_one_request(start_service):
    service = start_service()
    service.wait_for_workers(*ALL)

    service.send(signal.SIGTERM)
    service.send(signal.SIGTERM)

    assert service.wait() == 0


def test_a_signal_to_the_whole_group_ends_in_order_too(start_service):
    service = start_service(control="slow_to_stop")
    service.wait_for_workers(*ALL)

    os.killpg(service.pid, signal.SIGTERM)

    assert service.wait() == 0
    assert "WARNING supervisor: router" not in service.stderr


def test_an_interrupt_of_the_whole_group_stops_only_through_the_supervisor(start_service):
    service = start_service()
    workers = service.wait_for_workers(*ALL)
    service.wait_until(lambda: all(status_of(each)["NoNewPrivs"] == "1" for each in workers.values()), "all are up")

    for worker in workers.values():
        worker.send_signal(signal.SIGINT)
    time.sleep(0.2)

    assert {title: each.pid for title, each in service.workers().items()} == {
        title: each.pid for title, each in workers.items()
    }


def test_when_the_supervisor_is_killed_nobody_stays(start_service, are_gone):
    service = start_service(control="slow_to_stop", audit="hanging", router="hanging")
    workers = service.wait_for_workers(*ALL)
    service.wait_until(lambda: all(status_of(each)["NoNewPrivs"] == "1" for each in workers.values()), "all are up")

    os.kill(service.pid, signal.SIGKILL)

    # Its stdout and stderr reach their end too: nobody else holds them.
    assert service.wait(2) == -signal.SIGKILL
    service.wait_until(lambda: are_gone(workers.values()), "no process is left", 1)


def test_counters_go_on_after_a_killed_service_and_begin_anew_after_one_that_was_stopped(start_service, tmp_path):
    def read_count():
        return read_pages(tmp_path / "run" / "counters").get("audit", {}).get("starts_total", 0)

    def count_starts(number, wanted):
        service = start_service(audit="counting")
        service.wait_until(lambda: read_count() == wanted, lambda: f"{wanted} starts, not {read_count()}")
        service.send(number)
        service.wait()

    count_starts(signal.SIGKILL, 1)
    count_starts(signal.SIGKILL, 2)
    count_starts(signal.SIGTERM, 3)
    assert read_count() == 0
    count_starts(signal.SIGKILL, 1)


def test_the_next_start_waits_for_a_dead_supervisors_control(start_service):
    first = start_service(control="slow_to_stop")
    first.wait_for_workers(*ALL)
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait()

    second = start_service()

    second.wait_for_workers(*ALL)
    second.send(signal.SIGTERM)
    assert second.wait() == 0


def test_a_second_instance_ends_with_75_and_the_first_one_goes_on(start_service):
    first = start_service()
    workers = first.wait_for_workers(*ALL)

    second = start_service()

    assert second.wait() == 75
    assert f"is in use by another instance of auditline, pid {first.pid}" in second.stderr
    assert set(first.workers()) == set(workers)


def test_the_end_of_the_only_output_ends_the_service_cleanly(start_service):
    service = start_service(router="losing_its_output")

    code = service.wait()

    assert code == 0
    assert "whoever read our stdout is gone" in service.stderr


def test_a_hangup_reaches_the_workers(start_service, tmp_path):
    (tmp_path / "auditline.toml").touch(0o644)
    service = start_service(router="reloading", control="reloading", file=str(tmp_path / "auditline.toml"))
    service.wait_for_workers(*ALL)
    service.wait_until(
        lambda: all(status_of(each)["NoNewPrivs"] == "1" for each in service.workers().values()), "all are up"
    )

    service.send(signal.SIGHUP)

    service.wait_for_message("router reloads")
    service.wait_for_message("control reloads")


def test_a_bad_configuration_at_a_hangup_changes_nothing_and_is_told(start_service, tmp_path):
    file = tmp_path / "auditline.toml"
    file.touch(0o644)
    service = start_service(router="reloading", file=str(file))
    workers = service.wait_for_workers(*ALL)
    file.write_text("[audit]\nenabeld = true\nrules = 3\n")

    service.send(signal.SIGHUP)

    service.wait_for_message("the configuration is left as it was")
    assert "enabeld" in service.stderr
    assert "rules" in service.stderr
    assert "reloads" not in service.stderr
    assert set(service.workers()) == set(workers)


def test_diagnostics_go_on_while_talking_workers_are_killed(start_service):
    service = start_service(router="talking", audit="talking", control="talking")
    service.wait_for_workers(*ALL)
    started = descriptor_count(service)

    for _ in range(20):
        for title in ("router", "audit reader", "control"):
            service.wait_for_workers(title)[title].kill()
        time.sleep(0.02)

    service.wait_for_workers(*ALL)
    for name in ("router", "audit", "control"):
        talks_on = partial(is_said_more_often, service, f"I am {name}", service.stderr.count(f"I am {name}"))
        service.wait_until(talks_on, f"{name} talks")
    # Less, where some were still about to say that they are ready when it was counted.
    service.wait_until(lambda: descriptor_count(service) <= started, "no descriptor is leaked")
    assert psutil.Process(service.pid).num_threads() == 1 + len(ALL)


def descriptor_count(service) -> int:
    return psutil.Process(service.pid).num_fds()


def test_without_a_source_the_rest_goes_on_and_says_so(start_service):
    service = start_service(source=False)

    service.wait_for_message("only health events are written")

    assert set(service.wait_for_workers("router", "names")) == {"router", "names"}


def test_a_signal_during_the_start_ends_with_0(start_service):
    service = start_service(control="slow_to_stop")
    service.wait_until(lambda: "WARNING supervisor" in service.stderr, "it begins")

    service.send(signal.SIGTERM)

    assert service.wait() == 0
