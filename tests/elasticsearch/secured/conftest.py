"""A second server, with TLS, users and roles, and what stands between it and us in a network: a front and a proxy."""

import base64
import hashlib
import http.client
import json
import secrets
import select
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "a-password-of-the-tests"
API_KEY = "dGhlLWtleTpvZi10aGUtdGVzdHM="
TOKEN_NAME, TOKEN_SECRET = "elastic/fleet-server/tests", "a-secret-of-the-tests"
ROUNDS = 1000
SETTINGS = """
xpack.security.http.ssl.enabled: true
xpack.security.http.ssl.key: server.key
xpack.security.http.ssl.certificate: chain.pem
"""
ROLES = """
setup:
  cluster: [manage_index_templates]
setup_alias:
  cluster: [manage_index_templates]
  indices: [{names: ["logs-auditline.*", "auditbeat-auditline"], privileges: [manage]}]
sender:
  indices: [{names: ["logs-auditline.*"], privileges: [create_doc, auto_configure, read, maintenance]}]
creator:
  indices: [{names: ["logs-auditline.*"], privileges: [create_doc, auto_configure]}]
reader:
  indices: [{names: ["auditbeat-*"], privileges: [read]}]
"""
USERS = ("setup", "setup_alias", "sender", "creator", "reader")


class Certificates:
    """An authority, and certificates that it, or another one, has signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = self._make_authority("ca")
        self.other_authority = self._make_authority("other")
        self.server = self.sign("server", "DNS:localhost")
        self.chain = folder / "chain.pem"
        self.chain.write_text(self.server.read_text() + self.authority.read_text())
        self.client = self.sign("client", "DNS:client")

    def sign(self, name: str, alternative_name: str, days: int = 3) -> Path:
        """Return a new certificate; its key is beside it, as NAME.key."""
        path = self.folder / f"{name}.pem"
        request = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"]
        self._openssl(*request, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.folder / "extensions").write_text(f"subjectAltName={alternative_name}\n")
        signed = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        self._openssl(*signed, "-days", str(days), "-extfile", "extensions", "-out", path.name)
        return path

    def fingerprint(self, path: Path) -> str:
        """Return the SHA-256 of a certificate."""
        printed = self._openssl("x509", "-in", str(path), "-noout", "-fingerprint", "-sha256")
        return printed.strip().partition("=")[2]

    def key(self, path: Path) -> Path:
        """Return the key of a certificate."""
        return path.with_suffix(".key")

    def _make_authority(self, name: str) -> Path:
        command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3"]
        self._openssl(*command, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        return self.folder / f"{name}.pem"

    def _openssl(self, *arguments: str) -> str:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout


class Front(ThreadingHTTPServer):
    """A real server's front: has certificates of its own, knows an API key, and passes on what has it."""

    daemon_threads = True

    def __init__(self, node: Any, certificates: Certificates, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _FrontHandler)
        self.node = node
        self.upstream_tls = ssl.create_default_context(cafile=str(certificates.authority))
        self.cuts_next_bulk = False
        """Pass it on, and hang up instead of giving the answer."""
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"{'http' if tls is None else 'https'}://localhost:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that do not like a certificate hang up."""


class _FrontHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("authorization") != f"ApiKey {API_KEY}":
            self._answer(401, b'{"error":{"type":"security_exception","reason":"unable to authenticate"}}')
            return
        upstream = http.client.HTTPSConnection("localhost", self.server.node.port, context=self.server.upstream_tls)
        headers = {name: self.headers[name] for name in ("accept", "content-type")}
        headers["authorization"] = basic("sender")
        upstream.request(self.command, self.path, body or None, headers)
        response = upstream.getresponse()
        answer = response.read()
        upstream.close()
        if self.server.cuts_next_bulk and self.path.startswith("/_bulk"):
            self.server.cuts_next_bulk = False
            self.close_connection = True
            return
        self._answer(response.status, answer)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Proxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy: tunnels, and requests without a body for whole URLs."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.asked: list[str] = []
        """The first line of each connection."""


class _ProxyHandler(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        line = self.rfile.readline().decode()
        method, target, version = line.split()
        self.server.asked.append(f"{method} {target}")
        place, _, path = target.rpartition("://")[2].partition("/")
        host, _, port = place.partition(":")
        head = [f"{method} /{path} {version}\r\n"]
        while head[-1].strip():
            head.append(self.rfile.readline().decode())
        with socket.create_connection((host, int(port))) as upstream:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall("".join(head).encode())
            self._pump(upstream)

    def _pump(self, upstream: socket.socket) -> None:
        """Pass on what either side says."""
        others = {self.connection: upstream, upstream: self.connection}
        while True:
            for end in select.select(list(others), [], [])[0]:
                data = end.recv(65536)
                if not data:
                    return
                others[end].sendall(data)


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()


def hash_secret(secret: str) -> str:
    """Return what Elasticsearch keeps of a secret. Source: its class Hasher."""
    salt = hashlib.sha256(secret.encode()).digest()
    digest = hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, ROUNDS, 32)
    return f"{{PBKDF2}}{ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


@pytest.fixture(scope="session")
def password() -> str:
    return PASSWORD


@pytest.fixture(scope="session")
def api_key() -> str:
    return API_KEY


@pytest.fixture(scope="session")
def service_token() -> str:
    """A token that the server knows. Source: Elasticsearch's class ServiceAccountToken."""
    return base64.b64encode(b"\x00\x01\x00\x01" + f"{TOKEN_NAME}:{TOKEN_SECRET}".encode()).decode()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def secured(make_node: Callable[..., Any], server_folder: Path, certificates: Certificates) -> Iterator[Any]:
    """A server with security; every user has the same password, and the role that is called like him."""
    folder = server_folder / "secured"
    folder.mkdir()
    tls = ssl.create_default_context(cafile=str(certificates.authority))
    node = make_node(folder, SETTINGS, tls, basic("admin"))
    config = folder / "config"
    for path in (certificates.chain, certificates.key(certificates.server)):
        (config / path.name).write_bytes(path.read_bytes())
    hashed = hash_secret(PASSWORD)
    (config / "users").write_text("".join(f"{user}:{hashed}\n" for user in ("admin", *USERS)))
    (config / "users_roles").write_text("superuser:admin\n" + "".join(f"{user}:{user}\n" for user in USERS))
    (config / "roles.yml").write_text(ROLES)
    (config / "service_tokens").write_text(f"{TOKEN_NAME}:{hash_secret(TOKEN_SECRET)}\n")
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def as_user(secured: Any) -> Callable[[str], Any]:
    """Return the server as a user sees it."""

    def as_user(name: str) -> Any:
        seen = copy(secured)
        seen._headers = {"content-type": "application/json", "authorization": basic(name)}
        return seen

    return as_user


@pytest.fixture
def set_up(secured: Any, certificates: Certificates, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Run `auditline setup elasticsearch` for one output; return its exit code and what it says."""

    def run(schema: str, namespace: str, *options: str, user: str = "setup", **more: str) -> tuple[int, str, str]:
        (tmp_path / "setup-password").write_text(PASSWORD)
        keys = {
            "hosts": [secured.url], "schema": schema, "namespace": namespace, "ca_file": str(certificates.authority),
            "username": user, "password_file": str(tmp_path / "setup-password"), **more,
        }  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        configuration = tmp_path / "setup.toml"
        configuration.write_text("\n".join(["[outputs.elasticsearch]", *lines, ""]))
        command = [sys.executable, "-m", "auditline.workers.supervisor", "setup", "elasticsearch"]
        command += ["--config", str(configuration), *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def namespace() -> str:
    """One that no other test uses."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
def index(secured: Any) -> Callable[..., list[Any]]:
    """Create documents in a data stream, and return those that were refused."""

    def index(stream: str, documents: list[Any]) -> list[Any]:
        actions = [{"create": {"_index": stream, "_id": document["event"]["id"]}} for document in documents]
        lines = [json.dumps(line) for pair in zip(actions, documents, strict=True) for line in pair]
        answer = secured.ask("PUT", "/_bulk", "\n".join([*lines, ""]))
        secured.ask("POST", f"/{stream}/_refresh")
        return [item["create"] for item in answer["items"] if item["create"]["status"] not in (201, 409)]

    return index


@pytest.fixture
def own_namespace(make_sending: Callable[..., Any], secured: Any, tmp_path: Path, password: str) -> Iterator[Any]:
    """A sender to the secured server, and what it sends, to a namespace that no other test uses."""
    made = make_sending(secured, tmp_path)
    made.settings |= {"retry_max_seconds": 0.2}
    yield made
    made.end()


@pytest.fixture
def open_front(secured: Any, certificates: Certificates) -> Iterator[Callable[..., Front]]:
    """Open a front with a certificate, or without TLS; *wants* is whose certificates clients must show."""
    opened: list[Front] = []

    def open_(certificate: Path | None, wants: Path | None = None) -> Front:
        tls = None
        if certificate is not None:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=wants and str(wants))
            tls.load_cert_chain(certificate, certificates.key(certificate))
            tls.verify_mode = ssl.CERT_REQUIRED if wants else ssl.CERT_NONE
        opened.append(Front(secured, certificates, tls))
        threading.Thread(target=opened[-1].serve_forever, args=(0.01,), daemon=True).start()
        return opened[-1]

    yield open_
    for front in opened:
        front.shutdown()
        front.server_close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with serve(Proxy()) as made:
        yield made


@contextmanager
def serve(server: Proxy) -> Iterator[Proxy]:
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def secret_file(tmp_path: Path) -> Callable[[str], str]:
    """Return the name of a file with a secret in it."""

    def write(secret: str) -> str:
        path = tmp_path / "secret"
        path.write_text(f"{secret}\n")
        path.chmod(0o600)
        return str(path)

    return write
