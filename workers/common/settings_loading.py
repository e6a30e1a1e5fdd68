"""Reading a configuration: a file, or the defaults, as `Settings`, with all that is wrong told at once."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import Any

from auditline.workers.common.errors import SettingsError
from auditline.workers.common.filter_loading import read_additions, read_conditions
from auditline.workers.common.profiles import OverrideSettings
from auditline.workers.common.settings import (
    AuditSettings,
    ElasticsearchSettings,
    FimSettings,
    HasherSettings,
    HealthSettings,
    OutputSettings,
    Places,
    RunSettings,
    SegmentsSettings,
    Settings,
    StateSettings,
    StdoutSettings,
    WatchSettings,
    find_places,
)
from auditline.workers.common.settings_checks import find_contradictions
from auditline.workers.common.settings_file import Problems, fill_section, read_toml, show_value

DEFAULT_FILE = Path("/etc/auditline/auditline.toml")
_NAME = re.compile("[A-Za-z0-9_-]{1,64}")


def load_settings(path: Path | None, *, is_root: bool, environment: Mapping[str, str]) -> Settings:
    """Read *path*, or without one `DEFAULT_FILE` if it is there, or else give the defaults.

    *environment* says where a user's files belong (XDG), and which directories systemd made for the unit.

    Raises:
        SettingsError: all that is wrong with the file, one line each.
    """
    return _load(path, find_places(is_root=is_root, environment=environment))


def reload_settings(settings: Settings) -> Settings:
    """Read the file of *settings* again, with the same default directories.

    Raises:
        SettingsError: all that is wrong with the file, one line each.
    """
    return _load(settings.source, settings.places)


def find_run_directory(path: Path | None, places: Places) -> Path:
    """Return the run directory that a file names, also one with mistakes; if it names none, that of *places*."""
    try:
        tables = read_toml(path or DEFAULT_FILE, is_needed=False) or {}
    except (SettingsError, RecursionError):
        return places.run
    default = RunSettings(directory=places.run)
    return fill_section(default, tables.get("run", {}), "run", Problems("")).directory


def _load(path: Path | None, places: Places) -> Settings:
    try:
        return _load_nested(path, places)
    except RecursionError as error:
        raise SettingsError([f"{path or DEFAULT_FILE}: tables are nested too deeply"]) from error


def _load_nested(path: Path | None, places: Places) -> Settings:
    tables = read_toml(path or DEFAULT_FILE, is_needed=path is not None)
    source = None if tables is None else path or DEFAULT_FILE
    problems = Problems(str(source or "defaults"))
    settings = _build(tables or {}, places, problems)
    if not problems and not settings.enabled_outputs:
        problems.add("outputs: at least one must be enabled")
    for problem in find_contradictions(settings):
        problems.add(problem)
    problems.raise_any()
    audit = replace(settings.audit, rules_files=_anchor(settings.audit.rules_files, source))
    return replace(settings, audit=audit, source=source)


def _build(tables: Mapping[str, Any], places: Places, problems: Problems) -> Settings:
    problems.add_unknown(tables, ("state", "run", "audit", "fim", "hasher", "outputs", "health"), "")

    return Settings(
        state=fill_section(StateSettings(directory=places.state), tables.get("state", {}), "state", problems),
        run=fill_section(RunSettings(directory=places.run), tables.get("run", {}), "run", problems),
        audit=fill_section(AuditSettings(), tables.get("audit", {}), "audit", problems),
        fim=_build_fim(tables.get("fim", {}), problems),
        hasher=fill_section(HasherSettings(), tables.get("hasher", {}), "hasher", problems),
        outputs=_build_outputs(tables.get("outputs", {}), places, problems),
        health=fill_section(HealthSettings(), tables.get("health", {}), "health", problems),
        places=places,
    )


def _build_fim(table: object, problems: Problems) -> FimSettings:
    if not isinstance(table, dict):
        return fill_section(FimSettings(), table, "fim", problems)
    plain = {key: value for key, value in table.items() if key != "watch"}
    fim = fill_section(FimSettings(), plain, "fim", problems)
    return replace(fim, watch=_build_watches(table["watch"], problems)) if "watch" in table else fim


def _build_watches(tables: object, problems: Problems) -> tuple[WatchSettings, ...]:
    if not isinstance(tables, list):
        problems.add(f"fim.watch must be tables such as [[fim.watch]], or [] for none, not {show_value(tables)}")
        return ()
    watches = (_build_watch(f"fim.watch[{number}]", table, problems) for number, table in enumerate(tables, 1))
    return tuple(watches)


def _build_watch(section: str, table: object, problems: Problems) -> WatchSettings:
    # What has no path has a problem already: it must not seem to be one path named twice as well.
    watch = WatchSettings(path=Path(section))
    if not isinstance(table, dict):
        problems.add(f"{section} must be a table ([[fim.watch]] and its keys), not {show_value(table)}")
        return watch
    if "path" not in table:
        problems.add(f"{section}.path must say which directory or file is watched")
    plain = {key: value for key, value in table.items() if key != "override"}
    overrides = _build_overrides(table.get("override", []), f"{section}.override", problems)
    return replace(fill_section(watch, plain, section, problems), override=overrides)


def _build_overrides(tables: object, section: str, problems: Problems) -> tuple[OverrideSettings, ...]:
    if not isinstance(tables, list):
        problems.add(f"{section} must be tables such as [[fim.watch.override]], not {show_value(tables)}")
        return ()
    return tuple(
        fill_section(OverrideSettings(), table, f"{section}[{number}]", problems)
        for number, table in enumerate(tables, 1)
    )


def _build_outputs(tables: object, places: Places, problems: Problems) -> tuple[OutputSettings, ...]:
    if not isinstance(tables, dict):
        problems.add(f"outputs must be tables such as [outputs.stdout], not {show_value(tables)}")
        return Settings().outputs
    # These two exist, with their defaults, also where the file does not name them.
    named: Mapping[str, object] = {"stdout": {}, "segments": {}} | tables
    outputs = (_build_output(name, table, places, problems) for name, table in named.items())
    return tuple(output for output in outputs if output)


def _build_output(name: str, table: object, places: Places, problems: Problems) -> OutputSettings | None:
    section = f"outputs.{name}"
    # The name becomes part of file names in the state directory.
    if not _NAME.fullmatch(name):
        problems.add(f"outputs: a name must be at most 64 letters, digits, - and _, not {show_value(name)}")
        return None
    kind = table.get("type", name) if isinstance(table, dict) else name
    defaults: Mapping[object, OutputSettings] = {
        "stdout": StdoutSettings(name=name),
        "segments": SegmentsSettings(name=name, directory=places.log),
        "elasticsearch": ElasticsearchSettings(name=name),
    }
    if not isinstance(kind, str) or kind not in defaults:
        problems.add(f'{section}.type must be "stdout", "segments" or "elasticsearch", not {show_value(kind)}')
        return None
    if not isinstance(table, dict):
        return fill_section(defaults[kind], table, section, problems)
    plain = {key: value for key, value in table.items() if key not in ("include", "exclude", "add")}
    return replace(
        fill_section(defaults[kind], plain, section, problems),
        include=read_conditions(table.get("include", []), f"{section}.include", problems),
        exclude=read_conditions(table.get("exclude", []), f"{section}.exclude", problems),
        add=read_additions(table.get("add", {}), f"{section}.add", problems),
    )


def _anchor(patterns: tuple[str, ...], file: Path | None) -> tuple[str, ...]:
    """Make patterns absolute, so that they mean the same wherever the settings are shown or loaded again."""
    base = escape(os.path.dirname(os.path.abspath(file or DEFAULT_FILE)))
    return tuple(pattern if pattern.startswith("@") else os.path.join(base, pattern) for pattern in patterns)
