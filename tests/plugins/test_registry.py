import subprocess
import sys

import pytest

from auditline.plugins.outputs.api import Output, OutputContext
from auditline.plugins.outputs.registry import open_output
from auditline.workers.common.errors import SettingsError
from auditline.workers.common.settings import OutputSettings, SegmentsSettings, StdoutSettings


@pytest.fixture
def context(tmp_path, counters, pipe):
    return OutputContext(stdout_fd=pipe[1], state_directory=tmp_path / "state", counters=counters)


def test_each_kind_of_output_is_opened_by_its_settings(tmp_path, context):
    outputs: list[Output] = [
        open_output(StdoutSettings(name="terminal"), context),
        open_output(SegmentsSettings(name="files", directory=tmp_path / "log"), context),
    ]

    assert [output.name for output in outputs] == ["terminal", "files"]
    for output in outputs:
        assert output.is_attached
        assert output.counts() == dict.fromkeys(("events", "written", "filtered", "missed", "rejected", "pending"), 0)
        output.close(0)


def test_an_unknown_kind_is_told_with_the_known_ones(context):
    kinds = "stdout, segments, elasticsearch"

    with pytest.raises(SettingsError, match=rf'outputs\.x\.type must be one of {kinds}, not "carrier-pigeon"'):
        open_output(OutputSettings(name="x", type="carrier-pigeon", enabled=True), context)


def test_only_configured_kinds_are_imported():
    program = (
        "import sys; import auditline.plugins.outputs.registry;"
        "print([name for name in sys.modules if name.startswith('auditline.plugins.outputs.s')])"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"
