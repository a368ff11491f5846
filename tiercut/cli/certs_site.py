"""``tiercut certs site``: everything that a site's containers need of certificates, in one step."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tiercut.errors import SettingsError
from tiercut.files import write_whole
from tiercut.security import certificates
from tiercut.security.authority import AuthorityFolder, Sites
from tiercut.security.identity_files import Owner
from tiercut.security.identity_list import IdentityName, Listed, Role

CONF_FILE, ACL_FILE = "mosquitto.conf", "acl"
#: Role → flag, and who there is without it.
_NAMES: dict[Role, tuple[str, str]] = {
    "hub": ("hubs", "hub"),
    "bus": ("buses", "site-bus"),
    "device": ("devices", ""),
    "edge": ("edges", ""),
    "operator": ("operators", "operator"),
    "reader": ("readers", "reader"),
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tiercut certs site``."""
    parser = commands.add_parser(
        "site",
        help="make everything a site needs in one step",
        description="Make an authority, identities, and the brokers' files; valid ones that exist stay as they are.",
        epilog="a list is names with commas between them, or a number: --edges 3 is edge-1,edge-2,edge-3",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the authority")
    parser.add_argument("--site", default="home", metavar="NAME", help="name of the site (default: home)")
    parser.add_argument("--cloud-site", default="cloud", metavar="NAME", help="of the cloud nodes (default: cloud)")
    for role, (flag, default) in _NAMES.items():
        said = f"(default: {default or 'none'})"
        parser.add_argument(f"--{flag}", default=default, metavar="LIST", help=f"identities of role {role} {said}")
    parser.add_argument("--clouds", default="", metavar="LIST", help="cloud nodes (default: none)")
    parser.add_argument("--cloud-buses", default="cloud-bus", metavar="LIST", help="(default: cloud-bus)")
    parser.add_argument(
        "--sensors", action="append", default=[], metavar="NAME=TOPIC", help="a sensor and a topic it publishes on"
    )
    parser.add_argument(
        "--hosts", action="append", default=[], metavar="NAME=H,H", help="more names or addresses of a bus or hub"
    )
    parser.add_argument(
        "--days", type=int, default=certificates.CERTIFICATE_DAYS, metavar="N", help="how long they are valid"
    )
    parser.add_argument("--before-days", type=float, default=30.0, metavar="N", help="renew those with fewer days left")
    parser.add_argument("--owner", metavar="UID:GID", help="owner of the files (needs root)")
    parser.add_argument("--bus-owner", metavar="UID:GID", help="the same for brokers (default: as --owner)")
    paths = parser.add_argument_group("where brokers find their files")
    paths.add_argument("--bus-identity", default="/identity", metavar="DIR", help="(default: /identity)")
    paths.add_argument("--bus-acl", default="/acl/acl", metavar="FILE", help="the site's bus (default: /acl/acl)")
    paths.add_argument("--bus-data", default="/mosquitto/data", metavar="DIR", help="(default: /mosquitto/data)")
    parser.add_argument(
        "--bus-memory-mb", type=int, default=256, metavar="N", help="memory for a bus's messages (default: 256)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make what is missing.

    Raises:
        SettingsError: a name is not right, or a folder cannot be written.
    """
    owner, bus_owner = _owner(args.owner), _owner(args.bus_owner or args.owner)
    sites = Sites(args.site, args.cloud_site)
    hosts = _pairs(args.hosts, "--hosts")
    wanted = list(_wanted(args, sites))
    _check_hosts(hosts, wanted)
    certificates.check_days(args.days)
    folder = AuthorityFolder.new(args.folder, sites=sites, owner=owner, bus_owner=bus_owner)
    for each in [each for each in wanted if each.identity in folder.removed()]:
        print(f"{each.identity}  was removed and is not issued again: see 'tiercut certs issue --again'")
        wanted.remove(each)
    made = 0
    for each in wanted:
        own = [host for value in hosts.get(each.identity.name, ()) for host in value.split(",")]
        made += folder.ensure(each, hosts=own, days=args.days, before_days=args.before_days)
    for identity in [each.identity for each in wanted if each.identity.role == "bus"]:
        folder.files.write(identity, CONF_FILE, _configuration(args, at_site=identity.site == args.site).encode())
    refresh_cloud_rules(folder)
    _first_rules(folder, args.site, owner, bus_owner)
    print(f"{len(wanted)} identities in {args.folder}, {made} of them new or renewed")
    return 0


def refresh_cloud_rules(folder: AuthorityFolder) -> None:
    """Write the access rules of the cloud's brokers: they only change with the identities."""
    from broker.mosquitto.access_rules import cloud_acl  # noqa: PLC0415 - the site's programs stand above this package

    listed, cloud_site = folder.listed(), folder.sites.cloud_site
    for each in listed:
        if each.identity.role == "bus" and each.identity.site == cloud_site:
            folder.files.write(each.identity, ACL_FILE, cloud_acl(listed, site=cloud_site).encode())


def _first_rules(folder: AuthorityFolder, site: str, owner: Owner, bus_owner: Owner) -> None:
    """Access rules of a site without streams, so that its bus can start; from then on the hub writes them."""
    from broker.mosquitto.access_rules import acl  # noqa: PLC0415 - the same

    path = folder.folder / site / "acl" / ACL_FILE
    shared = None if bus_owner is None else ((owner or (os.getuid(), os.getgid()))[0], bus_owner[1])
    if not path.exists():
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if shared is not None:
            os.chown(path.parent, *shared)
            path.parent.chmod(0o2750)  # what the hub writes there belongs to the bus's group as well
        write_whole(path, acl(site, folder.listed(), ()).encode(), what="access rules ", mode=0o640, owner=shared)


def _wanted(args: argparse.Namespace, sites: Sites) -> Iterator[Listed]:
    for role, (flag, _) in _NAMES.items():
        for name in _list(getattr(args, flag), role):
            yield Listed(IdentityName(sites.site, role, name))
    for name in _list(args.clouds, "cloud"):
        yield Listed(IdentityName(sites.cloud_site, "cloud", name))
    for name in _list(args.cloud_buses, "cloud-bus"):
        yield Listed(IdentityName(sites.cloud_site, "bus", name))
    for name, topics in _pairs(args.sensors, "--sensors").items():
        yield Listed(IdentityName(sites.site, "sensor", name), tuple(topics))


def _list(text: str, prefix: str) -> list[str]:
    if text.isdecimal():
        return [f"{prefix}-{number}" for number in range(1, int(text) + 1)]
    return [name.strip() for name in text.split(",") if name.strip()]


def _pairs(texts: list[str], flag: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise SettingsError(f"bad {flag}", expected="NAME=VALUE", came=repr(text), fix="correct it")
        found.setdefault(name, []).append(value)
    return found


def _check_hosts(hosts: dict[str, list[str]], wanted: list[Listed]) -> None:
    servers = {each.identity.name for each in wanted if each.identity.role in {"bus", "hub"}}
    for name in hosts:
        if name not in servers:
            raise SettingsError(
                "bad --hosts", expected=f"one of {', '.join(sorted(servers))}", came=repr(name), fix="correct it"
            )


def _owner(text: str | None) -> Owner:
    if not text:
        return None
    user, _, group = text.partition(":")
    if not (user.isdecimal() and (group or user).isdecimal()):
        raise SettingsError("bad owner", expected="UID:GID, such as 10001:10001", came=repr(text), fix="correct it")
    return int(user), int(group or user)


def _configuration(args: argparse.Namespace, *, at_site: bool) -> str:
    from broker.mosquitto.configuration import BusFiles, secure  # noqa: PLC0415 - the same

    identity = PurePosixPath(args.bus_identity)
    files = BusFiles(
        identity=identity,
        acl=PurePosixPath(args.bus_acl) if at_site else identity / ACL_FILE,
        data=PurePosixPath(args.bus_data),
    )
    return secure(files, memory_mb=args.bus_memory_mb)
