"""How commands reach a site's bus: an address, a site, and an identity where the bus asks for one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tiercut.bus.server_name import ANY_BUS
from tiercut.bus.settings import MqttSettings
from tiercut.errors import SettingsError
from tiercut.security.identity import Identity
from tiercut.settings import check_names

DEFAULT_BROKER, DEFAULT_SITE = "mqtt://127.0.0.1:1883", "home"


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add ``--broker``, ``--site`` and ``--identity``; without them the environment counts, as for nodes."""
    group = parser.add_argument_group("the site's bus")
    group.add_argument(
        "--broker",
        default=os.environ.get("TIERCUT_BROKER_URL") or DEFAULT_BROKER,
        metavar="URL",
        help=f"mqtts://HOST:8883, or mqtt:// (default: TIERCUT_BROKER_URL, else {DEFAULT_BROKER})",
    )
    group.add_argument(
        "--site",
        default=os.environ.get("TIERCUT_SITE") or DEFAULT_SITE,
        metavar="NAME",
        help=f"name of the site (default: TIERCUT_SITE, else {DEFAULT_SITE})",
    )
    group.add_argument(
        "--identity",
        type=Path,
        default=Path(os.environ["TIERCUT_IDENTITY"]) if os.environ.get("TIERCUT_IDENTITY") else None,
        metavar="DIR",
        help="folder of ca.pem, cert.pem and key.pem (default: TIERCUT_IDENTITY)",
    )


def connection(args: argparse.Namespace) -> MqttSettings:
    """How to connect, of what `add_connection` has read.

    Raises:
        SettingsError: the address, the site or the identity is not right, or does not fit the others.
    """
    check_names(args, "site")
    bare = MqttSettings(url=args.broker)
    if args.identity is None:
        return bare
    if not bare.tls:
        raise SettingsError(
            "an identity needs a bus with TLS",
            expected="--broker mqtts://HOST:8883",
            came=bare.url,
            fix="correct the address, or omit --identity",
        )
    identity = Identity.load(args.identity)
    if identity.site != args.site:
        raise SettingsError(
            f"the identity in '{args.identity}' is of another site",
            expected=f"one of site '{args.site}'",
            came=f"'{identity.name}'",
            fix="correct --site or --identity",
        )
    return MqttSettings(
        url=args.broker,
        ca_file=str(identity.ca_file),
        cert_file=str(identity.cert_file),
        key_file=str(identity.key_file),
        server=ANY_BUS,
    )
