"""What is imported before the workers are forked, seen from a fresh interpreter."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import gc, json, sys, threading
from auditline.workers.supervisor.preload import CONTROL_MODULES, READER_MODULES, ROUTER_MODULES, WATCH_MODULES, preload
from auditline.workers.supervisor import service
preload(CONTROL_MODULES)
before = set(sys.modules)
preload((*READER_MODULES, *ROUTER_MODULES, *WATCH_MODULES))
threads = [line for line in open("/proc/self/status") if line.startswith("Threads:")]
known = {"before": sorted(before), "after": sorted(sys.modules)}
print(json.dumps(known | {"threads": threads[0].split()[1], "frozen": gc.get_freeze_count()}))
"""


@pytest.fixture(scope="module")
def preloaded():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_all_that_is_large_is_there_before_the_fork(preloaded):
    assert {"zmq", "psutil", "ujson", "sqlite3", "ctypes", "hashlib"} <= set(preloaded["after"])


def test_what_control_does_not_need_does_not_delay_it(preloaded):
    assert not {"psutil", "sqlite3", "ujson"} & set(preloaded["before"])


def test_no_context_is_made(preloaded):
    # A ZeroMQ context is threads.
    assert preloaded["threads"] == "1"


def test_what_is_shared_is_left_alone_by_the_collector(preloaded):
    assert preloaded["frozen"] > 10_000


def test_what_nobody_needs_is_not_imported(preloaded):
    large = {"asyncio", "ssl", "elasticsearch", "unittest", "pydoc"}

    assert not large & set(preloaded["after"])
