import gc
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from auditline.workers.common.errors import Exit
from auditline.workers.common.settings_loading import load_settings
from auditline.workers.supervisor.cli import main

HEAVY = {"zmq", "psutil", "multiprocessing", "multiprocessing_logging", "elasticsearch", "asyncio"}
RECORD = (
    "type=USER_LOGIN msg=audit(1700000000.123:7): pid=1 uid=0 auid=0 ses=1 msg='op=login acct=\"root\" res=success'\n"
)


def call(arguments, **options):
    command = [sys.executable, "-m", "auditline.workers.supervisor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **options)


def call_python(code, **options):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, **options
    )


@pytest.fixture
def broken_configuration(tmp_path):
    file = tmp_path / "auditline.toml"
    file.write_text("[audit]\nbacklog_limit = 'x'\nsokcet = 'auto'\n[helth]\n")
    file.chmod(0o644)
    return file


@pytest.fixture
def empty_configuration(tmp_path):
    file = tmp_path / "auditline.toml"
    file.touch(0o600)
    return file


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "audit.log"
    file.write_text(RECORD)
    return file


@pytest.fixture
def rules(tmp_path):
    file = tmp_path / "my.rules"
    file.write_text("-w /etc/hosts -p wa -k hosts\n")
    file.chmod(0o644)
    return file


def test_the_collector_is_on_again_after_a_run_that_could_not_start(broken_configuration):
    code = main(["run", "--config", str(broken_configuration)])

    assert (code, gc.isenabled()) == (Exit.USAGE, True)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["replay"],
        ["config"],
        ["config", "check"],
        ["config", "show"],
        ["rules"],
        ["rules", "check"],
        ["rules", "compile"],
        ["status"],
        ["test"],
        ["test", "output"],
        ["setup"],
        ["setup", "elasticsearch"],
        ["dead-letters"],
        ["dead-letters", "list"],
    ],
)
def test_help_teaches_on_stdout_with_an_example(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])

    assert ended.value.code == 0
    usage, _, rest = capsys.readouterr().out.partition("\n\n")
    assert usage.startswith(" ".join(["usage: auditline", *arguments]))
    assert rest[0].isupper(), "a sentence comes first"
    assert "\nexample:\n  " in rest


@pytest.mark.parametrize("arguments", [[], ["config"], ["rules", "compile"], ["replay", "--schema", "xml"], ["rn"]])
def test_wrong_usage_ends_with_its_own_code(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == Exit.USAGE
    assert "usage: auditline" in capsys.readouterr().err


def test_version_is_the_distribution_s(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])

    assert capsys.readouterr().out == f"auditline {version('auditline')}\n"


@pytest.mark.parametrize("arguments", [["run"], ["config", "check"], ["config", "show"]])
def test_all_mistakes_in_a_configuration_are_told_a_line_each(arguments, broken_configuration, capsys):
    code = main([*arguments, "--config", str(broken_configuration)])

    captured = capsys.readouterr()
    assert code == Exit.USAGE
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"auditline: {broken_configuration}: helth is unknown; did you mean health?",
        f"auditline: {broken_configuration}: audit.sokcet is unknown; did you mean socket?",
        f'auditline: {broken_configuration}: audit.backlog_limit must be a whole number, not "x"',
    ]


def test_a_message_cannot_reach_the_terminal_raw(tmp_path, capsys):
    main(["config", "check", "--config", str(tmp_path / "\x1b[31m\n\udcff")])

    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("/\\x1b[31m\\n\\udcff: there is no such file")


def test_config_check_says_that_all_is_well(tmp_path, capsys):
    file = tmp_path / "auditline.toml"
    file.touch(mode=0o644)

    code = main(["config", "check", "--config", str(file)])

    assert code == Exit.OK
    assert capsys.readouterr().out == f"{file}: ok\n"


def test_config_check_reads_the_rules_too(tmp_path, rules, capsys):
    rules.write_text("-w /etc/hosts -p x-ray\n")
    file = tmp_path / "auditline.toml"
    file.touch(mode=0o644)
    file.write_text('[audit]\nrules_files = ["my.rules", "absent.rules"]\n')

    code = main(["config", "check", "--config", str(file)])

    (line,) = capsys.readouterr().err.splitlines()
    assert code == Exit.USAGE
    assert line.startswith(f"auditline: {rules}:1: ")


def test_config_check_warns_of_a_watch_that_is_not_there(tmp_path, capsys):
    file = tmp_path / "auditline.toml"
    file.touch(mode=0o644)
    file.write_text(f'[[fim.watch]]\npath = "/etc"\n[[fim.watch]]\npath = "{tmp_path}/absent"\n')

    code = main(["config", "check", "--config", str(file)])

    warning, verdict = capsys.readouterr().out.splitlines()
    assert code == Exit.OK
    assert warning == f"warning: fim.watch: {tmp_path}/absent does not exist; it is watched when it appears"
    assert verdict == f"{file}: ok"


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ('rules = ["-w /etc/hosts"]', "rules"),
        ("immutable = true", "immutable"),
        ("repair_rules = true", "repair_rules"),
    ],
)
def test_config_check_warns_of_what_a_plugin_of_auditd_does_not_do(tmp_path, capsys, setting, name):
    file = tmp_path / "auditline.toml"
    file.touch(mode=0o644)
    file.write_text(f'[audit]\nsocket = "stdin"\n{setting}\n')

    code = main(["config", "check", "--config", str(file)])

    warning, _ = capsys.readouterr().out.splitlines()
    assert code == Exit.OK
    assert warning.startswith(f'warning: audit.{name} has no effect with audit.socket = "stdin"')


def test_config_check_warns_of_a_pattern_without_a_match(tmp_path, capsys):
    file = tmp_path / "auditline.toml"
    file.touch(mode=0o644)
    file.write_text('[audit]\nrules_files = ["absent/*.rules"]\n')

    code = main(["config", "check", "--config", str(file)])

    warning, verdict = capsys.readouterr().out.splitlines()
    assert code == Exit.OK
    assert f"{tmp_path}/absent/*.rules" in warning
    assert verdict == f"{file}: ok"


@pytest.mark.parametrize("arguments", [["check"], ["compile"], ["compile", "--format", "text"]])
def test_rules_are_read(arguments, rules, capsys):
    code = main(["rules", *arguments, str(rules)])

    assert code == Exit.OK
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_config_show_prints_a_configuration(tmp_path, capsysbinary):
    main(["config", "show", "--config", "/dev/null"])

    file = tmp_path / "shown.toml"
    file.touch(mode=0o644)
    file.write_bytes(capsysbinary.readouterr().out)
    shown = load_settings(file, is_root=True, environment={})
    assert shown == load_settings(Path("/dev/null"), is_root=os.geteuid() == 0, environment=os.environ)


def test_config_show_writes_utf8_whatever_the_locale(tmp_path):
    file = tmp_path / "auditline.toml"
    file.write_text('[audit]\nrules = ["-w /straße"]\n', encoding="utf-8")
    file.chmod(0o644)

    shown = call(["config", "show", "--config", file], env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})

    assert "-w /straße" in shown.stdout


@pytest.mark.parametrize("arguments", [["replay", "LOG"], ["config", "show"], ["rules", "check", "RULES"]])
def test_light_commands_import_nothing_heavy(arguments, log, rules):
    files = {"LOG": str(log), "RULES": str(rules)}
    arguments = [files.get(argument, argument) for argument in arguments]

    called = call_python(
        f"import sys; from auditline.workers.supervisor.cli import main; code = main({arguments!r});"
        f"print({HEAVY!r} & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )

    assert called.stderr == "set()\n"
    assert called.returncode == Exit.OK


def test_replay_reads_stdin_where_no_file_is_named():
    replayed = call(["replay"], input=RECORD)

    assert replayed.stdout.startswith('{"@timestamp":"2023-11-14T22:13:20.123Z","event":{"id":"')
    assert replayed.returncode == Exit.OK


def test_a_closed_pipe_ends_a_command_cleanly(log):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "auditline.workers.supervisor", "replay", log]

    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writer)

    assert (ended.returncode, ended.stderr) == (Exit.OK, b"")


def test_a_full_device_is_told_in_one_line(log):
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "auditline.workers.supervisor", "replay", log]

        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)

    (line,) = ended.stderr.splitlines()
    assert line.startswith(b"auditline: ")
    assert line.endswith(b"No space left on device")
    assert ended.returncode == Exit.FAILURE


@pytest.mark.parametrize(("to", "reason"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
@pytest.mark.parametrize("arguments", ["config show", "test output", "rules list @default"])
def test_what_cannot_be_printed_is_told_with_the_name_of_stdout(empty_configuration, arguments, to, reason):
    command = f"exec {sys.executable} -m auditline.workers.supervisor {arguments} --config {empty_configuration} {to}"

    ended = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=30, check=False)

    assert ended.returncode == Exit.FAILURE
    assert ended.stderr == f"auditline: stdout: {reason}\n"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["setup", "elasticsearch", "--export", ""], "--export"),
        (["config", "check", "--config", ""], "--config"),
        (["status", "--run-directory", ""], "--run-directory"),
        (["check-shipper", ""], "DIRECTORY"),
        (["read", "--cursor", "/c", ""], "DIRECTORY"),
    ],
)
def test_an_empty_name_is_not_taken_for_the_working_directory(arguments, name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == Exit.USAGE
    assert f"argument {name}: a name is wanted, not ''" in capsys.readouterr().err


def test_a_path_that_cannot_be_used_is_told_with_its_name_first(tmp_path, empty_configuration):
    directory = "y" * 300

    ended = call(["read", "--cursor", str(tmp_path / "c"), "--config", str(empty_configuration), directory])

    assert ended.returncode == Exit.FAILURE
    assert ended.stderr == f"auditline: {directory}: File name too long\n"


def test_a_mistake_in_the_configuration_does_not_keep_the_status_from_being_asked(
    tmp_path, broken_configuration, capsys
):
    with broken_configuration.open("a") as file:
        file.write(f'[run]\ndirectory = "{tmp_path}/run"\n')

    code = main(["status", "--config", str(broken_configuration)])

    lines = capsys.readouterr().err.splitlines()
    assert code == Exit.NOT_RUNNING
    assert f"auditline: {broken_configuration}: helth is unknown; did you mean health?" in lines
    assert lines[-2].startswith(f"auditline: asking the service whose run.directory is {tmp_path}/run; --run-directory")
    assert f"{tmp_path}/run" in lines[-1]


def test_the_service_to_be_asked_can_be_named_by_its_run_directory(tmp_path, broken_configuration, capsys):
    arguments = ["status", "--config", str(broken_configuration), "--run-directory", str(tmp_path / "other")]

    code = main(arguments)

    [line] = capsys.readouterr().err.splitlines()
    assert code == Exit.NOT_RUNNING
    assert f"{tmp_path}/other" in line


def test_a_closed_stdout_is_told_instead_of_losing_what_is_written(log):
    command = f"exec {sys.executable} -m auditline.workers.supervisor replay {log} >&-"

    ended = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, timeout=30, check=False)

    assert ended.returncode == Exit.FAILURE
    assert len(ended.stderr.splitlines()) == 1


def test_an_interrupt_ends_as_shells_expect_it():
    ended = call_python(
        "import sys; from auditline.workers.supervisor import cli; import auditline.workers.router.replay as replay\n"
        "def interrupt(*_, **__): raise KeyboardInterrupt\n"
        "replay.replay_command = interrupt; sys.exit(cli.main(['replay']))"
    )

    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


def test_run_refuses_to_start_with_a_wrong_rule_and_says_which(tmp_path):
    config = tmp_path / "auditline.toml"
    config.write_text('[audit]\nrules_files = []\nrules = ["-a always,exit -S nonsense -k x"]\n')
    config.chmod(0o600)

    result = call(["run", "--config", config])

    assert result.returncode == Exit.USAGE
    assert "nonsense" in result.stderr


def test_config_check_prints_no_control_character_of_a_path(tmp_path):
    config = tmp_path / "esc\x1b[31m.toml"
    config.write_text("")
    config.chmod(0o600)

    result = call(["config", "check", "--config", config])

    assert result.returncode == Exit.OK
    assert "\x1b" not in result.stdout
