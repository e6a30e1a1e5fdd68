"""CPU of a whole `auditline run` on the live kernel, beside Debian's auditd that writes its raw log. Needs root.

    python -m benchmarks.live_cpu [--rounds N] [--seconds N] [--rates 1000 10000 0]

Two processes of uid 65534 open names that are not there, --rates opens per second together, 0: as fast as they can.
A rule for that uid alone makes five records of each. auditline has all its processes and writes segments; auditd runs
in the foreground with `log_format = RAW`, `flush = INCREMENTAL_ASYNC` and `freq = 50`, as Debian ships it. Both get the
same load in turns; user and system time of all processes of each is printed per million records that came.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

from auditline.workers.control.compile import compile_rule
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.language import parse_rules
from benchmarks.live import NOBODY, RULE, count_lines, service
from benchmarks.running import unpack

RECORDS_PER_OPEN = 5
SETTLE_SECONDS = 2.0
QUIET_SECONDS = 5.0
"""Nothing has come for so long: the rest is lost."""
OPENER = """
import os, sys, time
prefix, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
start = time.monotonic()
end, number = start + seconds, 0
while time.monotonic() < end and (not rate or number < rate * seconds):
    for _ in range(20 if rate > 1000 or not rate else 1):
        try:
            os.open(f"{prefix}-{number}", os.O_RDONLY)
        except OSError:
            pass
        number += 1
    if rate:
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
print(number)
"""
AUDITD_CONF = """
local_events = yes
write_logs = yes
log_file = {directory}/audit.log
log_group = root
log_format = RAW
flush = INCREMENTAL_ASYNC
freq = 50
max_log_file = 8192
num_logs = 0
max_log_file_action = IGNORE
priority_boost = 4
name_format = NONE
space_left = 75
space_left_action = IGNORE
admin_space_left = 50
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
plugin_dir = {directory}/plugins.d
"""


def load(rate: int, seconds: float) -> int:
    """Let two processes open names; return how many they did."""
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, f"/nonexistent/{tag}", str(rate / 2), str(seconds)],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            stdout=subprocess.PIPE,
        )
        for tag in ("a", "b")
    ]
    return sum(int(opener.communicate()[0]) for opener in openers)


def cpu_of_all(pid: int) -> float:
    """Return the CPU seconds of a process and its children so far."""
    process = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


def measure(pid: int, rate: int, seconds: float, came: Callable[[], int]) -> float:
    """Return the CPU seconds per million records of the process *pid* and its children under one load.

    Waits until *came* says that all of it is there, or nothing more has come for a while.
    """
    before, seen = cpu_of_all(pid), came()
    wanted = seen + load(rate, seconds)
    newest, since = seen, time.monotonic()
    while newest < wanted and time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.2)
        if (count := came()) > newest:
            newest, since = count, time.monotonic()
    time.sleep(SETTLE_SECONDS)
    used = cpu_of_all(pid) - before
    print(f"    {newest - seen} of {wanted - seen} opens came, {used:.2f} CPU s", flush=True)
    return used / ((newest - seen) * RECORDS_PER_OPEN) * 1e6


def measure_auditline(rate: int, seconds: float) -> float:
    """Return the CPU seconds per million records of `auditline run`."""
    with tempfile.TemporaryDirectory() as scratch:
        rules = f"rules_files = []\nrules = ['{RULE}']\n[fim]\nwatch = []"
        with service(Path(scratch), stdout=False, rules=rules) as process, AuditControl() as control:
            (rule,) = parse_rules(RULE, "benchmark").rules
            while compile_rule(rule) not in control.list_rules():
                if process.poll() is not None:
                    raise SystemExit(f"auditline ended with {process.returncode}")
                time.sleep(0.05)
            time.sleep(SETTLE_SECONDS)
            return measure(process.pid, rate, seconds, lambda: count_lines(Path(scratch) / "log", b'"/nonexistent/'))


@contextmanager
def auditd(packages: Path, environment: Mapping[str, str], directory: Path) -> Iterator[int]:
    """Run auditd in the foreground with its files in *directory*, and the rule; put the kernel back at the end."""
    (directory / "plugins.d").mkdir()
    (directory / "auditd.conf").write_text(AUDITD_CONF.format(directory=directory))
    command = [str(packages / "root/sbin/auditd"), "-n", "-c", str(directory)]
    (rule,) = parse_rules(RULE, "benchmark").rules
    with AuditControl() as control:
        found = control.status()
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                while control.status().pid != process.pid:
                    if process.poll() is not None:
                        raise SystemExit(f"auditd ended with {process.returncode}")
                    time.sleep(0.05)
                control.add_rule(compile_rule(rule))
                yield process.pid
            finally:
                if compile_rule(rule) in control.list_rules():
                    control.delete_rule(compile_rule(rule))
                process.send_signal(signal.SIGTERM)
                process.wait(10)
                control.set_status(enabled=found.enabled, backlog_limit=found.backlog_limit)


def measure_auditd(packages: Path, environment: Mapping[str, str], rate: int, seconds: float) -> float:
    """Return the CPU seconds per million records of auditd."""
    with tempfile.TemporaryDirectory() as scratch, auditd(packages, environment, Path(scratch)) as pid:
        time.sleep(SETTLE_SECONDS)
        log = Path(scratch) / "audit.log"
        return measure(pid, rate, seconds, lambda: count_lines(log.parent, b'name="/nonexistent/', "*.log"))


def main() -> None:
    """Print both, and their ratio, for each rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rates", type=int, nargs="+", default=[1000, 10_000, 0])
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    with tempfile.TemporaryDirectory() as scratch:
        packages = Path(scratch) / "packages"
        environment = unpack(["auditd", "libaudit1", "libauparse0", "libcap-ng0", "libwrap0"], packages)
        if environment is None:
            parser.error("the package auditd cannot be had")
        for rate in options.rates:
            compare(packages, environment, rate, options.seconds, options.rounds)


def compare(packages: Path, environment: Mapping[str, str], rate: int, seconds: float, rounds: int) -> None:
    """Print both at one rate, and their ratio."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(measure_auditline(rate, seconds))
        theirs.append(measure_auditd(packages, environment, rate, seconds))
    print(
        f"{rate or 'as many'} opens/s: auditline {median(ours):.1f} CPU s per million records"
        f" {[round(each, 1) for each in ours]}, auditd {median(theirs):.1f} {[round(each, 1) for each in theirs]},"
        f" ratio {median(ours) / median(theirs):.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
