"""Checks the name in a server's certificate: an authority signs those of brokers, hubs and many others."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

#: Any site's broker, and any site's hub.
ANY_BUS, ANY_HUB = "+/bus", "+/hub"


class ServerContext(ssl.SSLContext):
    """A client's context that looks at the name in the server's certificate, beside authority and host name.

    Attributes:
        server: ``<site>/<role>`` that the server must be of, ``+`` for any site; ``None``: anyone.
    """

    server: str | None = None


class NamedServer(ssl.SSLObject):
    """What asyncio shakes hands with."""

    def do_handshake(self) -> None:
        """As `ssl.SSLObject.do_handshake`; nothing is sent to a server of another name."""
        super().do_handshake()
        check_server(self.context, self.getpeercert())


def check_server(context: ssl.SSLContext, certificate: Mapping[str, Any] | None) -> None:
    """Refuse a server whose certificate is for something else.

    Raises:
        ssl.SSLCertVerificationError: says whose it is.
    """
    wanted = context.server if isinstance(context, ServerContext) else None
    if wanted is None:
        return
    subject = (certificate or {}).get("subject", ())
    names = [str(value) for part in subject for key, value in part if key == "commonName"]
    came = names[0] if len(names) == 1 else ""
    site, role = wanted.split("/")
    levels = came.split("/")
    if len(levels) == 3 and levels[1] == role and site in {"+", levels[0]}:  # noqa: PLR2004 - site, role, name
        return
    said = f"expected one of '{wanted}/+', got '{came}'"
    error = ssl.SSLCertVerificationError(1, said)
    error.verify_code, error.verify_message = 0, said
    raise error
