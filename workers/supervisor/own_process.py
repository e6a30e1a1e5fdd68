"""The supervisor's own process: its signals, its name, and how it forks."""

import multiprocessing
import os
import signal

from setproctitle import setproctitle

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.lifecycle import Life
from auditline.workers.supervisor.worker_log import filter_fork_warning


def prepare_process() -> Life:
    """Take the signals, and be ready to fork."""
    life = Life("supervisor", CounterPage.unshared(()))
    life.take_signals()
    # Its handler has nothing to do: that it came makes the wake-up descriptor readable.
    signal.signal(signal.SIGCHLD, _ignore)
    # A plugin that auditd 3.0 starts anew has the signals blocked that the starting thread has blocked.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    setproctitle("auditline: supervisor")
    os.umask(0o027)
    filter_fork_warning()
    # multiprocessing-logging insists on the default being fork, which it is no longer from Python 3.14 on.
    multiprocessing.set_start_method("fork", force=True)
    return life


def _ignore(_number: int, _frame: object) -> None:
    """Handle a signal by being woken."""
