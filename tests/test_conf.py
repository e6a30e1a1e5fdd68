"""The files of `conf/`, read from the installed package."""

import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import pytest

from auditline.workers.common.errors import Exit
from auditline.workers.common.settings import (
    AuditSettings,
    SegmentsSettings,
    Settings,
    StdoutSettings,
    find_places,
)
from auditline.workers.common.settings_file import section_keys
from auditline.workers.common.settings_loading import load_settings
from auditline.workers.common.watch_plan import WatchPlan
from auditline.workers.supervisor.kinds import Wiring


def conf_text(name):
    return files("auditline.conf").joinpath(name).read_text(encoding="utf-8")


def load_text(text, tmp_path):
    file = tmp_path / "auditline.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)
    return load_settings(file, is_root=True, environment={})


def uncomment_keys(text):
    return re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)


def unit_values(key):
    return re.findall(rf"^{key}=(.*)$", conf_text("auditline.service"), flags=re.MULTILINE)


def test_the_sample_configuration_is_the_defaults(tmp_path):
    settings = load_text(conf_text("auditline.toml"), tmp_path)

    assert settings == Settings()


def test_the_sample_configuration_names_every_key():
    tables = tomllib.loads(uncomment_keys(conf_text("auditline.toml")))

    watches = {key for table in tables["fim"]["watch"] for key in table}
    named = {section: set(table) for section, table in (tables | tables["outputs"]).items() if section != "outputs"}

    defaults = Settings()
    known = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    sections = {name: known[name] for name in ("state", "run", "audit", "fim", "hasher", "health")}
    sections |= {output.name: output for output in defaults.outputs}
    assert named == {name: set(section_keys(section)) for name, section in sections.items()}
    assert watches == set(section_keys(defaults.fim.watch[0]))


def test_the_commented_keys_of_the_sample_configuration_load(tmp_path):
    settings = load_text(uncomment_keys(conf_text("auditline.toml")), tmp_path)

    assert settings.audit == AuditSettings(backlog_wait_seconds=60.0, failure_mode="log", rate_limit=0)


def test_the_service_s_configuration_writes_segments_only(tmp_path):
    settings = load_text(conf_text("service.toml"), tmp_path)

    assert settings.outputs == (
        StdoutSettings(name="stdout", enabled=False),
        SegmentsSettings(name="segments", enabled=True),
    )


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    command = Path(sys.executable).with_name("auditline")
    unit = tmp_path / "auditline.service"
    unit.write_text(conf_text("auditline.service").replace("/opt/auditline/bin/auditline", str(command)))

    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )

    # It tells of other units of this host too; those are not ours to judge.
    assert "auditline" not in verified.stderr
    assert verified.returncode == 0


def test_the_unit_leaves_the_workers_what_they_keep():
    wiring = Wiring(Settings(), (), list)
    kinds = [wiring.control, wiring.watcher(WatchPlan(path=b"/etc")), wiring.hasher(1)]
    wiring.close()

    given = {name for line in unit_values("CapabilityBoundingSet") for name in line.split()}

    assert {f"CAP_{capability.name}" for kind in kinds for capability in kind.capabilities} <= given


def test_the_unit_s_directories_are_the_defaults():
    made = {
        "STATE_DIRECTORY": f"/var/lib/{unit_values('StateDirectory')[0]}",
        "RUNTIME_DIRECTORY": f"/run/{unit_values('RuntimeDirectory')[0]}",
        "LOGS_DIRECTORY": f"/var/log/{unit_values('LogsDirectory')[0]}",
    }

    places = find_places(is_root=True, environment=made)

    assert places == Settings().places


def test_the_unit_is_not_restarted_when_that_would_not_help():
    assert unit_values("RestartPreventExitStatus") == [f"{Exit.USAGE:d} {Exit.TEMPORARY:d}"]
