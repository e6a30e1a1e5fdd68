"""The same records give the same documents, whether they come from a log or from the kernel in batches."""

import io
import json
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Hello
from auditline.workers.common.host import host_id
from auditline.workers.router.audit_stream import AuditStream
from auditline.workers.router.log_lines import frame
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.fragments import FragmentRenderer
from auditline.workers.router.replay import Replay
from auditline.workers.router.stream import Lines

RECORDS = (Path(__file__).parents[1] / "data" / "small.log").read_text().splitlines()


def replay(lines: list[str], path: Path) -> list[dict[str, Any]]:
    path.write_text("\n".join(lines))
    out = io.BytesIO()
    Replay(out, NoNames(), None).run([str(path)])
    return [json.loads(line) for line in out.getvalue().splitlines()]


def route(lines: list[str], cuts: list[int]) -> list[dict[str, Any]]:
    collected = Lines()
    hello = Hello(b"", 1, "audit", "0" * 16, 0, 0, b"")
    stream = AuditStream(hello, collected, [FragmentRenderer(NoNames())], (host_id(None), "host"), set())
    number = 0
    for number, (start, end) in enumerate(pairwise([0, *cuts, len(lines)]), 1):
        kinds, payloads = frame(lines[start:end])
        payload = "\0".join(payloads).encode()
        stream.take(Batch(number, BatchKind.RECORDS, array("H", kinds).tobytes(), payload))
    stream.take(Batch(number + 1, BatchKind.IDLE, b"", b""))
    documents = [json.loads(line.data) for line in collected.take()["audit"]]
    return [{key: value for key, value in document.items() if key != "host"} for document in documents]


@given(cuts=st.lists(st.integers(1, len(RECORDS) - 1), unique=True).map(sorted))
def test_a_live_run_in_any_batches_gives_the_documents_of_a_replay(tmp_path_factory: Any, cuts: list[int]) -> None:
    replayed = replay(RECORDS, tmp_path_factory.mktemp("log") / "audit.log")

    live = route(RECORDS, cuts)

    assert live == replayed
    assert len(live) == 4
