"""TLS as a client of brokers and hubs: the context for some files, as they are now."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from tiercut.bus.server_name import NamedServer, ServerContext, check_server
from tiercut.bus.settings import MqttSettings
from tiercut.bus.tls_files import current
from tiercut.errors import SettingsError

if TYPE_CHECKING:
    from typing_extensions import Buffer


#: What a TLS record carries at most (RFC 8446 §5.1).
RECORD_BYTES = 16 * 1024


class WholeSocket(ssl.SSLSocket):
    """Sends as much as there is, as a plain socket does, and checks the server's name."""

    def do_handshake(self, block: bool = False) -> None:
        """As `ssl.SSLSocket.do_handshake`; nothing is sent to a server of another name."""
        super().do_handshake(block)
        check_server(self.context, self.getpeercert())

    def send(self, data: Buffer, flags: int = 0) -> int:
        """As `ssl.SSLSocket.send`, record after record: OpenSSL hands over one per call."""
        view, sent = memoryview(data), 0
        try:
            while sent < len(view):
                sent += super().send(view[sent:], flags)
        except ssl.SSLWantWriteError:
            if not sent:
                raise
        return sent


def newest_tls(settings: MqttSettings) -> ssl.SSLContext:
    """The context for a connection that is made now, with the TLS files as they are now.

    Raises:
        SettingsError: a file is not right, and never was.
    """
    return tls_context(settings.ca_file, settings.cert_file, settings.key_file, server=settings.server)


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
