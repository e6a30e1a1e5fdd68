"""The server: the official client, told to do nothing by itself, and the few requests that delivery needs.

Retries are ours, because the client's know nothing of a cursor. Source of what the client does with its options:
elastic_transport 8.19.
"""

import gzip
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elastic_transport import ApiResponse, NdjsonSerializer
from elasticsearch import ApiError, Elasticsearch, TransportError
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from auditline.workers.common.errors import AuditlineError
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.answers import reason_of
from auditline.workers.elasticsearch.connection import node_class

MOST_IDS_PER_SEARCH = 5_000
_BULK_FILTER = "errors,items.*.status,items.*.error"
_FOUND_FILTER = "hits.hits._id,timed_out,_shards.failed"


class RequestFailed(AuditlineError):
    """A whole request was refused, or not answered at all."""

    def __init__(self, status: int, reason: str, *, was_answered: bool, was_sent: bool = True) -> None:
        super().__init__(reason)
        self.status = status
        """The HTTP status; 0: there was no answer."""
        self.reason = reason
        self.was_answered = was_answered
        """False: nobody knows what the server did,"""
        self.was_sent = was_sent
        """unless this is False, too: what it takes to ask is not there, and may be put there while we run."""


class Server:
    """One connection to a cluster; opened anew when the secrets have changed."""

    def __init__(self, settings: ElasticsearchSettings, environment: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environment = environment
        self._secrets: dict[str, str] = {}
        self._client: Elasticsearch | None = None

    def bulk(self, body: bytes) -> Mapping[str, Any]:
        """Create documents, and return the answer.

        Raises:
            RequestFailed: the whole request was refused, or not answered.
        """
        params = f"filter_path={_BULK_FILTER}&require_data_stream=true"
        return self._ask("PUT", f"/_bulk?{params}", body, "application/x-ndjson")

    def find(self, stream: str, query: Mapping[str, Any]) -> set[bytes]:
        """Return the ids of the documents that a search for at most `MOST_IDS_PER_SEARCH` finds in a data stream.

        Raises:
            RequestFailed: that cannot be found out; 403: we may not search, 404: there is no such stream.
        """
        answer = self._ask_json("POST", f"/{stream}/_search?filter_path={_FOUND_FILTER}", query)
        if answer.get("timed_out") or (answer.get("_shards") or {}).get("failed"):
            raise RequestFailed(503, "a search was answered in part only", was_answered=True)
        return {hit["_id"].encode() for hit in (answer.get("hits") or {}).get("hits", ())}

    def refresh(self, stream: str) -> None:
        """Let what was created in a data stream be found by searches.

        Raises:
            RequestFailed: it cannot be; 403: we may not, 404: there is no such stream.
        """
        self._ask_json("POST", f"/{stream}/_refresh?filter_path=_shards.failed", None)

    def ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Return what the server answers to a request with a JSON body.

        Raises:
            RequestFailed: it was refused, or not answered.
        """
        return self._ask_json(method, path, document)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask_json(self, method: str, path: str, document: Mapping[str, Any] | None) -> Mapping[str, Any]:
        body = None if document is None else json.dumps(document).encode()
        return self._ask(method, path, body, "application/json")

    def _ask(self, method: str, path: str, body: bytes | None, content_type: str) -> Mapping[str, Any]:
        headers = {"accept": "application/json", "content-type": content_type}
        if body is not None and self._settings.compression_level:
            body = gzip.compress(body, self._settings.compression_level)
            headers["content-encoding"] = "gzip"
        try:
            response = self._send(method, path, headers, body)
        except ApiError as error:
            info = error.body if isinstance(error.body, Mapping) else {}
            # The client makes "None" of a body that is not there.
            said = reason_of(info.get("error")) or str(error.message).removeprefix("None")
            reason = said or f"HTTP status {error.meta.status}"
            raise RequestFailed(error.meta.status, reason, was_answered=True) from error
        except TransportError as error:
            # Of a TLS error the text alone says nothing.
            reason = f"{type(error).__name__}: {error.message}"
            raise RequestFailed(0, reason, was_answered=False, was_sent=not _is_unsent(error)) from error
        answer = response.body
        return answer if isinstance(answer, Mapping) else {}

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> ApiResponse[Any]:
        """Send a request to one of the hosts: where there is nobody, it is certain that it can be sent to the next."""
        client = self._connect()
        for _ in self._settings.hosts[1:]:
            try:
                return client.perform_request(method, path, headers=headers, body=body)
            except TransportError as error:
                if not _is_unsent(error):
                    raise
        return client.perform_request(method, path, headers=headers, body=body)

    def _connect(self) -> Elasticsearch:
        """Return the client, a new one if what it proves itself with is not what it was."""
        secrets = read_secrets(self._settings, self._environment)
        if self._client is None or secrets != self._secrets:
            self.close()
            self._client = _open_client(self._settings, secrets)
            self._secrets = secrets
        return self._client


def read_secrets(settings: ElasticsearchSettings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return API key, password and bearer token, those that are configured, from their files or the environment.

    Raises:
        RequestFailed: one of them is not there.
    """
    secrets = {}
    for name in ("api_key", "password", "bearer"):
        file, variable = getattr(settings, f"{name}_file"), getattr(settings, f"{name}_env")
        try:
            if file:
                secrets[name] = Path(file).read_text(encoding="utf-8").strip()
            elif variable:
                secrets[name] = environment[variable].strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise _not_sent(f"{name}_file {file} cannot be read: {reason}") from error
        except KeyError as error:
            raise _not_sent(f"{name}_env: {variable} is not set") from error
    return secrets


def _is_unsent(error: TransportError) -> bool:
    """Say whether no connection was made, so that nothing can have been done."""
    # The client gives its own errors the one that they come from, but not among its `errors` if it does not retry.
    return isinstance(error.__cause__, NewConnectionError | ConnectTimeoutError)


def _not_sent(reason: str) -> RequestFailed:
    return RequestFailed(0, reason, was_answered=False, was_sent=False)


class _AsItIs(NdjsonSerializer):
    """Sends a body that is bytes already without the two copies that the client makes of one."""

    def dumps(self, data: Any) -> bytes:
        body: bytes = data
        return body


def _open_client(settings: ElasticsearchSettings, secrets: Mapping[str, str]) -> Elasticsearch:
    # The transport warns of each refused certificate by itself, in its own words.
    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {"max_retries": 0, "request_timeout": settings.request_timeout_seconds}
    if "api_key" in secrets:
        options["api_key"] = secrets["api_key"]
    elif "bearer" in secrets:
        options["bearer_auth"] = secrets["bearer"]
    elif settings.username:
        options["basic_auth"] = (settings.username, secrets.get("password", ""))
    try:
        options["node_class"] = node_class(settings)
        options["serializers"] = {NdjsonSerializer.mimetype: _AsItIs()}
        return Elasticsearch(list(dict.fromkeys(map(_with_port, settings.hosts))), **options)
    except (OSError, ValueError) as error:
        # A file with a certificate is not there, or holds none.
        named = (settings.ca_file, settings.client_certificate, settings.client_key)
        files = ", ".join(filter(None, named)) or "hosts"
        raise _not_sent(f"no connection can be made with {files}: {error}") from error


def _with_port(host: str) -> str:
    """Return the URL with its port, which the client wants to be told."""
    scheme, _, rest = host.partition("://")
    name, slash, path = rest.partition("/")
    has_port = name.rpartition(":")[2].isdigit() and not name.endswith("]")
    return host if has_port else f"{scheme}://{name}:{443 if scheme == 'https' else 80}{slash}{path}"
