"""docs/events.md has every key, reason and counter that the code has, and no other."""

import ast
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest

from auditline.plugins.outputs.api import OutputContext
from auditline.plugins.outputs.registry import open_output
from auditline.workers.audit.worker import READER_COUNTERS
from auditline.workers.common.counters import PAGE_SUFFIX, CounterPage
from auditline.workers.common.lifecycle import DIAGNOSTICS_DROPPED
from auditline.workers.common.recorded_count import RECORDED
from auditline.workers.common.settings import SegmentsSettings, StdoutSettings
from auditline.workers.control.worker import COUNTERS as CONTROL_COUNTERS
from auditline.workers.elasticsearch.worker import SENDER_COUNTERS
from auditline.workers.fim.worker import WATCHER_COUNTERS
from auditline.workers.hasher.worker import HASHER_COUNTERS
from auditline.workers.router.health import Reason
from auditline.workers.router.ledger import Ledger
from auditline.workers.supervisor.processes import WorkerState

OPEN_OBJECTS = (
    "audit.kernel.data.",
    "audit.kernel.actor.attrs.",
    "audit.kernel.actor.selinux.",
    "audit.kernel.thing.selinux.",
    "audit.kernel.paths[].",
    "audit.kernel.socket.",
    "auditline.decoded.arguments.",
    "auditline.decoded.fields.",
)
"""Their keys are the records' own."""
DESCRIBED_IN_WORDS = {
    "auditline.undecodable[].field", "auditline.undecodable[].base64",
    "auditline.suspicious[].field", "auditline.suspicious[].reasons",
}  # fmt: skip
NAME = "mine"


@pytest.fixture
def document(read_document: Callable[[str], Any]) -> Any:
    return read_document("docs/events.md")


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def keys_of(table: list[dict[str, str]], prefix: str) -> set[str]:
    return {f"{prefix}{codes(row['key'])[0]}" for row in table}


def documented_event_keys(document: Any) -> set[str]:
    return (
        keys_of(document.table("The events"), "")
        | keys_of(document.table("Kernel events"), "audit.kernel.")
        | keys_of(document.table("The object auditline"), "auditline.")
    )


def key_paths(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the path of every key below *value*; what is in a list counts as `[]`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            path = f"{prefix}.{key}" if prefix else key
            yield path
            yield from key_paths(inner, path)
    elif isinstance(value, list):
        for inner in value:
            yield from key_paths(inner, f"{prefix}[]")


@pytest.fixture
def events(document: Any, shell_environment: dict[str, str]) -> list[dict[str, Any]]:
    """What all records of the document give, and one that is not UTF-8."""
    logs = [example.text for example in document.examples if example.language == "log"]
    ran = subprocess.run(
        ["auditline", "replay", "--no-resolve", "--node", "web1"],
        input="".join(logs).encode() + b"\xff\n",
        env=shell_environment,
        capture_output=True,
        check=True,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_every_key_of_the_examples_is_documented(document: Any, events: list[dict[str, Any]]) -> None:
    documented = documented_event_keys(document) | DESCRIBED_IN_WORDS
    containers = {key.rpartition(".")[0] for key in documented} | {"event", "host", "audit"}

    found = {path for event in events for path in key_paths(event) if not path.startswith(OPEN_OBJECTS)}

    assert found - documented - containers == set()


def test_every_documented_key_is_in_an_example(document: Any, events: list[dict[str, Any]]) -> None:
    found = {path for event in events for path in key_paths(event)}

    of_others = {"audit.health", "audit.file", "audit.coverage", "audit.drift"}
    assert documented_event_keys(document) - found == of_others | {"auditline.inferred"}


def test_reasons_are_those_in_the_code(document: Any) -> None:
    documented = {codes(row["reason"])[0] for row in document.table("Incomplete events")}

    assert documented == set(find_reasons())


def find_reasons() -> Iterator[str]:
    """Yield each text that the router's code gives as a reason."""
    for path in router_modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parameters = {
            function.name: [argument.arg for argument in function.args.args if argument.arg != "self"]
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
        }
        for node in ast.walk(tree):
            yield from reasons_in(node, parameters)


def router_modules() -> list[Path]:
    """Return the modules that make kernel events; health and coverage events have reasons of their own."""
    modules = Path(str(files("auditline.workers.router"))).rglob("*.py")
    return sorted(path for path in modules if path.name not in ("health.py", "coverage_event.py", "drift_event.py"))


def reasons_in(node: ast.AST, parameters: dict[str, list[str]]) -> Iterator[str]:
    if isinstance(node, ast.Assign) and any(last_name(target).endswith("reasons") for target in node.targets):
        yield from texts_in(node.value)
    elif isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        values = [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "incomplete_reasons"]
        yield from (text for value in values for text in texts_in(value))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "append" and last_name(node.func.value).endswith("reasons"):
            yield from texts_in(node.args[0])
        named = zip(parameters.get(node.func.attr, []), node.args, strict=False)
        keywords = [(keyword.arg, keyword.value) for keyword in node.keywords]
        yield from (text for name, value in (*named, *keywords) if name == "reason" for text in texts_in(value))


def last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Subscript):
        return last_name(node.slice)
    if isinstance(node, ast.Constant):
        return str(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def texts_in(node: ast.AST) -> Iterator[str]:
    """Yield the texts that an expression is made of, what it looks up excepted."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Tuple | ast.List):
        for element in node.elts:
            yield from texts_in(element)


def test_reasons_of_health_events_are_those_in_the_code(document: Any) -> None:
    (row,) = [row for row in document.table("Health") if row["key"] == "`reason`"]

    assert set(codes(row["meaning"])) == set(get_args(Reason))


def test_states_of_processes_are_those_in_the_code(document: Any) -> None:
    (row,) = [row for row in document.table("Health") if row["key"] == "`processes[].state`"]

    assert set(codes(row["meaning"])) == {state.value for state in WorkerState}


def test_counters_are_those_that_the_code_declares(document: Any, tmp_path: Path) -> None:
    documented = {name for row in document.table("Counters") for name in codes(row["counter"])}

    assert documented == declared_counters(tmp_path)


def declared_counters(tmp_path: Path) -> set[str]:
    """Return the names that health events have when every process runs, with both kinds of outputs."""
    pages = tmp_path / "counters"
    pages.mkdir()
    counters_of = {
        "audit": READER_COUNTERS,
        "control": CONTROL_COUNTERS,
        "names": (),
        "fim-etc": (*WATCHER_COUNTERS, RECORDED),
        "hasher-1": HASHER_COUNTERS,
        "sender-es": SENDER_COUNTERS,
    }
    for process, names in counters_of.items():
        CounterPage.open(pages / f"{process}{PAGE_SUFFIX}", (DIAGNOSTICS_DROPPED, *names)).close()
    router = CounterPage.open(pages / f"router{PAGE_SUFFIX}", (DIAGNOSTICS_DROPPED,))
    ledger = Ledger(router, pages)
    with (tmp_path / "out").open("wb") as out:
        context = OutputContext(stdout_fd=out.fileno(), state_directory=tmp_path, counters=router)
        settings = (StdoutSettings(name=NAME), SegmentsSettings(name=NAME, directory=tmp_path / "segments"))
        for output in [open_output(each, context) for each in settings]:
            output.close(0)
    placeholders = {f"output_{NAME}_": "output_<name>_", "fim-etc_": "<watcher>_", "hasher-1_": "<hasher>_"}
    placeholders["sender-es_"] = "<sender>_"
    counters = set(ledger.counters())
    for name, placeholder in placeholders.items():
        counters = {counter.replace(name, placeholder) for counter in counters}
    return counters


def test_health_event_of_a_running_service_has_the_documented_keys(
    document: Any, tmp_path: Path, shell_environment: dict[str, str]
) -> None:
    configuration = tmp_path / "auditline.toml"
    directories = [f'[{name}]\ndirectory = "{tmp_path / name}"\n' for name in ("state", "run")]
    configuration.write_text("".join([*directories, "[audit]\nenabled = false\n", "[health]\nperiod_seconds = 0.1\n"]))
    configuration.chmod(0o600)
    command = ["auditline", "run", "--config", str(configuration)]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=shell_environment) as service:
        assert service.stdout is not None
        line = service.stdout.readline()
        service.terminate()
        assert service.wait(10) == 0

    health = json.loads(line)["audit"]["health"]
    found = {path.replace(".stdout", ".<name>") for path in key_paths(health) if not path.startswith("counters.")}
    of_watchers = {"processes[].backend", "processes[].backend_reason"}
    assert (found | of_watchers) - {"balance", "balance.outputs"} == keys_of(document.table("Health"), "")
