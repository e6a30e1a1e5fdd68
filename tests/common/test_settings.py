import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.errors import SettingsError
from auditline.workers.common.settings import (
    AuditSettings,
    FimSettings,
    HasherSettings,
    HealthSettings,
    Places,
    RunSettings,
    SegmentsSettings,
    Settings,
    StateSettings,
    StdoutSettings,
    WatchSettings,
    find_places,
    show_settings,
)
from auditline.workers.common.settings_file import MAX_FILE_BYTES, to_toml
from auditline.workers.common.settings_loading import load_settings, reload_settings


def write_into(folder, text):
    file = folder / "auditline.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    # Whatever the umask: a file that others may write is refused.
    file.chmod(0o644)
    return file


@pytest.fixture
def write(tmp_path):
    return partial(write_into, tmp_path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("settings")


def load(file):
    return load_settings(file, is_root=True, environment={})


def problems_of(file):
    with pytest.raises(SettingsError) as caught:
        load(file)
    return [problem.removeprefix(f"{file}: ") for problem in caught.value.problems]


@pytest.mark.parametrize("table", ["[[outputs.stdout.exclude{}]]\nfield = 'a'", "[outputs.stdout.add.fields{}]\nb = 1"])
def test_tables_that_are_nested_too_deeply_are_told(write, table):
    file = write(table.format(".all" * 1500))

    assert len(problems_of(file)) == 1


def test_an_empty_file_gives_the_defaults(write):
    file = write("")

    settings = load(file)

    assert settings == Settings()
    assert settings.source == file


def test_stdout_alone_is_enabled_by_default():
    settings = Settings()

    assert settings.enabled_outputs == (StdoutSettings(name="stdout"),)


def test_defaults_apply_key_by_key(write):
    file = write("[audit]\nbacklog_limit = 64\n[outputs.segments]\nenabled = true\n")

    settings = load(file)

    assert settings.audit == AuditSettings(backlog_limit=64)
    assert settings.outputs == (StdoutSettings(name="stdout"), SegmentsSettings(name="segments", enabled=True))


def test_any_number_of_outputs_may_share_a_type(write):
    file = write(
        '[outputs.archive]\ntype = "segments"\ndirectory = "/srv/archive"\n[outputs.screen]\ntype = "stdout"\n'
    )

    settings = load(file)

    assert settings.outputs[2:] == (
        SegmentsSettings(name="archive", directory=Path("/srv/archive")),
        StdoutSettings(name="screen"),
    )


def test_optional_kernel_values_are_read(write):
    file = write('[audit]\nbacklog_wait_seconds = 1.5\nfailure_mode = "panic"\nrate_limit = 0\n')

    audit = load(file).audit

    assert audit == AuditSettings(backlog_wait_seconds=1.5, failure_mode="panic", rate_limit=0)


def test_all_problems_are_told_at_once(write):
    file = write('[audit]\nbacklog_limt = 5\nsocket = "udp"\n[health]\nperiod_seconds = "often"\n')

    problems = problems_of(file)

    assert problems == [
        "audit.backlog_limt is unknown; did you mean backlog_limit?",
        'audit.socket must be "auto" or "unicast" or "multicast" or "stdin", not "udp"',
        'health.period_seconds must be a number, not "often"',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[healt]\n", "healt is unknown; did you mean health?"),
        ("[zzz]\n", "zzz is unknown; known are state, run, audit, fim, hasher, outputs, health"),
        ('"a\\nb" = 1\n', '"a\\U0000000ab" is unknown; known are state, run, audit, fim, hasher, outputs, health'),
        ("audit = 5\n", "audit must be a table ([audit]), not 5"),
        ("outputs = 5\n", "outputs must be tables such as [outputs.stdout], not 5"),
        ("[outputs]\nstdout = true\n", "outputs.stdout must be a table ([outputs.stdout]), not true"),
        (
            '[outputs.elasticsearch]\nhosts = ["http://h"]\nproxy = "x"\n',
            'outputs.elasticsearch.proxy: "x" must be a URL such as "https://es.example:9200"',
        ),
        (
            '[outputs.elasticsearch]\nhosts = ["h"]\n',
            'outputs.elasticsearch.hosts: "h" must be a URL such as "https://es.example:9200"',
        ),
        (
            '[outputs.elasticsearch]\nhosts = ["http://h"]\nnamespace = "A"\n',
            'outputs.elasticsearch.data_stream, with outputs.elasticsearch.namespace, gives "logs-auditline.audit-A": ',
        ),
        (
            '[outputs.elasticsearch]\nhosts = ["http://h"]\nusername = "u"\n',
            "outputs.elasticsearch must have username and one of password_file and password_env, or none of them",
        ),
        (
            '[outputs.elasticsearch]\nhosts = ["http://h"]\nclient_key = "/k"\n',
            "outputs.elasticsearch.client_key must stand beside client_certificate",
        ),
        (
            '[outputs.elasticsearch]\nhosts = ["http://h"]\nca_file = "/a\\u0000"\n',
            'outputs.elasticsearch.ca_file must be a string without a NUL character, not "/a\\U00000000"',
        ),
        ("[outputs.kafka]\n", 'outputs.kafka.type must be "stdout", "segments" or "elasticsearch", not "kafka"'),
        ("[outputs.x]\ntype = []\n", 'outputs.x.type must be "stdout", "segments" or "elasticsearch", not []'),
        ('[outputs."../x"]\n', 'outputs: a name must be at most 64 letters, digits, - and _, not "../x"'),
        ('[outputs.stdout]\nschema = "ocsf"\n', '"audit" or "ecs", not "ocsf"'),
        ("[outputs.stdout]\nstall_seconds = 0\n", "outputs.stdout.stall_seconds must be at least 0.1, not 0"),
        ("[outputs.stdout]\nstall_seconds = nan\n", "outputs.stdout.stall_seconds must be at least 0.1, not nan"),
        ("[outputs.stdout]\nstall_seconds = inf\n", "outputs.stdout.stall_seconds must be at most 86400, not inf"),
        ("[audit]\njournal_max_bytes = 1\n", "audit.journal_max_bytes must be at least 1048576, not 1"),
        ("[audit]\nbacklog_limit = -1\n", "audit.backlog_limit must be at least 0, not -1"),
        ("[audit]\nbacklog_limit = 5000000000\n", "audit.backlog_limit must be at most 4294967295, not 5000000000"),
        ("[audit]\nbacklog_limit = true\n", "audit.backlog_limit must be a whole number, not true"),
        ("[audit]\nbacklog_limit = 1.0\n", "audit.backlog_limit must be a whole number, not 1.0"),
        ("[audit]\nbacklog_wait_seconds = 601\n", "audit.backlog_wait_seconds must be at most 600, not 601"),
        ("[audit]\nenabled = 1\n", "audit.enabled must be true or false, not 1"),
        ('[audit]\nrules = "-D"\n', 'audit.rules must be a list, not "-D"'),
        ("[audit]\nrules = [1]\n", "audit.rules must be a list, each item a string, not [1]"),
        ('[state]\ndirectory = "state"\n', 'state.directory must be an absolute path, not "state"'),
        ('[state]\ndirectory = "/a\\u0000"\n', 'state.directory must be an absolute path, not "/a\\U00000000"'),
        ("[run]\nuser = 0\n", "run.user must be a string, not 0"),
        ('[run]\nuser = "nobody-here"\n', 'run.user must be a user of this host, not "nobody-here"'),
        ('[run]\ndirectory = "/var/lib/auditline"\n', "run.directory must differ from state.directory"),
        ("[outputs.stdout]\nenabled = false\n", "outputs: at least one must be enabled"),
        ("[fim]\nmax_dealy_seconds = 3\n", "fim.max_dealy_seconds is unknown; did you mean max_delay_seconds?"),
        ("fim = 5\n", "fim must be a table ([fim]), not 5"),
        ("[fim]\nwatch = true\n", "fim.watch must be tables such as [[fim.watch]], or [] for none, not true"),
        ("[fim.watch]\n", "fim.watch must be tables such as [[fim.watch]], or [] for none, not {}"),
        ('[fim]\nwatch = ["/etc"]\n', 'fim.watch[1] must be a table ([[fim.watch]] and its keys), not "/etc"'),
        ('[[fim.watch]]\npath = "etc"\n', 'fim.watch[1].path must be an absolute path, not "etc"'),
        ("[[fim.watch]]\n", "fim.watch[1].path must say which directory or file is watched"),
        (
            '[[fim.watch]]\npath = "/etc"\n[[fim.watch]]\npath = "/b"\nrecusive = true\n',
            "fim.watch[2].recusive is unknown; did you mean recursive?",
        ),
        (
            '[[fim.watch]]\npath = "/etc"\n[[fim.watch]]\npath = "/etc/"\n',
            "fim.watch[2].path must differ from fim.watch[1].path, both are /etc",
        ),
        ('[fim]\nhashes = ["sha265"]\n', "fim.hashes: sha265 is unknown; did you mean sha256?"),
        ('[fim]\nhashes = ["crc32"]\n', "fim.hashes: crc32 is unknown; known are md5, sha1, sha224,"),
        ('[fim]\nhashes = ["md5", "md5"]\n', "fim.hashes must name md5 once, not 2 times"),
        ("[fim]\nmax_file_bytes = -1\n", "fim.max_file_bytes must be at least 0, not -1"),
        ("[fim]\ndebounce_seconds = -1\n", "fim.debounce_seconds must be at least 0, not -1"),
        ("[fim]\nmax_delay_seconds = 0.1\n", "fim.max_delay_seconds must be at least debounce_seconds (0.2), not 0.1"),
        ("[fim]\npoll_seconds = 0\n", "fim.poll_seconds must be at least 0.1, not 0"),
        ("[hasher]\nprocesses = 0\n", "hasher.processes must be at least 1, not 0"),
        ("[hasher]\nprocesses = 300\n", "hasher.processes must be at most 256, not 300"),
        ("[state]\nx = 2026-01-01\n", "state.x is unknown; known are directory"),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_what_was_wanted(write, text, problem):
    file = write(text)

    problems = problems_of(file)

    assert len(problems) == 1
    assert problem in problems[0]


def test_without_a_watch_five_directories_are_watched(write):
    file = write('[fim]\nhashes = ["md5"]\n')

    fim = load(file).fim

    paths = ("/bin", "/usr/bin", "/sbin", "/usr/sbin", "/etc")
    assert fim.watch == tuple(WatchSettings(path=Path(path)) for path in paths)


def test_an_empty_list_of_watches_means_none(write):
    file = write("[fim]\nwatch = []\n")

    fim = load(file).fim

    assert fim == FimSettings(watch=())


def test_watches_are_tables_of_their_own_and_take_the_place_of_the_five(write):
    file = write(
        '[[fim.watch]]\npath = "/srv/"\nexclude = ["glob:/srv/**/*.tmp"]\n'
        '[[fim.watch]]\npath = "/etc/hosts"\nrecursive = false\n[fim]\ndebounce_seconds = 0\n'
    )

    fim = load(file).fim

    assert fim.watch == (
        WatchSettings(path=Path("/srv"), exclude=("glob:/srv/**/*.tmp",)),
        WatchSettings(path=Path("/etc/hosts"), recursive=False),
    )
    assert fim.debounce_seconds == 0


@pytest.mark.parametrize("key", ["include", "exclude"])
def test_a_pattern_that_is_none_is_told_with_its_watch(write, key):
    file = write(f'[[fim.watch]]\npath = "/etc"\n[[fim.watch]]\npath = "/srv"\n{key} = ["fine", "("]\n')

    (problem,) = problems_of(file)

    assert problem.startswith(f'fim.watch[2].{key}: "(": ')


def test_a_hash_that_this_host_lacks_is_told(write, monkeypatch):
    monkeypatch.setattr("auditline.workers.common.settings_checks.is_available", lambda name: name != "md5")
    file = write('[fim]\nhashes = ["sha256", "md5"]\n')

    problems = problems_of(file)

    assert problems == ["fim.hashes: md5 is not available: the OpenSSL of this host lacks it"]


def test_no_hash_at_all_is_allowed(write):
    file = write("[fim]\nhashes = []\n")

    fim = load(file).fim

    assert fim == FimSettings(hashes=())


def test_a_long_value_is_shortened(write):
    file = write(f'[audit]\nsocket = "{"x" * 5000}"\n')

    (problem,) = problems_of(file)

    assert len(problem) < 200


def test_a_run_directory_too_long_for_a_socket_is_refused(write):
    file = write(f'[run]\ndirectory = "/{"x" * 83}"\n')

    problems = problems_of(file)

    assert problems == [
        "run.directory must be at most 83 bytes long, not 84: a socket's path in it may have 107",
    ]


def test_a_segments_output_must_hold_what_it_keeps(write):
    file = write("[outputs.segments]\nenabled = true\nkeep_bytes = 8192\ntotal_bytes = 4096\n")

    problems = problems_of(file)

    assert problems == ["outputs.segments.total_bytes must be at least keep_bytes (8192), not 4096"]


def test_two_segments_outputs_must_not_share_a_directory(write):
    file = write('[outputs.segments]\nenabled = true\n[outputs.more]\ntype = "segments"\nenabled = true\n')

    problems = problems_of(file)

    assert problems == [
        "outputs.more.directory must differ from outputs.segments.directory, both are /var/log/auditline",
    ]


def test_rules_files_are_relative_to_the_configuration(write, tmp_path):
    file = write('[audit]\nrules_files = ["@default", "rules.d/*.rules", "/etc/audit/audit.rules"]\n')

    patterns = load(file).audit.rules_files

    assert patterns == ("@default", f"{tmp_path}/rules.d/*.rules", "/etc/audit/audit.rules")


def test_a_folder_name_with_a_bracket_is_not_taken_as_a_pattern(tmp_path):
    odd_folder = tmp_path / "a[b]"
    odd_folder.mkdir()
    file = write_into(odd_folder, '[audit]\nrules_files = ["*.rules"]\n')

    patterns = load(file).audit.rules_files

    assert patterns == (f"{tmp_path}/a[[]b]/*.rules",)


def test_a_file_that_was_asked_for_must_be_there(tmp_path):
    problems = problems_of(tmp_path / "absent.toml")

    assert problems == ["there is no such file"]


def test_a_folder_is_no_configuration(tmp_path):
    problems = problems_of(tmp_path)

    assert problems == ["cannot be read: Is a directory"]


def test_invalid_toml_is_told_with_its_line(write):
    file = write("[audit]\nenabled = yes\n")

    (problem,) = problems_of(file)

    assert problem.startswith("not valid TOML: ")
    assert "line 2" in problem


def test_a_byte_that_is_not_utf8_is_told_with_its_line(write):
    file = write(b"[audit]\n\n# caf\xe9\n")

    problems = problems_of(file)

    assert problems == ["line 3: byte 0xe9 is not UTF-8"]


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "[state]\nx = 0x" + "f" * 9999])
def test_absurd_toml_is_refused_without_a_crash(write, text):
    file = write(text)

    problems = problems_of(file)

    assert len(problems) == 1


def test_a_file_of_absurd_size_is_refused(write):
    file = write("#" * (MAX_FILE_BYTES + 1))

    problems = problems_of(file)

    assert problems == ["must be at most 1048576 bytes long"]


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_is_refused(write, mode):
    file = write("")
    file.chmod(mode)

    problems = problems_of(file)

    assert problems == [f"must not be writable by others, but has mode {mode:04o} (chmod go-w)"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(write):
    file = write("")
    os.chown(file, 12345, 0)

    problems = problems_of(file)

    assert problems == ["must belong to root or to the user who runs this, not to uid 12345"]


def test_dev_null_stands_for_the_defaults():
    settings = load(Path("/dev/null"))

    assert settings == Settings()


def test_reload_reads_the_same_file_with_the_same_places(write):
    file = write("")
    before = load_settings(file, is_root=False, environment={"HOME": "/home/ada"})
    write("[health]\nperiod_seconds = 5\n")

    after = reload_settings(before)

    assert after.health == HealthSettings(period_seconds=5)
    assert after.state == before.state


def test_root_has_system_directories():
    places = find_places(is_root=True, environment={"HOME": "/root", "XDG_STATE_HOME": "/root/state"})

    assert places == Places()


def test_a_user_has_xdg_directories():
    environment = {"XDG_STATE_HOME": "/home/ada/state", "XDG_RUNTIME_DIR": "/run/user/1000"}

    places = find_places(is_root=False, environment=environment)

    assert places == Places(
        state=Path("/home/ada/state/auditline"),
        run=Path("/run/user/1000/auditline"),
        log=Path("/home/ada/state/auditline/segments"),
    )


def test_a_user_without_xdg_variables_has_a_home_and_a_temporary_directory():
    places = find_places(is_root=False, environment={"HOME": "/home/ada", "TMPDIR": "/scratch"})

    assert places.state == Path("/home/ada/.local/state/auditline")
    assert places.run == Path(f"/scratch/auditline-{os.geteuid()}")


@pytest.mark.parametrize("value", ["", "relative", "/a\nb", "/a\udcff"])
def test_an_unusable_xdg_variable_is_ignored(value):
    places = find_places(is_root=False, environment={"HOME": "/home/ada", "XDG_STATE_HOME": value})

    assert places.state == Path("/home/ada/.local/state/auditline")


def test_the_unit_s_directories_are_used_by_any_user():
    environment = {
        "STATE_DIRECTORY": "/srv/state/auditline",
        "RUNTIME_DIRECTORY": "/run/x/auditline:/run/y",
        "LOGS_DIRECTORY": "/srv/log/auditline",
    }

    places = find_places(is_root=False, environment=environment)

    assert places == Places(
        state=Path("/srv/state/auditline"), run=Path("/run/x/auditline"), log=Path("/srv/log/auditline")
    )


def test_the_directories_of_another_unit_are_left_alone():
    places = find_places(is_root=True, environment={"RUNTIME_DIRECTORY": "/run/fluent-bit"})

    assert places.run == Path("/run/auditline")


names = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
paths = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=15).map(
    lambda s: Path(f"/{s}")
)
seconds = st.floats(0.1, 86400)
sizes = st.integers(4096, 2**62)
stdout_outputs = st.builds(StdoutSettings, name=names, enabled=st.booleans(), stall_seconds=seconds)
segments_outputs = st.builds(
    SegmentsSettings,
    name=names,
    directory=paths,
    segment_bytes=sizes,
    keep_bytes=sizes,
    total_bytes=st.just(2**62),
    cursors=st.lists(paths, max_size=3).map(tuple),
    sync=st.sampled_from(["never", "interval", "batch"]),
).map(lambda output: replace(output, directory=output.directory / output.name))
defaults_first = (StdoutSettings(name="stdout"), SegmentsSettings(name="segments"))
audits = st.builds(
    AuditSettings,
    enabled=st.booleans(),
    socket=st.sampled_from(["auto", "unicast", "multicast", "stdin"]),
    rules_files=st.lists(texts.map(lambda s: f"@{s}") | paths.map(str), max_size=3).map(tuple),
    rules=st.lists(texts, max_size=3).map(tuple),
    resolve_ids=st.booleans(),
    journal_max_bytes=st.integers(2**20, 2**62),
    backlog_limit=st.integers(0, 2**32 - 1),
    backlog_wait_seconds=st.none() | st.floats(0, 600),
    failure_mode=st.none() | st.sampled_from(["silent", "log", "panic"]),
    rate_limit=st.none() | st.integers(0, 2**32 - 1),
    immutable=st.booleans(),
    ignore_rule_errors=st.booleans(),
    repair_rules=st.booleans(),
)
patterns = st.lists(st.sampled_from(["^/etc/.*~$", "glob:/srv/**/*.tmp", "\\.swp$", 'glob:/"quoted"']), max_size=2).map(
    tuple
)
watches = st.builds(WatchSettings, path=paths, recursive=st.booleans(), include=patterns, exclude=patterns)
delays = st.floats(0, 3600)
fims = st.builds(
    FimSettings,
    watch=st.lists(watches, max_size=3, unique_by=lambda watch: watch.path).map(tuple),
    hashes=st.lists(st.sampled_from(["md5", "sha1", "sha256", "blake2b_512"]), unique=True).map(tuple),
    max_file_bytes=st.integers(0, 2**62),
    debounce_seconds=delays,
    max_delay_seconds=st.just(3600),
    initial_events=st.booleans(),
    poll_seconds=seconds,
)
settings_in_general = st.builds(
    Settings,
    state=st.builds(StateSettings, directory=paths.map(lambda path: path / "state")),
    run=st.builds(RunSettings, directory=paths.map(lambda path: path / "run"), user=st.sampled_from(["", "root"])),
    audit=audits,
    fim=fims,
    hasher=st.builds(HasherSettings, processes=st.integers(1, 256)),
    outputs=st.lists(stdout_outputs | segments_outputs, max_size=3, unique_by=lambda output: output.name)
    .filter(lambda outputs: not {"stdout", "segments"} & {output.name for output in outputs})
    .map(lambda outputs: (*defaults_first, *outputs)),
    health=st.builds(HealthSettings, period_seconds=seconds),
)


@given(settings=settings_in_general)
def test_what_is_shown_loads_again_to_the_same(folder, settings):
    file = write_into(folder, show_settings(settings))

    loaded = load(file)

    assert loaded == settings


values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    ["directory", "user", "enabled", "rules", "type", "schema", "sync", "cursors", "stdout", "watch", "hashes"]
)
sections = st.sampled_from(["state", "run", "audit", "fim", "hasher", "outputs", "health"])
tables = st.dictionaries(sections, st.dictionaries(keys, values))
watch_tables = st.dictionaries(st.sampled_from(["path", "recursive", "include", "exclude", "pth"]), values)


@given(tables=tables)
def test_any_value_anywhere_is_used_or_told(folder, tables):
    file = write_into(folder, "\n".join(f"{key} = {to_toml(value)}" for key, value in tables.items()))

    try:
        outcome = load(file)
    except SettingsError as error:
        outcome = error

    assert isinstance(outcome, Settings) or all(line.startswith(f"{file}: ") for line in outcome.problems)


@given(tables=st.lists(watch_tables | values, max_size=3))
def test_any_watch_is_used_or_told(folder, tables):
    file = write_into(folder, f"fim.watch = {to_toml(tables)}\n")

    try:
        outcome = load(file)
    except SettingsError as error:
        outcome = error

    assert isinstance(outcome, Settings) or all(line.startswith(f"{file}: fim.watch") for line in outcome.problems)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_told(folder, data):
    file = write_into(folder, data)

    try:
        outcome = load(file)
    except SettingsError as error:
        outcome = error

    assert isinstance(outcome, Settings) or outcome.problems
