"""TLS as a client of brokers and hubs: the context for some files, as they are now."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from tiercut.bus.open_socket import WholeSocket
from tiercut.bus.server_name import NamedServer, ServerContext
from tiercut.bus.settings import MqttSettings
from tiercut.bus.tls_files import current
from tiercut.errors import SettingsError


class NewestTls:
    """What paho takes for its context: each connection is made with the TLS files as they are then.

    Raises:
        SettingsError: at first, when a file is not right; later the last good one serves on.
    """

    check_hostname = True

    def __init__(self, settings: MqttSettings) -> None:
        self._files = settings.ca_file, settings.cert_file, settings.key_file
        self._server = settings.server
        tls_context(*self._files, server=self._server)

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:
        """As `ssl.SSLContext.wrap_socket`."""
        return tls_context(*self._files, server=self._server).wrap_socket(sock, **options)


def tls_context(
    ca_file: str | None, cert_file: str | None, key_file: str | None, *, server: str | None = None
) -> ssl.SSLContext:
    """The context for these files as they are now; the same one until a file changes.

    Args:
        ca_file: PEM of the authorities; ``None``: the system's.
        cert_file: PEM of our own certificate.
        key_file: PEM of its key.
        server: The name that the server's certificate must have, see `MqttSettings`.

    Raises:
        SettingsError: a file is missing or is no PEM.
    """
    files = (ca_file or "", cert_file or "", key_file or "")
    try:
        kind = f"client of {server}"
        return current(kind, files, lambda: _client_context(ca_file, cert_file, key_file, server))
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            "the TLS files",
            expected=f"readable PEM in {', '.join(map(repr, filter(None, files)))}",
            came=str(error),
            fix="correct the path or the file",
        ) from error


def _client_context(
    ca_file: str | None, cert_file: str | None, key_file: str | None, server: str | None
) -> ssl.SSLContext:
    context = ServerContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:  # trust this authority alone
        context.load_verify_locations(ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class, context.sslobject_class = WholeSocket, NamedServer
    context.server = server
    if cert_file is not None:
        context.load_cert_chain(cert_file, key_file)
    return context
