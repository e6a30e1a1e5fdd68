"""Every setting with its default; `settings_loading.py` reads them, and nobody else a configuration.

The annotations are what a configuration file is checked against (by `settings_file.py`): a `Literal` lists the words
that are allowed, a `Range` the numbers. A test compares the defaults with `conf/auditline.toml`.
"""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from auditline.workers.common.filter_settings import AddSettings, ConditionSettings
from auditline.workers.common.profiles import OverrideSettings, ProfileName
from auditline.workers.common.settings_file import Range, section_to_toml

Schema = Literal["audit", "ecs"]
BackendName = Literal["auto", "fanotify", "fanotify-filesystem", "inotify", "poll"]
WITHOUT_FANOTIFY: frozenset[BackendName] = frozenset({"inotify", "poll"})
"""With these fanotify is never tried, so that nobody needs the rights for it; as `fim/choosing.py` has it."""
ActorSource = Literal["auto", "audit", "off"]
_UNSIGNED = Range(0, 2**32 - 1)
_FILE_BYTES = Range(4096, 2**62)
_PERIOD = Range(0.1, 86400)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSettings:
    """`[state]`."""

    directory: Path = Path("/var/lib/auditline")
    """Journal, baselines, cursors, and the note that says how the kernel was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """`[run]`."""

    directory: Path = Path("/run/auditline")
    """Sockets and counter pages; made with mode 0700."""
    user: str = ""
    """The workers switch to this user; empty: they keep the uid and drop capabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """`[audit]`; None leaves the kernel's value as it was found."""

    enabled: bool = True
    socket: Literal["auto", "unicast", "multicast", "stdin"] = "auto"
    rules_files: tuple[str, ...] = ("@default",)
    """`@name` is a shipped set; anything else an absolute glob pattern once the file is loaded."""
    rules: tuple[str, ...] = ()
    resolve_ids: bool = True
    journal_max_bytes: Annotated[int, Range(1024**2, 2**62)] = 256 * 1024**2
    backlog_limit: Annotated[int, _UNSIGNED] = 8192
    """The kernel's limit is raised to this, never lowered."""
    # The kernel refuses more than ten times its default of 60 s: kernel/audit.c, audit_receive_msg().
    backlog_wait_seconds: Annotated[float, Range(0, 600)] | None = None
    failure_mode: Literal["silent", "log", "panic"] | None = None
    rate_limit: Annotated[int, _UNSIGNED] | None = None
    """Messages per second; 0: no limit."""
    keep_raw: bool = False
    """Events have the kernel's records as they came."""
    keep_warnings: bool = False
    """Events tell what is odd about their records also where nothing is missing."""
    immutable: bool = False
    """Lock the kernel's audit configuration until the next boot, once the rules are loaded."""
    ignore_rule_errors: bool = False
    """A rule with a mistake is told and left out, instead of keeping all of them from being loaded."""
    repair_rules: bool = False
    """What somebody else changed of our rules and of the kernel's status is put right again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSettings:
    """What every `[outputs.<name>]` has."""

    name: str
    type: str
    enabled: bool
    schema: Schema = "audit"
    include: tuple[ConditionSettings, ...] = ()
    """Events of which one of these holds; none: all events."""
    exclude: tuple[ConditionSettings, ...] = ()
    """But not those of which one of these holds."""
    add: AddSettings = field(default_factory=AddSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class StdoutSettings(OutputSettings):
    """`[outputs.<name>]` with `type = "stdout"`."""

    type: Literal["stdout"] = "stdout"
    enabled: bool = True
    stall_seconds: Annotated[float, _PERIOD] = 30
    """Blocked longer than this, stdout is detached, provided that another output takes the events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentsSettings(OutputSettings):
    """`[outputs.<name>]` with `type = "segments"`."""

    type: Literal["segments"] = "segments"
    enabled: bool = False
    directory: Path = Path("/var/log/auditline")
    segment_bytes: Annotated[int, _FILE_BYTES] = 64 * 1024**2
    keep_bytes: Annotated[int, _FILE_BYTES] = 1024**3
    """Beyond this the oldest segment goes, unless a cursor still needs it."""
    total_bytes: Annotated[int, _FILE_BYTES] = 4 * 1024**3
    """Beyond this it goes in any case."""
    cursors: tuple[Path, ...] = ()
    sync: Literal["never", "interval", "batch"] = "interval"


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticsearchSettings(OutputSettings):
    """`[outputs.<name>]` with `type = "elasticsearch"`."""

    type: Literal["elasticsearch"] = "elasticsearch"
    enabled: bool = True
    schema: Schema = "ecs"
    hosts: tuple[str, ...] = ()
    """URLs; with several, each request goes to the next one that is alive."""
    namespace: str = "default"
    data_stream: str = "logs-auditline.{kind}-{namespace}"
    """`{kind}` is audit, fim or health."""
    username: str = ""
    password_file: str = ""
    password_env: str = ""
    api_key_file: str = ""
    api_key_env: str = ""
    bearer_file: str = ""
    bearer_env: str = ""
    ca_file: str = ""
    """Whose certificates are trusted; empty: those that the client brings."""
    ca_fingerprint: str = ""
    """SHA-256 of a certificate in the server's chain, which alone is trusted then."""
    client_certificate: str = ""
    client_key: str = ""
    """Empty: it is in the file of the certificate."""
    verify_host_name: bool = True
    proxy: str = ""
    compression_level: Annotated[int, Range(0, 9)] = 0
    """Of gzip; 0: none."""
    bulk_bytes: Annotated[int, Range(1024, 2**30)] = 5 * 1024**2
    bulk_documents: Annotated[int, Range(1, 100_000)] = 2000
    flush_seconds: Annotated[float, Range(0, 3600)] = 1.0
    """An event waits no longer for others."""
    request_timeout_seconds: Annotated[float, Range(0.1, 3600)] = 60.0
    retry_min_seconds: Annotated[float, Range(0.01, 3600)] = 1.0
    retry_max_seconds: Annotated[float, Range(0.01, 86400)] = 60.0
    spool_bytes: Annotated[int, Range(1024**2, 2**62)] = 10 * 1024**3
    """So much is kept while the server does not take it."""
    dead_letter_bytes: Annotated[int, Range(1024**2, 2**62)] = 100 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """`[health]`."""

    period_seconds: Annotated[float, _PERIOD] = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """`[[fim.watch]]`: a directory, or a single file."""

    path: Path
    recursive: bool = True
    include: tuple[str, ...] = ()
    """Patterns as `common/patterns.py` reads them, of which a path must match one; none: all paths."""
    exclude: tuple[str, ...] = ()
    """Patterns of which a path must match none."""
    backend: BackendName = "auto"
    """What tells of changes; `auto`: the best that works here."""
    rescan_seconds: Annotated[float, Range(0, 366 * 86400)] = 43200.0
    """So often everything is compared, though no event said so; 0: never."""
    max_depth: Annotated[int, Range(0, 4096)] = 0
    """Directories so many steps below `path` are not entered; 0: no limit."""
    one_filesystem: bool = False
    """What other file systems are mounted below `path` is not entered."""
    profile: ProfileName = "static"
    """What of its paths `scan` compares."""
    override: tuple[OverrideSettings, ...] = ()
    """The same for some of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FimSettings:
    """`[fim]`."""

    watch: tuple[WatchSettings, ...] = tuple(
        WatchSettings(path=Path(path)) for path in ("/bin", "/usr/bin", "/sbin", "/usr/sbin", "/etc")
    )
    """No path twice."""
    hashes: tuple[str, ...] = ("sha256",)
    """Names of `common/hashes.py`; none: contents are not read."""
    max_file_bytes: Annotated[int, Range(0, 2**62)] = 100 * 1024**2
    """A file larger than this is not hashed."""
    scan_bytes_per_second: Annotated[int, Range(0, 2**62)] = 0
    """How much of files' contents scans read, for each watch; 0: no limit."""
    debounce_seconds: Annotated[float, Range(0, 3600)] = 0.2
    """A path is looked at once nothing has happened to it for so long."""
    max_delay_seconds: Annotated[float, Range(0, 3600)] = 2.0
    """A path to which something happens all the time is looked at after so long."""
    initial_events: bool = False
    """The first walk reports every file instead of filling the baseline silently."""
    actor: ActorSource = "auto"
    """Who did it: what the kernel tells; `audit`: rules are loaded, too, so that it can tell; `off`: nothing."""
    poll_seconds: Annotated[float, _PERIOD] = 5.0
    """How often directories are listed that the kernel does not report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HasherSettings:
    """`[hasher]`."""

    processes: Annotated[int, Range(1, 256)] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The directories that are used where the file names none."""

    state: Path = StateSettings().directory
    run: Path = RunSettings().directory
    log: Path = SegmentsSettings(name="segments").directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration."""

    state: StateSettings = StateSettings()
    run: RunSettings = RunSettings()
    audit: AuditSettings = AuditSettings()
    fim: FimSettings = FimSettings()
    hasher: HasherSettings = HasherSettings()
    outputs: tuple[OutputSettings, ...] = (StdoutSettings(name="stdout"), SegmentsSettings(name="segments"))
    """Disabled ones too; names are unique."""
    health: HealthSettings = HealthSettings()
    source: Path | None = field(default=None, compare=False)
    """The file it was read from; None: nothing but defaults."""
    places: Places = field(default=Places(), compare=False)

    @property
    def enabled_outputs(self) -> tuple[OutputSettings, ...]:
        """The outputs that are to be opened; never empty after `load_settings`."""
        return tuple(output for output in self.outputs if output.enabled)


def show_settings(settings: Settings) -> str:
    """Return TOML that loads again to equal settings."""
    tables = [
        section_to_toml(settings.state, "state"),
        section_to_toml(settings.run, "run"),
        section_to_toml(settings.audit, "audit"),
        section_to_toml(settings.fim, "fim", left_out=("watch",) if settings.fim.watch else ()),
        *(section_to_toml(watch, "[fim.watch]") for watch in settings.fim.watch),
        section_to_toml(settings.hasher, "hasher"),
        *(section_to_toml(output, f"outputs.{output.name}") for output in settings.outputs),
        section_to_toml(settings.health, "health"),
    ]
    return "\n".join(tables)


def find_places(*, is_root: bool, environment: Mapping[str, str]) -> Places:
    """Say where files belong: system directories for root, the user's own by the XDG specification for others.

    A directory that systemd made is taken only if it bears our name: as a child of another service (a log
    shipper's `exec`) we would find that service's directories in the environment.
    Source: systemd.exec(5), RuntimeDirectory=; XDG Base Directory Specification 0.8.
    """
    places = Places() if is_root else _find_user_places(environment)
    return Places(
        state=_unit_directory(environment, "STATE_DIRECTORY") or places.state,
        run=_unit_directory(environment, "RUNTIME_DIRECTORY") or places.run,
        log=_unit_directory(environment, "LOGS_DIRECTORY") or places.log,
    )


def _find_user_places(environment: Mapping[str, str]) -> Places:
    home = _absolute(environment.get("HOME")) or _home_of_this_user()
    xdg_state = _absolute(environment.get("XDG_STATE_HOME")) or (home and home / ".local" / "state")
    state = xdg_state / "auditline" if xdg_state else Places().state
    runtime = _absolute(environment.get("XDG_RUNTIME_DIR"))
    # In a directory that all may write: who makes ours there checks that nobody else has made it before.
    temporary = _absolute(environment.get("TMPDIR")) or Path("/tmp")  # noqa: S108
    return Places(
        state=state,
        run=runtime / "auditline" if runtime else temporary / f"auditline-{os.geteuid()}",
        log=state / "segments",
    )


def _home_of_this_user() -> Path | None:
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return None


def _unit_directory(environment: Mapping[str, str], variable: str) -> Path | None:
    directory = _absolute(environment.get(variable, "").partition(":")[0])
    return directory if directory and directory.name == "auditline" else None


def _absolute(text: str | None) -> Path | None:
    """A relative path in an XDG variable is to be ignored; so is one that TOML could not express."""
    if not text or not text.startswith("/") or not text.isprintable():
        return None
    return Path(text)
