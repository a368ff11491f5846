"""From a node's settings to who it is: its certificate, and by that its id."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from tiercut.bus.client_tls import tls_context
from tiercut.bus.server_name import ANY_HUB
from tiercut.node.settings import UNNAMED, NodeSettings
from tiercut.security.identity_list import Role

if TYPE_CHECKING:
    from tiercut.security.identity import Identity

log = logging.getLogger(__name__)

#: How long a node waits for its files: the program that writes them may start after it.
WAIT_S = 120.0

Settings = TypeVar("Settings", bound=NodeSettings)


def with_identity(settings: Settings, role: Role, *, wait_s: float = WAIT_S) -> Settings:
    """The settings with the files of the node's identity, and with its id; blocks until the files are there.

    Raises:
        SettingsError: they do not come, all are in use, or the certificate is for another node.
    """
    if settings.identity is None and settings.identities is None:
        return settings
    from tiercut.security.identity import claim, wait_for  # noqa: PLC0415 - 9 MB that a node without certificates spares

    if settings.identity is not None:
        identity = wait_for(settings.identity, wait_s)
    elif settings.identities is not None:
        identity = claim(settings.identities, wait_s, site=settings.site, role=role)
        log.info("identity taken", extra={"identity": str(identity.name)})
    else:
        return settings
    node = identity.node if settings.node == UNNAMED else settings.node
    identity.check(settings.site, role, node)
    return replace(
        settings,
        node=node,
        identity=identity.folder,
        identities=None,
        ca_file=identity.ca_file,
        cert_file=identity.cert_file,
        key_file=identity.key_file,
    )


def client_tls(settings: NodeSettings) -> Callable[[], ssl.SSLContext] | None:
    """What gives the context for a request to the hub, with the files as they are then; ``None`` without such files."""
    if settings.ca_file is None:
        return None
    ca, cert, key = (
        None if path is None else str(path) for path in (settings.ca_file, settings.cert_file, settings.key_file)
    )
    server = None if settings.identity is None else ANY_HUB  # with an authority of its own, names are ours
    return lambda: tls_context(ca, cert, key, server=server)


def identity_of(settings: NodeSettings) -> Identity | None:
    """The identity of a node whose settings went through `with_identity`; ``None`` for one without TLS of its own."""
    if settings.identity is None:
        return None
    from tiercut.security.identity import Identity  # noqa: PLC0415 - the same

    return Identity.load(settings.identity)
