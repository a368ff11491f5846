"""Prints Mosquitto's configuration: ``python -m broker.mosquitto``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

from broker.mosquitto.configuration import MEMORY_MB, PLAIN_PORT, TLS_PORT, BusFiles, plain, secure


def main(arguments: Sequence[str]) -> int:
    """Print a configuration."""
    parser = argparse.ArgumentParser(prog="python -m broker.mosquitto", description="Print Mosquitto's configuration.")
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    bus = kinds.add_parser("bus", help="a bus with TLS, certificates and access rules")
    bus.add_argument("--identity", default="/identity", metavar="DIR", help="folder of ca.d/, cert.pem, key.pem")
    bus.add_argument("--acl", default="/acl/acl", metavar="FILE", help="access rules")
    bus.add_argument("--data", default="/mosquitto/data", metavar="DIR", help="where it keeps sessions")
    bus.add_argument("--passwords", metavar="FILE", help="open a second port, for sensors with user name and password")
    bus.add_argument("--port", type=int, default=TLS_PORT, metavar="N")
    bus.add_argument("--password-port", type=int, default=TLS_PORT + 1, metavar="N")
    bus.add_argument("--address", default="", metavar="IP", help="listen on this address only")
    bus.add_argument("--memory-mb", type=int, default=MEMORY_MB, metavar="N", help="for messages")
    bus.set_defaults(make=_bus_of)
    dev = kinds.add_parser("plain", help="a bus without security, on 127.0.0.1 only")
    dev.add_argument("--port", type=int, default=PLAIN_PORT, metavar="N")
    dev.set_defaults(make=lambda args: plain(port=args.port))
    args = parser.parse_args(arguments)
    sys.stdout.write(args.make(args))
    return 0


def _bus_of(args: argparse.Namespace) -> str:
    path = PurePosixPath
    files = BusFiles(
        identity=path(args.identity),
        acl=path(args.acl),
        data=path(args.data),
        passwords=path(args.passwords) if args.passwords else None,
    )
    return secure(
        files,
        port=args.port,
        address=args.address,
        password_port=args.password_port,
        memory_mb=args.memory_mb,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
