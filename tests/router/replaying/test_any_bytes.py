"""Whatever bytes a log has: replay ends, each line of output is JSON, and how the bytes come makes no difference."""

import io
import json
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.router.names import NoNames
from auditline.workers.router.render.lines import Keep
from auditline.workers.router.replay import Replay
from auditline.workers.router.replaying.reading import LineSplitter
from auditline.workers.router.replaying.selection import Wanted, parse_wanted

DATA = Path(__file__).parents[2] / "data"
NOW = datetime(2026, 11, 26, 14, 19, 8)  # noqa: DTZ001
RECORDS = [
    line + b"\n"
    for name in ("accounts.log", "enriched.log", "nodes.log")
    for line in (DATA / "audit" / name).read_bytes().rstrip(b"\n").split(b"\n")
]
PREFIXES = [
    b"",
    b"Jan  1 00:00:00 web1 audispd: ",
    b"<13>1 2026-11-26T14:19:08Z web2 audispd - - - ",
    b"[   12.345678] audit: ",
    b"-- ",
]
EVERYTHING = Wanted(since="@0", until="2100-01-01", keys=["x"], types=["SYSCALL", "PATH"])


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    """Lines of several kinds, some of them damaged: a few bytes are cut out, or others put in."""
    pieces = []
    for _ in range(draw(st.integers(0, 12))):
        line = draw(st.sampled_from(PREFIXES)) + draw(st.sampled_from(RECORDS))
        start = draw(st.integers(0, len(line)))
        pieces.append(
            line[:start] + draw(st.binary(max_size=4)) + line[start + draw(st.sampled_from([0, 0, 0, 1, 9])) :]
        )
    return b"".join(pieces) + draw(st.binary(max_size=20))


def replay(pieces: list[bytes], **options: object) -> bytes:
    out = io.BytesIO()
    replaying = Replay(out, NoNames(), "host", **options)  # type: ignore[arg-type]
    splitter = LineSplitter()
    for piece in pieces:
        replaying.take(splitter.split(piece))
    replaying.take(splitter.end())
    replaying.take_idle()
    return out.getvalue()


@pytest.mark.parametrize("schema", ["audit", "ecs"])
@given(log=st.one_of(st.binary(), logs()))
def test_any_log_gives_json(schema, log):
    output = replay([log], schema=schema, keep=Keep(raw=True, warnings=True))

    assert all(json.loads(line)["event"]["id"] for line in output.splitlines())


@given(log=logs(), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_how_a_log_comes_in_pieces_makes_no_difference(log, cuts):
    ends = sorted(min(cut, len(log)) for cut in cuts)

    pieces = [log[start:end] for start, end in zip([0, *ends], [*ends, len(log)], strict=True)]

    assert replay(pieces) == replay([log])


@given(log=logs())
def test_a_selection_takes_away_and_changes_nothing(log):
    every, some = replay([log]), replay([log], selection=parse_wanted(EVERYTHING, NOW))

    assert set(some.splitlines()) <= set(every.splitlines())
