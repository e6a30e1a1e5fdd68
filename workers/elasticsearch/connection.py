"""How the official client connects: TLS as it is configured and no other, and through a proxy.

The client's own node trusts the system's authorities beside the configured one, forgets a client certificate where
there is a fingerprint, and knows no proxy. Source: elastic_transport 8.19, _node/_http_urllib3.py and _base.py.
"""

import ssl
from typing import Any

import urllib3
from elastic_transport import NodeConfig, Urllib3HttpNode

from auditline.workers.common.settings import ElasticsearchSettings


def node_class(settings: ElasticsearchSettings) -> type[Urllib3HttpNode]:
    """Return what the client is to make its connections of.

    Raises:
        OSError: a file with a certificate or a key cannot be used.
    """
    context = _tls_context(settings)

    class Node(Urllib3HttpNode):
        def __init__(self, config: NodeConfig) -> None:
            super().__init__(config)
            options: dict[str, Any] = {"timeout": config.request_timeout, "maxsize": config.connections_per_node}
            options["block"] = True
            if config.scheme == "https":
                options |= _pool_options(settings, context)
            pool_class = type(self.pool)
            if not settings.proxy:
                self.pool = pool_class(config.host, port=config.port, **options)
                return
            manager = urllib3.ProxyManager(settings.proxy, **options)
            # The client's own class looks for the fingerprint in the whole chain.
            manager.pool_classes_by_scheme = {"http": urllib3.HTTPConnectionPool, config.scheme: pool_class}
            self.pool = _ProxiedPool(manager, self.base_url.removesuffix(self.path_prefix))  # type: ignore[assignment]

    return Node


class _ProxiedPool:
    """Stands where the client has connections to one server, which a proxy is told with each request."""

    def __init__(self, manager: urllib3.ProxyManager, base_url: str) -> None:
        self._manager = manager
        self._base_url = base_url

    def urlopen(self, method: str, target: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Send a request, as `urllib3.HTTPConnectionPool` does."""
        return self._manager.urlopen(method, f"{self._base_url}{target}", redirect=False, **options)

    def close(self) -> None:
        """Close the connections."""
        self._manager.clear()


def _tls_context(settings: ElasticsearchSettings) -> ssl.SSLContext:
    # With a file the system's authorities are left out.
    context = ssl.create_default_context(cafile=settings.ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_fingerprint or not settings.verify_host_name:
        context.check_hostname = False
    if settings.ca_fingerprint:
        # Compared once the connection stands, before anything is sent.
        context.verify_mode = ssl.CERT_NONE
    if settings.client_certificate:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(settings.client_certificate, settings.client_key or None, password="")
    return context


def _pool_options(settings: ElasticsearchSettings, context: ssl.SSLContext) -> dict[str, Any]:
    options: dict[str, Any] = {"ssl_context": context}
    if settings.ca_fingerprint:
        options |= {"assert_fingerprint": settings.ca_fingerprint, "cert_reqs": "CERT_NONE"}
    if not context.check_hostname:
        options["assert_hostname"] = False
    return options
