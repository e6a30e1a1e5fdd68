"""`auditline status`: asks the service, looks at the cursors, judges, and prints."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from auditline.workers.common.errors import Exit
from auditline.workers.common.text import tell
from auditline.workers.status.asking import ask
from auditline.workers.status.gathering import complete
from auditline.workers.status.judging import judge
from auditline.workers.status.text import show_status

ORDER = (
    "version", "pid", "since", "state", "processes", "counters", "loss", "outputs", "watches", "kernel", "cursors",
)  # fmt: skip


def status_command(run_directories: Iterable[Path], stdout: TextIO, *, as_json: bool) -> Exit:
    """Print how the service is that runs in the first of *run_directories* that has one.

    The reasons why it is degraded are in the text; beside JSON, whose form is fixed, they are told on stderr.

    Raises:
        NotRunning: there is none.
        AuditlineError: it does not answer.
    """
    answer = ask(run_directories)
    about = answer["about"]
    status = complete(answer["status"], about)
    reasons = judge(status, about)
    status["state"] = "degraded" if reasons else "ok"
    if as_json:
        json.dump({key: status[key] for key in ORDER}, stdout)
        stdout.write("\n")
        tell(*reasons)
    else:
        stdout.write(show_status(status, reasons))
    return Exit.DEGRADED if reasons else Exit.OK
