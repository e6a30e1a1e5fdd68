"""`auditline setup elasticsearch`: brings the templates to a server, and nothing that is there already."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from auditline.plugins.outputs.elasticsearch import KINDS, data_stream
from auditline.workers.common.errors import AuditlineError, Exit, StorageError
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.common.text import make_safe, tell
from auditline.workers.elasticsearch.client import RequestFailed, Server
from auditline.workers.elasticsearch.server_features import ask_features
from auditline.workers.elasticsearch.template_fields import Features
from auditline.workers.elasticsearch.templates import ALIAS, META, Template, templates_for

LONGEST_WAIT_SECONDS = 30.0
"""For one answer: somebody waits for the command."""
PRIVILEGES = "the cluster privilege manage_index_templates"
ALIAS_PRIVILEGES = f"the index privilege manage on the data streams and on {ALIAS}"


class SetupFailed(AuditlineError):
    """A server refused what was to be put there, or something of somebody else is in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupOptions:
    """What the command was told."""

    is_dry_run: bool = False
    """Print the requests instead of sending them."""
    export: Path | None = None
    """Write the bodies to files of this directory, and send nothing."""
    has_alias: bool = False

    @property
    def sends(self) -> bool:
        """Whether anything may be changed on a server."""
        return not self.is_dry_run and self.export is None


def setup_command(outputs: Sequence[ElasticsearchSettings], options: SetupOptions, out: TextIO) -> Exit:
    """Let the servers of *outputs* have the templates that they need, and say what was done.

    Raises:
        SetupFailed: a server refused, or could not be asked.
        StorageError: a file cannot be written.
    """
    for output in outputs:
        waits = min(output.request_timeout_seconds, LONGEST_WAIT_SECONDS)
        server = Server(replace(output, request_timeout_seconds=waits))
        try:
            _set_up(server, output, options, out)
        except RequestFailed as error:
            hint = f"; setup needs {PRIVILEGES}" if error.status == 403 else ""
            raise SetupFailed(f"outputs.{output.name}: {error.reason}{hint}") from error
        finally:
            server.close()
    return Exit.OK


def _set_up(server: Server, output: ElasticsearchSettings, options: SetupOptions, out: TextIO) -> None:
    reached: Server | None = server
    try:
        if not output.hosts:
            raise RequestFailed(0, "no server is configured", was_answered=False, was_sent=False)
        features = ask_features(server)
    except RequestFailed as error:
        if options.sends:
            raise
        tell(f"outputs.{output.name}: {error.reason}: this is what a current Elasticsearch without templates is sent")
        reached, features = None, Features()
    wanted = templates_for(output, features, has_alias=options.has_alias)
    if options.export is not None:
        for template in wanted:
            _export(template, options.export, out)
    if options.is_dry_run:
        _print_requests(_requests(reached, output, wanted, options), out)
    elif options.sends:
        _send(server, output, wanted, options, out)
        if not (features.lifecycle or features.ilm):
            tell(f"outputs.{output.name}: this server rolls nothing over by itself: data streams grow until you do")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    body: dict[str, Any]
    title: str
    """What it is about, in words."""
    outcome: str
    """`created`, `changed`, or `unchanged`: then it is not sent."""


def _requests(
    server: Server | None, output: ElasticsearchSettings, wanted: Sequence[Template], options: SetupOptions
) -> Iterator[_Request]:
    """Yield what has to be sent, and what has not; each is asked for only after the one before it was taken."""
    for template in wanted:
        found = None if server is None else _find(server, template)
        if found is not None and not _is_ours(found, template):
            raise SetupFailed(
                f"outputs.{output.name}: the {template.kind} {template.name} is not from auditline: rename or delete it"
            )
        body = template.body if found is None else _keep_aliases(template.body, found)
        outcome = "created" if found is None else "unchanged" if _is_as_wanted(body, found) else "changed"
        yield _Request("PUT", template.path, body, f"{template.kind} {template.name}", outcome)
    if server is not None and options.has_alias:
        for kind in KINDS:
            yield from _alias_request(server, data_stream(output, kind))


def _send(
    server: Server, output: ElasticsearchSettings, wanted: Sequence[Template], options: SetupOptions, out: TextIO
) -> None:
    outcomes = set()
    for request in _requests(server, output, wanted, options):
        if request.outcome != "unchanged":
            server.ask(request.method, request.path, request.body)
        outcomes.add(request.outcome)
        out.write(f"{make_safe(request.title)}: {request.outcome}\n")
    if "changed" in outcomes:
        streams = data_stream(output, "*")
        out.write(f"data streams that are there take this up with their next rollover: POST /{streams}/_rollover\n")
    if outcomes == {"unchanged"}:
        out.write(f"outputs.{output.name}: nothing to do\n")


def _print_requests(requests: Iterator[_Request], out: TextIO) -> None:
    """Print what would be sent in the form that Kibana's console takes."""
    for request in requests:
        if request.outcome == "unchanged":
            tell(f"{request.title}: unchanged")
        else:
            out.write(f"{request.method} {request.path}\n{json.dumps(request.body, indent=2)}\n\n")


def _export(template: Template, directory: Path, out: TextIO) -> None:
    path = directory / template.file_name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(template.body, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    out.write(f"{make_safe(str(path))}: written\n")


def _find(server: Server, template: Template) -> Mapping[str, Any] | None:
    """Return what the server has under that name."""
    try:
        answer = server.ask("GET", template.path)
    except RequestFailed as error:
        if error.status == 404:
            return None
        raise
    if template.kind == "policy":
        found = answer[template.name]
    else:
        key = template.kind.replace(" ", "_")
        [entry] = answer[f"{key}s"]
        found = entry[key]
    return found if isinstance(found, Mapping) else {}


def _is_ours(found: Mapping[str, Any], template: Template) -> bool:
    holder = found.get("policy", {}) if template.kind == "policy" else found
    return bool((holder.get("_meta") or {}).get("managed_by") == META["managed_by"])


def _keep_aliases(body: dict[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return *body* with the aliases that are there already: without the option they stay."""
    aliases = (found.get("template") or {}).get("aliases")
    if not aliases:
        return body
    template = body.get("template", {})
    return {**body, "template": {**template, "aliases": {**aliases, **template.get("aliases", {})}}}


def _is_as_wanted(body: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Say whether *found* has all of *body*, and nothing else of settings and mappings; servers add to the rest."""
    wanted, has = body.get("template", {}), found.get("template") or {}
    return _has(found, body) and all(wanted.get(part) == has.get(part) for part in ("settings", "mappings"))


def _has(found: object, wanted: object) -> bool:
    if not isinstance(wanted, Mapping):
        return found == wanted
    return isinstance(found, Mapping) and all(key in found and _has(found[key], wanted[key]) for key in wanted)


def _alias_request(server: Server, stream: str) -> Iterator[_Request]:
    """Yield what a data stream that is there already needs; one that is made later has the alias by its template."""
    try:
        answer = server.ask("GET", f"/{stream}/_alias")
    except RequestFailed as error:
        if error.status == 404:
            return
        if error.status != 403:
            raise
        tell(f"if {stream} is there already, it cannot be given the alias {ALIAS}: that needs {ALIAS_PRIVILEGES}")
        return
    is_there = ALIAS in answer.get(stream, {}).get("aliases", {})
    body = {"actions": [{"add": {"index": stream, "alias": ALIAS}}]}
    yield _Request("POST", "/_aliases", body, f"alias {ALIAS} of {stream}", "unchanged" if is_there else "created")
