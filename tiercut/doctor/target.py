"""What to check: a site, its brokers and hubs, and as which identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tiercut.bus.server_name import ANY_BUS
from tiercut.bus.settings import MqttSettings
from tiercut.errors import SettingsError
from tiercut.node.settings import NodeSettings
from tiercut.security.identity import Identity
from tiercut.settings import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A site as seen by one identity.

    Attributes:
        site: Its name.
        bus: The site's broker.
        cloud: The cloud's broker, where it is another one.
        identity: As which identity; ``None``: without one of tiercut's certificates.
        hubs: Addresses of hubs that models are fetched from.
        wait_s: How long to wait for nodes' statuses.
    """

    site: str
    bus: MqttSettings
    cloud: MqttSettings | None = None
    identity: Identity | None = None
    hubs: tuple[str, ...] = ()
    wait_s: float = 7.0


def of_settings(path: Path, identity_folder: Path | None = None) -> Target:
    """What a node with these settings stands before: the file, and the environment, which wins.

    Args:
        path: The file.
        identity_folder: One of the node's identities; ``None``: the one that the settings say.

    Raises:
        SettingsError: they cannot be read, or their files are not right.
    """
    chosen = [] if identity_folder is None else ["--identity", str(identity_folder), "--identities", ""]
    arguments = ["--settings", str(path), *chosen]
    settings = load(NodeSettings, arguments, program="tiercut doctor", partly=True)
    if settings.identity is None and settings.identities is not None:
        raise SettingsError(
            "the node's identity is one of several",
            expected="identity = one folder",
            came=f"identities = '{settings.identities}'",
            fix="name the folder with --identity",
        )
    identity = None if settings.identity is None else Identity.load(settings.identity)
    cloud = settings.cloud_broker_url
    return Target(
        site=settings.site if identity is None else identity.site,
        bus=_mqtt(settings, settings.broker_url, identity),
        cloud=_mqtt(settings, cloud, identity) if cloud and cloud != settings.broker_url else None,
        identity=identity,
        hubs=settings.hub_url,
    )


def _mqtt(settings: NodeSettings, url: str, identity: Identity | None) -> MqttSettings:
    if identity is not None:
        return with_files(url, identity)
    files = (settings.ca_file, settings.cert_file, settings.key_file) if url.startswith("mqtts:") else (None,) * 3
    ca_file, cert_file, key_file = (None if path is None else str(path) for path in files)
    return MqttSettings(
        url=url,
        username=settings.username,
        password=settings.password,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
    )


def with_files(url: str, identity: Identity) -> MqttSettings:
    """A connection as an identity."""
    if not url.startswith("mqtts:"):
        return MqttSettings(url=url)
    return MqttSettings(
        url=url,
        ca_file=str(identity.ca_file),
        cert_file=str(identity.cert_file),
        key_file=str(identity.key_file),
        server=ANY_BUS,
    )
